"""SelfAttention and CrossAttention: multi-head attention of encoders and decoders, with padding masks."""

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from numpylm.nn.attention import check_heads, multi_head, multi_head_backward
from numpylm.nn.kv_cache import KVCache
from numpylm.nn.layers import Linear
from numpylm.nn.module import Array, Cache, Module


class CrossAttentionCache(NamedTuple):
    """What `CrossAttention` and `SelfAttention` save for their backward."""

    q_proj: Cache
    k_proj: Cache
    v_proj: Cache
    attention: Cache  # AttentionCache
    out_proj: Cache


class CrossAttention(Module):
    """Multi-head attention from one sequence to another (Vaswani et al. 2017, sections 3.2.2 and 3.2.3).

        Q = x W_q + b_q,    K = m W_k + b_k,    V = m W_v + b_v,    y = merge(Attention(Q_h, K_h, V_h)) W_o + b_o

    Each position of x asks, and the memory m, which is the encoder's output, answers. The biases are not in the paper.

    Parameters
    ----------
    n_embd : int
        C, channels of x, of the memory, and of the output.
    n_head : int
        H; must divide C.
    dropout : float
        Dropout probability of the attention weights.
    key_bias : bool
        Whether to add b_k. It adds the same number q·b_k to all scores of a query, so the softmax does not change.
        Whisper leaves it out.
    std, rng, dtype
        As in `Linear`.

    Attributes
    ----------
    q_proj, k_proj, v_proj, out_proj : Linear (C, C)
        The names are Marian's and BART's.

    Notes
    -----
    The memory reaches the output on two paths, as keys and as values, so its gradient is a sum:

        dm = dK W_kᵀ + dV W_vᵀ.

    All blocks of a decoder read the same memory. The gradients of all blocks add up before they enter the encoder.
    """

    def __init__(
        self,
        n_embd: int,
        n_head: int,
        dropout: float = 0.0,
        *,
        key_bias: bool = True,
        std: float = 0.02,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_heads(n_embd, n_head)
        rng = rng or np.random.default_rng()
        self.n_head = n_head
        self.dropout = dropout
        self.q_proj = Linear(n_embd, n_embd, std=std, rng=rng, dtype=dtype)
        self.k_proj = Linear(n_embd, n_embd, key_bias, std=std, rng=rng, dtype=dtype)
        self.v_proj = Linear(n_embd, n_embd, std=std, rng=rng, dtype=dtype)
        self.out_proj = Linear(n_embd, n_embd, std=std, rng=rng, dtype=dtype)

    def forward(
        self, x: Array, memory: Array, mask: Array | None = None, rng: np.random.Generator | None = None
    ) -> tuple[Array, CrossAttentionCache]:
        """x (B, T, C), memory (B, S, C) -> (B, T, C).

        ``mask`` is boolean, and is broadcast to (B, H, T, S): True where a query may attend to a key. See
        `padding_mask`. Dropout is applied if ``rng`` is given.
        """
        k, k_cache = self.k_proj.forward(memory)  # (B, S, C)
        v, v_cache = self.v_proj.forward(memory)  # (B, S, C)
        q, q_cache = self.q_proj.forward(x)  # (B, T, C)
        out, attention_cache = multi_head(q, k, v, self.n_head, mask, self.dropout, rng)  # (B, T, C)
        y, out_cache = self.out_proj.forward(out)  # (B, T, C)
        return y, CrossAttentionCache(q_cache, k_cache, v_cache, attention_cache, out_cache)

    def backward(self, dy: Array, cache: CrossAttentionCache) -> tuple[Array, Array]:
        """dy (B, T, C) -> dx (B, T, C), dmemory (B, S, C); adds to the projections' gradients."""
        dout = self.out_proj.backward(dy, cache.out_proj)  # (B, T, C)
        dq, dk, dv = multi_head_backward(dout, cache.attention, self.n_head)
        dmemory = self.k_proj.backward(dk, cache.k_proj) + self.v_proj.backward(dv, cache.v_proj)
        return self.q_proj.backward(dq, cache.q_proj), dmemory

    def keys_values(self, memory: Array) -> tuple[Array, Array]:
        """The keys and values (B, S, C) of a memory. Generation computes them once and gives them to `attend`."""
        return self.k_proj.forward(memory)[0], self.v_proj.forward(memory)[0]

    def attend(self, x: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
        """`forward` with the result of `keys_values` instead of the memory, and without a backward.

        x (R, T, C) may have more rows than the memory: R / B rows then ask the same memory, one after the other.
        """
        q = self.q_proj.forward(x)[0].reshape(len(k), -1, x.shape[-1])  # (B, R/B · T, C): no query sees another one
        out, _ = multi_head(q, k, v, self.n_head, mask)
        return self.out_proj.forward(out)[0].reshape(x.shape)


class SelfAttention(CrossAttention):
    """Multi-head attention of a sequence to itself: `CrossAttention` whose memory is x.

    Without a mask, every position sees all others, as in an encoder. With a `causal_mask`, it is a decoder's.

    Notes
    -----
    x is used three times, for queries, keys and values, so its gradient is the sum of three.
    """

    def forward(  # type: ignore[override]  # it has one input less
        self,
        x: Array,
        mask: Array | None = None,
        rng: np.random.Generator | None = None,
        past: KVCache | None = None,
    ) -> tuple[Array, CrossAttentionCache]:
        """x (B, T, C) -> (B, T, C). For ``mask`` and ``rng`` see `CrossAttention`, for ``past`` `multi_head`."""
        q, q_cache = self.q_proj.forward(x)  # (B, T, C)
        k, k_cache = self.k_proj.forward(x)  # (B, T, C)
        v, v_cache = self.v_proj.forward(x)  # (B, T, C)
        out, attention_cache = multi_head(q, k, v, self.n_head, mask, self.dropout, rng, past)  # (B, T, C)
        y, out_cache = self.out_proj.forward(out)  # (B, T, C)
        return y, CrossAttentionCache(q_cache, k_cache, v_cache, attention_cache, out_cache)

    def backward(self, dy: Array, cache: CrossAttentionCache) -> Array:  # type: ignore[override]
        """dy (B, T, C) -> dx (B, T, C); adds to the projections' gradients."""
        dx, dmemory = super().backward(dy, cache)
        return dx + dmemory


def padding_mask(real: Array | None) -> Array | None:
    """The attention mask that hides padding: bool (B, S), True for a real token -> (B, 1, 1, S). None stays None."""
    return None if real is None else np.asarray(real, bool)[:, None, None, :]
