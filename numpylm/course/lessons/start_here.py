"""The exercise of lesson 00: a first backward."""

from collections.abc import Callable

import numpy as np

from numpylm.course.exercise import Exercise, Lesson, Result
from numpylm.course.judge import both, gradients
from numpylm.nn.module import Array, Cache


def square(x: Array) -> tuple[Array, Cache]:
    """x², number by number."""
    return x * x, x


def square_backward(dout: Array, cache: Cache) -> Array:
    """The slope of x² is 2x."""
    x = cache
    return dout * 2 * x


def _returns_one_array(backward: Callable) -> Result:
    """Short messages for the first lesson, where the checker would say more than is needed."""
    name = getattr(backward, "__name__", "it")
    rng = np.random.default_rng(0)
    out, cache = square(rng.standard_normal((3, 4)))
    before = cache.copy()
    dx = backward(rng.standard_normal(out.shape), cache)
    if not np.array_equal(cache, before):
        return Result(
            [f"{name} writes into its cache, which is x itself. Make a new array: 2 * cache, not cache *= 2."]
        )
    if isinstance(dx, (list, tuple)):
        return Result([f"{name} returned a {type(dx).__name__}; return one array."])
    return Result()


_square = both(
    _returns_one_array,
    gradients(lambda rng: (rng.standard_normal((3, 4)),), lambda backward: (square, backward)),
)


LESSON = Lesson(
    "00_start_here",
    "Start here",
    (Exercise("square_backward", "the first backward: the slope of x²", _square, (square_backward,)),),
)
