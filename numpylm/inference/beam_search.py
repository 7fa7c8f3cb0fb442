"""Beam search: the most probable text that a model finds while it keeps several candidates at each step."""

import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from numpylm.nn.module import Array

LARGEST_PENALTY = 20


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
        self.log_probs = np.zeros(1)
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
    active = list(range(len(sources)))
    logits = model.read(np.full((len(active), 1), start_id), past)  # (B, V): one candidate for each source
    width = 1  # candidates of each active source
    for length in range(1, int(limits.max()) + 1):
        log_probs = log_softmax(logits, forbidden_ids).reshape(len(active), width, -1)  # (active, width, V)
        rows, going = [], []
        for place, number in enumerate(active):
            source = sources[number]
            parents, tokens = _extend(source, log_probs[place], end_id, length == limits[number], beam, length_penalty)
            if len(parents) and not _done(source, beam, length, length_penalty):
                going.append((place, number, tokens))
                rows.append(place * width + parents)
        if not going:
            break
        active = [number for _, number, _ in going]
        past = past.select(np.concatenate(rows), np.array([place for place, _, _ in going]))
        width = len(rows[0])
        logits = model.read(np.concatenate([tokens for _, _, tokens in going])[:, None], past)
    if not all(source.finished for source in sources):
        raise ValueError("no text could be finished: all continuations are forbidden")
    return [max(source.finished, key=lambda hypothesis: hypothesis.score) for source in sources]


def _extend(
    source: _Source, log_probs: Array, end_id: int, last: bool, beam: int, length_penalty: float
) -> tuple[Array, Array]:
    """One step of one source: log_probs (width, V) -> (parents, tokens) of its next candidates."""
    total = source.log_probs[:, None] + log_probs  # (width, V): log P of every continuation
    parents: list[int] = []
    tokens: list[int] = []
    kept: list[float] = []
    for rank, (parent, token) in enumerate(best_places(total, 2 * beam)):
        log_prob = float(total[parent, token])
        if token == end_id or last:
            if rank < beam and math.isfinite(log_prob):
                source.finished.append(Hypothesis.of([*source.texts[parent], token], log_prob, length_penalty))
        elif len(parents) < beam:
            parents.append(parent)
            tokens.append(token)
            kept.append(log_prob)
    while 0 < len(parents) < beam:  # a tiny vocabulary has fewer continuations: copies that can never win
        parents.append(parents[0])
        tokens.append(tokens[0])
        kept.append(-math.inf)
    source.finished = sorted(source.finished, key=lambda hypothesis: -hypothesis.score)[:beam]
    source.texts = [[*source.texts[parent], token] for parent, token in zip(parents, tokens, strict=True)]
    source.log_probs = np.array(kept)
    return np.array(parents, np.intp), np.array(tokens, np.intp)


def _done(source: _Source, beam: int, length: int, length_penalty: float) -> bool:
    """Whether a source has K finished texts that its candidates of this length cannot beat."""
    if len(source.finished) < beam:
        return False
    return source.log_probs[0] / length**length_penalty <= source.finished[-1].score


def log_softmax(logits: Array, forbidden_ids: Collection[int] = ()) -> Array:
    """log softmax(logits) over the last axis; -inf for tokens that must not be chosen."""
    z = logits - logits.max(axis=-1, keepdims=True)
    z -= np.log(np.exp(z).sum(axis=-1, keepdims=True))
    z[..., list(forbidden_ids)] = -np.inf
    return z


def best_places(values: Array, count: int) -> list[tuple[int, int]]:
    """(row, column) of the largest values of (K, V), the largest first; of equal values, the one that stands first.

    The count-th largest value of one row bounds that of all rows from below. So only a row is partitioned, and few
    values are sorted: this takes a quarter of the time of a partition of all values.
    """
    bound = np.partition(values[0], -count)[-count] if count < values.shape[1] else -np.inf
    found = np.flatnonzero(values >= bound)
    best = found[np.argsort(-values.ravel()[found], kind="stable")][:count]
    return [divmod(int(index), values.shape[1]) for index in best]
