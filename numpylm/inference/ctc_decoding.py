"""Reading a text from the outputs of CTC: the most probable path, or prefix beam search, which adds up paths."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from numpylm.inference.log_probs import log_softmax
from numpylm.nn.module import Array

NONE = -np.inf  # log 0


class Decoded(NamedTuple):
    """A label sequence that was found."""

    ids: list[int]
    log_prob: float  # in nats; of one path for `greedy_ctc`, of all paths that were kept for `prefix_beam_search`


def greedy_ctc(logits: Array, lengths: Sequence[int] | Array | None = None, blank: int = 0) -> list[Decoded]:
    """Best-path decoding: the most probable label of each frame, then repeats merged and blanks removed.

    The most probable *path* need not belong to the most probable *text*, whose probability is a sum over many paths
    (Graves et al. 2006, section 3.2, equation 4).

    Parameters
    ----------
    logits : array (B, T, V)
    lengths : int array (B,), optional
        The number of real frames of each row. Default: all are real.
    blank : int
    """
    log_y = log_softmax(np.asarray(logits, np.float64))
    found = []
    for row, length in zip(log_y, [log_y.shape[1]] * len(log_y) if lengths is None else lengths, strict=True):
        path = row[:length].argmax(axis=-1)
        found.append(Decoded(collapsed(path, blank), float(row[:length].max(axis=-1).sum())))
    return found


def collapsed(path: Sequence[int] | Array, blank: int = 0) -> list[int]:
    """B(path): merge repeated labels, then remove the blanks."""
    path = np.asarray(path)
    changes = np.ones(len(path), bool)
    changes[1:] = path[1:] != path[:-1]
    return [int(label) for label in path[changes] if label != blank]


def prefix_beam_search(logits: Array, beam: int = 16, blank: int = 0) -> list[Decoded]:
    """The label sequences with the highest p(l | x) that are found, the best first, for one sound.

    Parameters
    ----------
    logits : array (T, V)
        Of the real frames.
    beam : int
        K, how many prefixes are kept after each frame; and only the K most probable labels of a frame are appended. If
        K is at least the number of all prefixes, the result is exact. Texts with probability 0 are left out.
    blank : int

    Raises
    ------
    ValueError
        If K is no whole number above 0, or logits are NaN.

    Notes
    -----
    Different paths lead to the same prefix l, so their probabilities are added before anything is dropped. Two sums are
    kept for each prefix: over the paths that end with a blank, and over those that end with its last label k. With l'
    for l without k,

        p_blank(l) ← y(blank) (p_blank(l) + p_label(l))
        p_label(l) ← y(k) (p_label(l) + p_blank(l') + [k ≠ last of l'] p_label(l'))

    Without a blank between them, two equal labels are one, so the last term is left out if l' ends with k. (Hannun et
    al. 2014, arXiv:1408.2873, algorithm 1, here without a language model.)
    """
    if beam < 1 or int(beam) != beam:
        raise ValueError(f"beam must be a whole number of at least 1, got {beam}")
    if np.isnan(logits).any():
        raise ValueError("the logits must be numbers, and some are NaN")
    kept: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, NONE)}
    for log_y in log_softmax(np.asarray(logits, np.float64)):
        likely = [int(k) for k in np.argsort(-log_y, kind="stable") if k != blank][:beam]
        extended = _next(kept, log_y, likely, blank)
        possible = [prefix for prefix, both in extended.items() if max(both) > NONE]
        best = sorted(possible, key=lambda prefix: -np.logaddexp(*extended[prefix]))[:beam]
        kept = {prefix: extended[prefix] for prefix in best}
    return [Decoded(list(prefix), float(np.logaddexp(*both))) for prefix, both in kept.items()]


def _next(
    kept: dict[tuple[int, ...], tuple[float, float]], log_y: Array, likely: Sequence[int], blank: int
) -> dict[tuple[int, ...], tuple[float, float]]:
    """All prefixes after one more frame, with ln p_blank and ln p_label."""
    p_blank: dict[tuple[int, ...], float] = defaultdict(lambda: NONE)
    p_label: dict[tuple[int, ...], float] = defaultdict(lambda: NONE)
    for prefix, (ends_blank, ends_label) in kept.items():
        either = np.logaddexp(ends_blank, ends_label)
        p_blank[prefix] = np.logaddexp(p_blank[prefix], either + log_y[blank])
        if prefix:
            p_label[prefix] = np.logaddexp(p_label[prefix], ends_label + log_y[prefix[-1]])
        for k in likely:
            before = ends_blank if prefix and k == prefix[-1] else either
            longer = (*prefix, k)
            p_label[longer] = np.logaddexp(p_label[longer], before + log_y[k])
    return {prefix: (p_blank[prefix], p_label[prefix]) for prefix in [*p_blank, *(p_label.keys() - p_blank.keys())]}
