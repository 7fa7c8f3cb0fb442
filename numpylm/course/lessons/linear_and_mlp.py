"""Exercises of lesson 04: Linear, GELU, MLP, Dropout."""

import math
from typing import Any

import numpy as np

from numpylm.course.exercise import Exercise, Lesson, Result
from numpylm.course.judge import Rng, both, gradients, held_against, outputs
from numpylm.nn import functional as F
from numpylm.nn.blocks import MLP
from numpylm.nn.layers import Dropout, Linear
from numpylm.nn.module import Array

C, OUT = 4, 3


def _linear_gradients(dy: Array, x: Array, W: Array) -> tuple[Array, Array, Array]:
    """dx, dW, db of y = x W + b."""
    return dy @ W.T, x.T @ dy, dy.sum(axis=0)


def _linear_gradient_cases(rng: Rng) -> Any:
    yield rng.standard_normal((5, OUT)), rng.standard_normal((5, C)), rng.standard_normal((C, OUT))


def _u(x: Array) -> Array:
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)


def _gelu_cases(rng: Rng) -> Any:
    yield (np.array([-1.0, 0.0, 1.0, 2.0]),)
    yield (2 * rng.standard_normal((3, 5)),)


def _dropout(cls: Any) -> Result:
    """Mask, scale, and evaluation of a dropout layer."""
    layer = cls(0.3)
    x = np.ones((50, 40))
    out, _ = layer.forward(x, np.random.default_rng(0))
    if not (x == 1).all():
        return Result([f"{cls.__name__}: the forward changes its input x; make a new array."])
    if out is x or out is None:
        return Result([f"{cls.__name__}: with an rng, the forward must drop numbers; it returns its input."])
    kept = out != 0
    if (kept == kept[0]).all() or (kept == kept[:, :1]).all():
        return Result(
            [f"{cls.__name__}: all rows (or columns) have the same mask. Every number must be dropped independently."]
        )
    share = kept.mean()
    if abs(share - 0.7) > 0.05:
        return Result(
            [
                f"{cls.__name__}(0.3) keeps {share:.0%} of the numbers, it should be 70 %. p is the probability of *dropping* "
                "one; rng.random gives numbers that are equally likely everywhere in [0, 1)."
            ]
        )
    if abs(out[kept].mean() - 1 / 0.7) > 1e-6:
        return Result(
            [
                f"{cls.__name__}(0.3) turns a 1 that is kept into {out[kept].mean():.4f}. Divide by 1 - p, so that "
                "the mean stays: 1 / 0.7 = 1.4286."
            ]
        )
    again, _ = layer.forward(np.ones((50, 40)), np.random.default_rng(0))
    if not np.array_equal(out, again):
        return Result([f"{cls.__name__}: the same rng must give the same mask: draw it from rng, not from np.random."])
    same, cache = layer.forward(x)
    if not np.array_equal(same, x):
        return Result([f"{cls.__name__}: without an rng there must be no dropout: return x as it is."])
    if not np.array_equal(np.asarray(layer.backward(2 * x, cache)), 2 * x):
        return Result([f"{cls.__name__}: the backward after a forward without an rng must return dy as it is."])
    return Result()


LESSON = Lesson(
    "04_linear_and_mlp",
    "Linear layers and the MLP",
    (
        Exercise(
            "linear_gradients",
            "three gradients from their shapes",
            outputs(
                _linear_gradients,
                _linear_gradient_cases,
                {
                    "db is the mean over the rows. b is added to every row, so its gradients add up: a sum.": lambda dy, x, W: (
                        dy @ W.T,
                        x.T @ dy,
                        dy.mean(0),
                    ),
                    "dx and dW are exchanged: dx has the shape of x.": lambda dy, x, W: (x.T @ dy, dy @ W.T, dy.sum(0)),
                },
            ),
            (_linear_gradients,),
        ),
        Exercise(
            "Linear",
            "the layer, forward and backward",
            both(
                held_against("Linear"),
                gradients(lambda rng: (rng.standard_normal((5, C)),), lambda cls: cls(C, OUT)),
                gradients(lambda rng: (rng.standard_normal((2, 5, C)),), lambda cls: cls(C, OUT, bias=False)),
            ),
            (Linear,),
            ("Linear",),
        ),
        Exercise(
            "gelu",
            "GELU and its slope",
            both(
                outputs(
                    lambda x: F.gelu(x)[0],
                    _gelu_cases,
                    {
                        "the half is missing: x · ½ (1 + tanh u).": lambda x: x * (1 + np.tanh(_u(x))),
                        "this is ½ (1 + tanh u); it still has to be multiplied by x.": lambda x: (
                            0.5 * (1 + np.tanh(_u(x)))
                        ),
                        "the cube is missing: u = √(2/π) (x + 0.044715 x³).": lambda x: (
                            0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * x))
                        ),
                    },
                    cached=True,
                ),
                gradients(lambda rng: (2 * rng.standard_normal((4, 6)),)),
            ),
            (F.gelu, F.gelu_backward),
            ("gelu", "gelu_backward"),
        ),
        Exercise("MLP", "two linear layers and a GELU", held_against("MLP"), (MLP,), ("MLP",)),
        Exercise(
            "Dropout",
            "drop, and go back through the same mask",
            both(
                _dropout,
                gradients(lambda rng: (rng.standard_normal((4, 6)),), lambda cls: cls(0.3)),
            ),
            (Dropout,),
            ("Dropout",),
        ),
    ),
)
