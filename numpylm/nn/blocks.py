"""MLP and Block: one Transformer layer, with pre-norm residual connections as in GPT-2."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from numpylm.nn.fast_attention import FastCausalSelfAttention
from numpylm.nn.functional import ACTIVATIONS
from numpylm.nn.kv_cache import KVCache
from numpylm.nn.layers import Dropout, LayerNorm, Linear
from numpylm.nn.module import Array, Cache, Module


class MLP(Module):
    """Position-wise feed-forward network: y = φ(x W₁ + b₁) W₂ + b₂ (Vaswani et al. 2017, equation 2).

    It computes the same function at each position. The activation φ is ReLU in the paper, and GELU in GPT-2 and BERT.

    Parameters
    ----------
    n_embd : int
        C, channels in and out.
    bias : bool
    n_inner : int, optional
        F, the width of the hidden layer. Default: 4C, as in all these papers.
    activation : {"gelu_new", "gelu", "relu", "silu"}
        φ. "gelu_new" is the tanh form of GELU, which GPT-2 uses.
    std, proj_std : float
        Initial standard deviations of both weights.
    rng, dtype
        As in `Linear`.

    Attributes
    ----------
    c_fc : Linear (C, F)
    c_proj : Linear (F, C)
    """

    def __init__(
        self,
        n_embd: int,
        bias: bool = True,
        *,
        n_inner: int | None = None,
        activation: str = "gelu_new",
        std: float = 0.02,
        proj_std: float = 0.02,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
        n_inner = n_inner or 4 * n_embd
        self.activate, self.activate_backward = ACTIVATIONS[activation]
        self.c_fc = Linear(n_embd, n_inner, bias, std=std, rng=rng, dtype=dtype)
        self.c_proj = Linear(n_inner, n_embd, bias, std=proj_std, rng=rng, dtype=dtype)

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """x (..., C) -> y (..., C)."""
        hidden, c_fc_cache = self.c_fc.forward(x)  # (..., F)
        active, act_cache = self.activate(hidden)  # (..., F)
        y, c_proj_cache = self.c_proj.forward(active)  # (..., C)
        return y, (c_fc_cache, act_cache, c_proj_cache)

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dy (..., C) -> dx (..., C): the forward's three steps in reverse order."""
        c_fc_cache, act_cache, c_proj_cache = cache
        dactive = self.c_proj.backward(dy, c_proj_cache)  # (..., F)
        dhidden = self.activate_backward(dactive, act_cache)  # (..., F)
        return self.c_fc.backward(dhidden, c_fc_cache)


class BlockCache(NamedTuple):
    """What `Block` saves for its backward: the caches of its parts."""

    ln_1: Cache
    attn: Cache
    drop_1: Cache
    ln_2: Cache
    mlp: Cache
    drop_2: Cache


class Block(Module):
    """One Transformer layer, with a norm before each sublayer ("pre-norm", as in GPT-2; the 2017 paper is post-norm).

        x = x + dropout(attn(ln_1(x)))
        x = x + dropout(mlp(ln_2(x)))

    Attention moves information between positions. The MLP then processes each position on its own.

    Notes
    -----
    For y = x + f(x), dL/dx = dy + (∂f/∂x)ᵀ dy. The gradient splits in two: one part passes through f, and the other
    passes unchanged. So there is always a path from the loss to the first layer without any weights in it.
    """

    def __init__(
        self,
        n_embd: int,
        n_head: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        layer_norm_eps: float = 1e-5,
        gelu_approximate: str = "tanh",
        proj_std: float = 0.02,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        rng = rng or np.random.default_rng()
        self.ln_1 = LayerNorm(n_embd, layer_norm_eps, bias, dtype=dtype)
        self.attn = FastCausalSelfAttention(n_embd, n_head, dropout, bias, proj_std=proj_std, rng=rng, dtype=dtype)
        self.ln_2 = LayerNorm(n_embd, layer_norm_eps, bias, dtype=dtype)
        activation = {"tanh": "gelu_new", "none": "gelu"}[gelu_approximate]
        self.mlp = MLP(n_embd, bias, activation=activation, proj_std=proj_std, rng=rng, dtype=dtype)
        self.drop = Dropout(dropout)

    def forward(
        self,
        x: Array,
        rng: np.random.Generator | None = None,
        past: KVCache | None = None,
        segments: Array | None = None,
    ) -> tuple[Array, BlockCache]:
        """x (B, T, C) -> (B, T, C). Dropout is applied if ``rng`` is given.

        For ``past`` and ``segments`` see `CausalSelfAttention`.
        """
        normed, ln_1_cache = self.ln_1.forward(x)
        given: dict[str, Any] = {"past": past, "segments": segments}
        given = {name: value for name, value in given.items() if value is not None}  # a student's may take neither
        attended, attn_cache = self.attn.forward(normed, rng, **given)
        attended, drop_1_cache = self.drop.forward(attended, rng)
        x = x + attended

        normed, ln_2_cache = self.ln_2.forward(x)
        mlp_out, mlp_cache = self.mlp.forward(normed)
        mlp_out, drop_2_cache = self.drop.forward(mlp_out, rng)
        x = x + mlp_out
        return x, BlockCache(ln_1_cache, attn_cache, drop_1_cache, ln_2_cache, mlp_cache, drop_2_cache)

    def backward(self, dx: Array, cache: BlockCache) -> Array:
        """dx (B, T, C) at the output -> dx (B, T, C) at the input."""
        ln_1_cache, attn_cache, drop_1_cache, ln_2_cache, mlp_cache, drop_2_cache = cache
        dmlp_out = self.drop.backward(dx, drop_2_cache)
        dnormed = self.mlp.backward(dmlp_out, mlp_cache)
        dx = dx + self.ln_2.backward(dnormed, ln_2_cache)  # past the MLP + through it

        dattended = self.drop.backward(dx, drop_1_cache)
        dnormed = self.attn.backward(dattended, attn_cache)
        return dx + self.ln_1.backward(dnormed, ln_1_cache)  # past the attention + through it
