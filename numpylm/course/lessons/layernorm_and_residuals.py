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


def scale_backward(g: Array, c: Array, r: Array) -> tuple[Array, Array]:
    """Back through x̂ = c r: what c gets, and what r gets."""
    return g * r, (g * c).sum(axis=-1, keepdims=True)


def rstd_backward(dr: Array, c: Array, r: Array) -> Array:
    """Back through r = 1 / √(mean(c²) + ε): what c gets."""
    return dr * -0.5 * r**3 * (2 / c.shape[-1]) * c


def center_backward(dc: Array) -> Array:
    """Back through c = x - mean(x)."""
    return dc - dc.mean(axis=-1, keepdims=True)


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


def _steps(rng: Rng) -> Any:
    """g (or dr), c and r of a few rows."""
    for shape in ((1, 4), (3, 5), (2, 3, 6)):
        c = center_backward(2 * rng.standard_normal(shape))
        yield rng.standard_normal(shape), c, _rstd(c)


def _steps_of_rstd(rng: Rng) -> Any:
    yield from ((g[..., :1], c, r) for g, c, r in _steps(rng))


def _keeps_both(forward: Any) -> Result:
    """The cache is (x̂, rstd), and rstd keeps its last axis."""
    x = 5 + 2 * np.random.default_rng(0).standard_normal((2, 3, 6))
    cache = forward(x)[1]
    name = forward.__name__
    if not isinstance(cache, (tuple, list)) or len(cache) != 2:
        return Result([f"{name}: the cache must be the pair (xhat, rstd); the backward below takes it apart."])
    for part, wanted, title in zip(cache, normalize(x)[1], ("xhat", "rstd"), strict=True):
        if np.shape(part) == wanted.shape[:-1]:
            return Result(
                [
                    f"{name}: {title} in the cache has shape {np.shape(part)}; it needs shape {wanted.shape}, so that it "
                    "broadcasts against xhat in the backward. keepdims=True keeps the last axis."
                ]
            )
        if np.shape(part) != wanted.shape or not np.allclose(part, wanted):
            return Result([f"{name}: the cache must be (xhat, rstd), in this order; its {title} is something else."])
    return Result()


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


_normalizes = both(
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
            "divided by the variance, not by its root.": lambda x: _centred(x) / (x.var(-1, keepdims=True) + EPS),
            "the mean is not subtracted.": lambda x: x / np.sqrt(x.var(-1, keepdims=True) + EPS),
            "mean and variance are taken over the first axis. Each row is normalized separately: axis=-1.": lambda x: (
                _centred(x, 0) / np.sqrt(x.var(0, keepdims=True) + EPS)
            ),
        },
        cached=True,
    ),
    _keeps_both,
)

LESSON = Lesson(
    "05_layernorm_and_residuals",
    "Layer norm and residuals",
    (
        Exercise(
            "normalize",
            "mean 0, variance 1 in every row",
            _normalizes,
            (normalize,),
        ),
        Exercise(
            "scale_backward",
            "back through x̂ = c r",
            outputs(
                scale_backward,
                _steps,
                {
                    "dr is one number for each row: r is used in every x̂ᵢ of the row, so it gets the sum of g · c along "
                    "the last axis, with keepdims=True.": lambda g, c, r: (g * r, g * c),
                    "dr has lost its last axis: keepdims=True keeps it, so that dr has the shape of r.": lambda g, c, r: (
                        g * r,
                        (g * c).sum(-1),
                    ),
                    "dr is a sum over all rows together. Each row has its own r: sum along the last axis only.": (
                        lambda g, c, r: (g * r, (g * c).sum())
                    ),
                    "dr must be a sum over the channels. A mean divides it by C.": lambda g, c, r: (
                        g * r,
                        (g * c).mean(-1, keepdims=True),
                    ),
                    "dr: the derivative of cᵢ r with respect to r is cᵢ. The factor c is missing in the sum.": (
                        lambda g, c, r: (g * r, g.sum(-1, keepdims=True))
                    ),
                    "dc: the derivative of cᵢ r with respect to cᵢ is r. The factor r is missing.": lambda g, c, r: (
                        g,
                        (g * c).sum(-1, keepdims=True),
                    ),
                    "the two gradients are exchanged: return dc first, then dr.": lambda g, c, r: (
                        (g * c).sum(-1, keepdims=True),
                        g * r,
                    ),
                },
            ),
            (scale_backward,),
        ),
        Exercise(
            "rstd_backward",
            "back through the variance",
            outputs(
                rstd_backward,
                _steps_of_rstd,
                {
                    "the variance is a mean: its derivative with respect to cᵢ is 2 cᵢ / C. The division by C is "
                    "missing.": lambda dr, c, r: rstd_backward(dr, c, r) * c.shape[-1],
                    "the derivative of cᵢ² is 2 cᵢ. The 2 is missing.": lambda dr, c, r: rstd_backward(dr, c, r) / 2,
                    "the derivative of u to the power -½ is -½ times u to the power -3/2. The factor ½ is "
                    "missing.": lambda dr, c, r: 2 * rstd_backward(dr, c, r),
                    "the sign: r becomes smaller when the variance becomes larger, so the derivative is "
                    "negative.": lambda dr, c, r: -rstd_backward(dr, c, r),
                    "the derivative of r with respect to v is -½ r³; here it has another power of r.": (
                        lambda dr, c, r: rstd_backward(dr, c, r) / r
                    ),
                    "the derivative of r with respect to v is -½ r³. The factor r³ is missing.": lambda dr, c, r: (
                        rstd_backward(dr, c, r) / r**3
                    ),
                    "the derivative of r with respect to v is -½ r³; here it has r².": lambda dr, c, r: (
                        rstd_backward(dr, c, r) / r**2
                    ),
                    "the derivative of v with respect to cᵢ is 2 cᵢ / C; the factor c is missing, so every channel gets "
                    "the same.": lambda dr, c, r: dr * -0.5 * r**3 * (2 / c.shape[-1]) + 0 * c,
                },
            ),
            (rstd_backward,),
        ),
        Exercise(
            "center_backward",
            "back through the mean",
            outputs(
                center_backward,
                lambda rng: ((g,) for g, _, _ in _steps(rng)),
                {
                    "x is used a second time, in μ. What it gets through μ is missing.": lambda dc: dc,
                    "∂μ/∂x is 1/C: divide the sum by C, which makes it a mean.": lambda dc: (
                        dc - dc.sum(-1, keepdims=True)
                    ),
                    "the sign: c = x - μ, so what comes through μ is subtracted.": lambda dc: (
                        dc + dc.mean(-1, keepdims=True)
                    ),
                    "one mean for all rows together. Each row has its own μ: axis=-1, keepdims=True.": lambda dc: (
                        dc - dc.mean()
                    ),
                    "the mean over the first axis is subtracted. Each row has its own μ: axis=-1.": lambda dc: (
                        dc - dc.mean(0, keepdims=True)
                    ),
                },
            ),
            (center_backward,),
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
