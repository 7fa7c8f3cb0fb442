"""Attention: every position gathers from the others what it finds relevant.

Shapes: B batch, T queries, S keys, H heads, D = C/H channels a head, C channels.
"""

import math

import numpy as np
from numpy.typing import DTypeLike

from numpylm.nn.functional import softmax, softmax_backward
from numpylm.nn.layers import Dropout, Linear
from numpylm.nn.module import Array, Cache, Module


def scaled_dot_product_attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None = None,
    dropout_p: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[Array, Cache]:
    """Attention(Q, K, V) = softmax(Q Kᵀ / √D) V (Vaswani et al. 2017, arXiv:1706.03762, equation 1).

    Parameters
    ----------
    q : array (B, H, T, D)
    k, v : array (B, H, S, D)
    mask : bool array, broadcast to (B, H, T, S), optional
        True where a query may attend to a key. A query that may attend to nothing gets zeros, and no
        gradient flows through it.
    dropout_p : float
        Probability of dropping an attention weight; needs ``rng``, without it there is no dropout.
    rng : numpy.random.Generator, optional

    Returns
    -------
    out : array (B, H, T, D)
    cache : the inputs, the attention weights and the dropout mask

    Raises
    ------
    ValueError
        If the mask is not boolean.

    Notes
    -----
    Z = Q Kᵀ / √D,  P = softmax(Z),  P' = dropout(P),  O = P' V. A product Y = X W has dX = dY Wᵀ and
    dW = Xᵀ dY (see `Linear`), so backwards, one product at a time:

        dV = P'ᵀ dO
        dP' = dO Vᵀ                        (then back through dropout to dP)
        dZ = P · (dP - Σ_s (dP · P))       (softmax; 0 where P = 0, so a mask needs no second look)
        dQ = dZ K / √D
        dK = dZᵀ Q / √D                    (the rule gives the transpose, d(Kᵀ) = Qᵀ dZ / √D)
    """
    if mask is not None and mask.dtype != np.bool_:
        raise ValueError(f"attention: the mask must be boolean (True = may attend), got {mask.dtype}")
    scale = 1 / math.sqrt(q.shape[-1])
    scores = (q * scale) @ k.swapaxes(-1, -2)  # (B, H, T, S); scaling q takes T D products, not T S
    # exp(-inf) = 0. Added, and not assigned at ~mask: an index would need the full shape.
    if mask is not None:
        scores += np.where(mask, 0, -np.inf).astype(scores.dtype)
    p, softmax_cache = softmax(scores)  # (B, H, T, S)
    dropped, dropout_cache = Dropout(dropout_p).forward(p, rng)  # (B, H, T, S), what dropout leaves of p
    out = dropped @ v  # (B, H, T, D)
    return out, (q, k, v, scale, softmax_cache, dropped, dropout_p, dropout_cache)


def scaled_dot_product_attention_backward(dout: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """Gradient of `scaled_dot_product_attention`: dout (B, H, T, D) -> dq, dk, dv in their inputs' shapes."""
    q, k, v, scale, softmax_cache, dropped, dropout_p, dropout_cache = cache
    dv = dropped.swapaxes(-1, -2) @ dout  # (B, H, S, D)
    dp = Dropout(dropout_p).backward(dout @ v.swapaxes(-1, -2), dropout_cache)  # (B, H, T, S)
    dscores = softmax_backward(dp, softmax_cache)  # (B, H, T, S)
    dq = (dscores @ k) * scale  # (B, H, T, D)
    dk = dscores.swapaxes(-1, -2) @ (q * scale)  # (B, H, S, D)
    return dq, dk, dv


def causal_mask(T: int, S: int) -> Array:
    """Bool (T, S): the queries are the last T of S positions, and each may attend to every key up to its own.

    For T = 2 and S = 4: [[1, 1, 1, 0], [1, 1, 1, 1]].
    """
    return np.tri(T, S, S - T, dtype=bool)


def causal_attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    dropout_p: float = 0.0,
    rng: np.random.Generator | None = None,
    rows: int = 64,
) -> tuple[Array, Cache]:
    """Attention in which no query sees a later key, without most of what the mask would throw away.

    It gives what `scaled_dot_product_attention` gives with a `causal_mask`, sooner; a first reading can go on with
    `split_heads`. Half of a causal map is zeros. So the queries are taken ``rows`` at a time, and each such block is
    compared only with the keys up to its own end. (With dropout, each block draws a mask of its own.)

    Parameters
    ----------
    q : array (B, H, T, D)
        The last T of S positions.
    k, v : array (B, H, S, D)
    mask : bool array (..., T, S), broadcast to (B, H, T, S), or None
        `causal_mask`, or one that forbids more. None only for T = 1: the last position may see all keys.
    dropout_p, rng
        As in `scaled_dot_product_attention`.
    rows : int
        Queries in a block. Small blocks leave out more; large ones make better use of the matrix product.

    Returns
    -------
    out : array (B, H, T, D)
    cache : list of a cache for each block
    """
    T, before = q.shape[2], k.shape[2] - q.shape[2]  # queries; keys of positions before the first of them
    if rows >= T:  # a single block: all of it
        out, cache = scaled_dot_product_attention(q, k, v, mask, dropout_p, rng)
        return out, [cache]
    out, caches = np.empty_like(q), []
    for start in range(0, T, rows):
        end = min(start + rows, T)
        seen = before + end  # keys up to the block's last query
        block_mask = None if mask is None else mask[..., start:end, :seen]
        out[:, :, start:end], cache = scaled_dot_product_attention(
            q[:, :, start:end], k[:, :, :seen], v[:, :, :seen], block_mask, dropout_p, rng
        )
        caches.append(cache)
    return out, caches


def causal_attention_backward(dout: Array, cache: Cache) -> tuple[Array, Array, Array]:
    """Gradient of `causal_attention`: a key serves its own block and all later ones, so its gradients are summed."""
    if len(cache) == 1:
        return scaled_dot_product_attention_backward(dout, cache[0])
    _, k, v, *_ = cache[-1]  # the last block saw every key
    dq, dk, dv = np.empty_like(dout), np.zeros_like(k), np.zeros_like(v)
    end = 0
    for block_cache in cache:
        block_q, block_k, *_ = block_cache
        start, end, seen = end, end + block_q.shape[2], block_k.shape[2]
        block_dq, block_dk, block_dv = scaled_dot_product_attention_backward(dout[:, :, start:end], block_cache)
        dq[:, :, start:end] = block_dq
        dk[:, :, :seen] += block_dk
        dv[:, :, :seen] += block_dv
    return dq, dk, dv


def split_heads(x: Array, n_head: int) -> Array:
    """(B, T, C) -> (B, H, T, D): channel c belongs to head c // D. A view, not a copy."""
    B, T, C = x.shape
    return x.reshape(B, T, n_head, C // n_head).swapaxes(1, 2)  # (B, T, H, D) -> (B, H, T, D)


def merge_heads(x: Array) -> Array:
    """(B, H, T, D) -> (B, T, C), the inverse of `split_heads`. Swapped back *first*, or heads and time would mix."""
    B, H, T, D = x.shape
    return x.swapaxes(1, 2).reshape(B, T, H * D)


class KVCache:
    """Keys and values of every position read so far, in one attention layer, so that no token is read twice.

    Position t attends to the keys and values of positions 0…t, which depend on nothing after them: once made,
    they stay. So a text that grows by a token needs the layer's work for that token alone. The memory for the
    whole window is taken once; a new token is written into it, and the old ones are not copied.

    Parameters
    ----------
    shape : (B, H, M, D)
        M is the most positions that fit.
    dtype : dtype
    padding : int array (B,), optional
        How many positions at the left of each row are padding, because texts of a batch differ in length.

    Attributes
    ----------
    length : int
        Positions read so far, padding included.
    """

    def __init__(self, shape: tuple[int, int, int, int], dtype: DTypeLike, padding: Array | None = None) -> None:
        self.k = np.empty(shape, dtype)
        self.v = np.empty(shape, dtype)
        self.length = 0
        self.padding = padding

    def append(self, k: Array, v: Array) -> tuple[Array, Array]:
        """Take k, v (B, H, T, D) of T new positions; return those of all S so far: views (B, H, S, D).

        Raises ValueError if they do not fit.
        """
        start, end = self.length, self.length + k.shape[2]
        if end > self.k.shape[2]:
            raise ValueError(
                f"KVCache has room for {self.k.shape[2]} positions: {end - start} do not fit after {start}"
            )
        self.length = end
        self.k[:, :, start : self.length] = k
        self.v[:, :, start : self.length] = v
        return self.k[:, :, : self.length], self.v[:, :, : self.length]

    def mask(self, T: int) -> Array | None:
        """Which of all S positions the last T, just appended, may attend to: bool (..., T, S); None for all."""
        S = self.length
        if self.padding is not None:
            return causal_mask(T, S) & (np.arange(S) >= self.padding[:, None, None, None])  # (B, 1, T, S)
        return None if T == 1 else causal_mask(T, S)


class CausalSelfAttention(Module):
    """Multi-head self-attention in which no position sees a later one (Vaswani et al. 2017, sections 3.2.2, 3.2.3).

    Parameters
    ----------
    n_embd : int
        C, channels in and out.
    n_head : int
        H; must divide C.
    dropout : float
        On the attention weights. What this layer gives, `Block` puts through dropout, too.
    bias : bool
    proj_std : float
        Initial standard deviation of the output projection; `GPT` makes it smaller with depth.
    rng, dtype
        As in `Linear`.

    Attributes
    ----------
    c_attn : Linear (C, 3C)
        Q, K and V in one product: columns 0…C-1 make Q, C…2C-1 make K, the rest V. The names are GPT-2's.
    c_proj : Linear (C, C)
    """

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
        if n_head < 1 or n_embd % n_head:
            raise ValueError(
                f"n_head must divide n_embd, so that all heads have equally many channels: got {n_embd=}, {n_head=}"
            )
        self.n_head = n_head
        self.dropout = dropout
        self.c_attn = Linear(n_embd, 3 * n_embd, bias, rng=rng, dtype=dtype)
        self.c_proj = Linear(n_embd, n_embd, bias, std=proj_std, rng=rng, dtype=dtype)

    def forward(
        self, x: Array, rng: np.random.Generator | None = None, past: KVCache | None = None
    ) -> tuple[Array, Cache]:
        """x (B, T, C) -> (B, T, C); dropout happens when ``rng`` is given.

        With ``past``, x holds the positions that follow those in it, and they are added to it. That is for
        writing text: there is no backward once it holds positions of an earlier call.
        """
        T, H = x.shape[1], self.n_head
        qkv, c_attn_cache = self.c_attn.forward(x)  # (B, T, 3C)
        heads = split_heads(qkv, 3 * H)  # (B, 3H, T, D): H heads of Q, then those of K and of V
        q, k, v = heads[:, :H], heads[:, H : 2 * H], heads[:, 2 * H :]  # (B, H, T, D) each
        if past is not None:
            k, v = past.append(k, v)  # (B, H, S, D)
        mask = causal_mask(T, T) if past is None else past.mask(T)
        out, attention_cache = causal_attention(q, k, v, mask, self.dropout, rng)
        y, c_proj_cache = self.c_proj.forward(merge_heads(out))  # (B, T, C)
        return y, (c_attn_cache, attention_cache, c_proj_cache)

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dy (B, T, C) -> dx (B, T, C); adds to the projections' gradients."""
        # Splitting and merging move numbers without changing them: backwards they are moved to where they came from.
        c_attn_cache, attention_cache, c_proj_cache = cache
        dout = split_heads(self.c_proj.backward(dy, c_proj_cache), self.n_head)  # (B, H, T, D)
        dq, dk, dv = causal_attention_backward(dout, attention_cache)
        dqkv = np.concatenate([merge_heads(part) for part in (dq, dk, dv)], axis=-1)  # (B, T, 3C)
        return self.c_attn.backward(dqkv, c_attn_cache)
