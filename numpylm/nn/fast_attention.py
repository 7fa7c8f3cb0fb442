"""Faster causal attention for training: blocks of queries skip most of the masked scores, packed rows all of them.

Skip this file on a first reading. Everything here gives the same numbers as `numpylm.nn.attention`; a test compares
them.
"""

from typing import Any, NamedTuple

import numpy as np

from numpylm.nn.attention import (
    AttentionCache,
    CausalSelfAttention,
    causal_mask,
    scaled_dot_product_attention,
    scaled_dot_product_attention_backward,
)
from numpylm.nn.module import Array
from numpylm.nn.packing import Span, spans

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


class PackedCache(NamedTuple):
    """What `causal_attention_in_texts` saves for its backward."""

    texts: list[Span]
    caches: list[list[AttentionCache]]  # one for each text
    shape: tuple[int, ...]  # of the keys


def causal_attention_in_texts(
    q: Array,
    k: Array,
    v: Array,
    segments: Array,
    dropout_p: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[Array, PackedCache]:
    """Causal attention in packed rows, one text after the other: no score between two texts is computed.

    The result equals that of `packed_attention`: q, k and v (B, H, T, D), segments int (B, T) -> (B, H, T, D). With
    texts of n tokens in a row of T, the scores take T n products instead of T². (With dropout, each text draws its own
    mask.)
    """
    out, texts, caches = np.zeros_like(q), spans(segments), []
    mask = causal_mask(q.shape[2], q.shape[2])
    for row, start, end in texts:
        here, n = np.s_[row : row + 1, :, start:end], end - start
        out[here], cache = causal_attention(q[here], k[here], v[here], mask[:n, :n], dropout_p, rng)
        caches.append(cache)
    return out, PackedCache(texts, caches, k.shape)


def causal_attention_in_texts_backward(dout: Array, cache: PackedCache) -> tuple[Array, Array, Array]:
    """Gradient of `causal_attention_in_texts`. Texts share nothing, so there is nothing to sum. Padding gets zeros."""
    dq, dk, dv = np.zeros_like(dout), np.zeros(cache.shape, dout.dtype), np.zeros(cache.shape, dout.dtype)
    for (row, start, end), text in zip(cache.texts, cache.caches, strict=True):
        here = np.s_[row : row + 1, :, start:end]
        dq[here], dk[here], dv[here] = causal_attention_backward(dout[here], text)
    return dq, dk, dv


def plain_or_packed_backward(dout: Array, cache: Any) -> tuple[Array, Array, Array]:
    """The backward of `causal_attention`, or of `causal_attention_in_texts` if the cache is from there."""
    packed = isinstance(cache, PackedCache)
    return causal_attention_in_texts_backward(dout, cache) if packed else causal_attention_backward(dout, cache)


def attention_weights(cache: list[AttentionCache]) -> Array:
    """The full matrix of weights that multiplied V, (B, H, T, S), assembled from the blocks of `causal_attention`."""
    B, H, _, S = cache[-1].weights.shape
    T = sum(block.q.shape[2] for block in cache)
    weights = np.zeros((B, H, T, S), cache[-1].weights.dtype)
    end = 0
    for block in cache:
        start, end = end, end + block.q.shape[2]
        weights[:, :, start:end, : block.k.shape[2]] = block.weights
    return weights


class FastCausalSelfAttention(CausalSelfAttention):
    """`CausalSelfAttention` that uses `causal_attention` instead of the full matrix of scores."""

    attend = staticmethod(causal_attention)
    attend_packed = staticmethod(causal_attention_in_texts)
    attend_backward = staticmethod(plain_or_packed_backward)
