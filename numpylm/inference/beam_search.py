"""Beam search: the most probable text that a model finds while it keeps several candidates at each step."""

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from numpylm.nn.module import Array

LARGEST_PENALTY = 20
BLOCK = 128  # columns of a block of logits
ROUNDING = 1e-3  # a bound that is this much lower loses nothing to rounding


class Hypothesis(NamedTuple):
    """A finished text."""

    ids: list[int]  # with its end token, if it has one
    log_prob: float  # log P(ids), in nats
    score: float  # log_prob / length^α

    @classmethod
    def of(cls, ids: list[int], log_prob: float, length_penalty: float) -> "Hypothesis":
        return cls(ids, log_prob, log_prob / len(ids) ** length_penalty)


def beam_search(
    model: Any,
    past: Any,
    start_id: int,
    end_id: int,
    max_new_tokens: int | Sequence[int],
    beam: int = 5,
    length_penalty: float = 1.0,
    forbidden_ids: Collection[int] = (),
    at_least_greedy: bool = True,
) -> list[Hypothesis]:
    """The best text that is found for each of B sources.

    Parameters
    ----------
    model : Transformer, or any model with ``logits = model.read(ids, past)``
    past : DecoderPast
        What ``model.new_past(sources, …)`` returned. It can be used only once.
    start_id, end_id : int
        The first token of every text, which is not returned, and the token that ends it.
    max_new_tokens : int, or one for each source
        The longest text, with its end token.
    beam : int
        K, the number of candidates that are kept. With 1 the search is greedy.
    length_penalty : float
        α. Finished texts are compared by log P(text) / length^α. 0 favors short texts, because each token makes a text
        less probable; 1 compares the mean over tokens.
    forbidden_ids : collection of int
        Tokens that are never chosen, such as padding.
    at_least_greedy : bool
        Search greedily as well, and return that text where it has the higher score. (A wide beam can lose the greedy
        text at an early step.)

    Returns
    -------
    list of Hypothesis, one for each source

    Notes
    -----
    At each step all K V continuations of the K candidates are compared, and the 2K most probable are looked at in
    order. One that ends is a finished text if it is among the first K. The first K that do not end are the next
    candidates. A source is done when it has K finished texts, and when the best candidate could not beat the worst of
    them if it ended now. A finished text keeps its own length. These are the rules of transformers' ``generate`` with
    ``early_stopping=False``.
    """
    count = len(past.sources[0][0])
    limits = np.broadcast_to(max_new_tokens, count)
    for name, value in (("beam", beam), ("max_new_tokens", limits.min(initial=1))):
        if value < 1 or int(value) != value:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value}")
    if not abs(length_penalty) <= LARGEST_PENALTY:
        raise ValueError(
            f"length_penalty must lie between -{LARGEST_PENALTY} and {LARGEST_PENALTY}, got {length_penalty}"
        )
    if past.written[0].length:
        raise ValueError("this past was used already: make a new one with model.new_past")
    rows = np.arange(count)
    greedy: Any = past.select(rows, rows) if at_least_greedy and beam > 1 else None
    best = _search(model, past, start_id, end_id, limits, beam, length_penalty, forbidden_ids)
    if greedy is None:
        return best
    others = _search(model, greedy, start_id, end_id, limits, 1, length_penalty, forbidden_ids)
    return [max(pair, key=lambda hypothesis: hypothesis.score) for pair in zip(best, others, strict=True)]


class _Source:
    """The candidates and the finished texts of one source."""

    def __init__(self) -> None:
        self.texts: list[list[int]] = [[]]
        self.finished: list[Hypothesis] = []


def _search(
    model: Any,
    past: Any,
    start_id: int,
    end_id: int,
    limits: Array,
    beam: int,
    length_penalty: float,
    forbidden_ids: Collection[int],
) -> list[Hypothesis]:
    sources = [_Source() for _ in range(len(past.sources[0][0]))]
    active = np.arange(len(sources))
    log_probs = np.zeros((len(sources), 1))  # (A, W): of the W candidates of each of the A active sources
    ids = np.full((len(sources), 1), start_id)
    for length in range(1, int(limits.max()) + 1):
        logits = model.read(ids, past)  # (A W, V)
        best = best_continuations(logits, log_probs, 2 * beam, forbidden_ids)
        going, parents, tokens, kept = [], [], [], []
        for place, number in enumerate(active):
            source, last = sources[number], length == limits[number]
            chosen = _extend(source, best[place], end_id, last, beam, length_penalty)
            if chosen and not _done(source, chosen[0][2], beam, length, length_penalty):
                going.append(place)
                parents.append([place * log_probs.shape[1] + parent for parent, _, _ in chosen])
                tokens.append([token for _, token, _ in chosen])
                kept.append([log_prob for _, _, log_prob in chosen])
        if not going:
            break
        rows, ids = np.concatenate(parents), np.reshape(tokens, (-1, 1))
        if len(going) == len(active) and log_probs.shape[1] == beam:
            past.reorder(rows)
        else:  # the first step, or some sources are done
            past = past.select(rows, np.array(going))
        active, log_probs = active[going], np.array(kept)
    if not all(source.finished for source in sources):
        raise ValueError("no text could be finished: all continuations are forbidden")
    return [max(source.finished, key=lambda hypothesis: hypothesis.score) for source in sources]


Continuation = tuple[int, int, float]  # number of the candidate, token, log P of the text with this token


def _extend(
    source: _Source, best: list[Continuation], end_id: int, last: bool, beam: int, length_penalty: float
) -> list[Continuation]:
    """One step of one source: finish texts, and return the next candidates."""
    chosen: list[Continuation] = []
    for rank, (parent, token, log_prob) in enumerate(best):
        if token == end_id or last:
            if rank < beam and math.isfinite(log_prob):
                source.finished.append(Hypothesis.of([*source.texts[parent], token], log_prob, length_penalty))
        elif len(chosen) < beam:
            chosen.append((parent, token, log_prob))
    while 0 < len(chosen) < beam:  # a tiny vocabulary has fewer continuations: copies that can never win
        chosen.append((*chosen[0][:2], -math.inf))
    source.finished = sorted(source.finished, key=lambda hypothesis: -hypothesis.score)[:beam]
    source.texts = [[*source.texts[parent], token] for parent, token, _ in chosen]
    return chosen


def _done(source: _Source, best: float, beam: int, length: int, length_penalty: float) -> bool:
    """Whether a source has K finished texts that its candidates, of this length and log P <= ``best``, cannot beat."""
    return len(source.finished) == beam and best / length**length_penalty <= source.finished[-1].score


def best_continuations(
    logits: Array, log_probs: Array, count: int, forbidden_ids: Collection[int] = ()
) -> list[list[Continuation]]:
    """For each source, the ``count`` continuations with the largest log P, the largest first.

    Parameters
    ----------
    logits : array (A W, V)
        Of the next token, for the W candidates of each of A sources. Forbidden ones are set to -inf in place.
    log_probs : array (A, W)
        log P of the candidates, the largest first.

    Notes
    -----
    log P of a continuation is its logit plus a number for its row: log P of the candidate minus log Σ exp(logits). The
    columns are divided into blocks. The count-th largest of a source's block maxima bounds the values that are wanted
    from below, because at least so many values reach it. So only the few blocks with a maximum above it are looked at,
    and only the few values above it are sorted.
    """
    A, W = log_probs.shape
    V = logits.shape[1]
    starts = np.arange(0, V, BLOCK)
    maxima = np.maximum.reduceat(logits, starts, axis=1)  # (A W, blocks)
    top = maxima.max(axis=1, keepdims=True)
    shifted = logits - top
    offset = log_probs.ravel() - (top[:, 0] + np.log(np.exp(shifted, out=shifted).sum(axis=1)))  # (A W,)
    logits[:, list(forbidden_ids)] = -np.inf
    for block in {token // BLOCK for token in forbidden_ids}:
        maxima[:, block] = logits[:, block * BLOCK : (block + 1) * BLOCK].max(axis=1)
    best = (maxima + offset[:, None]).reshape(A, -1)  # (A, W blocks)
    bound = np.partition(best, -count, axis=1)[:, -count] if count < best.shape[1] else np.full(A, -np.inf)
    with np.errstate(invalid="ignore"):  # -inf - -inf, where nothing is wanted
        threshold = (np.repeat(bound, W) - offset - ROUNDING).astype(logits.dtype)  # (A W,)
    block_rows, blocks = np.nonzero(maxima >= threshold[:, None])
    columns = starts[blocks][:, None] + np.arange(BLOCK)  # (blocks above the bound, BLOCK)
    values = logits[block_rows[:, None], np.minimum(columns, V - 1)]
    which, place = np.nonzero((values >= threshold[block_rows][:, None]) & (columns < V))
    rows, tokens = block_rows[which], columns[which, place]
    totals = logits[rows, tokens] + offset[rows]
    ends = np.searchsorted(rows, np.arange(W, A * W + 1, W))
    found = []
    for a, (start, end) in enumerate(zip((0, *ends[:-1]), ends, strict=True)):
        order = start + np.argsort(-totals[start:end], kind="stable")[:count]
        best = (rows[order] - a * W, tokens[order], totals[order])
        found.append(list(zip(*(values.tolist() for values in best), strict=True)))
    return found
