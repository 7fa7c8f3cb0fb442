"""GroupedQueryAttention: causal attention with rotary positions, whose query heads share keys and values in groups."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from numpylm.nn.attention import Past, causal_mask, check_heads, merge_heads, split_heads
from numpylm.nn.fast_attention import causal_attention, causal_attention_in_texts, plain_or_packed_backward
from numpylm.nn.layers import Linear
from numpylm.nn.module import Array, Cache, Module
from numpylm.nn.packing import refuse_past, restarted_positions
from numpylm.nn.positions import Rotary


class GroupedQueryAttentionCache(NamedTuple):
    """What `GroupedQueryAttention` saves for its backward."""

    q_proj: Cache
    k_proj: Cache
    v_proj: Cache
    q_rotary: Cache
    k_rotary: Cache
    attention: Cache  # a list of AttentionCache, or a PackedCache
    o_proj: Cache


class GroupedQueryAttention(Module):
    """Causal self-attention as in Llama: rotary positions, and one key/value head for each group of query heads.

        Q = rotary(x W_q),    K = rotary(x W_k),    V = x W_v,    y = merge(Attention(Q_h, K_g(h), V_g(h))) W_o

    Query head h uses the keys and values of head g(h) = h // (H / K) (Ainslie et al. 2023, arXiv:2305.13245, section
    2.2). With K = H this is ordinary multi-head attention, with K = 1 multi-query attention (Shazeer 2019). Generation
    has to keep and read H / K times fewer keys and values.

    Parameters
    ----------
    n_embd : int
        C, channels in and out.
    n_head : int
        H, query heads.
    n_kv_head : int, optional
        K, key/value heads; must divide H. Default: H.
    rotary : Rotary, optional
        For heads of D channels. Default: `Rotary` with its defaults.
    head_dim : int, optional
        D. Default: C / H.
    dropout : float
        Dropout probability of the attention weights.
    bias, out_bias : bool
        Whether queries, keys and values have biases, and whether the output has one. Llama has none, Qwen2 the first.
    std, proj_std : float
        Initial standard deviation of the weights, and of the output projection's.
    rng, dtype
        As in `Linear`.

    Attributes
    ----------
    q_proj : Linear (C, H D)
    k_proj, v_proj : Linear (C, K D)
    o_proj : Linear (H D, C)
        The names are Llama's.

    Notes
    -----
    All H / K query heads of a group use the same keys and values. So the gradient of a key is the sum over its group:

        dK_g = Σ_{h in group g} dK_h,        dV_g = Σ_{h in group g} dV_h.
    """

    def __init__(
        self,
        n_embd: int,
        n_head: int,
        n_kv_head: int | None = None,
        rotary: Rotary | None = None,
        *,
        head_dim: int | None = None,
        dropout: float = 0.0,
        bias: bool = False,
        out_bias: bool = False,
        std: float = 0.02,
        proj_std: float = 0.02,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if head_dim is None:
            check_heads(n_embd, n_head)
        self.n_head, self.n_kv_head = n_head, n_kv_head or n_head
        if n_head % self.n_kv_head:
            raise ValueError(f"n_kv_head must divide n_head, so that all groups are equal: got {n_kv_head=}, {n_head=}")
        D = head_dim or n_embd // n_head
        rng = rng or np.random.default_rng()
        self.rotary = rotary or Rotary(D)
        if 2 * len(self.rotary.frequencies) != D:
            raise ValueError(f"rotary turns heads of {2 * len(self.rotary.frequencies)} channels, these have {D}")
        self.dropout = dropout
        self.q_proj = Linear(n_embd, n_head * D, bias, std=std, rng=rng, dtype=dtype)
        self.k_proj = Linear(n_embd, self.n_kv_head * D, bias, std=std, rng=rng, dtype=dtype)
        self.v_proj = Linear(n_embd, self.n_kv_head * D, bias, std=std, rng=rng, dtype=dtype)
        self.o_proj = Linear(n_head * D, n_embd, out_bias, std=proj_std, rng=rng, dtype=dtype)

    def forward(
        self,
        x: Array,
        rng: np.random.Generator | None = None,
        past: Past | None = None,
        segments: Array | None = None,
    ) -> tuple[Array, GroupedQueryAttentionCache]:
        """x (B, T, C) -> (B, T, C). For ``rng``, ``past`` and ``segments`` see `CausalSelfAttention`."""
        refuse_past(segments, past)
        T = x.shape[1]
        q, q_cache = self.q_proj.forward(x)  # (B, T, H D)
        k, k_cache = self.k_proj.forward(x)  # (B, T, K D)
        v, v_cache = self.v_proj.forward(x)  # (B, T, K D)
        positions = np.arange(T) if past is None else past.positions(T)
        if segments is not None:
            positions = restarted_positions(segments)  # (B, T)
        q, q_rotary = self.rotary.forward(split_heads(q, self.n_head), positions)  # (B, H, T, D)
        k, k_rotary = self.rotary.forward(split_heads(k, self.n_kv_head), positions)  # (B, K, T, D)
        v = split_heads(v, self.n_kv_head)  # (B, K, T, D)
        if past is not None:
            k, v = past.append(k, v)  # (B, K, S, D)
        attend: Any = causal_attention
        mask = causal_mask(T, T) if past is None else past.mask(T)
        if segments is not None:
            mask, attend = segments, causal_attention_in_texts
        out, attention_cache = grouped_attention(q, k, v, mask, self.dropout, rng, attend)  # (B, H, T, D)
        y, o_cache = self.o_proj.forward(merge_heads(out))  # (B, T, C)
        return y, GroupedQueryAttentionCache(q_cache, k_cache, v_cache, q_rotary, k_rotary, attention_cache, o_cache)

    def backward(self, dy: Array, cache: GroupedQueryAttentionCache) -> Array:
        """dy (B, T, C) -> dx (B, T, C); adds to the projections' gradients."""
        dout = split_heads(self.o_proj.backward(dy, cache.o_proj), self.n_head)  # (B, H, T, D)
        dq, dk, dv = grouped_attention_backward(dout, cache.attention, self.n_kv_head)
        dq, dk = self.rotary.backward(dq, cache.q_rotary), self.rotary.backward(dk, cache.k_rotary)
        dx = self.q_proj.backward(merge_heads(dq), cache.q_proj)
        dx += self.k_proj.backward(merge_heads(dk), cache.k_proj)
        dx += self.v_proj.backward(merge_heads(dv), cache.v_proj)
        return dx


def grouped_attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    dropout_p: float = 0.0,
    rng: np.random.Generator | None = None,
    attend: Any = causal_attention,
) -> tuple[Array, Cache]:
    """Attention of q (B, H, T, D) to keys and values (B, K, S, D) that H / K heads share -> (B, H, T, D).

    ``attend`` is `causal_attention`, or `causal_attention_in_texts` with segments in the place of the mask.
    """
    B, H, T, D = q.shape
    K = k.shape[1]
    if T == 1 and k.shape[2] > 1:  # a new token of a generation: the heads of a group are as good as several queries
        out, cache = causal_attention(q.reshape(B, K, H // K, D), k, v, mask, rows=H)
        return out.reshape(B, H, T, D), cache
    if K < H:
        k, v = np.repeat(k, H // K, axis=1), np.repeat(v, H // K, axis=1)  # (B, H, S, D)
    return attend(q, k, v, mask, dropout_p, rng)


def grouped_attention_backward(dout: Array, cache: Cache, n_kv_head: int) -> tuple[Array, Array, Array]:
    """Gradient of `grouped_attention` after its general way: dout (B, H, T, D) -> dq, dk and dv (B, K, S, D)."""
    dq, dk, dv = plain_or_packed_backward(dout, cache)  # (B, H, S, D)
    B, H, S, D = dk.shape
    if n_kv_head < H:
        groups = (B, n_kv_head, H // n_kv_head, S, D)
        dk, dv = dk.reshape(groups).sum(axis=2), dv.reshape(groups).sum(axis=2)  # (B, K, S, D)
    return dq, dk, dv
