"""Pairs of answers as rows of ids: encoding, batches, and the log-probabilities of the answers under a model."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from numpylm.inference.scoring import checked_log_probs, score
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.module import Array
from numpylm.text.chat_template import chat_tokens
from numpylm.text.conversation import Conversation, without_oldest_turn
from numpylm.text.padding import in_batches, padded
from numpylm.text.preference_pairs import Preference, whole

TOKENS_AT_ONCE = 2000  # in a batch of log-probabilities
Ids = tuple[Array, Array]  # ids (T,) and targets (T,), -100 where a token does not belong to the answer


class Row(NamedTuple):
    """A pair of answers in ids."""

    number: int  # of the pair
    prompt: Conversation  # as much of it as fits
    chosen: Ids
    rejected: Ids

    @property
    def length(self) -> int:
        """Tokens of the longer answer with its prompt."""
        return max(len(self.chosen[0]), len(self.rejected[0]))

    @property
    def counts(self) -> tuple[int, int]:
        """Tokens of both answers."""
        chosen, rejected = (int((targets != IGNORE_INDEX).sum()) for _, targets in self[2:])
        return chosen, rejected


def pair_rows(tokenizer: Any, pairs: Sequence[Preference], block_size: int, what: str) -> list[Row]:
    """The pairs in ids, each with at most ``block_size`` tokens.

    Of a prompt that is too long, the system message and the newest turns are kept, the same for both answers. A pair is
    left out if not even the last turn fits.
    """
    rows = []
    for number, pair in enumerate(pairs):
        prompt: Conversation | None = pair.prompt
        while prompt:
            row = Row(number, prompt, *(answer_ids(tokenizer, whole(prompt, a)) for a in (pair.chosen, pair.rejected)))
            if row.length <= block_size:
                rows.append(row)
                break
            prompt = without_oldest_turn(prompt)
    if cut := sum(row.prompt != pairs[row.number].prompt for row in rows):
        print(f"cut         {cut:,} {what} prompts to their newest turns: {block_size} tokens (--block-size)")
    if left_out := len(pairs) - len(rows):
        print(f"left out    {left_out:,} {what} pairs whose last turn has more than {block_size} tokens")
    if not rows:
        raise ValueError(f"no {what} pair has at most {block_size} tokens: use a larger block_size")
    return rows


def answer_ids(tokenizer: Any, conversation: Conversation) -> Ids:
    """Ids and targets of a conversation, in which only the last answer counts, with its end of turn."""
    ids, counted = chat_tokens(tokenizer, conversation)
    tokens, own = np.array(ids), np.array(counted)
    last = np.flatnonzero(own)[-1]
    own[: np.flatnonzero(~own[:last])[-1]] = False  # earlier answers; a mark is always between two of them
    return tokens[:-1], np.where(own[1:], tokens[1:], IGNORE_INDEX)


def pair_arrays(rows: Sequence[Row]) -> dict[str, Array]:
    """Ids and targets (P, 2, T) of some pairs, padded at the right."""
    both = [answer for row in rows for answer in (row.chosen, row.rejected)]
    ids, _ = padded([ids for ids, _ in both])
    targets, _ = padded([targets for _, targets in both], IGNORE_INDEX)
    return {"ids": ids.reshape(len(rows), 2, -1), "targets": targets.reshape(len(rows), 2, -1)}


def batch_log_probs(model: Any, ids: Array, targets: Array) -> Array:
    """log π of both answers of each pair, summed over its tokens: ids and targets (P, 2, T) -> float64 (P, 2)."""
    P, two, T = ids.shape
    flat = targets.reshape(P * two, T)
    log_p, _ = score(model, ids.reshape(P * two, T), flat)
    return np.bincount(np.nonzero(flat != IGNORE_INDEX)[0], log_p, P * two).reshape(P, two)


def pair_log_probs(
    rows: Sequence[Row],
    run: Callable[[Iterable[tuple[Array, Array]]], Iterable[Array]],
    between: Callable[[], object] | None = None,
) -> Array:
    """`batch_log_probs` of all pairs (N, 2). ``run`` gives the results of the batches, one for each ids and targets.

    Raises ValueError if the model's logits are not finite.
    """
    batches = list(in_batches(np.array([2 * row.length for row in rows]), TOKENS_AT_ONCE))
    arrays = (pair_arrays([rows[n] for n in numbers]) for numbers in batches)
    found = np.empty((len(rows), 2))
    for numbers, log_p in zip(batches, run((a["ids"], a["targets"]) for a in arrays), strict=True):
        found[numbers] = log_p
        if between:
            between()
    return checked_log_probs(found)
