"""Exercises of lesson 05: layer normalisation and residuals."""

from typing import Any

import numpy as np

from numpylm.course.exercise import Exercise, Lesson, Result
from numpylm.course.judge import Rng, both, gradients, held_against, outputs
from numpylm.layers import LayerNorm
from numpylm.module import Array, Cache, Module
from numpylm.transformer import MLP

EPS = 1e-5


def normalize(x: Array) -> tuple[Array, Cache]:
    """x̂ = (x - μ) / √(σ² + ε) over the last axis; the cache is (x̂, 1/√(σ² + ε))."""
    centred = x - x.mean(axis=-1, keepdims=True)
    rstd = 1 / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + EPS)
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
        """x -> y, both of one shape."""
        out, cache = self.layer.forward(x)
        return x + out, cache

    def backward(self, dy: Array, cache: Cache) -> Array:
        """Past the layer, and through it."""
        return dy + self.layer.backward(dy, cache)


def _rows(rng: Rng) -> Any:
    yield (np.array([[1.0, 2.0, 3.0, 6.0]]),)
    yield (1e-3 * rng.standard_normal((2, 5)),)
    yield (5 + 2 * rng.standard_normal((2, 3, 6)),)


def _row(rng: Rng) -> tuple:
    return (1 + 2 * rng.standard_normal((2, 3, 6)),)


def _centred(x: Array, axis: int = -1) -> Array:
    return x - x.mean(axis=axis, keepdims=True)


def _adds(cls: Any) -> Result:
    mlp = MLP(6, rng=np.random.default_rng(0), dtype=np.float64)
    x = np.random.default_rng(1).standard_normal((2, 3, 6))
    out, _ = cls(mlp).forward(x)
    if np.shape(out) == x.shape and np.allclose(out, mlp.forward(x)[0]):
        return Result([f"{cls.__name__}: the forward gives layer(x); x itself is missing: x + layer(x)."])
    right = np.shape(out) == x.shape and np.allclose(out, x + mlp.forward(x)[0])
    return Result([] if right else [f"{cls.__name__}: the forward should give x + layer(x)."])


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
                    "ε stands outside the root: √σ² + ε. It belongs inside: √(σ² + ε). For rows of ordinary size nobody "
                    "sees the difference; the check has small ones.": lambda x: (
                        _centred(x) / (np.sqrt(x.var(-1, keepdims=True)) + EPS)
                    ),
                    "ε is missing: a row of equal numbers would be 0 / 0.": lambda x: (
                        _centred(x) / np.sqrt(x.var(-1, keepdims=True))
                    ),
                    "divided by the variance, not by its root.": lambda x: (
                        _centred(x) / (x.var(-1, keepdims=True) + EPS)
                    ),
                    "the mean is not subtracted.": lambda x: x / np.sqrt(x.var(-1, keepdims=True) + EPS),
                    "mean and variance are taken over the first axis. Each row is normalised for itself: "
                    "axis=-1.": lambda x: _centred(x, 0) / np.sqrt(x.var(0, keepdims=True) + EPS),
                },
                cached=True,
            ),
            (normalize,),
        ),
        Exercise(
            "normalize_backward",
            "the simplified gradient",
            gradients(_row),
            (normalize, normalize_backward),
        ),
        Exercise(
            "LayerNorm",
            "with gain and bias",
            held_against("LayerNorm"),
            (LayerNorm,),
            ("LayerNorm",),
        ),
        Exercise(
            "Residual",
            "past a layer, and through it",
            both(_adds, gradients(_row, lambda cls: cls(MLP(6)))),
            (Residual,),
        ),
    ),
)
