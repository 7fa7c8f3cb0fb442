"""Exercises of lesson 03: numerical gradients, relative error, and a gradient check of a pair of functions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from numpylm.course.exercise import Exercise, Lesson, Result
from numpylm.course.judge import Rng, both, equal, outputs
from numpylm.nn import functional as F
from numpylm.nn.module import Array, Cache

PASSES = 1e-6  # the worst relative error of a right backward


def numerical_gradient(f: Callable[[Array], float], x: Array, h: float = 1e-5) -> Array:
    """Central differences of f for one element of x after the other; x is not changed."""
    x = np.array(x, dtype=np.float64)
    gradient = np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        value = x[i]
        x[i] = value + h
        up = f(x)
        x[i] = value - h
        down = f(x)
        x[i] = value
        gradient[i] = (up - down) / (2 * h)
    return gradient


def relative_error(a: Array, n: Array) -> float:
    """The largest |a - n| / max(|a|, |n|, floor); the floor is 1e-4 of the largest number in either array."""
    if np.shape(a) != np.shape(n):
        return np.inf
    size = np.maximum(np.abs(a), np.abs(n))
    floor = max(1e-4 * size.max(), 1e-250)
    return float((np.abs(a - n) / np.maximum(size, floor)).max())


def gradcheck(f: Callable, f_backward: Callable, x: Array, rng: Rng | None = None) -> float:
    """Relative error of f_backward against differences of sum(dout * f(x)), for a random dout."""
    rng = rng or np.random.default_rng(0)
    out, cache = f(x)
    dout = rng.standard_normal(np.shape(out))
    dx = f_backward(dout, cache)
    n = numerical_gradient(lambda x: np.sum(dout * f(x)[0]), x)
    return relative_error(dx, n)


# --------------------------------------------------------------------------------------- numerical gradient


@dataclass(frozen=True)
class Named:
    """A function with a readable name, so that a test can say what it was called with."""

    name: str
    call: Callable[[Array], float]

    def __call__(self, x: Array) -> float:
        return self.call(x)

    def __repr__(self) -> str:
        return self.name


CUBES = Named("sum of x³", lambda x: float((x**3).sum()))
SQUARED_SUM = Named("(sum of x)²", lambda x: float(x.sum() ** 2))
WEIGHTED = Named("sum of x², weighted", lambda x: float((x * x * (1 + np.arange(x.size).reshape(x.shape))).sum()))
EXP = Named("sum of exp(x)", lambda x: float(np.exp(x).sum()))


def _functions(rng: Rng) -> Iterator[tuple]:
    yield CUBES, np.array([1.0, 2.0, -3.0]), 1e-5
    yield SQUARED_SUM, rng.standard_normal((2, 3)), 1e-5
    yield WEIGHTED, rng.standard_normal((4, 3)).T, 1e-5
    yield EXP, np.array([0.0, 1.0]), 0.1


def _differences(up: float, down: float, width: float, *, back: bool = True) -> Callable:
    """A slip: (f at up · h - f at down · h) / (width · h), element by element, restoring x or not."""

    def slip(f: Callable, x: Array, h: float) -> Array:
        x = np.array(x, dtype=np.float64)
        gradient = np.zeros(x.shape)
        for i in np.ndindex(x.shape):
            value = x[i]
            x[i] = value + up * h
            high = f(x)
            x[i] = value + down * h
            gradient[i] = (high - f(x)) / (width * h)
            if back:
                x[i] = value
        return gradient

    return slip


def _restored_by_one_h(f: Callable, x: Array, h: float) -> Array:
    x = np.array(x, dtype=np.float64)
    gradient = np.zeros(x.shape)
    for i in np.ndindex(x.shape):
        x[i] += h
        up = f(x)
        x[i] -= h
        gradient[i] = (up - f(x)) / (2 * h)
    return gradient


def _rows_together(f: Callable, x: Array, h: float) -> Array:
    x = np.array(x, dtype=np.float64)
    gradient = np.zeros(x.shape)
    for i in range(len(x)):
        value = x[i]  # a view, which moves along
        x[i] = value + h
        up = f(x)
        x[i] = value - h
        gradient[i] = (up - f(x)) / (2 * h)
        x[i] = value
    return gradient


def _first_only(f: Callable, x: Array, h: float) -> Array:
    gradient = np.zeros(np.shape(x))
    first = (0,) * np.ndim(x)
    gradient[first] = numerical_gradient(f, x, h)[first]
    return gradient


def _number_kinds(function: Callable) -> Result:
    """Integers and float32: the steps must be made in float64."""
    for x, why in (
        (
            np.array([1, 2, 3]),
            "x holds integers: x[i] + h is truncated to a whole number when it is stored, and np.zeros_like(x) makes "
            "a gradient of integers",
        ),
        (
            np.array([1.0, 2.0, 3.0], dtype=np.float32),
            "x is float32, which keeps 7 digits: a step of 1e-5 is nearly lost in it",
        ),
    ):
        if not equal(function(CUBES, x, 1e-5), numerical_gradient(CUBES, x, 1e-5)):
            return Result([f"{function.__name__}: right for float64, but here {why}. Work on a float64 copy of x."])
    return Result([], "also for integers and float32")


# ------------------------------------------------------------------------------------------- relative error


def _errors(rng: Rng) -> Iterator[tuple]:
    yield np.array([1.0, -2.0]), np.array([1.0, -2.2])
    yield np.array([-4.0, 1.0]), np.array([-2.0, 1.0])
    yield np.array([3e-9, 1e-9]), np.array([3e-9, 2e-9])
    n = rng.standard_normal((20, 10))
    a = n.copy()
    a[3, 4] *= 1.1
    yield a, n
    yield np.array([1.0, 0.0]), np.array([1.0, 1e-12])
    yield np.array([-1.0, 0.0]), np.array([-1.0, -1e-12])
    yield np.zeros(3), np.zeros(3)
    yield np.ones((2, 3)), np.ones((2, 1))


def _size(a: Array, n: Array) -> Array:
    size = np.maximum(np.abs(a), np.abs(n))
    return np.maximum(size, max(1e-4 * size.max(), 1e-250))


def _plain_size(a: Array, n: Array) -> Array:
    return np.maximum(np.abs(a), np.abs(n))


# -------------------------------------------------------------------------------------------- gradient check

Pair = tuple[str, Callable, Callable, Array]


def _square(x: Array) -> tuple[Array, Cache]:
    return x * x, x


def _tiny(x: Array) -> tuple[Array, Cache]:
    return 1e-8 * x**3, x


def _right_pairs(rng: Rng) -> Iterator[Pair]:
    W = rng.standard_normal((4, 5))
    y = rng.integers(0, 5, 3)
    yield "x²", _square, lambda d, x: 2 * x * d, rng.standard_normal(4)
    yield "x @ W", lambda x: (x @ W, None), lambda d, _: d @ W.T, rng.standard_normal((3, 4))
    yield "softmax", F.softmax, F.softmax_backward, rng.standard_normal((3, 5))
    yield "GELU", F.gelu, F.gelu_backward, rng.standard_normal((2, 3))
    yield "cross-entropy", lambda z: F.cross_entropy(z, y), F.cross_entropy_backward, rng.standard_normal((3, 5))
    yield "1e-8 · x³", _tiny, lambda d, x: 3e-8 * x * x * d, rng.standard_normal(4)


def _wrong_pairs(rng: Rng) -> Iterator[tuple[str, Pair]]:
    """Faulty pairs, and the mistake of a check that accepts them."""
    W = rng.standard_normal((4, 4))
    x = rng.standard_normal((3, 4))
    gate = lambda d, x: d * (d > 0)  # noqa: E731
    mean = lambda d, cache: cache[0] * (d - d.mean(axis=-1, keepdims=True))  # noqa: E731
    yield (
        "its backward ignores the upstream gradient, which is right only where that is 1. Draw dout at random",
        ("x²", _square, lambda d, x: 2 * x, x),
    )
    yield (
        "its backward looks at the sign of the upstream gradient where it should look at x. Draw dout at random, with "
        "both signs",
        ("ReLU", F.relu, gate, np.abs(x) + 0.1),
    )
    yield (
        "for an upstream gradient of ones the gradient of a softmax is zero, and so is this wrong one. Draw dout at "
        "random",
        ("softmax", F.softmax, mean, x),
    )
    yield "its backward has the wrong sign", ("x²", _square, lambda d, x: -2 * x * d, x)
    yield "its backward uses W where Wᵀ is needed", ("x @ W", lambda x: (x @ W, None), lambda d, _: d @ W, x)
    yield (
        "its gradient is wrong by 1 %. The numbers are small, so an absolute difference cannot see it: return the "
        "relative error",
        ("1e-8 · x³", _tiny, lambda d, x: 3.03e-8 * x * x * d, x),
    )
    yield (
        "its backward is wrong by 1 % at one single element. Compare every element, and return the worst",
        ("x²", _square, lambda d, x: 2 * x * d * np.where(x == x[2, 3], 1.01, 1.0), x),
    )
    yield (
        "the gradient has another shape than x; broadcasting hides it. Compare the shapes",
        ("sum of each row", lambda x: (x.sum(axis=1), None), lambda d, _: d[:, None], x),
    )
    yield "its backward returns NaN", ("x²", _square, lambda d, x: np.full(x.shape, np.nan), x)


class Watched:
    """A pair that remembers the upstream gradients that its backward was given."""

    def __init__(self, f: Callable, f_backward: Callable) -> None:
        self.f, self.f_backward = f, f_backward
        self.shape: tuple[int, ...] = ()
        self.seen: list[Array] = []

    def forward(self, x: Array) -> tuple[Any, Cache]:
        out, cache = self.f(x)
        self.shape = np.shape(out)
        return out, cache

    def backward(self, dout: Any, cache: Cache) -> Array:
        if np.shape(dout) != self.shape:
            raise ValueError(f"dout must have the shape of the output, {self.shape}; backward got {np.shape(dout)}")
        self.seen.append(np.array(dout))
        return self.f_backward(dout, cache)

    @property
    def constant(self) -> bool:
        """Whether the upstream gradient was one and the same number everywhere."""
        return any(dout.size > 1 and np.ptp(dout) == 0 for dout in self.seen)


def _checker(function: Callable) -> Result:
    """A check must pass what is right and fail what is wrong."""
    name = function.__name__
    right = list(_right_pairs(np.random.default_rng(1)))
    for title, f, f_backward, x in right:
        pair, given = Watched(f, f_backward), x.copy()
        error = function(pair.forward, pair.backward, given)
        if not isinstance(error, (float, np.floating)):
            got = "None. Is the return missing?" if error is None else f"a {type(error).__name__}."
            return Result([f"{name} must return one number, the relative error; it returns {got}"])
        if not equal(given, x):
            return Result([f"{name} changes x: numerical_gradient works on a copy, and this function should, too."])
        if not error < PASSES:
            return Result([f"{name} rejects the right pair {title} (error {error:.1e}): {_why(pair, x, float(error))}"])
    wrong = list(_wrong_pairs(np.random.default_rng(2)))
    for why, (title, f, f_backward, x) in wrong:
        pair = Watched(f, f_backward)
        error = function(pair.forward, pair.backward, x.copy())
        if error < PASSES:
            told = " Yours is the same number everywhere." if pair.constant and "dout" in why else ""
            return Result([f"{name} accepts a faulty pair ({title}, error {error:.1e}): {why}.{told}"])
    return Result([], f"{len(right)} right pairs pass, {len(wrong)} faulty ones fail")


def _why(pair: Watched, x: Array, error: float) -> str:
    """Why a check rejects what is right."""
    together = "draw dout once, give it to the backward, and differentiate sum(dout * f(x)[0]) with the same dout."
    if not pair.seen:
        return "its backward was never called."
    dx = pair.f_backward(pair.seen[0], pair.f(x)[1])
    if pair.constant and np.abs(dx).max() < 1e-9:
        return (
            "its upstream gradient is the same number everywhere. The gradient of a softmax is then zero, and rounding "
            "is compared with rounding. Draw dout at random."
        )
    plain = numerical_gradient(lambda x: np.sum(pair.f(x)[0]), x)
    if np.isclose(relative_error(dx, plain), error, rtol=1e-3):
        return "the numerical side differentiates sum(f(x)[0]), without dout: " + together
    return "the two sides are gradients of different losses:  " + together


LESSON = Lesson(
    "03_checking_gradients",
    "Checking gradients",
    (
        Exercise(
            "numerical_gradient",
            "central differences, element by element",
            both(
                outputs(
                    numerical_gradient,
                    _functions,
                    {
                        "this is the forward difference, (f(x + h) - f(x)) / h. Its error is of size h, that of the "
                        "central one of size h².": _differences(1, 0, 1),
                        "twice the gradient: from x - h to x + h it is 2h, so divide by 2 * h.": _differences(1, -1, 1),
                        "half the gradient: the second value is f(x), not f(x - h). From value + h, subtract 2 * h to "
                        "get there.": _restored_by_one_h,
                        "x[i] is not restored before the next element is moved, so all earlier elements stay at "
                        "x - h.": _differences(1, -1, 2, back=False),
                        "the sign is wrong: it is f(x + h) - f(x - h).": _differences(-1, 1, 2),
                        "divided by 2 and multiplied by h: write / (2 * h).": lambda f, x, h: (
                            h * h * numerical_gradient(f, x, h)
                        ),
                        "whole rows were moved together. Move one element at a time: for i in np.ndindex(x.shape).": _rows_together,
                        "only the first element was done. Is the return inside the loop?": _first_only,
                        "this is one number: all elements were moved together. A gradient has one number for each "
                        "element; move one at a time.": lambda f, x, h: float((f(x + h) - f(x - h)) / (2 * h)),
                        "zero everywhere: f never sees an x that was moved. (reshape(-1) and ravel() of a transposed "
                        "array make a copy; index with np.ndindex(x.shape).)": lambda f, x, h: np.zeros(x.shape),
                        "the step is not the h that was given.": lambda f, x, h: numerical_gradient(f, x, 1e-5),
                    },
                ),
                _number_kinds,
            ),
            (numerical_gradient,),
        ),
        Exercise(
            "relative_error",
            "the difference of two gradients, relative to their size",
            outputs(
                relative_error,
                _errors,
                {
                    "this is the absolute difference. Divide each by the size of what is compared.": lambda a, n: float(
                        np.abs(a - n).max()
                    ),
                    "this is the mean over the elements: one wrong element among many would not be noticed. Take the "
                    "largest.": lambda a, n: float((np.abs(a - n) / _size(a, n)).mean()),
                    "right for ordinary numbers, but the floor is missing: here 0 is compared with 1e-12, the rounding "
                    "error of a difference. Divide by at least 1e-4 of the largest number.": lambda a, n: float(
                        (np.abs(a - n) / np.maximum(_plain_size(a, n), 1e-250)).max()
                    ),
                    "0 / 0: where all numbers are zero the floor is, too. Make it at least 1e-250.": lambda a, n: float(
                        (np.abs(a - n) / np.maximum(_plain_size(a, n), 1e-4 * _plain_size(a, n).max())).max()
                    ),
                    "divided by |n| alone, where it must be the larger of |a| and |n|: a = 2, n = 1 and a = 1, n = 2 "
                    "should be equally wrong.": lambda a, n: float((np.abs(a - n) / np.abs(n)).max()),
                    "divided by |a| alone, where it must be the larger of |a| and |n|.": lambda a, n: float(
                        (np.abs(a - n) / np.abs(a)).max()
                    ),
                    "divided by the sum |a| + |n|, where it must be the larger of the two.": lambda a, n: float(
                        (np.abs(a - n) / (np.abs(a) + np.abs(n))).max()
                    ),
                    "this compares whole arrays by their norms, so that one wrong element among many is not noticed. Divide "
                    "element by element.": lambda a, n: float(
                        np.linalg.norm(a - n) / max(np.linalg.norm(a), np.linalg.norm(n))
                    ),
                    "every difference is divided by the largest number of all. Divide each by its own size, and use "
                    "the largest only for the floor.": lambda a, n: float(
                        np.abs(a - n).max() / _plain_size(a, n).max()
                    ),
                    "the differences keep their sign: a - n can be negative. Take np.abs of it.": lambda a, n: float(
                        ((a - n) / _size(a, n)).max()
                    ),
                    "this is an array: return the largest of it, .max().": lambda a, n: np.abs(a - n) / _size(a, n),
                    "the floor is made of the largest number, which may be negative or 0, not of the largest size: "
                    "np.abs first.": lambda a, n: float(
                        (np.abs(a - n) / np.maximum(_plain_size(a, n), max(1e-4 * max(a.max(), n.max()), 1e-250))).max()
                    ),
                    "the floor is a fixed number, so tiny gradients are not compared at all. Take 1e-4 of the largest "
                    "number in the two arrays.": lambda a, n: float(
                        (np.abs(a - n) / np.maximum(_plain_size(a, n), 1e-8)).max()
                    ),
                },
            ),
            (relative_error,),
        ),
        Exercise("gradcheck", "a check of a pair of functions", _checker, (gradcheck,)),
    ),
)
