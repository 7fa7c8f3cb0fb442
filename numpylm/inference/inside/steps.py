"""The steps of a model between its embeddings and its output layer, in one form for all families, and muted heads."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from numpylm.nn.attention import causal_mask
from numpylm.nn.fast_attention import attention_weights
from numpylm.nn.module import Array, Cache

State = tuple[Array, ...]  # the hidden states of each stream of tokens: (text,), or (source, target)
OUTPUTS = ("c_proj", "o_proj", "out_proj")  # the names of attention's output projection in the families' files


class Step:
    """A block, or a norm between blocks, which changes one stream.

    Parameters
    ----------
    block : Module
    stream : int
        The stream that it changes.
    kinds : dict
        For each kind of attention in the block, the name of its layer: ``{"self": "self_attn"}``.
    """

    def __init__(self, block: Any, stream: int = 0, kinds: Mapping[str, str] | None = None) -> None:
        self.block, self.stream, self.kinds = block, stream, kinds or {}

    def forward(self, state: State, block: Any = None) -> tuple[State, Cache]:
        """The next state. ``block`` is used instead of the step's own, if it is given."""
        out, cache = (block or self.block).forward(state[self.stream])
        return self._changed(state, out), cache

    def backward(self, dstate: State, cache: Cache) -> State:
        """Gradient of `forward`: dstate at its output -> dstate at its input."""
        return self._changed(dstate, self.block.backward(dstate[self.stream], cache))

    def attention(self, cache: Cache) -> dict[str, Array]:
        """The weights of each kind of attention, (B, H, T, S)."""
        return {kind: _weights(getattr(cache, name)) for kind, name in self.kinds.items()}

    def muted(self, kind: str) -> Any:
        """A copy of the block for H equal texts: in text h, head h outputs zeros at all positions.

        The model itself stays as it is. The copy uses the same parameters.
        """
        block = copy.copy(self.block)
        layer = copy.copy(getattr(block, self.kinds[kind]))
        name = next(name for name in OUTPUTS if hasattr(layer, name))
        setattr(layer, name, _MutedHeads(getattr(layer, name).forward, layer.n_head))
        setattr(block, self.kinds[kind], layer)
        return block

    def n_head(self, kind: str) -> int:
        """H of one kind of attention."""
        return getattr(self.block, self.kinds[kind]).n_head

    def _changed(self, state: State, value: Array) -> State:
        return (*state[: self.stream], value, *state[self.stream + 1 :])


class DecoderStep(Step):
    """A block of a decoder, which reads the target (stream 1) and the encoder's output (stream 0)."""

    def forward(self, state: State, block: Any = None) -> tuple[State, Cache]:
        memory, x = state
        T = x.shape[1]
        out, cache = (block or self.block).forward(x, memory, causal_mask(T, T))
        return (memory, out), cache

    def backward(self, dstate: State, cache: Cache) -> State:
        dmemory, dx = dstate
        dx, from_block = self.block.backward(dx, cache)
        return dmemory + from_block, dx  # all blocks read the same memory: their gradients add up


class _MutedHeads:
    """The output projection of attention for H equal texts, of which text h gets zeros from head h.

        y_h = merge(o_1 … o_{h-1}, 0, o_{h+1} … o_H) W + b

    This is the same as zeros in the rows of W that belong to head h, but for all heads at once.
    """

    def __init__(self, project: Callable[[Array], tuple[Array, Cache]], n_head: int) -> None:
        self.project, self.n_head = project, n_head

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """x (H, T, H D) -> (H, T, C)."""
        H, T, channels = x.shape
        heads = x.reshape(H, T, self.n_head, channels // self.n_head).copy()
        heads[np.arange(H), :, np.arange(H)] = 0
        return self.project(heads.reshape(x.shape))


def _weights(cache: Any) -> Array:
    """The attention weights (B, H, T, S) in the cache of an attention layer, or of a sublayer with one."""
    found = getattr(cache, "sublayer", cache).attention
    return attention_weights(found) if isinstance(found, list) else found.weights
