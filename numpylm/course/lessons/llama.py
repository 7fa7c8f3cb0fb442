"""Exercises of lesson 14: the layers of Llama."""

from typing import Any

import numpy as np

from numpylm.course.exercise import Exercise, Lesson
from numpylm.course.judge import Rng, both, gradients, held_against, outputs
from numpylm.nn import functional as F
from numpylm.nn.gated_mlp import GatedMLP
from numpylm.nn.layers import RMSNorm
from numpylm.nn.module import Array, Cache
from numpylm.nn.positions import rotated

B, T, H, K, D = 2, 5, 6, 3, 4


def rotate(x: Array, angles: Array) -> tuple[Array, Cache]:
    """Turn channels i and i + D/2 of x (..., T, D) by angles (T, D/2)."""
    cos, sin = np.cos(angles), np.sin(angles)
    return rotated(x, cos, sin, "halves"), (cos, sin)


def rotate_backward(dy: Array, cache: Cache) -> Array:
    """The rotation by the opposite angle."""
    cos, sin = cache
    return rotated(dy, cos, -sin, "halves")


def share_heads(k: Array, n_head: int) -> tuple[Array, Cache]:
    """(B, K, S, D) -> (B, H, S, D): each head is there H/K times in a row."""
    return np.repeat(k, n_head // k.shape[1], axis=1), k.shape


def share_heads_backward(dout: Array, cache: Cache) -> Array:
    """The sum over the query heads that share a key head."""
    batch, heads, length, dim = cache
    return dout.reshape(batch, heads, -1, length, dim).sum(axis=2)


def _turns(rng: Rng) -> Any:
    yield np.array([[[[1.0, 0.0]]]]), np.array([[np.pi / 2]])  # one pair of channels, a quarter turn
    yield rng.standard_normal((B, 2, T, D)), _angles()


def _angles() -> Array:
    return np.arange(T)[:, None] * np.array([1.0, 0.1])  # (T, D/2)


def _turn(rng: Rng) -> tuple:
    return (rng.standard_normal((B, 2, T, D)),)


def _pairs(forward: Any, backward: Any) -> tuple:
    """The pair with fixed angles: only x is checked."""

    def turned(x: Array) -> tuple[Array, Cache]:
        return forward(x, _angles())

    turned.__name__ = forward.__name__
    return turned, backward


def _adjacent(x: Array, a: Array) -> Array:
    return rotated(x, np.cos(a), np.sin(a), "interleaved")


def _taken_apart_wrongly(x: Array, a: Array) -> Array:
    """Pairs of adjacent channels, put back as halves."""
    y = _adjacent(x, a)
    return np.concatenate([y[..., 0::2], y[..., 1::2]], axis=-1)


def _keys(rng: Rng) -> Any:
    yield np.arange(4.0).reshape(1, 2, 1, 2), 4
    yield rng.standard_normal((B, K, T, D)), H


def _shared(forward: Any, backward: Any) -> tuple:
    def six(k: Array) -> tuple[Array, Cache]:
        return forward(k, H)

    six.__name__ = forward.__name__
    return six, backward


def _key(rng: Rng) -> tuple:
    return (rng.standard_normal((B, K, T, D)),)


LESSON = Lesson(
    "14_llama",
    "Llama: today's layers",
    (
        Exercise("RMSNorm", "layer norm without the mean", held_against("RMSNorm"), (RMSNorm,)),
        Exercise(
            "rotate",
            "positions as rotations, and back",
            both(
                outputs(
                    lambda x, angles: rotate(x, angles)[0],
                    _turns,
                    {
                        "turned the other way: y₁ = cos a x₁ - sin a x₂, and y₂ = sin a x₁ + cos a x₂.": (
                            lambda x, a: rotate(x, -a)[0]
                        ),
                        "adjacent channels (2i, 2i + 1) are turned together. Here the pairs are i and i + D/2: the first "
                        "half and the second half.": _adjacent,
                        "adjacent channels (x[..., 0::2], x[..., 1::2]) are turned together. The pairs are i and i + D/2: "
                        "x[..., :half] and x[..., half:].": _taken_apart_wrongly,
                        "y₂ is computed from the new y₁. Both must use the old x₁ and x₂.": lambda x, a: np.concatenate(
                            [
                                rotate(x, a)[0][..., : x.shape[-1] // 2],
                                np.sin(a) * rotate(x, a)[0][..., : x.shape[-1] // 2]
                                + np.cos(a) * x[..., x.shape[-1] // 2 :],
                            ],
                            axis=-1,
                        ),
                        "one sign is wrong: a rotation has one minus, at sin a x₂ in y₁.": lambda x, a: np.concatenate(
                            [
                                np.cos(a) * x[..., : x.shape[-1] // 2] + np.sin(a) * x[..., x.shape[-1] // 2 :],
                                np.sin(a) * x[..., : x.shape[-1] // 2] + np.cos(a) * x[..., x.shape[-1] // 2 :],
                            ],
                            axis=-1,
                        ),
                    },
                    cached=True,
                ),
                gradients(_turn, _pairs),
            ),
            (rotate, rotate_backward),
        ),
        Exercise("silu", "z · sigmoid(z), and its derivative", held_against("silu"), (F.silu, F.silu_backward)),
        Exercise("GatedMLP", "SwiGLU", held_against("GatedMLP"), (GatedMLP,)),
        Exercise(
            "share_heads",
            "one key head for several query heads",
            both(
                outputs(
                    lambda k, h: share_heads(k, h)[0],
                    _keys,
                    {
                        "the heads come in the order 0 1 0 1 (np.tile). Query heads 0 … H/K - 1 share key head 0: the order "
                        "must be 0 0 1 1, np.repeat.": lambda k, h: np.tile(k, (1, h // k.shape[1], 1, 1)),
                        "repeated along the positions. The heads are axis 1.": lambda k, h: np.repeat(
                            k, h // k.shape[1], axis=2
                        ),
                        "each head is there H times. K heads become H, so each is repeated H // K times.": (
                            lambda k, h: np.repeat(k, h, axis=1)
                        ),
                    },
                    cached=True,
                ),
                gradients(_key, _shared),
            ),
            (share_heads, share_heads_backward),
        ),
    ),
)
