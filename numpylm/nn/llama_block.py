"""LlamaBlock: one layer of a Llama: RMS norms, grouped-query attention, and a gated MLP or a mixture of experts."""

from typing import Any, NamedTuple

import numpy as np

from numpylm.nn.kv_cache import KVCache
from numpylm.nn.layers import Dropout, RMSNorm
from numpylm.nn.mixture_of_experts import MixtureOfExperts
from numpylm.nn.module import Array, Cache, Module


class LlamaBlockCache(NamedTuple):
    """What `LlamaBlock` saves for its backward: the caches of its parts."""

    input_layernorm: Cache
    self_attn: Cache
    drop_1: Cache
    post_attention_layernorm: Cache
    mlp: Cache
    drop_2: Cache


class LlamaBlock(Module):
    """One layer of a Llama (Touvron et al. 2023, arXiv:2302.13971, section 2.2): a `Block` with other parts.

        x = x + dropout(self_attn(input_layernorm(x)))
        x = x + dropout(mlp(post_attention_layernorm(x)))

    Parameters
    ----------
    self_attn : GroupedQueryAttention
    mlp : GatedMLP or MixtureOfExperts
    n_embd : int
        C.
    dropout : float
        Dropout probability of both sublayers' outputs.
    eps : float
        ε of the norms.
    dtype : dtype
    """

    def __init__(
        self, self_attn: Any, mlp: Any, n_embd: int, dropout: float = 0.0, eps: float = 1e-5, *, dtype: Any = np.float32
    ) -> None:
        self.input_layernorm = RMSNorm(n_embd, eps, dtype=dtype)
        self.self_attn = self_attn
        self.post_attention_layernorm = RMSNorm(n_embd, eps, dtype=dtype)
        self.mlp = mlp
        self.drop = Dropout(dropout)

    def forward(
        self,
        x: Array,
        rng: np.random.Generator | None = None,
        past: KVCache | None = None,
        segments: Array | None = None,
    ) -> tuple[Array, LlamaBlockCache]:
        """x (B, T, C) -> (B, T, C). Dropout is applied if ``rng`` is given.

        For ``past`` and ``segments`` see `CausalSelfAttention`.
        """
        normed, input_cache = self.input_layernorm.forward(x)
        attended, attn_cache = self.self_attn.forward(normed, rng, past, segments)
        attended, drop_1_cache = self.drop.forward(attended, rng)
        x = x + attended

        normed, post_cache = self.post_attention_layernorm.forward(x)
        mlp_out, mlp_cache = self.mlp.forward(normed)
        mlp_out, drop_2_cache = self.drop.forward(mlp_out, rng)
        x = x + mlp_out
        return x, LlamaBlockCache(input_cache, attn_cache, drop_1_cache, post_cache, mlp_cache, drop_2_cache)

    def backward(self, dx: Array, cache: LlamaBlockCache, *, dbalance: float = 0.0) -> Array:
        """dx (B, T, C) at the output -> dx (B, T, C) at the input. For ``dbalance`` see `MixtureOfExperts`."""
        dmlp_out = self.drop.backward(dx, cache.drop_2)
        if isinstance(self.mlp, MixtureOfExperts):
            dnormed = self.mlp.backward(dmlp_out, cache.mlp, dbalance=dbalance)
        else:
            dnormed = self.mlp.backward(dmlp_out, cache.mlp)
        dx = dx + self.post_attention_layernorm.backward(dnormed, cache.post_attention_layernorm)

        dattended = self.drop.backward(dx, cache.drop_1)
        dnormed = self.self_attn.backward(dattended, cache.self_attn)
        return dx + self.input_layernorm.backward(dnormed, cache.input_layernorm)

    def balance(self, cache: LlamaBlockCache) -> float:
        """The load-balancing loss of this block's mixture of experts; 0 without one."""
        return cache.mlp.balance if isinstance(self.mlp, MixtureOfExperts) else 0.0
