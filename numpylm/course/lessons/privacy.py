"""Exercises of lesson 21: the exposure of a secret, clipped gradients, noise, and a privacy accountant."""

from collections.abc import Callable
from typing import Any

import numpy as np

from numpylm.course.exercise import Exercise, Lesson, Result
from numpylm.course.judge import Rng, outputs
from numpylm.nn.module import Array

ORDERS = np.array([1.5, 2, 3, 5, 8, 16, 32, 64])


def exposure(log_p: Array, secret: int) -> float:
    """log₂ N - log₂ of the number of numbers that are at least as likely as the secret."""
    return float(np.log2(len(log_p)) - np.log2((log_p >= log_p[secret]).sum()))


def clipped_sum(gradients: Array, clip: float) -> Array:
    """Σ g_i min(1, C / ‖g_i‖) over the rows of ``gradients`` (B, D): (D,)."""
    norms = np.sqrt((gradients**2).sum(axis=1))
    return (clip / np.maximum(norms, clip)) @ gradients


def private_mean(total: Array, clip: float, noise: float, expected: float, rng: Rng) -> Array:
    """(total + σ C z) / B with z from N(0, I)."""
    return (total + noise * clip * rng.standard_normal(total.shape)) / expected


def gaussian_epsilon(noise: float, steps: int, delta: float, orders: Array) -> float:
    """min over α of steps α / 2σ² + log(1/δ) / (α - 1)."""
    return float((steps * orders / (2 * noise**2) + np.log(1 / delta) / (orders - 1)).min())


# ---------------------------------------------------------------------------------------------- exposure


def _log_probs(rng: Rng) -> Any:
    yield -np.array([4.0, 1.0, 7.5, 2.5, 9.0, 2.0, 6.0, 3.0, 8.0, 5.0]), 7  # the fourth of ten
    yield rng.normal(-9, 2, 1000), 17
    yield np.array([-2.0, -1.0, -5.0]), 1  # the likeliest
    yield np.array([-1.0, -3.0, -2.0, -2.0]), 2  # as likely as another one
    yield np.full(8, -3.0), 5


def _exposure_by(rank: Callable[[Array, float], Any], log: Callable = np.log2) -> Callable[[Array, int], Any]:
    """Exposure with another rank, or with another logarithm."""
    return lambda log_p, secret: log(len(log_p)) - log(rank(log_p, log_p[secret]))


def _as_likely(log_p: Array, own: float) -> Any:
    return (log_p >= own).sum()


EXPOSURE_SLIPS = {
    "a number that is as likely as the secret counts, too: use >=. If all numbers are equally likely, the model knows "
    "nothing, and the exposure is 0.": _exposure_by(lambda log_p, own: 1 + (log_p > own).sum()),
    "the secret itself must be counted: the rank of the likeliest number is 1, not 0.": _exposure_by(
        lambda log_p, own: (log_p > own).sum()
    ),
    "the rank is counted from the wrong end: count the numbers that are likelier, not those that are less "
    "likely.": _exposure_by(lambda log_p, own: (log_p <= own).sum()),
    "the logarithm must be to base 2 (np.log2), because the exposure is in bits.": _exposure_by(_as_likely, np.log),
    "the logarithm must be to base 2 (np.log2): the exposure is in bits.": _exposure_by(_as_likely, np.log10),
    "this is how surprised the model is by the secret, in bits. Exposure compares it with the other numbers: log2(N) - "
    "log2(rank).": lambda log_p, secret: float(-log_p[secret] / np.log(2)),
    "this is log2 of the rank alone. Subtract it from log2 of the number of numbers.": lambda log_p, secret: np.log2(
        _as_likely(log_p, log_p[secret])
    ),
    "the sign is wrong: a small rank is a large exposure, log2(N) - log2(rank).": lambda log_p, secret: (
        np.log2(_as_likely(log_p, log_p[secret])) - np.log2(len(log_p))
    ),
    "this is N / rank without the logarithm.": lambda log_p, secret: len(log_p) / _as_likely(log_p, log_p[secret]),
    "this is the rank. The exposure is log2(N) - log2(rank).": lambda log_p, secret: _as_likely(log_p, log_p[secret]),
}


# ---------------------------------------------------------------------------------------------- clipping


def _gradients(rng: Rng) -> Any:
    yield np.array([[3.0, 4.0], [0.3, 0.4], [-8.0, 6.0]]), 1.0  # norms 5, 0.5 and 10
    yield rng.standard_normal((5, 4)) * np.array([[0.1], [1], [5], [0.3], [20]]), 1.5
    yield np.array([[0.0, 0.0, 0.0], [0.0, 6.0, 8.0]]), 2.0


def _with_norms(norm: Callable[[Array], Array]) -> Callable[[Array, float], Array]:
    """A clipped sum with another norm of the rows."""
    return lambda g, clip: (clip / np.maximum(norm(g), clip)) @ g


def _norm(g: Array, axis: int | None = None) -> Any:
    return np.sqrt((g**2).sum(axis=axis))


CLIPPING_SLIPS = {
    "this clips the sum. Clip each gradient first, and add them afterwards: a single example must not move the sum by "
    "more than C.": lambda g, clip: g.sum(axis=0) * min(1.0, clip / _norm(g.sum(axis=0))),
    "all gradients have one common factor, from the norm of the whole array. Each row needs its own norm "
    "(axis=1).": lambda g, clip: g.sum(axis=0) * min(1.0, clip / _norm(g)),
    "short gradients are made longer. The factor must be at most 1: only gradients that are longer than C are "
    "changed.": lambda g, clip: (clip / _norm(g, 1)) @ g,
    "the factor is at least 1, but it must be at most 1: the smaller one of 1 and C / norm.": lambda g, clip: (
        np.maximum(1, clip / _norm(g, 1)) @ g
    ),
    "single numbers are clipped. Scale the whole gradient of an example, so that its direction stays the "
    "same.": lambda g, clip: np.clip(g, -clip, clip).sum(axis=0),
    "this is the mean. Here it must be the sum; the division comes later, by the expected size of the "
    "batch.": lambda g, clip: clipped_sum(g, clip) / len(g),
    "the square root is missing in the norm.": _with_norms(lambda g: (g**2).sum(axis=1)),
    "the norm of a gradient is the root of the sum of its squares, not the sum of its absolute values.": _with_norms(
        lambda g: np.abs(g).sum(axis=1)
    ),
    "the norm of a gradient is the root of the sum of its squares, not its largest number.": _with_norms(
        lambda g: np.abs(g).max(axis=1)
    ),
    "nothing is clipped.": lambda g, clip: g.sum(axis=0),
    "each gradient is divided by its norm, but not brought to the length C: the factor is C / norm.": lambda g, clip: (
        (1 / np.maximum(_norm(g, 1), clip)) @ g
    ),
    "long gradients are left out. Scale them down to the length C instead.": lambda g, clip: g[_norm(g, 1) <= clip].sum(
        axis=0
    ),
}


# ---------------------------------------------------------------------------------------------- noise

N = 20_000  # numbers
TOTAL, CLIP, NOISE, EXPECTED = 40.0, 0.5, 3.0, 20.0  # the mean is 2, and its noise has the standard deviation 0.075
WRONG_STD = {
    "the noise must be divided by the expected size, too: add it to the sum first.": NOISE * CLIP,
    "the factor C is missing in the noise. It is σ C, because one example moves the sum by up to C.": NOISE / EXPECTED,
    "the factor σ is missing in the noise.": CLIP / EXPECTED,
    "the factors σ and C are missing in the noise.": 1 / EXPECTED,
    "σ C is the standard deviation of the noise, not its variance: do not take the root.": np.sqrt(NOISE * CLIP)
    / EXPECTED,
    "the variance is (σ C)², so the standard deviation is σ C, without a square.": (NOISE * CLIP) ** 2 / EXPECTED,
    "the noise is divided by the root of the expected size; divide it like the sum.": NOISE * CLIP / np.sqrt(EXPECTED),
    "the noise is σ C / B, but here σ is divided by C.": NOISE / CLIP / EXPECTED,
}


def _is_noisy(mean: Any) -> Result:
    """The mean and the standard deviation of what is returned, over N numbers; and the rng that is used."""
    name, total = mean.__name__, np.full(N, TOTAL)
    given = total.copy()
    got = mean(given, CLIP, NOISE, EXPECTED, np.random.default_rng(0))
    if not np.array_equal(given, total):
        return Result([f"{name} changes its argument total: make a new array instead of +=."])
    if got is None:
        return Result([f"{name} returns None. Is the return missing?"])
    if np.shape(got) != total.shape:
        return Result([f"{name}: the result must have the shape of total, {total.shape}; it has {np.shape(got)}."])
    again = mean(total.copy(), CLIP, NOISE, EXPECTED, np.random.default_rng(0))
    if not np.array_equal(got, again):
        return Result([f"{name}: the same rng gives other numbers. Draw from the rng that is given."])
    noise = got - got.mean()
    if np.ptp(noise) == 0:
        said = (
            "there is no noise"
            if got[0] == mean(total, CLIP, NOISE, EXPECTED, np.random.default_rng(1))[0]
            else ("all numbers have the same noise. Draw one for each: rng.standard_normal(total.shape)")
        )
        return Result([f"{name}: {said}."])
    return _sizes(name, float(got.mean()), float(noise.std()), float(np.abs(noise).max()))


def _sizes(name: str, mean: float, std: float, largest: float) -> Result:
    """Whether the mean, the standard deviation and the form of the noise are right, up to what chance allows."""
    right = NOISE * CLIP / EXPECTED
    if abs(mean - TOTAL) < 1:
        return Result([f"{name}: divide by the expected size of the batch."])
    if abs(mean - TOTAL / EXPECTED) > 6 * std / np.sqrt(N):
        return Result(
            [
                f"{name}: without noise, the result must be total / expected. With {TOTAL:g} and {EXPECTED:g} it should be "
                f"{TOTAL / EXPECTED:g} on average; it is {mean:.4g}. Does the noise have the mean 0?"
            ]
        )
    if abs(std / right - 1) > 0.03:
        for sentence, wrong in WRONG_STD.items():
            if abs(std / wrong - 1) < 0.03:
                return Result([f"{name}: {sentence}"])
        return Result([f"{name}: the standard deviation of the result should be σ C / B = {right:g}; it is {std:.4g}."])
    if largest < 2.5 * std:
        return Result([f"{name}: the noise is not Gaussian: it has no large values. Use rng.standard_normal."])
    return Result([], "mean and noise as expected")


# ---------------------------------------------------------------------------------------------- the accountant


def _accounts(rng: Rng) -> Any:
    yield 3.0, 3, 1e-5, ORDERS
    yield 4.0, 30, 1e-5, ORDERS
    yield 0.7, 3, 1e-3, ORDERS
    yield 50.0, 1000, 1e-6, np.arange(2, 300) / 1.5


def _account(
    divergence: Callable[..., Array] = lambda s, n, a: n * a / (2 * s**2),
    rest: Callable[..., Array] = lambda d, a: np.log(1 / d) / (a - 1),
    best: Callable = np.min,
) -> Callable[..., Any]:
    """An accountant with other parts."""
    return lambda s, n, d, a: best(divergence(s, n, a) + rest(d, a))


ACCOUNT_SLIPS = {
    "σ must be squared: the divergence is α / (2 σ²).": _account(lambda s, n, a: n * a / (2 * s)),
    "the 2 in α / (2 σ²) is missing.": _account(lambda s, n, a: n * a / s**2),
    "α / 2 * σ² multiplies by σ²: put 2 * noise**2 in parentheses. More noise must give a smaller ε.": _account(
        lambda s, n, a: n * a / 2 * s**2
    ),
    "only the 2 is in the square's place: it is 2 σ², not (2 σ)².": _account(lambda s, n, a: n * a / (2 * s) ** 2),
    "the number of steps is missing: the divergence is added over the steps.": _account(lambda s, n, a: a / (2 * s**2)),
    "the divergence grows with the number of steps, not with its root.": _account(
        lambda s, n, a: np.sqrt(n) * a / (2 * s**2)
    ),
    "α is missing in the divergence, α / (2 σ²).": _account(lambda s, n, a: n / (2 * s**2) + 0 * a),
    "log δ is negative. The formula has log(1/δ), which is -log δ.": _account(rest=lambda d, a: np.log(d) / (a - 1)),
    "divide log(1/δ) by α - 1, not by α.": _account(rest=lambda d, a: np.log(1 / d) / a),
    "log(1/δ) must be divided by α - 1.": _account(rest=lambda d, a: np.log(1 / d) + 0 * a),
    "the natural logarithm is meant: np.log.": _account(rest=lambda d, a: np.log2(1 / d) / (a - 1)),
    "log(1/δ) / (α - 1) is missing.": _account(rest=lambda d, a: 0 * a),
    "the steps are for the divergence alone; log(1/δ) / (α - 1) is added once.": lambda s, n, d, a: (
        n * (a / (2 * s**2) + np.log(1 / d) / (a - 1))
    ).min(),
    "take the smallest value over the orders, not the largest: the bound is true for each of them.": _account(
        best=np.max
    ),
    "take the smallest value over the orders, not their mean.": _account(best=np.mean),
    "take the smallest value over the orders, not their sum.": _account(best=np.sum),
    "take the smallest value over the orders with .min(); this returns all of them.": _account(best=np.asarray),
    "the smallest value must be that of the sum. Here each of the two terms is minimized by itself.": (
        lambda s, n, d, a: (n * a / (2 * s**2)).min() + (np.log(1 / d) / (a - 1)).min()
    ),
}

LESSON = Lesson(
    "21_privacy",
    "Privacy: what a model remembers, and how to limit it",
    (
        Exercise(
            "exposure", "how well a model knows a secret", outputs(exposure, _log_probs, EXPOSURE_SLIPS), (exposure,)
        ),
        Exercise(
            "clipped_sum",
            "each gradient is clipped before the sum",
            outputs(clipped_sum, _gradients, CLIPPING_SLIPS),
            (clipped_sum,),
        ),
        Exercise("private_mean", "noise that hides one example", _is_noisy, (private_mean,)),
        Exercise(
            "gaussian_epsilon",
            "what the noise of all steps promises",
            outputs(gaussian_epsilon, _accounts, ACCOUNT_SLIPS),
            (gaussian_epsilon,),
        ),
    ),
)
