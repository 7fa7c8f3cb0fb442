"""Exercises of lesson 15: cross-attention, label smoothing, beam search and BLEU."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from numpylm.course.exercise import Exercise, Lesson, Result
from numpylm.course.judge import Rng, both, gradients, held_against, outputs
from numpylm.metrics.bleu import bleu as bleu_of_sentences
from numpylm.nn.functional import cross_entropy, cross_entropy_backward
from numpylm.nn.module import Array
from numpylm.nn.self_and_cross_attention import CrossAttention

B, T, S, C, H, V = 2, 3, 5, 12, 3, 7
END = 0


def padding_mask(lengths: Array, S: int) -> Array:
    """bool (B, 1, 1, S): True for real tokens."""
    return (np.arange(S) < lengths[:, None])[:, None, None, :]


def smoothed_cross_entropy(z: Array, y: int, epsilon: float = 0.1) -> tuple[float, Array]:
    """The loss of one position, and its gradient p - q."""
    loss, cache = cross_entropy(z[None], np.array([y]), label_smoothing=epsilon)
    return loss, cross_entropy_backward(1.0, cache)[0]


def beam_search(
    next_log_probs: Callable[[list[int]], Array], end: int, K: int = 4, alpha: float = 1.0, longest: int = 30
) -> list[int]:
    """The best text that a beam of K finds, in its simplest form."""
    return _search(next_log_probs, end, K, alpha, longest, K)


def _search(
    next_log_probs: Callable[[list[int]], Array], end: int, K: int, alpha: float, longest: int, width: int
) -> list[int]:
    """`beam_search` with K finished texts and a beam of another width."""
    beam: list[tuple[list[int], float]] = [([], 0.0)]
    finished: list[tuple[list[int], float]] = []
    while beam and len(finished) < K:
        continuations = [
            ([*ids, i], log_p + float(lp)) for ids, log_p in beam for i, lp in enumerate(next_log_probs(ids))
        ]
        continuations.sort(key=lambda pair: -pair[1])
        beam = []
        for ids, log_p in continuations:
            if ids[-1] == end or len(ids) == longest:
                finished.append((ids, log_p / len(ids) ** alpha))
            else:
                beam.append((ids, log_p))
            if len(beam) == width or len(finished) == K:
                break
    return max(finished, key=lambda pair: pair[1])[0]


def _crowded(
    next_log_probs: Callable[[list[int]], Array], end: int, K: int, alpha: float = 1.0, longest: int = 30
) -> list[int]:
    """`beam_search` with a mistake: finished texts take places of the beam."""
    beam: list[tuple[list[int], float]] = [([], 0.0)]
    finished: list[tuple[list[int], float]] = []
    while beam and len(finished) < K:
        best = sorted(
            (([*ids, i], log_p + float(lp)) for ids, log_p in beam for i, lp in enumerate(next_log_probs(ids))),
            key=lambda pair: -pair[1],
        )[:K]
        ended = [pair for pair in best if pair[0][-1] == end or len(pair[0]) == longest]
        finished += ended
        beam = [pair for pair in best if pair not in ended]
    return max(finished, key=lambda pair: pair[1] / len(pair[0]) ** alpha)[0]


def bleu(candidates: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> float:
    """BLEU with one reference each, without smoothing, from 0 to 100."""
    sentences = [" ".join(words) for words in candidates], [" ".join(words) for words in references]
    return bleu_of_sentences(*sentences, tokenize="none", smooth="none").score


def _lengths(rng: Rng) -> Any:
    yield np.array([2, 4]), 4
    yield rng.integers(1, 7, 5), 6


def _one_position(rng: Rng) -> Any:
    yield np.array([2.0, 0.0, 0.0, 0.0]), 0, 0.2
    yield rng.standard_normal(V), 3, 0.1
    yield 1000 * rng.standard_normal(V), 2, 0.1


def _q(n: int, y: int, epsilon: float) -> Array:
    q = np.full(n, epsilon / n)
    q[y] += 1 - epsilon
    return q


def _p(z: Array) -> Array:
    e = np.exp(z - z.max())
    return e / e.sum()


def _with_gradient(change: Callable[[Array, Array, Array], Array]) -> Callable:
    """The right loss with a wrong gradient: ``change(p, q, onehot)``."""

    def slip(z: Array, y: int, epsilon: float) -> tuple[float, Array]:
        return smoothed_cross_entropy(z, y, epsilon)[0], change(_p(z), _q(len(z), y, epsilon), np.eye(len(z))[y])

    return slip


def _spread_over_others(z: Array, y: int, epsilon: float) -> tuple[float, Array]:
    q = np.full(len(z), epsilon / (len(z) - 1))
    q[y] = 1 - epsilon
    return float(-(q * np.log(_p(z))).sum()), _p(z) - q


def _too_much(z: Array, y: int, epsilon: float) -> tuple[float, Array]:
    q = np.full(len(z), epsilon / (len(z) - 1))
    q[y] += 1 - epsilon
    shifted = z - z.max()
    log_p = shifted - np.log(np.exp(shifted).sum())
    return float(-(q * log_p).sum()), np.exp(log_p) - q


def _hides_padding(cls: Any) -> Result:
    """What stands in masked places of the memory does not change the output."""
    rng = np.random.default_rng(0)
    layer, x, memory = cls(C, H, dtype=np.float64), rng.standard_normal((B, T, C)), rng.standard_normal((B, S, C))
    mask = padding_mask(np.array([3, 5]), S)
    changed = memory.copy()
    changed[0, 3:] += 1
    if np.allclose(layer.forward(x, memory, mask)[0], layer.forward(x, changed, mask)[0]):
        return Result()
    return Result([f"{cls.__name__}: the output depends on padding. Is mask passed on to the attention?"])


def _table(seed: int, spread: float = 2.0) -> Callable[[list[int]], Array]:
    """Log-probabilities of the next of 5 tokens, fixed for each beginning; token 0 ends a text."""

    def next_log_probs(ids: list[int]) -> Array:
        z = spread * np.random.default_rng([seed, len(ids), *ids]).standard_normal(5)
        return z - np.log(np.exp(z).sum())

    return next_log_probs


def _tree(ids: list[int]) -> Array:
    """The likeliest first token leads to an end with a low probability; greedy search takes it."""
    tables = {(): [0.05, 0.5, 0.45], (1,): [0.4, 0.3, 0.3], (2,): [0.9, 0.05, 0.05]}
    return np.log(np.array(tables.get(tuple(ids), [0.8, 0.1, 0.1])))


def _searches(rng: Rng) -> Any:
    yield _tree, END, 1
    yield _tree, END, 2
    for seed in range(6):
        yield _table(seed), END, 3, 1.0, 8
        yield _table(seed), END, 4, 0.0, 6
    yield _never_ends, END, 2, 1.0, 5


def _never_ends(ids: list[int]) -> Array:
    """The end is so unlikely that only the limit ends a text."""
    if len(ids) >= 12:
        raise ValueError(
            "a text has become longer than `longest`: such a text is finished, with or without its end token"
        )
    return np.log(np.array([1e-9, 0.6, 0.4]))


def _texts(rng: Rng) -> Any:
    one = ["a", "b", "c", "d", "e", "f"]
    yield [one], [one]
    yield [["the", "the", "the", "cat", "sat", "on", "a", "mat"]], [["the", "cat", "sat", "on", "a", "mat", "today"]]
    yield [["a", "b", "c", "d", "e"]], [["a", "b", "c", "d", "e", "f", "g", "h"]]
    words = [[list(rng.choice(list("abc"), n)) for n in (9, 12, 7)] for _ in range(2)]
    yield [list(map(str, w)) for w in words[0]], [list(map(str, w)) for w in words[1]]
    yield [["x", "y"]], [["a", "b"]]


def _counted(candidates: Any, references: Any, *, clip: bool = True, brevity: bool = True) -> float:
    """BLEU without clipping, or without the brevity penalty."""
    right, total = np.zeros(4), np.zeros(4)
    for words, reference in zip(candidates, references, strict=True):
        for n in range(1, 5):
            mine = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
            theirs = [tuple(reference[i : i + n]) for i in range(len(reference) - n + 1)]
            hits = {gram: mine.count(gram) for gram in set(mine) & set(theirs)}
            right[n - 1] += sum(min(c, theirs.count(g)) if clip else c for g, c in hits.items())
            total[n - 1] += len(mine)
    if not right.all():
        return 0.0
    c, r = sum(map(len, candidates)), sum(map(len, references))
    return float(100 * (math.exp(min(0.0, 1 - r / c)) if brevity else 1) * np.exp(np.log(right / total).mean()))


LESSON = Lesson(
    "15_translation",
    "Translation: the Transformer of 2017",
    (
        Exercise(
            "padding_mask",
            "which tokens are real",
            outputs(
                padding_mask,
                _lengths,
                {
                    "True must stand for real tokens; here it stands for padding.": lambda n, s: ~padding_mask(n, s),
                    "the mask lets one token of padding through: positions count from 0, so the last real one is "
                    "length - 1.": lambda n, s: padding_mask(n + 1, s),
                    "real tokens come first in each sentence, and padding at the end; here it is the other way round.": (
                        lambda n, s: padding_mask(n, s)[..., ::-1]
                    ),
                    "the right entries with shape (B, S): it must broadcast against scores (B, H, T, S). Add two axes of "
                    "length 1: [:, None, None, :].": lambda n, s: padding_mask(n, s)[:, 0, 0],
                    "the two axes of length 1 are in the wrong places. Keys are the last axis of the scores "
                    "(B, H, T, S): [:, None, None, :].": lambda n, s: padding_mask(n, s).swapaxes(-1, -2),
                },
            ),
            (padding_mask,),
        ),
        Exercise(
            "CrossAttention",
            "queries from the decoder, keys and values from the encoder",
            both(
                held_against("CrossAttention"),
                _hides_padding,
                gradients(
                    lambda rng: (rng.standard_normal((B, T, C)), rng.standard_normal((B, S, C))),
                    lambda cls: cls(C, H, dtype=np.float64),
                    mask=padding_mask(np.array([3, 5]), S),
                ),
            ),
            (CrossAttention,),
        ),
        Exercise(
            "smoothed_cross_entropy",
            "a loss with smoothed labels, and its gradient",
            outputs(
                smoothed_cross_entropy,
                _one_position,
                {
                    "dz: this is p - onehot(y), the gradient without smoothing. The target is q now.": _with_gradient(
                        lambda p, q, onehot: p - onehot
                    ),
                    "dz: the sign. The gradient is p - q, as p - y was.": _with_gradient(lambda p, q, onehot: q - p),
                    "dz: this is p alone; the target q is missing.": _with_gradient(lambda p, q, onehot: p),
                    "ε is spread over the other V - 1 tokens here. In the paper all V tokens get ε/V, the right one as "
                    "well.": _spread_over_others,
                    "the targets q sum to more than 1: each of the V tokens gets ε/V, and the right one 1 - ε on top.": (
                        _too_much
                    ),
                    "this is the loss without smoothing.": lambda z, y, e: (
                        smoothed_cross_entropy(z, y, 0.0)[0],
                        _p(z) - _q(len(z), y, e),
                    ),
                },
            ),
            (smoothed_cross_entropy,),
        ),
        Exercise(
            "beam_search",
            "the K best beginnings",
            outputs(
                beam_search,
                _searches,
                {
                    "this is a greedy search: K beginnings must be kept at each step, not one.": (
                        lambda f, end, K, alpha=1.0, longest=30: _search(f, end, K, alpha, longest, 1)
                    ),
                    "a finished text takes no place in the beam. After it, go on until the beam has K texts that can "
                    "still grow.": _crowded,
                    "finished texts are compared without the length: divide log P by length ** alpha.": (
                        lambda f, end, K, alpha=1.0, longest=30: beam_search(f, end, K, 0.0, longest)
                    ),
                    "log P is multiplied by length ** alpha; it must be divided by it.": (
                        lambda f, end, K, alpha=1.0, longest=30: beam_search(f, end, K, -alpha, longest)
                    ),
                },
            ),
            (beam_search,),
        ),
        Exercise(
            "bleu",
            "n-grams that are right",
            outputs(
                bleu,
                _texts,
                {
                    "clipping is missing: an n-gram counts at most as often as in the reference.": (
                        lambda a, b: _counted(a, b, clip=False)
                    ),
                    "the brevity penalty is missing.": lambda a, b: _counted(a, b, brevity=False),
                    "the result goes from 0 to 1 here; BLEU is given from 0 to 100.": lambda a, b: bleu(a, b) / 100,
                    "BLEU of each sentence, and then the mean. Sum the counts over all sentences first.": (
                        lambda a, b: np.mean([bleu([x], [y]) for x, y in zip(a, b, strict=True)])
                    ),
                },
            ),
            (bleu,),
        ),
    ),
)
