"""Exercises of lesson 19: sequences with a fresh map, accuracy by the number of examples, attention to what followed"""

from collections.abc import Callable, Iterator

import numpy as np

from numpylm.course.exercise import Exercise, Lesson
from numpylm.course.judge import Rng, outputs
from numpylm.nn.module import Array

MOST = 8


def map_sequences(symbols: Array, labels: Array, chosen: Array) -> Array:
    """Rows "symbol label symbol label …" (B, 2P): the symbols (B, K) and their labels (B, K), in the order of chosen (B, P)."""
    ids = np.empty((len(chosen), 2 * chosen.shape[1]), int)
    ids[:, ::2] = np.take_along_axis(symbols, chosen, axis=1)
    ids[:, 1::2] = np.take_along_axis(labels, chosen, axis=1)
    return ids


def examples_before(symbols: Array) -> Array:
    """How often each symbol of a row (B, P) occurs before it in the row."""
    same = symbols[:, :, None] == symbols[:, None, :]  # (B, P, P)
    return (same & np.tri(symbols.shape[1], k=-1, dtype=bool)).sum(axis=-1)


def accuracy_by_examples(hits: Array, symbols: Array) -> Array:
    """The share of hits (B, P) where the symbol has 0, 1, … 8 examples before it: (9,)."""
    seen = examples_before(symbols)
    return np.array([hits[seen == n].mean() for n in range(MOST + 1)])


def follower_attention(attention: Array, ids: Array) -> Array:
    """Mean attention (H,) from symbols that occurred before to the tokens after their earlier occurrences.

    attention (B, H, T, T), ids (B, T); symbols are at even positions.
    """
    scores = []
    for weights, row in zip(attention, ids, strict=True):
        for t in range(0, len(row), 2):
            earlier = np.flatnonzero(row[:t] == row[t])
            if len(earlier):
                scores.append(weights[:, t, earlier + 1].sum(axis=-1))
    return np.mean(scores, axis=0)


# ------------------------------------------------------------------------------------------ test cases


def _maps(rng: Rng) -> Iterator[tuple]:
    yield np.array([[3, 5]]), np.array([[8, 9]]), np.array([[1, 0, 1]])
    yield (
        rng.permuted(np.tile(np.arange(8), (4, 1)), axis=1)[:, :3],
        rng.integers(8, 12, (4, 3)),
        rng.integers(0, 3, (4, 7)),
    )


def _answers(rng: Rng) -> Iterator[tuple]:
    symbols = rng.integers(0, 3, (5, 40))
    yield rng.random((5, 40)) < (examples_before(symbols) + 1) / 12, symbols


def _attentions(rng: Rng) -> Iterator[tuple]:
    ids = np.empty((3, 12), int)
    ids[:, ::2], ids[:, 1::2] = rng.integers(0, 3, (3, 6)), rng.integers(3, 5, (3, 6))
    weights = np.tril(rng.random((3, 2, 12, 12)))
    yield weights / weights.sum(axis=-1, keepdims=True), ids


# --------------------------------------------------------------------------------------- wrong answers


def _counted(change: Callable[[Array], Array]) -> Callable[[Array, Array], Array]:
    """`accuracy_by_examples` with another count."""

    def slip(hits: Array, symbols: Array) -> Array:
        seen = change(symbols)
        return np.array([hits[seen == n].mean() if (seen == n).any() else np.nan for n in range(MOST + 1)])

    return slip


def _attended(
    shift: int = 1, *, only_last: bool = False, every: int = 2, mean: bool = False, swap: bool = False
) -> Callable:
    """`follower_attention` of other keys or queries."""

    def slip(attention: Array, ids: Array) -> Array:
        scores = []
        for weights, row in zip(attention.swapaxes(-1, -2) if swap else attention, ids, strict=True):
            for t in range(0, len(row), every):
                earlier = np.flatnonzero(row[:t] == row[t])[-1 if only_last else 0 :]
                if len(earlier):
                    found = weights[:, t, earlier + shift]
                    scores.append(found.mean(axis=-1) if mean else found.sum(axis=-1))
        return np.mean(scores, axis=0)

    return slip


def _with_all_positions(attention: Array, ids: Array) -> Array:
    """A symbol without an earlier occurrence counts as 0."""
    scores = [
        weights[:, t, np.flatnonzero(row[:t] == row[t]) + 1].sum(axis=-1)
        for weights, row in zip(attention, ids, strict=True)
        for t in range(0, len(row), 2)
    ]
    return np.mean(scores, axis=0)


LESSON = Lesson(
    "19_in_context",
    "Learning in context",
    (
        Exercise(
            "map_sequences",
            "rows of examples of a map",
            outputs(
                map_sequences,
                _maps,
                {
                    "labels and symbols are swapped: the symbol comes first, at even positions.": lambda s, a, c: (
                        map_sequences(a, s, c)
                    ),
                    "all symbols come first, then all labels. Each label must follow its symbol.": lambda s, a, c: (
                        np.concatenate([np.take_along_axis(s, c, 1), np.take_along_axis(a, c, 1)], axis=1)
                    ),
                    "chosen itself is in the rows. It holds places in symbols and in labels: take what stands "
                    "there.": lambda s, a, c: np.stack([c, np.take_along_axis(a, c, 1)], axis=2).reshape(len(c), -1),
                    "every row uses the map of the first row. Row b has its own: symbols[b] and labels[b].": lambda s, a, c: (
                        np.stack([s[0][c], a[0][c]], axis=2).reshape(len(c), -1)
                    ),
                },
            ),
            (map_sequences,),
        ),
        Exercise(
            "accuracy_by_examples",
            "what each further example is worth",
            outputs(
                accuracy_by_examples,
                _answers,
                {
                    "the symbol itself is counted as an example, so everything is one place too far to the "
                    "right.": _counted(lambda s: examples_before(s) + 1),
                    "this counts all examples before a symbol. Count those with the same symbol.": _counted(
                        lambda s: np.broadcast_to(np.arange(s.shape[1]), s.shape)
                    ),
                    "this counts how often the symbol occurs in the whole row. Count only the occurrences before "
                    "it.": _counted(lambda s: (s[:, :, None] == s[:, None, :]).sum(axis=-1)),
                    "this counts the occurrences after the symbol, not before it.": _counted(
                        lambda s: examples_before(s[:, ::-1])[:, ::-1]
                    ),
                    "these are numbers of right answers. An accuracy is a share: divide by the number of answers, "
                    "separately for each n.": lambda h, s: np.array(
                        [h[examples_before(s) == n].sum() for n in range(MOST + 1)]
                    ),
                    "the last entry is missing: 0 to 8 are nine numbers.": lambda h, s: accuracy_by_examples(h, s)[:-1],
                },
            ),
            (accuracy_by_examples,),
        ),
        Exercise(
            "follower_attention",
            "the attention to what followed earlier occurrences",
            outputs(
                follower_attention,
                _attentions,
                {
                    "this is the attention to the earlier occurrences themselves. The label is one position to the "
                    "right.": _attended(0),
                    "only the latest occurrence is used. Sum over all earlier ones.": _attended(only_last=True),
                    "this is the mean over the earlier occurrences. A head may divide its attention among them, so take "
                    "the sum.": _attended(mean=True),
                    "labels look, too. Only symbols should, at even positions.": _attended(every=1),
                    "queries and keys are swapped: attention[b, h, t, s] is what position t takes from position "
                    "s.": _attended(swap=True),
                    "symbols without an earlier occurrence are in the mean. For them there is nothing to look at, so leave "
                    "them out.": _with_all_positions,
                    "the heads are averaged, too. Keep them apart: the result has shape (H,).": lambda a, i: (
                        follower_attention(a, i).mean()
                    ),
                },
            ),
            (follower_attention,),
        ),
    ),
)
