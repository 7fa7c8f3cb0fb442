"""Exercises of lesson 02: a bigram model, softmax, cross-entropy and its gradient."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from numpylm.course.exercise import Exercise, Lesson, Result
from numpylm.course.judge import Rng, both, equal, gradients, outputs
from numpylm.nn import functional as F
from numpylm.nn.module import Array, Cache


def bigram_probabilities(ids: Array, vocab_size: int) -> Array:
    """P(y|x) from counts of pairs: a row for each x, a column for each y; each row sums to 1.

    One is added to every count, so that no pair is impossible.
    """
    counts = np.ones((vocab_size, vocab_size))
    np.add.at(counts, (ids[:-1], ids[1:]), 1)
    return counts / counts.sum(axis=1, keepdims=True)


def softmax(z: Array) -> Array:
    """Softmax over the last axis."""
    return F.softmax(z)[0]


def cross_entropy(z: Array, y: Array) -> tuple[float, Cache]:
    """Mean of -log p[n, y_n], in nats, and (p, y) for the backward."""
    p = softmax(z)
    return float(-np.log(p[np.arange(len(y)), y]).mean()), (p, y)


def cross_entropy_backward(dloss: float, cache: Cache) -> Array:
    """(p - onehot(y)) / N."""
    p, y = cache
    dz = p.copy()
    dz[np.arange(len(y)), y] -= 1
    return dloss * dz / len(y)


def scores(nats_per_token: float, tokens: int, n_bytes: int) -> tuple[float, float]:
    """(perplexity, bits per byte) of a loss."""
    return math.exp(nats_per_token), nats_per_token * tokens / math.log(2) / n_bytes


def _texts(rng: Rng) -> Iterator[tuple]:
    yield np.array([0, 1, 0, 1, 2]), 3
    yield rng.integers(0, 7, 60), 7


def _counts(ids: Array, V: int, plus: float = 1) -> Array:
    counts = np.full((V, V), float(plus))
    np.add.at(counts, (ids[:-1], ids[1:]), 1)
    return counts


def _counted_once(ids: Array, V: int) -> Array:
    counts = np.ones((V, V))
    counts[ids[:-1], ids[1:]] += 1
    return counts / counts.sum(axis=1, keepdims=True)


def _logits(rng: Rng) -> Iterator[tuple]:
    yield (np.array([1.0, 2.0, 3.0]),)
    yield (rng.standard_normal((4, 5)),)
    yield (np.array([[1000.0, 0.0], [-1000.0, -1001.0]]),)
    yield (3 * rng.standard_normal((2, 3, 4)),)


def _exp(z: Array, axis: int | None = -1) -> Array:
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _losses(rng: Rng) -> Iterator[tuple]:
    yield np.log(np.array([[0.5, 0.25, 0.25]])), np.array([0])
    yield rng.standard_normal((6, 5)), rng.integers(0, 5, 6)
    yield np.array([[1000.0, 0.0]]), np.array([0])


def _nll(z: Array, y: Array) -> Array:
    return -np.log(softmax(z)[np.arange(len(y)), y])


def _keeps_p_and_y(forward: Any) -> Result:
    """The cache is (p, y), which the backward of the next exercise takes apart."""
    z, y = np.random.default_rng(0).standard_normal((6, 5)), np.arange(6) % 5
    cache = forward(z.copy(), y)[1]
    pair = isinstance(cache, (tuple, list)) and len(cache) == 2
    if pair and equal(cache[0], softmax(z)) and equal(cache[1], y):
        return Result()
    logits = " Here it holds the logits z." if pair and equal(cache[0], z) else ""
    return Result(
        [
            f"{forward.__name__}: the cache must be (p, y), the probabilities and the right ids: that is all the gradient needs.{logits}"
        ]
    )


def _every_row(dloss: float, z: Array, y: Array) -> Array:
    dz = softmax(z)
    dz[:, y] -= 1
    return dloss * dz / len(y)


LESSON = Lesson(
    "02_softmax_and_loss",
    "Softmax and loss: the first language model",
    (
        Exercise(
            "bigram_probabilities",
            "P(y|x) from counts",
            outputs(
                bigram_probabilities,
                _texts,
                {
                    "the columns sum to 1 and not the rows. P(y|x) is a distribution over y, for one x: divide each "
                    "row by its own sum (axis=1).": lambda i, V: _counts(i, V) / _counts(i, V).sum(0, keepdims=True),
                    "divided by the sum of all counts, this is P(x, y), how often the pair occurs. For P(y|x), divide "
                    "each row by its own sum.": lambda i, V: _counts(i, V) / _counts(i, V).sum(),
                    "one is missing in every count: pairs that were never seen get probability 0, and log 0 "
                    "is -inf. Start from ones.": lambda i, V: _counts(i, V, 0) / _counts(i, V, 0).sum(1, keepdims=True),
                    "a pair that occurs several times is counted once: counts[a, b] += 1 with arrays a, b adds once "
                    "for each different place. np.add.at adds every time.": _counted_once,
                    "the sums of the rows were laid along the columns: sum(axis=1, keepdims=True) keeps them in a "
                    "column.": lambda i, V: _counts(i, V) / _counts(i, V).sum(1),
                    "row and column are exchanged: the row is x, the token before.": lambda i, V: (
                        _counts(i[::-1], V) / _counts(i[::-1], V).sum(1, keepdims=True)
                    ),
                    "these are counts, not probabilities: divide each row by its sum.": _counts,
                },
            ),
            (bigram_probabilities,),
        ),
        Exercise(
            "softmax",
            "logits to probabilities, without overflow",
            outputs(
                softmax,
                _logits,
                {
                    "the sum runs over all rows together. Each row is a distribution of its own: axis=-1, "
                    "keepdims=True.": lambda z: (
                        np.exp(z - z.max(-1, keepdims=True)) / np.exp(z - z.max(-1, keepdims=True)).sum()
                    ),
                    "the largest and the sum are those of all rows together. Each row is a distribution of its own: axis=-1, "
                    "keepdims=True.": lambda z: np.exp(z - z.max()) / np.exp(z - z.max()).sum(),
                    "normalized over the first axis; it should be the last one, axis=-1.": lambda z: _exp(z, 0),
                    "right for small numbers, but exp of 1000 is infinity. Subtract each row's maximum "
                    "first.": lambda z: np.exp(z) / np.exp(z).sum(-1, keepdims=True),
                    "this is the logarithm of the probabilities.": lambda z: np.log(_exp(z)),
                    "not divided by the sum: the rows do not add up to 1.": lambda z: np.exp(
                        z - z.max(-1, keepdims=True)
                    ),
                },
            ),
            (softmax,),
        ),
        Exercise(
            "cross_entropy",
            "mean surprise, in nats",
            both(
                outputs(
                    lambda z, y: cross_entropy(z, y)[0],
                    _losses,
                    {
                        "this is the sum over tokens. The loss is their mean, or it would grow with the batch.": lambda z, y: (
                            float(_nll(z, y).sum())
                        ),
                        "this is one loss for each token. Take their mean.": _nll,
                        "the sign is wrong: log p is negative, a loss is -log p.": lambda z, y: float(
                            -_nll(z, y).mean()
                        ),
                        "this is in bits (log2). The field's unit is nats: the natural logarithm.": lambda z, y: float(
                            _nll(z, y).mean() / math.log(2)
                        ),
                        "this is -log of the mean probability. Take the logarithm of each first, then the "
                        "mean.": lambda z, y: float(-np.log(softmax(z)[np.arange(len(y)), y].mean())),
                        "z are logits, not probabilities: p = softmax(z) is missing before the logarithm.": lambda z, y: (
                            float(-np.log(z[np.arange(len(y)), y]).mean())
                        ),
                        "p[y] takes whole rows. Only the probability of the right token in each row counts: "
                        "p[np.arange(N), y].": lambda z, y: float(-np.log(softmax(z)[y]).mean()),
                        "this is the loss of the most likely tokens. The right ones are y: p[np.arange(N), y].": (
                            lambda z, y: float(-np.log(softmax(z).max(axis=1)).mean())
                        ),
                        "the loss of a token is -log p, not 1 - p.": lambda z, y: float(
                            (1 - softmax(z)[np.arange(len(y)), y]).mean()
                        ),
                        "this is minus the probability, without the logarithm.": lambda z, y: float(
                            -softmax(z)[np.arange(len(y)), y].mean()
                        ),
                        "p[:, y] takes N columns of every row. Only the probability of the right token in each row counts: "
                        "p[np.arange(N), y].": lambda z, y: float(-np.log(softmax(z)[:, y]).mean()),
                    },
                    cached=True,
                ),
                _keeps_p_and_y,
            ),
            (cross_entropy,),
        ),
        Exercise(
            "cross_entropy_backward",
            "(p - y) / N",
            gradients(
                lambda rng: (rng.standard_normal((6, 5)), rng.integers(0, 5, 6)),
                slips={
                    "dz[:, y] takes N columns of every row. In each row only the right token's entry gets the - 1: "
                    "dz[np.arange(N), y].": _every_row,
                    "the - 1 at the right tokens is missing: this is p, not p - y.": lambda d, z, y: (
                        d * softmax(z) / len(y)
                    ),
                    "not divided by N: the loss is a mean.": lambda d, z, y: (
                        len(y) * cross_entropy_backward(d, (softmax(z), y))
                    ),
                    "divided by the number of entries, N·V; the loss is a mean over the N positions.": lambda d, z, y: (
                        cross_entropy_backward(d, (softmax(z), y)) / z.shape[1]
                    ),
                },
            ),
            (cross_entropy, cross_entropy_backward),
        ),
        Exercise(
            "scores",
            "perplexity and bits per byte",
            outputs(
                scores,
                lambda rng: iter([(math.log(4.0), 10, 20), (1.7, 1000, 3100)]),
                {
                    "bits per byte: the nats of the whole text are loss · tokens; here tokens and bytes are "
                    "exchanged.": lambda L, n, b: (math.exp(L), L * b / math.log(2) / n),
                    "bits per byte: these are nats per byte. One bit is ln 2 nats, so divide by "
                    "math.log(2).": lambda L, n, b: (math.exp(L), L * n / b),
                    "bits per byte: multiplied by ln 2 where it must be divided: one bit is ln 2 = 0.693 nats, so "
                    "there are more bits than nats.": lambda L, n, b: (math.exp(L), L * n * math.log(2) / b),
                    "these are bits per token. The text has tokens of them; divide all bits by the number of bytes.": (
                        lambda L, n, b: (math.exp(L), L / math.log(2))
                    ),
                    "perplexity is exp(loss) for a loss in nats; 2 ** loss would be right for bits.": lambda L, n, b: (
                        2**L,
                        L * n / math.log(2) / b,
                    ),
                },
            ),
            (scores,),
        ),
    ),
)
