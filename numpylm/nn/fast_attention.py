"""The same attention, sooner: blocks of rows for training, and kept keys and values for writing text.

A second reading. Everything here gives the numbers of `numpylm.nn.attention`, which a test compares.
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

ROWS = 64  # queries in a block: small blocks leave out more, large ones make better use of the matrix product


def causal_attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    dropout_p: float = 0.0,
    rng: np.random.Generator | None = None,
    rows: int = ROWS,
) -> tuple[Array, list[AttentionCache]]:
    """Attention in which no query sees a later key, without most of what the mask would set to zero.

    It gives what `scaled_dot_product_attention` gives with a `causal_mask`. Half of a causal map is zeros. So the
    queries are taken ``rows`` at a time, and each such block is compared only with the keys up to its own end. (With
    dropout, each block draws a mask of its own.)

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
        Queries in a block.

    Returns
    -------
    out : array (B, H, T, D)
    cache : list of AttentionCache, one for each block
    """
    T, before = q.shape[2], k.shape[2] - q.shape[2]  # queries; keys of positions before the first of them
    if rows >= T:
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


def causal_attention_backward(dout: Array, cache: list[AttentionCache]) -> tuple[Array, Array, Array]:
    """Gradient of `causal_attention`: a key serves its own block and all later ones, so its gradients are summed."""
    if len(cache) == 1:
        return scaled_dot_product_attention_backward(dout, cache[0])
    last = cache[-1]  # its block saw every key
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
    """The whole map of weights that multiplied V, (B, H, T, S), put together from the blocks of `causal_attention`."""
    B, H, _, S = cache[-1].dropped.shape
    T = sum(block.q.shape[2] for block in cache)
    weights = np.zeros((B, H, T, S), cache[-1].dropped.dtype)
    end = 0
    for block in cache:
        start, end = end, end + block.q.shape[2]
        weights[:, :, start:end, : block.k.shape[2]] = block.dropped
    return weights


class FastCausalSelfAttention(CausalSelfAttention):
    """`CausalSelfAttention` with `causal_attention` in place of the formula over the whole map."""

    attend = staticmethod(causal_attention)
    attend_backward = staticmethod(causal_attention_backward)


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
