"""Exercises of lesson 13: splitting documents without a leak, and surprise token by token."""

import math
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np

from numpylm.course.exercise import Exercise, Lesson, Result
from numpylm.course.judge import Rng, outputs
from numpylm.nn.module import Array


def split_documents_train_val(
    documents: list[str], fraction: float, rng: np.random.Generator
) -> tuple[list[str], list[str]]:
    """Training and validation documents: a random share of the different ones is for validation, and copies stay together."""
    distinct = list(dict.fromkeys(documents))
    n = max(1, round(fraction * len(distinct)))
    chosen = {distinct[i] for i in rng.permutation(len(distinct))[:n]}
    return [d for d in documents if d not in chosen], [d for d in documents if d in chosen]


def token_surprise(z: Array, y: Array) -> Array:
    """-log softmax(z)[n, y_n] for each position n, in nats; z (N, V), y (N,)."""
    z = z - z.max(axis=-1, keepdims=True)
    return np.log(np.exp(z).sum(axis=-1)) - z[np.arange(len(y)), y]


# ------------------------------------------------------------------------------------------------- splitting


class _Text(str):
    """A text with a hash that we choose. Python gives texts other hashes in every run; a set is in their order."""

    turn = 0

    def __hash__(self) -> int:
        return super().__hash__() ^ (_Text.turn * 0x5BD1E995)


def _runs_differ(split: Callable, documents: list[str]) -> bool:
    """Whether the same rng would give another split in another run of Python."""
    sides = []
    for _Text.turn in (0, 1, 2):
        _, val = split([_Text(text) for text in documents], FRACTION, np.random.default_rng(3))
        sides.append(sorted(map(str, val)))
    return sides[0] != sides[1] or sides[0] != sides[2]


FRACTION = 0.2


def _split_is_clean(split: Callable) -> Result:
    """The properties of a good split, each with a message for a split that lacks it."""
    name = getattr(split, "__name__", "it")

    def wrong(text: str) -> Result:
        return Result([f"{name}: {text}"])

    def run(documents: list[str], seed: int) -> tuple[list[str], list[str]]:
        return split(list(documents), FRACTION, np.random.default_rng(seed))

    plain = [f"document {i}: " + "word " * (20 + i % 7) for i in range(60)]
    copied = [text for i, text in enumerate(plain[:30]) for _ in range(1 + 3 * (i % 2))]
    for documents in (plain, copied):
        got = run(documents, 0)
        if got is None:
            return wrong("it returns None. Is the return missing?")
        if not (isinstance(got, (tuple, list)) and len(got) == 2):
            return wrong("it must return two lists, training and validation.")
        train, val = map(list, got)
        if any(text not in documents for text in [*train, *val]):
            return wrong(
                "it returns texts that were not among the documents. Documents must stay whole: if one is cut, "
                "its two halves may be on both sides."
            )
        if problem := _places(train, val, documents):
            return wrong(problem)
        if problem := _sizes(train, val, documents):
            return wrong(problem)
    given = list(plain)
    split(given, FRACTION, np.random.default_rng(0))
    if given != plain:
        return wrong("changes the order of its argument documents (rng.shuffle works in place): make a new list.")
    if set(run(plain, 3)[1]) != set(run(plain, 3)[1]):
        return wrong(
            "the same rng gives different splits: draw with rng, not with np.random or random, so that your run can be repeated."
        )
    if _runs_differ(split, plain):
        return wrong(
            "the same rng gives another split whenever Python starts again: a set of texts has another order each time. "
            "list(dict.fromkeys(documents)) also leaves out copies, and keeps the order."
        )
    if set(run(plain, 1)[1]) == set(run(plain, 2)[1]):
        return wrong(
            "the same documents are used for validation with every rng. Files are often sorted, so the first or last ones are not like "
            "the rest: draw with rng."
        )
    counts = sorted({len(set(run(plain, seed)[1])) for seed in range(8)})
    if len(counts) > 1:
        return wrong(
            f"the number of validation documents depends on chance: {counts[0]} to {counts[-1]} of 60. Was one of them drawn "
            "twice, or a coin tossed for each? Draw a fixed number, without replacement: rng.permutation(n)[:k]."
        )
    if not run(plain[:2], 0)[1]:
        return wrong("with two documents, none is used for validation. At least one must be: max(1, …).")
    return Result([], "whole documents, no copy on both sides")


def _places(train: list[str], val: list[str], documents: list[str]) -> str:
    """Is every document on exactly one side, with all its copies?"""
    both = set(train) & set(val)
    if both:
        copies = Counter(documents)
        if all(copies[text] > 1 for text in both):
            return (
                f"{len(both)} documents that occur several times have copies on both sides: the model would be tested on "
                "text that it has memorized. Choose among the different documents, then send every copy to its side."
            )
        return f"{len(both)} documents are in the training and in the validation text: each belongs to one side only."
    missing = set(documents) - set(train) - set(val)
    if missing:
        return f"{len(missing)} of {len(set(documents))} documents are on neither side."
    if Counter([*train, *val]) != Counter(documents):
        return (
            "copies were dropped (or made): together, the two sides must hold each document as often as it was given. "
            "Removing copies is part of cleaning, and not of this function."
        )
    return ""


def _sizes(train: list[str], val: list[str], documents: list[str]) -> str:
    """Is about the right share of the different documents used for validation?"""
    different = len(set(documents))
    n, wanted = len(set(val)), round(FRACTION * different)
    if abs(n - wanted) <= 1:
        return ""
    if abs(len(set(train)) - wanted) <= 1:
        return "training and validation are swapped: the first list must be the training documents, the larger part."
    if abs(n - round(FRACTION * len(documents))) <= 1:
        return (
            f"the share was taken of all documents, copies included: of {different} different ones {wanted} should "
            f"be for validation, here {n} are."
        )
    return (
        f"with fraction {FRACTION}, {wanted} of {different} different documents should be for validation; here {n} are."
    )


# -------------------------------------------------------------------------------------------------- surprise


def _logits(rng: Rng) -> Iterator[tuple]:
    yield np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])), np.array([0, 1])
    yield 3 * rng.standard_normal((6, 5)), rng.integers(0, 5, 6)
    yield np.array([[1000.0, 0.0, 999.0], [0.0, -1000.0, 0.0]]), np.array([0, 0])
    yield np.array([[1000.0, 0.0, 999.0]]), np.array([1])


def _p(z: Array, axis: int = -1) -> Array:
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _right(p: Array, y: Array) -> Array:
    return p[np.arange(len(y)), y]


LESSON = Lesson(
    "13_your_own_text",
    "Your own text",
    (
        Exercise(
            "split_documents_train_val",
            "whole documents, no copy on both sides",
            _split_is_clean,
            (split_documents_train_val,),
        ),
        Exercise(
            "token_surprise",
            "-log p of each token, from logits",
            outputs(
                token_surprise,
                _logits,
                {
                    "this is the mean, the loss. Here each position keeps its own number: (N,).": lambda z, y: float(
                        token_surprise(z, y).mean()
                    ),
                    "the sign is wrong: log p is negative, surprise is -log p.": lambda z, y: -token_surprise(z, y),
                    "this is in bits (log2). One bit is ln 2 nats: use the natural logarithm.": lambda z, y: (
                        token_surprise(z, y) / math.log(2)
                    ),
                    "the logarithm of the sum is log2 (bits), but logits are in nats: use np.log.": lambda z, y: (
                        np.log2(np.exp(z - z.max(-1, keepdims=True)).sum(-1)) - _right(z - z.max(-1, keepdims=True), y)
                    ),
                    "these are the probabilities of the right tokens. Surprise is their -log.": lambda z, y: _right(
                        _p(z), y
                    ),
                    "this is the surprise at every token that could have come, (N, V). Pick the one that came: "
                    "[np.arange(N), y].": lambda z, y: -np.log(_p(z)),
                    "z[:, y] takes N columns of every row. One number for each row: z[np.arange(N), y].": lambda z, y: (
                        -np.log(_p(z))[:, y]
                    ),
                    "normalized over the positions. Each row is a distribution over tokens: axis=-1.": lambda z, y: (
                        _right(-np.log(_p(z, 0)), y)
                    ),
                    "the sum runs over all rows together. Each row has its own: axis=-1.": lambda z, y: (
                        np.log(np.exp(z - z.max(-1, keepdims=True)).sum()) - _right(z - z.max(-1, keepdims=True), y)
                    ),
                    "the largest logit was subtracted in the sum but not in z_y (or the other way round): both must "
                    "lose it.": lambda z, y: token_surprise(z, y) - z.max(-1),
                    "right, until a probability underflows: log 0 is -inf. Do not compute the probability; "
                    "log Σ exp z_j - z_y needs none.": lambda z, y: -np.log(_right(_p(z), y)),
                    "right for small numbers, but exp of 1000 is infinity. Subtract each row's maximum "
                    "first.": lambda z, y: np.log(np.exp(z).sum(-1)) - _right(z, y),
                },
            ),
            (token_surprise,),
        ),
    ),
)
