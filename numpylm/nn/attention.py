"""Scaled dot-product attention and multi-head CausalSelfAttention (Vaswani et al. 2017, arXiv:1706.03762).

In this order: the formula and its gradient, masks, heads, attention in several heads, the layer.
Shapes: B batch, T queries, S keys, H heads, C channels, D = C/H channels of one head.
"""

import math
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike

from numpylm.nn.functional import dropout, dropout_backward, softmax, softmax_backward
from numpylm.nn.layers import Linear
from numpylm.nn.module import Array, Cache, Module
from numpylm.nn.packing import refuse_past, same_segment

# ------------------------------------------------------------------------------------------ the formula


class AttentionCache(NamedTuple):
    """What `scaled_dot_product_attention` saves for its backward. ``weights``, after dropout, multiplied v."""

    q: Array  # (B, H, T, D)
    k: Array  # (B, H, S, D)
    v: Array  # (B, H, S, D)
    scale: float  # 1/√D
    softmax: Cache
    weights: Array  # (B, H, T, S)
    dropout_p: float
    dropout: Cache


def scaled_dot_product_attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None = None,
    dropout_p: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[Array, AttentionCache]:
    """Attention(Q, K, V) = softmax(Q Kᵀ / √D) V (Vaswani et al. 2017, equation 1).

    Parameters
    ----------
    q : array (B, H, T, D)
    k, v : array (B, H, S, D)
    mask : bool array, broadcast to (B, H, T, S), optional
        True where a query may attend to a key. A query that may attend to nothing outputs zeros, and no
        gradient flows through it.
    dropout_p : float
        Probability of dropping an attention weight. It takes effect only if ``rng`` is given.
    rng : numpy.random.Generator, optional

    Returns
    -------
    out : array (B, H, T, D)
    cache : AttentionCache

    Raises
    ------
    ValueError
        If the mask is not boolean.

    Notes
    -----
    Z = Q Kᵀ / √D,  P = softmax(Z),  P' = dropout(P),  O = P' V. A product Y = X W has dX = dY Wᵀ and
    dW = Xᵀ dY (see `Linear`). So the backward takes the products in reverse order:

        dV = P'ᵀ dO
        dP' = dO Vᵀ                        (then back through dropout to dP)
        dZ = P · (dP - Σ_s (dP · P))       (softmax; 0 where P = 0, so the backward does not need the mask)
        dQ = dZ K / √D
        dK = dZᵀ Q / √D                    (the rule gives the transpose, d(Kᵀ) = Qᵀ dZ / √D)
    """
    if mask is not None and mask.dtype != np.bool_:
        raise ValueError(f"attention: the mask must be boolean (True = may attend), got {mask.dtype}")
    scale = 1 / math.sqrt(q.shape[-1])
    scores = (q * scale) @ k.swapaxes(-1, -2)  # (B, H, T, S); scaling q takes T D products, not T S
    # exp(-inf) = 0. We add -inf instead of assigning at ~mask, because an index would need the full shape.
    if mask is not None:
        scores += np.where(mask, 0, -np.inf).astype(scores.dtype)
    p, softmax_cache = softmax(scores)  # (B, H, T, S)
    weights, dropout_cache = dropout(p, dropout_p, rng)  # (B, H, T, S)
    out = weights @ v  # (B, H, T, D)
    return out, AttentionCache(q, k, v, scale, softmax_cache, weights, dropout_p, dropout_cache)


def scaled_dot_product_attention_backward(dout: Array, cache: AttentionCache) -> tuple[Array, Array, Array]:
    """Gradient of `scaled_dot_product_attention`: dout (B, H, T, D) -> dq, dk, dv in their inputs' shapes."""
    q, k, v, scale, softmax_cache, weights, _, dropout_cache = cache
    dv = weights.swapaxes(-1, -2) @ dout  # (B, H, S, D)
    dp = dropout_backward(dout @ v.swapaxes(-1, -2), dropout_cache)  # (B, H, T, S)
    dscores = softmax_backward(dp, softmax_cache)  # (B, H, T, S)
    dq = (dscores @ k) * scale  # (B, H, T, D)
    dk = dscores.swapaxes(-1, -2) @ (q * scale)  # (B, H, S, D)
    return dq, dk, dv


# -------------------------------------------------------------------------------- mask, heads, multi-head


def causal_mask(T: int, S: int) -> Array:
    """Bool (T, S). The queries are the last T of S positions; each may attend to its own position and all earlier ones.

    For T = 2 and S = 4: [[1, 1, 1, 0], [1, 1, 1, 1]].
    """
    return np.tri(T, S, S - T, dtype=bool)


def packed_attention(
    q: Array,
    k: Array,
    v: Array,
    segments: Array,
    dropout_p: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[Array, AttentionCache]:
    """Causal attention in packed rows: each token attends to its own text. `numpylm.nn.packing` shows the mask.

    As `scaled_dot_product_attention`, with ``segments`` int (B, T) instead of a mask, and the same backward. Padding
    outputs zeros.
    """
    T = q.shape[2]
    return scaled_dot_product_attention(q, k, v, causal_mask(T, T) & same_segment(segments), dropout_p, rng)


def split_heads(x: Array, n_head: int) -> Array:
    """(B, T, C) -> (B, H, T, D): channel c belongs to head c // D. A view, not a copy."""
    B, T, C = x.shape
    return x.reshape(B, T, n_head, C // n_head).swapaxes(1, 2)  # (B, T, H, D) -> (B, H, T, D)


def merge_heads(x: Array) -> Array:
    """(B, H, T, D) -> (B, T, C), the inverse of `split_heads`.

    The axes are swapped back *before* the reshape. Otherwise heads and time would mix.
    """
    B, H, T, D = x.shape
    return x.swapaxes(1, 2).reshape(B, T, H * D)


class Past(Protocol):
    """The keys and values of earlier positions, for generation: a `KVCache`."""

    def append(self, k: Array, v: Array) -> tuple[Array, Array]:
        """Add k, v (B, H, T, D) of T new positions; return those of all S positions, (B, H, S, D)."""

    def mask(self, T: int) -> Array | None:
        """The mask of the last T positions: bool (..., T, S), or None if they may attend to all S."""

    def positions(self, T: int) -> Array:
        """The positions of T tokens that follow: int (T,), or (B, T) if rows are padded."""


def multi_head(
    q: Array,
    k: Array,
    v: Array,
    n_head: int,
    mask: Array | None = None,
    dropout_p: float = 0.0,
    rng: np.random.Generator | None = None,
    past: Past | None = None,
    attend: Any = scaled_dot_product_attention,
) -> tuple[Array, Cache]:
    """Attention in several heads at once: merge(Attention(Q_h, K_h, V_h) of each head h).

    Parameters
    ----------
    q : array (B, T, C)
    k, v : array (B, S, C)
    n_head : int
        H. Head h gets channels hD … (h+1)D - 1 of q, k and v.
    mask, dropout_p, rng
        As in `scaled_dot_product_attention`; or, in the place of the mask, what ``attend`` takes there.
    past : Past, optional
        Used for generation: k and v are appended to the keys and values in it, and its own mask is used.
    attend : callable
        The formula, or another function that computes the same numbers.

    Returns
    -------
    out : array (B, T, C)
    cache : AttentionCache, or what ``attend`` saves
    """
    q, k, v = (split_heads(part, n_head) for part in (q, k, v))  # (B, H, T, D), (B, H, S, D), (B, H, S, D)
    if past is not None:
        k, v = past.append(k, v)
        mask = past.mask(q.shape[2])
    out, cache = attend(q, k, v, mask, dropout_p, rng)  # (B, H, T, D)
    return merge_heads(out), cache  # (B, T, C)


def multi_head_backward(
    dout: Array, cache: Cache, n_head: int, attend_backward: Any = scaled_dot_product_attention_backward
) -> tuple[Array, Array, Array]:
    """Gradient of `multi_head`: dout (B, T, C) -> dq (B, T, C), dk and dv (B, S, C).

    Splitting and merging heads only move numbers, so each gradient is moved back to where its number came from.
    """
    dq, dk, dv = attend_backward(split_heads(dout, n_head), cache)
    return merge_heads(dq), merge_heads(dk), merge_heads(dv)


def check_heads(n_embd: int, n_head: int) -> None:
    """Raise ValueError if the channels cannot be divided equally among the heads."""
    if n_head < 1 or n_embd % n_head:
        raise ValueError(
            f"n_head must divide n_embd, so that all heads have equally many channels: got {n_embd=}, {n_head=}"
        )


# -------------------------------------------------------------------------------------------- the layer


class SelfAttentionCache(NamedTuple):
    """What `CausalSelfAttention` saves for its backward."""

    c_attn: Cache
    attention: Cache  # AttentionCache, or a list of them: see FastCausalSelfAttention
    c_proj: Cache


class CausalSelfAttention(Module):
    """Multi-head self-attention in which no position sees a later one (Vaswani et al. 2017, sections 3.2.2, 3.2.3).

        Q, K, V = x W_attn + b_attn,    y = merge(Attention(Q_h, K_h, V_h) of each head h) W_proj + b_proj

    Parameters
    ----------
    n_embd : int
        C, channels in and out.
    n_head : int
        H; must divide C.
    dropout : float
        Dropout probability of the attention weights. `Block` applies dropout to the output as well.
    bias : bool
    proj_std : float
        Initial standard deviation of the output projection. `GPT` makes it smaller in deeper models.
    rng, dtype
        As in `Linear`.

    Attributes
    ----------
    c_attn : Linear (C, 3C)
        Q, K and V in one product: columns 0…C-1 make Q, C…2C-1 make K, 2C…3C-1 make V. The names are GPT-2's.
    c_proj : Linear (C, C)
    """

    # The formula for plain and for packed rows, and the backward of both. FastCausalSelfAttention replaces them with
    # faster functions that give the same numbers.
    attend: ClassVar[Any] = staticmethod(scaled_dot_product_attention)
    attend_packed: ClassVar[Any] = staticmethod(packed_attention)
    attend_backward: ClassVar[Any] = staticmethod(scaled_dot_product_attention_backward)

    def __init__(
        self,
        n_embd: int,
        n_head: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        proj_std: float = 0.02,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_heads(n_embd, n_head)
        self.n_head = n_head
        self.dropout = dropout
        self.c_attn = Linear(n_embd, 3 * n_embd, bias, rng=rng, dtype=dtype)
        self.c_proj = Linear(n_embd, n_embd, bias, std=proj_std, rng=rng, dtype=dtype)

    def forward(
        self,
        x: Array,
        rng: np.random.Generator | None = None,
        past: Past | None = None,
        segments: Array | None = None,
    ) -> tuple[Array, SelfAttentionCache]:
        """x (B, T, C) -> (B, T, C). Dropout is applied if ``rng`` is given.

        ``past`` is a `KVCache`, used for generation. x then holds the positions that follow those in the cache, and
        their keys and values are appended to it. There is no backward once the cache holds positions of an earlier
        call.

        ``segments`` is int (B, T): which text of its row each token belongs to, see `numpylm.nn.packing`.
        """
        refuse_past(segments, past)
        T = x.shape[1]
        qkv, c_attn_cache = self.c_attn.forward(x)  # (B, T, 3C)
        q, k, v = np.split(qkv, 3, axis=-1)  # (B, T, C) each
        mask, attend = causal_mask(T, T) if past is None else None, self.attend  # past has its own
        if segments is not None:
            mask, attend = segments, self.attend_packed
        out, attention_cache = multi_head(q, k, v, self.n_head, mask, self.dropout, rng, past, attend)  # (B, T, C)
        y, c_proj_cache = self.c_proj.forward(out)  # (B, T, C)
        return y, SelfAttentionCache(c_attn_cache, attention_cache, c_proj_cache)

    def backward(self, dy: Array, cache: SelfAttentionCache) -> Array:
        """dy (B, T, C) -> dx (B, T, C); adds to the projections' gradients."""
        c_attn_cache, attention_cache, c_proj_cache = cache
        dout = self.c_proj.backward(dy, c_proj_cache)  # (B, T, C)
        dq, dk, dv = multi_head_backward(dout, attention_cache, self.n_head, self.attend_backward)
        dqkv = np.concatenate([dq, dk, dv], axis=-1)  # (B, T, 3C)
        return self.c_attn.backward(dqkv, c_attn_cache)
