"""Exercises of lesson 05: layer normalization and residuals."""

from typing import Any

import numpy as np

from numpylm.course.exercise import Exercise, Lesson, Result
from numpylm.course.judge import Rng, both, gradients, held_against, outputs
from numpylm.nn.blocks import MLP
from numpylm.nn.layers import LayerNorm
from numpylm.nn.module import Array, Cache, Module

EPS = 1e-5


def normalize(x: Array, eps: float = EPS) -> tuple[Array, Cache]:
    """x̂ = (x - μ) / √(σ² + ε) over the last axis; the cache is (x̂, 1/√(σ² + ε))."""
    centred = x - x.mean(axis=-1, keepdims=True)
    rstd = 1 / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + eps)
    return centred * rstd, (centred * rstd, rstd)


def normalize_backward(dxhat: Array, cache: Cache) -> Array:
    """dx = r (g - mean(g) - x̂ mean(g x̂))."""
    xhat, rstd = cache
    mean = dxhat.mean(axis=-1, keepdims=True)
    return rstd * (dxhat - mean - xhat * (dxhat * xhat).mean(axis=-1, keepdims=True))


class Residual(Module):
    """y = x + layer(x)."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """x -> y, both of the same shape."""
        out, cache = self.layer.forward(x)
        return x + out, cache

    def backward(self, dy: Array, cache: Cache) -> Array:
        """The gradient that bypasses the layer, plus the gradient through it."""
        return dy + self.layer.backward(dy, cache)


def _rows(rng: Rng) -> Any:
    yield (np.array([[1.0, 2.0, 3.0, 6.0]]),)
    yield (1e-3 * rng.standard_normal((2, 5)),)
    yield (5 + 2 * rng.standard_normal((2, 3, 6)),)


def _row(rng: Rng) -> tuple:
    return (1 + 2 * rng.standard_normal((2, 3, 6)),)


def _centred(x: Array, axis: int = -1) -> Array:
    return x - x.mean(axis=axis, keepdims=True)


def _rstd(x: Array) -> Array:
    return normalize(x)[1][1]


def _adds(cls: Any) -> Result:
    """The forward of a residual around an MLP."""
    mlp = MLP(6, rng=np.random.default_rng(0), dtype=np.float64)
    test = outputs(
        lambda x: x + mlp.forward(x)[0],
        lambda rng: iter([_row(rng)]),
        {"the forward gives layer(x); x itself is missing: x + layer(x).": lambda x: mlp.forward(x)[0]},
        cached=True,
    )
    return test(cls(mlp).forward)


def _rows_and_no_bias(cls: Any) -> Result:
    """Rows (N, C) instead of (B, T, C), and a layer without bias."""
    return both(
        gradients(lambda rng: (rng.standard_normal((5, 6)),), lambda layer: layer(6)),
        gradients(_row, lambda layer: layer(6, bias=False)),
    )(cls)


LESSON = Lesson(
    "05_layernorm_and_residuals",
    "Layer norm and residuals",
    (
        Exercise(
            "normalize",
            "mean 0, variance 1 in every row",
            outputs(
                lambda x: normalize(x)[0],
                _rows,
                {
                    "the variance is divided by C - 1 (ddof=1). Layer norm divides by C: the mean of the squared "
                    "differences.": lambda x: _centred(x) / np.sqrt(x.var(-1, ddof=1, keepdims=True) + EPS),
                    "ε is outside the root: √σ² + ε. It belongs inside: √(σ² + ε). For rows of ordinary size the "
                    "difference is not visible; the check has small ones.": lambda x: (
                        _centred(x) / (np.sqrt(x.var(-1, keepdims=True)) + EPS)
                    ),
                    "ε is missing: a row of equal numbers would be 0 / 0.": lambda x: (
                        _centred(x) / np.sqrt(x.var(-1, keepdims=True))
                    ),
                    "ε is added after the root and the division; it belongs to the variance, inside the root.": lambda x: (
                        _centred(x) * (1 / x.std(-1, keepdims=True) + EPS)
                    ),
                    "the root is taken twice: the standard deviation is the root of the variance already.": lambda x: (
                        _centred(x) / np.sqrt(x.std(-1, keepdims=True) + EPS)
                    ),
                    "one mean and one variance for all rows together. Each row is normalized separately: axis=-1, "
                    "keepdims=True.": lambda x: (x - x.mean()) / np.sqrt(x.var() + EPS),
                    "divided by the variance, not by its root.": lambda x: (
                        _centred(x) / (x.var(-1, keepdims=True) + EPS)
                    ),
                    "the mean is not subtracted.": lambda x: x / np.sqrt(x.var(-1, keepdims=True) + EPS),
                    "mean and variance are taken over the first axis. Each row is normalized separately: "
                    "axis=-1.": lambda x: _centred(x, 0) / np.sqrt(x.var(0, keepdims=True) + EPS),
                },
                cached=True,
            ),
            (normalize,),
        ),
        Exercise(
            "normalize_backward",
            "the simplified gradient",
            gradients(
                _row,
                slips={
                    "the term x̂ · mean(g x̂) is missing: what comes through the variance.": lambda g, x: (
                        _rstd(x) * (g - g.mean(-1, keepdims=True))
                    ),
                    "the term mean(g) is missing: what comes through the mean.": lambda g, x: (
                        _rstd(x) * (g - normalize(x)[0] * (g * normalize(x)[0]).mean(-1, keepdims=True))
                    ),
                    "the last term is x̂ · mean(g x̂); here x̂ is missing before the mean.": lambda g, x: (
                        _rstd(x) * (g - g.mean(-1, keepdims=True) - (g * normalize(x)[0]).mean(-1, keepdims=True))
                    ),
                    "the factor r in front, 1/√(σ² + ε), is missing.": lambda g, x: (
                        normalize_backward(g, normalize(x)[1]) / _rstd(x)
                    ),
                },
            ),
            (normalize, normalize_backward),
        ),
        Exercise(
            "LayerNorm",
            "with gain and bias",
            both(held_against("LayerNorm"), _rows_and_no_bias),
            (LayerNorm,),
            ("LayerNorm",),
        ),
        Exercise(
            "Residual",
            "add the input of a layer to its output",
            both(_adds, gradients(_row, lambda cls: cls(MLP(6)))),
            (Residual,),
        ),
    ),
)
