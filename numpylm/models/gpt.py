"""GPT: token and position embeddings, a stack of blocks, a final norm, and an output layer tied to the embedding.

The architecture and the names of all parameters are GPT-2's (Radford et al. 2019, section 2.3).
"""

import math
from collections.abc import Callable, Iterator
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from numpylm.models.checks import check_ids
from numpylm.models.configs import GPTConfig
from numpylm.models.stack import StackModel, full_cache, run_block
from numpylm.nn.blocks import Block
from numpylm.nn.functional import cross_entropy
from numpylm.nn.kv_cache import KVCache
from numpylm.nn.layers import Dropout, Embedding, LayerNorm, tied_head, tied_head_backward
from numpylm.nn.module import Array, Cache
from numpylm.nn.packing import checked_segments, restarted_positions


class HiddenCache(NamedTuple):
    """What `GPT.hidden` saves for its backward."""

    embed: Cache
    blocks: list[Cache]  # None for the blocks below the lowest trained one
    ln_f: Cache


class GPT(StackModel):
    """A decoder-only Transformer language model.

        x = dropout(wte[ids] + wpe[0 … T-1])
        x = block(x), for each of the L blocks
        logits = ln_f(x) wteᵀ

    Parameters
    ----------
    config : GPTConfig
    rng : numpy.random.Generator, optional
        Draws the initial weights: N(0, 0.02²), and N(0, 0.02² / 2L) for the projections that write into the
        residual stream. The stream is the sum of 2L such branches, so its variance would otherwise grow with depth
        (Radford et al. 2019, section 2.3).
    dtype : dtype

    Attributes
    ----------
    wte : Embedding (V, C)
        Token embedding. Its transpose is the output layer ("weight tying": Press & Wolf 2017, arXiv:1608.05859). It
        is used twice, so its gradient is a sum of two.
    wpe : Embedding (block_size, C)
    h : list of Block
    ln_f : LayerNorm (C)
    recompute, tokenizer
        As in `StackModel`.
    """

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
        self, ids: Array, rng: np.random.Generator | None = None, segments: Array | None = None
    ) -> tuple[Array, Cache]:
        """Logits for the token after each position.

        Parameters
        ----------
        ids : int array (B, T), T <= block_size
        rng : numpy.random.Generator, optional
            Given: dropout. Not given: evaluation.
        segments : int array (B, T), optional
            Which text of its row each token belongs to: 1, 2, …, or 0 for padding. Texts do not see each other, and
            each begins at position 0: see `numpylm.nn.packing`.

        Returns
        -------
        logits : array (B, T, V)
        cache

        Raises
        ------
        ValueError
            If ids is not (B, T), is empty or too long, or contains an id outside [0, V); or if segments do not fit.
        """
        x, hidden_cache = self.hidden(ids, rng, segments=segments)  # (B, T, C)
        logits, head_cache = self.head(x)  # (B, T, V)
        return logits, (hidden_cache, head_cache)

    def backward(self, dlogits: Array, cache: Cache) -> None:
        """Add dL/dparameter to every ``.grad``. dlogits (B, T, V) is dL/dlogits. Ids have no gradient."""
        hidden_cache, head_cache = cache
        dx = self.head_backward(dlogits, head_cache)  # (B, T, C)
        self.hidden_backward(dx, hidden_cache)

    def embed(
        self,
        ids: Array,
        rng: np.random.Generator | None = None,
        past: list[KVCache] | None = None,
        segments: Array | None = None,
    ) -> tuple[Array, Cache]:
        """The sum of token and position embeddings: ids (B, T) -> (B, T, C), the input of the first block."""
        ids = np.asarray(ids)
        check_ids(self, ids, past[0].length if past else 0)
        T = ids.shape[1]
        if past and past[0].k.shape[0] != len(ids):
            raise ValueError(f"past holds {past[0].k.shape[0]} texts, ids {len(ids)}")
        tokens, wte_cache = self.wte.forward(ids)  # (B, T, C)
        numbers = past[0].positions(T) if past else np.arange(T)  # (T,), or (B, T) if rows are padded
        if segments is not None:
            numbers = restarted_positions(segments)  # (B, T)
        positions, wpe_cache = self.wpe.forward(numbers)  # (T, C) or (B, T, C)
        x, drop_cache = self.drop.forward(tokens + positions, rng)  # (B, T, C)
        return x, (wte_cache, wpe_cache, drop_cache)

    def embed_backward(self, dx: Array, cache: Cache) -> None:
        """Gradient of `embed`: dx (B, T, C); adds to the gradients of wte and wpe."""
        wte_cache, wpe_cache, drop_cache = cache
        dx = self.drop.backward(dx, drop_cache)
        if wpe_cache.ndim == 1:  # the rows have the same positions
            self.wpe.backward(dx.sum(axis=0), wpe_cache)  # one position vector serves the whole batch
        else:  # packed rows
            self.wpe.backward(dx, wpe_cache)
        self.wte.backward(dx, wte_cache)

    def hidden(
        self,
        ids: Array,
        rng: np.random.Generator | None = None,
        differentiable: bool = True,
        segments: Array | None = None,
    ) -> tuple[Array, HiddenCache]:
        """The trunk, which is the model without its output layer: ids (B, T) -> hidden states (B, T, C).

        A block that needs no backward has the cache None, which frees the memory of its activations. This holds for
        frozen blocks below all trained ones, and for all blocks unless ``differentiable``.
        """
        segments = checked_segments(segments, ids)
        x, embed_cache = self.embed(ids, rng, segments=segments)
        lowest = self.first_trained_block() if differentiable else len(self.h)
        block_caches: list[Cache] = []
        for i, block in enumerate(self.h):
            x, block_cache = run_block(block, self.recompute, x, rng, segments=segments)  # (B, T, C)
            block_caches.append(block_cache if i >= lowest else None)
        x, ln_f_cache = self.ln_f.forward(x)  # (B, T, C)
        return x, HiddenCache(embed_cache, block_caches, ln_f_cache)

    def hidden_backward(self, dx: Array, cache: HiddenCache) -> None:
        """Gradient of `hidden`: dx (B, T, C) at the trunk's output; adds to the gradients of the trunk's parameters.

        It stops at the lowest trained block. Nothing is computed for the frozen layers below.
        """
        embed_cache, block_caches, ln_f_cache = cache
        dx = self.ln_f.backward(dx, ln_f_cache)
        for block, block_cache in zip(reversed(self.h), reversed(block_caches), strict=True):
            if block_cache is None:
                return
            dx = block.backward(dx, full_cache(block, block_cache))
        self.embed_backward(dx, embed_cache)

    def head(self, x: Array) -> tuple[Array, Cache]:
        """The output layer: x (..., C) -> logits (..., V)."""
        return tied_head(x, self.wte)

    def head_backward(self, dlogits: Array, cache: Cache) -> Array:
        """Gradient of `head`: dlogits (..., V) -> dx (..., C); adds to the gradient of wte."""
        return tied_head_backward(dlogits, cache, self.wte)

    @property
    def blocks(self) -> list[Block]:
        """All blocks, the lowest first."""
        return self.h

    @property
    def embeddings(self) -> list[Embedding]:
        """The layers below the lowest block."""
        return [self.wte, self.wpe]

    def new_past(self, batch_size: int = 1, padding: Array | None = None) -> list[KVCache]:
        """Empty key/value caches, one for each block, for ``batch_size`` texts. For ``padding`` see `KVCache`."""
        c = self.config
        shape = (batch_size, c.n_head, c.block_size, c.n_embd // c.n_head)
        return [KVCache(shape, self.wte.weight.dtype, padding) for _ in self.h]

    def hidden_after(self, ids: Array, past: list[KVCache]) -> Array:
        """Hidden states (B, T, C) of ids (B, T) that follow the tokens in ``past``, from `new_past`.

        The keys and values of ids are appended to ``past``. There is no backward.
        """
        x, _ = self.embed(ids, past=past)
        for block, block_past in zip(self.h, past, strict=True):
            x, _ = block.forward(x, past=block_past)  # (B, T, C)
        return self.ln_f.forward(x)[0]

    def read(self, ids: Array, past: list[KVCache]) -> Array:
        """Logits (B, V) for the token that follows ids (B, T), which follow the tokens in ``past``."""
        x = self.hidden_after(ids, past)
        return self.head(x[:, -1])[0]  # only the last position's logits are needed

    def loss(self, ids: Array, targets: Array, segments: Array | None = None) -> float:
        """Mean cross-entropy in nats per counted token, without dropout. A target of -100 is not counted."""
        x, _ = self.hidden(ids, differentiable=False, segments=segments)
        return cross_entropy(self.head(x)[0], np.asarray(targets))[0]

    def loss_and_grad(
        self,
        ids: Array,
        targets: Array,
        rng: np.random.Generator | None = None,
        count: int | None = None,
        label_smoothing: float = 0.0,
        segments: Array | None = None,
    ) -> float:
        """Compute `loss`, with dropout if ``rng`` is given, and add its gradient to every parameter's ``.grad``.

        If ``count`` is given, the loss is divided by it instead of by the number of counted targets. For this and for
        ``label_smoothing`` see `cross_entropy`. For ``segments`` see `forward`.
        """
        given = {} if segments is None else {"segments": segments}  # a student's forward may not take this argument
        logits, cache = self.forward(ids, rng, **given)
        loss, dlogits = cross_entropy(logits, np.asarray(targets), count=count, label_smoothing=label_smoothing)
        self.backward(dlogits, cache)
        return loss

    # Code that uses a trained model is in other files. numpylm/__init__.py attaches it as these methods.
    generate: ClassVar[Callable[..., Iterator[int]]]
    generate_batch: ClassVar[Callable[..., list[list[int]]]]
    log_prob: ClassVar[Callable[..., Array]]
    rank: ClassVar[Callable[..., list]]
