"""Exercises of lesson 20: Bayes' rule for themes, a split that keeps combinations apart, and pass@k."""

from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np

from numpylm.course.exercise import Exercise, Lesson
from numpylm.course.judge import Rng, outputs
from numpylm.nn.module import Array

Pair = tuple[str, str]


def posterior(log_p: Array, prior: Array) -> Array:
    """P(x | y) of K themes from log P(y | x) and P(x), both (K,)."""
    log_joint = log_p + np.log(prior)
    joint = np.exp(log_joint - log_joint.max())
    return np.asarray(joint / joint.sum())


def split_pairs(pairs: Sequence[Pair], held: set[Pair]) -> tuple[list[int], list[int]]:
    """The positions of the pairs that are not held out, and of those that are."""
    train = [n for n, pair in enumerate(pairs) if pair not in held]
    return train, [n for n, pair in enumerate(pairs) if pair in held]


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that one of k samples passes, from n samples of which c passed."""
    return 1 - comb(n - c, k) / comb(n, k)


def _themes(rng: Rng) -> Any:
    yield np.log(np.array([0.2, 0.1])), np.array([0.5, 0.5])
    yield np.log(np.array([0.2, 0.1])), np.array([0.1, 0.9])
    yield rng.normal(-30, 3, 5), rng.dirichlet(np.ones(5))
    yield np.array([-9000.0, -9001.0]), np.array([0.5, 0.5])


def _problems(rng: Rng) -> Any:
    pairs = [("sum", "odd"), ("sum", "even"), ("count", "odd"), ("sum", "odd"), ("count", "even")]
    yield pairs, {("sum", "odd")}
    yield pairs, {("sum", "odd"), ("count", "even")}
    yield pairs, {("odd", "sum")}


def _share_a_part(pairs: Sequence[Pair], held: set[Pair]) -> tuple[list[int], list[int]]:
    """Training without everything that has an operation or a filter of a held-out pair."""
    first, second = {a for a, _ in held}, {b for _, b in held}
    train = [n for n, (a, b) in enumerate(pairs) if a not in first and b not in second]
    return train, split_pairs(pairs, held)[1]


def _each_part_apart(pairs: Sequence[Pair], held: set[Pair]) -> tuple[list[int], list[int]]:
    """Held out if the operation and the filter are each in some held-out pair."""
    first, second = {a for a, _ in held}, {b for _, b in held}
    test = [n for n, (a, b) in enumerate(pairs) if a in first and b in second]
    return [n for n in range(len(pairs)) if n not in test], test


def _samples(rng: Rng) -> Any:
    yield 4, 1, 1
    yield 5, 2, 2
    yield 5, 4, 3
    yield 6, 0, 2
    yield 300, 1, 100


LESSON = Lesson(
    "20_writing_and_code",
    "Writing and code: P(y given x), and how to measure it",
    (
        Exercise(
            "posterior",
            "which theme a poem fits",
            outputs(
                posterior,
                _themes,
                {
                    "the prior is missing: P(y | x) is multiplied by P(x).": lambda log_p, prior: posterior(
                        log_p, np.ones(len(prior))
                    ),
                    "these are the products P(y | x) P(x). Divide them by their sum.": lambda log_p, prior: (
                        np.exp(log_p) * prior
                    ),
                    "that is log P(x | y). The result should be a probability.": lambda log_p, prior: np.log(
                        posterior(log_p, prior)
                    ),
                    "logarithms are divided by their sum. Make probabilities first: exp of the logarithms.": (
                        lambda log_p, prior: (log_p + np.log(prior)) / (log_p + np.log(prior)).sum()
                    ),
                    "the log-probability is multiplied by the prior. Logarithms of factors are added: log P(y | x) + "
                    "log P(x).": lambda log_p, prior: posterior(log_p * prior, np.ones(len(prior))),
                    "the prior is a probability: add its logarithm to log P(y | x).": lambda log_p, prior: posterior(
                        log_p + prior, np.ones(len(prior))
                    ),
                },
            ),
            (posterior,),
        ),
        Exercise(
            "split_pairs",
            "a test of combinations that training never shows",
            outputs(
                split_pairs,
                _problems,
                {
                    "a training problem may share its operation or its filter with a held-out pair. Only both together "
                    "are held out.": _share_a_part,
                    "an operation of one held-out pair with the filter of another one is not held out.": (
                        _each_part_apart
                    ),
                    "training and test are exchanged.": lambda pairs, held: split_pairs(pairs, held)[::-1],
                },
            ),
            (split_pairs,),
        ),
        Exercise(
            "pass_at_k",
            "one of k samples passes",
            outputs(
                pass_at_k,
                _samples,
                {
                    "that is 1 - (1 - c/n)^k, which draws a sample more than once. Choose k different ones.": (
                        lambda n, c, k: 1 - (1 - c / n) ** k
                    ),
                    "that is the share of choices in which none passes. Subtract it from 1.": lambda n, c, k: (
                        comb(n - c, k) / comb(n, k)
                    ),
                    "that is the chance that all k samples pass. One is enough.": lambda n, c, k: (
                        comb(c, k) / comb(n, k)
                    ),
                    "that is pass@1, the share c/n.": lambda n, c, k: c / n,
                    "that is the chance that exactly one of the k samples passes. Two or more are enough as well.": (
                        lambda n, c, k: c * comb(n - c, k - 1) / comb(n, k)
                    ),
                    "k times the chance of one sample counts choices twice in which several pass. Compute the chance that "
                    "none passes.": lambda n, c, k: min(1, k * c / n),
                },
            ),
            (pass_at_k,),
        ),
    ),
)
