"""GatedMLP: a feed-forward network in which one half of the hidden layer opens and closes the other (SwiGLU, GEGLU)."""

import numpy as np
from numpy.typing import DTypeLike

from numpylm.nn.functional import ACTIVATIONS
from numpylm.nn.layers import Linear
from numpylm.nn.module import Array, Cache, Module


class GatedMLP(Module):
    """Gated feed-forward network: y = (φ(x W_gate) · (x W_up)) W_down (Shazeer 2020, arXiv:2002.05202, equation 6).

    With φ = SiLU it is SwiGLU, which Llama uses; with φ = GELU it is GEGLU.

    Parameters
    ----------
    n_embd : int
        C, channels in and out.
    n_inner : int
        F, hidden channels. There are three matrices instead of two, so F = 8C/3 gives the size of an `MLP` with 4C.
    activation : str
        φ, as in `MLP`.
    bias : bool
    std, proj_std : float
        Initial standard deviation of the weights, and of ``down_proj``.
    rng, dtype
        As in `Linear`.

    Attributes
    ----------
    gate_proj, up_proj : Linear (C, F)
    down_proj : Linear (F, C)
        The names are Llama's.

    Notes
    -----
    With g = x W_gate, u = x W_up and h = φ(g) · u, the product rule gives

        du = dh · φ(g),        dg = φ'(g) · (dh · u),

    and x, which is used twice, gets the sum dx = dg W_gateᵀ + du W_upᵀ.
    """

    def __init__(
        self,
        n_embd: int,
        n_inner: int,
        activation: str = "silu",
        bias: bool = False,
        *,
        std: float = 0.02,
        proj_std: float = 0.02,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
        rng = rng or np.random.default_rng()
        self.activate, self.activate_backward = ACTIVATIONS[activation]
        self.gate_proj = Linear(n_embd, n_inner, bias, std=std, rng=rng, dtype=dtype)
        self.up_proj = Linear(n_embd, n_inner, bias, std=std, rng=rng, dtype=dtype)
        self.down_proj = Linear(n_inner, n_embd, bias, std=proj_std, rng=rng, dtype=dtype)

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """x (..., C) -> y (..., C)."""
        gate, gate_cache = self.gate_proj.forward(x)  # (..., F)
        up, up_cache = self.up_proj.forward(x)  # (..., F)
        opened, act_cache = self.activate(gate)  # (..., F)
        y, down_cache = self.down_proj.forward(opened * up)  # (..., C)
        return y, (gate_cache, up_cache, act_cache, opened, up, down_cache)

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dy (..., C) -> dx (..., C); adds to the gradients of the three layers."""
        gate_cache, up_cache, act_cache, opened, up, down_cache = cache
        dhidden = self.down_proj.backward(dy, down_cache)  # (..., F)
        dup = dhidden * opened
        dgate = self.activate_backward(dhidden * up, act_cache)
        return self.gate_proj.backward(dgate, gate_cache) + self.up_proj.backward(dup, up_cache)
