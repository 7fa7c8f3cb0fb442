"""The exercise of lesson 00: a first backward."""

from numpylm.course.exercise import Exercise, Lesson, Result
from numpylm.course.judge import gradients
from numpylm.module import Array, Cache


def square(x: Array) -> tuple[Array, Cache]:
    """x², number by number."""
    return x * x, x


def square_backward(dout: Array, cache: Cache) -> Array:
    """The slope of x² is 2x."""
    x = cache
    return dout * 2 * x


def _square(theirs: object) -> Result:
    return gradients(lambda rng: (rng.standard_normal((2, 3)),), lambda backward: (square, backward))(theirs)


LESSON = Lesson(
    "00_start_here",
    "Start here",
    (Exercise("square_backward", "the first backward: the slope of x²", _square, (square_backward,)),),
)
