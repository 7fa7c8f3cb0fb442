"""Faster causal attention: blocks of queries for training, and the key/value cache for generation.

Skip this file on a first reading. Everything here gives the same numbers as `numpylm.nn.attention`; a test compares
them.
"""

import numpy as np
from numpy.typing import DTypeLike

from numpylm.nn.attention import (
    AttentionCache,
    CausalSelfAttention,
    causal_mask,
    scaled_dot_product_attention,
    scaled_dot_product_attention_backward,
)
from numpylm.nn.module import Array

ROWS = 64  # queries in a block: small blocks skip more masked scores, large ones make better use of the matrix product


def causal_attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    dropout_p: float = 0.0,
    rng: np.random.Generator | None = None,
    rows: int = ROWS,
) -> tuple[Array, list[AttentionCache]]:
    """Causal attention that skips most of the masked scores.

    The result equals that of `scaled_dot_product_attention` with a `causal_mask`. The mask hides half of all scores. So
    we take the queries in blocks of ``rows``, and compare each block only with the keys up to the block's end. (With
    dropout, each block draws its own mask.)

    Parameters
    ----------
    q : array (B, H, T, D)
        The last T of S positions.
    k, v : array (B, H, S, D)
    mask : bool array (..., T, S), broadcast to (B, H, T, S), or None
        `causal_mask`, or one that hides more. None is allowed only for T = 1, where the query may see all keys.
    dropout_p, rng
        As in `scaled_dot_product_attention`.
    rows : int
        Queries in a block.

    Returns
    -------
    out : array (B, H, T, D)
    cache : list of AttentionCache, one for each block
    """
    T, before = q.shape[2], k.shape[2] - q.shape[2]  # number of queries; number of keys before the first query
    if rows >= T:
        out, cache = scaled_dot_product_attention(q, k, v, mask, dropout_p, rng)
        return out, [cache]
    out, caches = np.empty_like(q), []
    for start in range(0, T, rows):
        end = min(start + rows, T)
        seen = before + end  # number of keys up to the block's last query
        block_mask = None if mask is None else mask[..., start:end, :seen]
        out[:, :, start:end], cache = scaled_dot_product_attention(
            q[:, :, start:end], k[:, :, :seen], v[:, :, :seen], block_mask, dropout_p, rng
        )
        caches.append(cache)
    return out, caches


def causal_attention_backward(dout: Array, cache: list[AttentionCache]) -> tuple[Array, Array, Array]:
    """Gradient of `causal_attention`. Its own block and all later blocks use a key, so its gradients are summed."""
    if len(cache) == 1:
        return scaled_dot_product_attention_backward(dout, cache[0])
    last = cache[-1]  # the last block saw every key
    dq, dk, dv = np.empty_like(dout), np.zeros_like(last.k), np.zeros_like(last.v)
    end = 0
    for block in cache:
        start, end, seen = end, end + block.q.shape[2], block.k.shape[2]
        block_dq, block_dk, block_dv = scaled_dot_product_attention_backward(dout[:, :, start:end], block)
        dq[:, :, start:end] = block_dq
        dk[:, :, :seen] += block_dk
        dv[:, :, :seen] += block_dv
    return dq, dk, dv


def attention_weights(cache: list[AttentionCache]) -> Array:
    """The full matrix of weights that multiplied V, (B, H, T, S), assembled from the blocks of `causal_attention`."""
    B, H, _, S = cache[-1].dropped.shape
    T = sum(block.q.shape[2] for block in cache)
    weights = np.zeros((B, H, T, S), cache[-1].dropped.dtype)
    end = 0
    for block in cache:
        start, end = end, end + block.q.shape[2]
        weights[:, :, start:end, : block.k.shape[2]] = block.dropped
    return weights


class FastCausalSelfAttention(CausalSelfAttention):
    """`CausalSelfAttention` that uses `causal_attention` instead of the full matrix of scores."""

    attend = staticmethod(causal_attention)
    attend_backward = staticmethod(causal_attention_backward)


class KVCache:
    """Key/value cache of one attention layer: the keys and values of every position that it has read.

    Position t attends to the keys and values of positions 0…t. These depend on nothing that comes later, so they can
    be kept. When a text grows by a token, the layer has to process only that token. The memory for the whole window
    is allocated once; new tokens are written into it, and old ones are never copied.

    Parameters
    ----------
    shape : (B, H, M, D)
        M is the largest number of positions that fit.
    dtype : dtype
    padding : int array (B,), optional
        Number of padding positions at the left of each row. Texts of a batch may differ in length.

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
        """Append k, v (B, H, T, D) of T new positions; return those of all S positions as views (B, H, S, D).

        Raises ValueError if they do not fit.
        """
        start, end = self.length, self.length + k.shape[2]
        if end > self.k.shape[2]:
            raise ValueError(
                f"KVCache has room for {self.k.shape[2]} positions: {end - start} more do not fit after {start}"
            )
        self.length = end
        self.k[:, :, start : self.length] = k
        self.v[:, :, start : self.length] = v
        return self.k[:, :, : self.length], self.v[:, :, : self.length]

    def mask(self, T: int) -> Array | None:
        """Mask for the last T positions (those just appended): bool (..., T, S), or None if they may see all S."""
        S = self.length
        if self.padding is not None:
            return causal_mask(T, S) & (np.arange(S) >= self.padding[:, None, None, None])  # (B, 1, T, S)
        return None if T == 1 else causal_mask(T, S)
