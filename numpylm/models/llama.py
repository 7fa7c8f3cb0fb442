"""Llama: a language model with rotary positions, RMS norms, gated MLPs and grouped queries (Llama, Qwen2, SmolLM2)."""

import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from numpylm.models.checks import check_ids
from numpylm.models.configs import LlamaConfig
from numpylm.models.stack import StackCache, StackModel, full_cache, run_block
from numpylm.nn.functional import IGNORE_INDEX, cross_entropy
from numpylm.nn.gated_mlp import GatedMLP
from numpylm.nn.grouped_query_attention import GroupedQueryAttention
from numpylm.nn.kv_cache import KVCache
from numpylm.nn.layers import Dropout, Embedding, Linear, RMSNorm, tied_head, tied_head_backward
from numpylm.nn.llama_block import LlamaBlock
from numpylm.nn.mixture_of_experts import MixtureOfExperts
from numpylm.nn.module import Array, Cache
from numpylm.nn.packing import checked_segments
from numpylm.nn.positions import Rotary


class Llama(StackModel):
    """A decoder-only Transformer with today's layers (Touvron et al. 2023, arXiv:2302.13971, section 2.2).

        x = dropout(embed_tokens[ids])                positions are in the attention: see `Rotary`
        x = block(x), for each of the L blocks
        logits = norm(x) W                            W = embed_tokensᵀ if they are tied

    Parameters
    ----------
    config : LlamaConfig
    rng : numpy.random.Generator, optional
        Draws the initial weights as for `GPT`: N(0, 0.02²), and N(0, 0.02² / 2L) for the projections that write into
        the residual stream.
    dtype : dtype

    Attributes
    ----------
    embed_tokens : Embedding (V, C)
    layers : list of LlamaBlock
    norm : RMSNorm (C)
    lm_head : Linear (C, V) or None
        None if the output layer is the transposed embedding.
    recompute, tokenizer
        As in `StackModel`.
    """

    def __init__(
        self, config: LlamaConfig, rng: np.random.Generator | None = None, dtype: DTypeLike = np.float32
    ) -> None:
        rng = rng or np.random.default_rng()
        c, C = config, config.n_embd
        self.config = config
        self.embed_tokens = Embedding(c.vocab_size, C, rng=rng, dtype=dtype)
        self.drop = Dropout(c.dropout)
        rotary = Rotary(c.D, c.rope_theta, c.rope_layout, dict(c.rope_scaling))
        self.layers = [_block(c, rotary, rng, dtype) for _ in range(c.n_layer)]
        self.norm = RMSNorm(C, c.rms_norm_eps, dtype=dtype)
        self.lm_head = None if c.tie_embeddings else Linear(C, c.vocab_size, bias=False, rng=rng, dtype=dtype)

    def forward(
        self, ids: Array, rng: np.random.Generator | None = None, segments: Array | None = None
    ) -> tuple[Array, Cache]:
        """Logits for the token after each position: int ids (B, T) -> (B, T, V). With ``rng``, dropout is applied.

        For ``segments``, int (B, T), see `GPT`. Raises ValueError if ids is not (B, T), is empty or too long, or
        contains an id outside [0, V); or if segments do not fit.
        """
        x, hidden_cache = self.hidden(ids, rng, segments=segments)  # (B, T, C)
        logits, head_cache = self.head(x)  # (B, T, V)
        return logits, (hidden_cache, head_cache)

    def backward(self, dlogits: Array, cache: Cache, *, dbalance: float = 0.0) -> None:
        """Add dL/dparameter to every ``.grad``. dlogits (B, T, V) is dL/dlogits. For ``dbalance`` see `balance`."""
        hidden_cache, head_cache = cache
        self.hidden_backward(self.head_backward(dlogits, head_cache), hidden_cache, dbalance=dbalance)

    def embed(
        self, ids: Array, rng: np.random.Generator | None = None, past: list[KVCache] | None = None
    ) -> tuple[Array, Cache]:
        """The input of the first block: ids (B, T) -> (B, T, C)."""
        ids = np.asarray(ids)
        check_ids(self, ids, past[0].length if past else 0)
        if past and past[0].k.shape[0] != len(ids):
            raise ValueError(f"past holds {past[0].k.shape[0]} texts, ids {len(ids)}")
        x, tokens_cache = self.embed_tokens.forward(ids)  # (B, T, C)
        x, drop_cache = self.drop.forward(x, rng)
        return x, (tokens_cache, drop_cache)

    def embed_backward(self, dx: Array, cache: Cache) -> None:
        """Gradient of `embed`: dx (B, T, C); adds to the embedding's gradient."""
        tokens_cache, drop_cache = cache
        self.embed_tokens.backward(self.drop.backward(dx, drop_cache), tokens_cache)

    def hidden(
        self,
        ids: Array,
        rng: np.random.Generator | None = None,
        differentiable: bool = True,
        segments: Array | None = None,
    ) -> tuple[Array, StackCache]:
        """The trunk, which is the model without its output layer: ids (B, T) -> (B, T, C). For caches see `GPT`."""
        segments = checked_segments(segments, ids)
        x, embed_cache = self.embed(ids, rng)
        lowest = self.first_trained_block() if differentiable else len(self.layers)
        caches: list[Cache] = []
        for i, block in enumerate(self.layers):
            x, cache = run_block(block, self.recompute, x, rng, segments=segments)  # (B, T, C)
            caches.append(cache if i >= lowest else None)
        x, norm_cache = self.norm.forward(x)
        return x, StackCache(embed_cache, caches, norm_cache)

    def hidden_backward(self, dx: Array, cache: StackCache, *, dbalance: float = 0.0) -> None:
        """Gradient of `hidden`: dx (B, T, C); adds to the gradients of the trunk. For ``dbalance`` see `balance`."""
        dx = self.norm.backward(dx, cache.norm)
        for block, block_cache in zip(reversed(self.layers), reversed(cache.blocks), strict=True):
            if block_cache is None:
                return
            dx = block.backward(dx, full_cache(block, block_cache), dbalance=dbalance / len(self.layers))
        self.embed_backward(dx, cache.embed)

    def head(self, x: Array) -> tuple[Array, Cache]:
        """The output layer: x (..., C) -> logits (..., V)."""
        return tied_head(x, self.embed_tokens) if self.lm_head is None else self.lm_head.forward(x)

    def head_backward(self, dlogits: Array, cache: Cache) -> Array:
        """Gradient of `head`: dlogits (..., V) -> dx (..., C); adds to the gradient of the output layer."""
        if self.lm_head is None:
            return tied_head_backward(dlogits, cache, self.embed_tokens)
        return self.lm_head.backward(dlogits, cache)

    def balance(self, cache: StackCache) -> float:
        """The mean load-balancing loss of all blocks' experts; 0 without experts. ``dbalance`` is dL/d(this).

        As in the paper, each block is balanced by itself. transformers' Mixtral averages f and P over all blocks first.
        """
        if not self.config.n_experts:
            return 0.0
        if any(not isinstance(block_cache, tuple) or not hasattr(block_cache, "mlp") for block_cache in cache.blocks):
            raise ValueError("router_aux_loss_coef needs all blocks trained, and recompute off: set it to 0")
        pairs = zip(self.layers, cache.blocks, strict=True)
        return sum(block.balance(block_cache) for block, block_cache in pairs) / len(self.layers)

    # ------------------------------------------------------------------------------------------ generation

    def new_past(self, batch_size: int = 1, padding: Array | None = None, longest: int | None = None) -> list[KVCache]:
        """Empty key/value caches, one for each block, for texts of up to ``longest`` tokens (default: block_size)."""
        c = self.config
        shape = (batch_size, c.K, min(longest or c.block_size, c.block_size), c.D)
        return [KVCache(shape, self.embed_tokens.weight.dtype, padding) for _ in self.layers]

    def hidden_after(self, ids: Array, past: list[KVCache]) -> Array:
        """Hidden states (B, T, C) of ids (B, T) that follow the tokens in ``past``. There is no backward."""
        x, _ = self.embed(ids, past=past)
        for block, block_past in zip(self.layers, past, strict=True):
            x, _ = block.forward(x, past=block_past)  # (B, T, C)
        return self.norm.forward(x)[0]

    def read(self, ids: Array, past: list[KVCache]) -> Array:
        """Logits (B, V) for the token that follows ids (B, T), which follow the tokens in ``past``."""
        return self.head(self.hidden_after(ids, past)[:, -1])[0]

    # -------------------------------------------------------------------------------------------- the loss

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

        With router_aux_loss_coef, this coefficient times `balance` is part of the loss. For ``count`` and
        ``label_smoothing`` see `cross_entropy`. The balance of a part of a batch has the weight of its targets. So the
        parts' losses add up to a mean over the parts, each of which is balanced by itself.
        """
        given = {} if segments is None else {"segments": segments}  # a student's forward may not take this argument
        logits, cache = self.forward(ids, rng, **given)
        targets = np.asarray(targets)
        loss, dlogits = cross_entropy(logits, targets, count=count, label_smoothing=label_smoothing)
        coefficient = self.config.router_aux_loss_coef
        if coefficient and count is not None:
            coefficient *= int((targets != IGNORE_INDEX).sum()) / max(count, 1)
        if coefficient:
            loss += coefficient * self.balance(cache[0])
        self.backward(dlogits, cache, dbalance=coefficient)
        return loss

    # --------------------------------------------------------------------------------------------- the stack

    @property
    def blocks(self) -> list[LlamaBlock]:
        """All blocks, the lowest first."""
        return self.layers

    @property
    def embeddings(self) -> list[Embedding]:
        """The layers below the lowest block."""
        return [self.embed_tokens]

    # Code that uses a trained model is in other files. numpylm/__init__.py attaches it as these methods.
    generate: ClassVar[Callable[..., Iterator[int]]]
    generate_batch: ClassVar[Callable[..., list[list[int]]]]
    log_prob: ClassVar[Callable[..., Array]]
    rank: ClassVar[Callable[..., list]]


def _block(c: LlamaConfig, rotary: Rotary, rng: np.random.Generator, dtype: DTypeLike) -> LlamaBlock:
    """A block with initial weights."""
    options: dict[str, Any] = {"proj_std": 0.02 / math.sqrt(2 * c.n_layer), "rng": rng, "dtype": dtype}
    attention = GroupedQueryAttention(
        c.n_embd,
        c.n_head,
        c.K,
        rotary,
        head_dim=c.D,
        dropout=c.dropout,
        bias=c.attention_bias,
        out_bias=c.attention_out_bias,
        **options,
    )
    mlp: GatedMLP | MixtureOfExperts
    if c.n_experts:
        mlp = MixtureOfExperts(c.n_embd, c.F, c.n_experts, c.experts_per_token, c.activation, **options)
    else:
        mlp = GatedMLP(c.n_embd, c.F, c.activation, c.mlp_bias, **options)
    return LlamaBlock(attention, mlp, c.n_embd, c.dropout, c.rms_norm_eps, dtype=dtype)
