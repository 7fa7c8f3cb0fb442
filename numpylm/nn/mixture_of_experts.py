"""MixtureOfExperts: several gated MLPs of which each token uses only a few, chosen by a router (Mixtral)."""

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from numpylm.nn.functional import softmax, softmax_backward
from numpylm.nn.gated_mlp import GatedMLP
from numpylm.nn.layers import Linear
from numpylm.nn.module import Array, Cache, Module


class ExpertCache(NamedTuple):
    """What one expert did: which tokens it got, and in which of their k places."""

    tokens: Array  # int (n,), in order
    place: Array  # int (n,)
    out: Array  # (n, C)
    cache: Cache


class MixtureCache(NamedTuple):
    """What `MixtureOfExperts` saves for its backward."""

    balance: float  # the load-balancing loss
    shape: tuple[int, ...]  # of x
    gate: Cache
    softmax: Cache
    chosen: Array  # int (N, k)
    weights: Array  # (N, k)
    load: Array  # (E,): share of the tokens that each expert got
    experts: list[ExpertCache]


class MixtureOfExperts(Module):
    """Sparse mixture of experts: each token passes through the k experts that its router prefers.

        p = softmax(x W_gate),    w_e = p_e / Σ_{chosen} p,    y = Σ_{chosen e} w_e · expert_e(x)

    The k experts with the largest p are chosen (Jiang et al. 2024, arXiv:2401.04088, section 2.1; Shazeer et al. 2017,
    arXiv:1701.06538). The model has the weights of E experts, and each token takes the time of k.

    Parameters
    ----------
    n_embd, n_inner : int
        C channels; F hidden channels of each expert.
    n_experts : int
        E.
    experts_per_token : int
        k.
    activation : str
        As in `GatedMLP`.
    std, proj_std, rng, dtype
        As in `GatedMLP`.

    Attributes
    ----------
    gate : Linear (C, E)
        The router.
    experts : list of GatedMLP

    Notes
    -----
    The choice itself has no gradient: a small change of x changes no integer. The router learns through the weights w.
    With s = Σ_{chosen} p, the quotient rule gives for the chosen experts

        dw_e = dy · expert_e(x),        dp_e = (dw_e - Σ_{chosen} dw · w) / s,

    and then dx = Σ_{chosen} (∂expert_e/∂x)ᵀ (w_e dy) + (the gradient through the router).

    A router that prefers one expert trains it more, and then prefers it more. The load-balancing loss (Fedus, Zoph &
    Shazeer 2021, arXiv:2101.03961, equations 4-6) prevents this: E Σ_e f_e P_e, with the share f_e of tokens that
    expert e gets, and its mean probability P_e. With equal shares it is k; its gradient lowers the probability of busy
    experts. f has no gradient, so dp_ne = E f_e / N.
    """

    def __init__(
        self,
        n_embd: int,
        n_inner: int,
        n_experts: int,
        experts_per_token: int = 2,
        activation: str = "silu",
        *,
        std: float = 0.02,
        proj_std: float = 0.02,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if not 1 <= experts_per_token <= n_experts:
            raise ValueError(f"a token can use 1 to {n_experts} of {n_experts} experts, got {experts_per_token}")
        rng = rng or np.random.default_rng()
        self.experts_per_token = experts_per_token
        self.gate = Linear(n_embd, n_experts, bias=False, std=std, rng=rng, dtype=dtype)
        self.experts = [
            GatedMLP(n_embd, n_inner, activation, std=std, proj_std=proj_std, rng=rng, dtype=dtype)
            for _ in range(n_experts)
        ]

    def forward(self, x: Array) -> tuple[Array, MixtureCache]:
        """x (..., C) -> y (..., C). ``cache.balance`` is the load-balancing loss."""
        rows = x.reshape(-1, x.shape[-1])  # (N, C)
        E, k = len(self.experts), self.experts_per_token
        logits, gate_cache = self.gate.forward(rows)  # (N, E)
        p, softmax_cache = softmax(logits)  # (N, E)
        chosen = np.argsort(-p, axis=-1, kind="stable")[:, :k]  # (N, k)
        kept = np.take_along_axis(p, chosen, axis=-1)  # (N, k)
        weights = kept / kept.sum(axis=-1, keepdims=True)  # (N, k)
        y, caches = np.zeros_like(rows), []
        for number, expert in enumerate(self.experts):
            tokens, place = np.nonzero(chosen == number)  # a token chooses an expert once at most, so += is safe
            out, cache = expert.forward(rows[tokens])  # (n, C)
            y[tokens] += weights[tokens, place][:, None] * out
            caches.append(ExpertCache(tokens, place, out, cache))
        N = max(len(rows), 1)
        load = np.bincount(chosen.ravel(), minlength=E) / N  # (E,)
        balance = float(E * (load * p.sum(axis=0)).sum() / N)
        cache = MixtureCache(balance, x.shape, gate_cache, softmax_cache, chosen, weights, load, caches)
        return y.reshape(x.shape), cache

    def backward(self, dy: Array, cache: MixtureCache, *, dbalance: float = 0.0) -> Array:
        """dy (..., C) -> dx (..., C); adds to all gradients. ``dbalance`` is dL/d(load-balancing loss)."""
        dy_rows = dy.reshape(-1, dy.shape[-1])  # (N, C)
        dx, dweights = np.zeros_like(dy_rows), np.empty_like(cache.weights)
        for expert, part in zip(self.experts, cache.experts, strict=True):
            tokens, place, out, expert_cache = part
            dweights[tokens, place] = np.vecdot(dy_rows[tokens], out)
            weight = cache.weights[tokens, place][:, None]
            dx[tokens] += expert.backward(weight * dy_rows[tokens], expert_cache)
        p, _ = cache.softmax
        E, N = len(self.experts), max(len(p), 1)
        dp = np.broadcast_to((dbalance * E / N * cache.load).astype(p.dtype), p.shape).copy()  # (N, E)
        total = np.take_along_axis(p, cache.chosen, axis=-1).sum(axis=-1, keepdims=True)  # (N, 1)
        dkept = (dweights - np.vecdot(dweights, cache.weights)[:, None]) / total  # (N, k)
        rows = np.arange(len(p))[:, None]
        dp[rows, cache.chosen] += dkept  # the k experts of a token are different
        dx += self.gate.backward(softmax_backward(dp, cache.softmax), cache.gate)
        return dx.reshape(cache.shape)
