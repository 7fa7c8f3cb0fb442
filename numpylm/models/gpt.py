"""GPT: embeddings, a stack of blocks, a norm, and the embedding again as the output layer.

The architecture is GPT-2's (Radford et al. 2019, section 2.3), and so are the names of all parameters.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from numpylm.nn.blocks import Block
from numpylm.nn.fast_attention import KVCache
from numpylm.nn.functional import cross_entropy
from numpylm.nn.layers import Dropout, Embedding, LayerNorm, tied_head, tied_head_backward
from numpylm.nn.module import Array, Cache, Module


class BlockInput(NamedTuple):
    """What a block's forward was given: enough to run it again, with the same dropout masks."""

    x: Array
    rng: np.random.Generator | None


class HiddenCache(NamedTuple):
    """What `GPT.hidden` leaves for its backward."""

    embed: Cache
    blocks: list[Cache]  # None for those below the lowest one that is trained
    ln_f: Cache


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT.

    Attributes
    ----------
    vocab_size : int
        V, number of tokens.
    block_size : int
        The longest sequence that the model can read, in tokens.
    n_layer, n_head, n_embd : int
        L blocks, H heads in each, C channels; H divides C.
    dropout : float in [0, 1)
        On embeddings, attention weights and both residual branches; only while training.
    bias : bool
        Biases in linear layers and norms.
    layer_norm_eps : float
    gelu_approximate : {"tanh", "none"}
        GPT-2 has the tanh form.
    """

    vocab_size: int
    block_size: int
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float = 0.0
    bias: bool = True
    layer_norm_eps: float = 1e-5
    gelu_approximate: str = "tanh"

    def __post_init__(self) -> None:
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        if self.n_embd % self.n_head:
            raise ValueError(
                f"n_head must divide n_embd, so that all heads have equally many channels: "
                f"got n_embd={self.n_embd}, n_head={self.n_head}"
            )
        if not (_is_number(self.dropout) and 0 <= self.dropout < 1):
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout!r}")
        if not isinstance(self.bias, bool):
            raise ValueError(f"bias must be True or False, got {self.bias!r}")
        if not (_is_number(self.layer_norm_eps) and 0 <= self.layer_norm_eps < math.inf):
            raise ValueError(f"layer_norm_eps must be a number of at least 0, got {self.layer_norm_eps!r}")
        if self.gelu_approximate not in ("tanh", "none"):
            raise ValueError(f'gelu_approximate must be "tanh" or "none", got {self.gelu_approximate!r}')


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


class GPT(Module):
    """A decoder-only Transformer language model.

        x = dropout(wte[ids] + wpe[0 … T-1])
        x = block(x), for each of the L blocks
        logits = ln_f(x) wteᵀ

    Parameters
    ----------
    config : GPTConfig
    rng : numpy.random.Generator, optional
        Draws the initial weights: N(0, 0.02²), and N(0, 0.02² / 2L) for the projections that write into the
        residual stream. That stream adds up 2L such branches, so its variance would otherwise grow with depth
        (Radford et al. 2019, section 2.3).
    dtype : dtype

    Attributes
    ----------
    wte : Embedding (V, C)
        Token embedding, and transposed the output layer ("tied": Press & Wolf 2017, arXiv:1608.05859). It is
        used twice, so its gradient is the sum of two.
    wpe : Embedding (block_size, C)
    h : list of Block
    ln_f : LayerNorm (C)
    recompute : bool
        Whether a block's forward is computed once more in its backward, from its input, instead of keeping all that
        it computed on the way (activation checkpointing: Chen et al. 2016, arXiv:1604.06174, section 4.2). The
        numbers are the same to the bit; memory falls to one block's, and a step takes about a third longer.
    """

    recompute = False

    def __init__(
        self, config: GPTConfig, rng: np.random.Generator | None = None, dtype: DTypeLike = np.float32
    ) -> None:
        rng = rng or np.random.default_rng()
        C = config.n_embd
        self.config = config
        self.wte = Embedding(config.vocab_size, C, rng=rng, dtype=dtype)
        self.wpe = Embedding(config.block_size, C, rng=rng, dtype=dtype)
        self.drop = Dropout(config.dropout)
        self.h = [
            Block(
                C,
                config.n_head,
                config.dropout,
                config.bias,
                layer_norm_eps=config.layer_norm_eps,
                gelu_approximate=config.gelu_approximate,
                proj_std=0.02 / math.sqrt(2 * config.n_layer),
                rng=rng,
                dtype=dtype,
            )
            for _ in range(config.n_layer)
        ]
        self.ln_f = LayerNorm(C, config.layer_norm_eps, config.bias, dtype=dtype)

    def forward(
        self, ids: Array, rng: np.random.Generator | None = None, past: list[KVCache] | None = None
    ) -> tuple[Array, Cache]:
        """Logits for the token after each position.

        Parameters
        ----------
        ids : int array (B, T), T <= block_size
        rng : numpy.random.Generator, optional
            Given: dropout. Not given: evaluation.
        past : list of L KVCache, optional
            From `new_past`: ids go on where it ends, and are added to it. There is no backward then.

        Returns
        -------
        logits : array (B, T, V)
        cache

        Raises
        ------
        ValueError
            If ids is not (B, T), is empty or too long, or holds an id outside [0, V).
        """
        x, hidden_cache = self.hidden(ids, rng, past)  # (B, T, C)
        logits, head_cache = self.head(x)  # (B, T, V)
        return logits, (hidden_cache, head_cache)

    def backward(self, dlogits: Array, cache: Cache) -> None:
        """Add dL/dparameter to every gradient; dlogits (B, T, V) is dL/dlogits. Ids have no gradient."""
        hidden_cache, head_cache = cache
        dx = self.head_backward(dlogits, head_cache)  # (B, T, C)
        self.hidden_backward(dx, hidden_cache)

    def embed(
        self, ids: Array, rng: np.random.Generator | None = None, past: list[KVCache] | None = None
    ) -> tuple[Array, Cache]:
        """Token and position vectors, added: ids (B, T) -> (B, T, C), what the first block reads."""
        ids = np.asarray(ids)
        self._check_ids(ids, past)
        tokens, wte_cache = self.wte.forward(ids)  # (B, T, C)
        positions, wpe_cache = self.wpe.forward(_positions(ids.shape[1], past))  # (T, C); (B, T, C) if padded
        x, drop_cache = self.drop.forward(tokens + positions, rng)  # (B, T, C)
        return x, (wte_cache, wpe_cache, drop_cache)

    def embed_backward(self, dx: Array, cache: Cache) -> None:
        """Gradient of `embed`: dx (B, T, C); adds to the gradients of wte and wpe."""
        wte_cache, wpe_cache, drop_cache = cache
        dx = self.drop.backward(dx, drop_cache)
        self.wpe.backward(dx.sum(axis=0), wpe_cache)  # one position vector serves the whole batch
        self.wte.backward(dx, wte_cache)

    def hidden(
        self,
        ids: Array,
        rng: np.random.Generator | None = None,
        past: list[KVCache] | None = None,
        differentiable: bool = True,
    ) -> tuple[Array, HiddenCache]:
        """The trunk, all but the output layer: ids (B, T) -> (B, T, C), what the model knows at each position.

        Blocks that need no backward (frozen ones, or all unless ``differentiable``) leave None as their cache:
        what they computed on the way is forgotten, and takes no memory.
        """
        x, embed_cache = self.embed(ids, rng, past)
        first = self.first_trained_block() if differentiable and past is None else len(self.h)
        block_caches: list[Cache] = []
        for i, block in enumerate(self.h):
            block_input = BlockInput(x, copy.deepcopy(rng)) if self.recompute else None
            if past is None:
                x, block_cache = block.forward(x, rng)  # (B, T, C)
            else:
                x, block_cache = block.forward(x, rng, past[i])  # (B, T, C)
            if i < first:
                block_caches.append(None)
            else:
                block_caches.append(block_cache if block_input is None else block_input)
        x, ln_f_cache = self.ln_f.forward(x)  # (B, T, C)
        return x, HiddenCache(embed_cache, block_caches, ln_f_cache)

    def hidden_backward(self, dx: Array, cache: HiddenCache) -> None:
        """Gradient of `hidden`: dx (B, T, C) at the trunk's output; adds to every gradient below.

        What is frozen at the bottom is not computed: the gradient goes down to the lowest block that is trained.
        """
        embed_cache, block_caches, ln_f_cache = cache
        dx = self.ln_f.backward(dx, ln_f_cache)
        for block, block_cache in zip(reversed(self.h), reversed(block_caches), strict=True):
            if block_cache is None:
                return
            if isinstance(block_cache, BlockInput):
                _, block_cache = block.forward(*block_cache)
            dx = block.backward(dx, block_cache)
        self.embed_backward(dx, embed_cache)

    def head(self, x: Array) -> tuple[Array, Cache]:
        """The output layer: x (..., C) -> logits (..., V)."""
        return tied_head(x, self.wte)

    def head_backward(self, dlogits: Array, cache: Cache) -> Array:
        """Gradient of `head`: dlogits (..., V) -> dx (..., C); adds to the gradient of wte."""
        return tied_head_backward(dlogits, cache, self.wte)

    def first_trained_block(self) -> int:
        """The lowest block that a gradient must reach: 0 if the embeddings are trained, L if nothing below ln_f is."""
        if not (self.wte.weight.frozen and self.wpe.weight.frozen):
            return 0
        return next((i for i, block in enumerate(self.h) if block.trainable_parameters()), len(self.h))

    def freeze(self, below: int) -> None:
        """Freeze the embeddings (and with them the tied output layer) and the lowest ``below`` blocks; thaw the rest.

        With 0 nothing is frozen. Low blocks of a trained model know words and grammar, which a new text hardly
        changes; the top ones learn its subject and tone for a fraction of the time and memory.
        """
        if not 0 <= below <= len(self.h):
            raise ValueError(f"a model of {len(self.h)} blocks can be frozen below 0 … {len(self.h)}, got {below}")
        for parameter in self.parameters():
            parameter.frozen = False
        for layer in (self.wte, self.wpe, *self.h[:below]) if below else ():
            for parameter in layer.parameters():
                parameter.frozen = True

    def new_past(self, batch_size: int = 1, padding: Array | None = None) -> list[KVCache]:
        """Empty caches, one for each block, for ``batch_size`` texts; see `KVCache` for ``padding``."""
        c = self.config
        shape = (batch_size, c.n_head, c.block_size, c.n_embd // c.n_head)
        return [KVCache(shape, self.wte.weight.dtype, padding) for _ in self.h]

    def read(self, ids: Array, past: list[KVCache]) -> Array:
        """Read ids (B, T) on top of ``past``: logits (B, V) for the token that follows them."""
        x, _ = self.hidden(ids, past=past)
        return self.head(x[:, -1])[0]  # only the last position's logits are needed

    def loss(self, ids: Array, targets: Array) -> float:
        """Mean nats per counted token, without dropout; a target of -100 is not counted."""
        x, _ = self.hidden(ids, differentiable=False)
        return cross_entropy(self.head(x)[0], np.asarray(targets))[0]

    def loss_and_grad(
        self, ids: Array, targets: Array, rng: np.random.Generator | None = None, count: int | None = None
    ) -> float:
        """`loss`, with dropout if ``rng`` is given, and its gradient added to every parameter's ``.grad``.

        ``count`` divides the loss instead of the number of counted targets here: see `cross_entropy`.
        """
        logits, cache = self.forward(ids, rng)
        loss, dlogits = cross_entropy(logits, np.asarray(targets), count=count)
        self.backward(dlogits, cache)
        return loss

    # What one does with a trained model stands apart from it. numpylm/__init__.py makes these methods of it.
    generate: ClassVar[Callable[..., Iterator[int]]]
    generate_batch: ClassVar[Callable[..., list[list[int]]]]
    log_prob: ClassVar[Callable[..., Array]]
    rank: ClassVar[Callable[..., list]]
    from_pretrained: ClassVar[Any]  # a classmethod
    save_pretrained: ClassVar[Callable[..., None]]
    tokenizer: Any = None  # the one that came with the model's files

    def _check_ids(self, ids: Array, past: list[KVCache] | None = None) -> None:
        if ids.ndim != 2 or ids.dtype.kind not in "iu":
            raise ValueError(
                f"GPT expects integer ids of shape (B, T), got {ids.dtype} {ids.shape}"
                + ("; add a batch axis: ids[None, :]" if ids.ndim == 1 else "")
            )
        before = past[0].length if past else 0
        if not 1 <= ids.shape[1] <= self.config.block_size - before:
            raise ValueError(
                f"GPT reads 1 to block_size={self.config.block_size} tokens at a time, got {ids.shape[1]}"
                + (f" after {before}" if before else "")
            )
        if past and past[0].k.shape[0] != len(ids):
            raise ValueError(f"past holds {past[0].k.shape[0]} texts, ids {len(ids)}")


def _positions(T: int, past: list[KVCache] | None) -> Array:
    """Positions of T tokens that follow ``past``: (T,), or (B, T) where rows are padded; fillings get 0."""
    if not past:
        return np.arange(T)
    positions = np.arange(past[0].length, past[0].length + T)
    padding = past[0].padding
    return positions if padding is None else np.maximum(positions - padding[:, None], 0)
