"""Exposure: how well a model has memorized a secret number, by its exact rank among all numbers (Carlini 2019).

A *canary* is a sentence with a random number, such as "The secret number is 482913". It is put into the training text
on purpose. If the model then finds this number more likely than nearly all others, it has memorized it.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import regex

from numpylm.inference.log_probs import log_softmax
from numpylm.inference.scoring import check_token_ids, checked_log_probs, text_ids
from numpylm.models.gpt import GPT
from numpylm.nn.kv_cache import KVCache
from numpylm.nn.module import Array
from numpylm.text.any_tokenizer import TextTokenizer, common_prefix

ROWS = 256  # nodes of the tree that are read at once
MOST_DIGITS = 6  # a million numbers; each further digit takes ten times as long
NOTHING = -1  # after the last token of a number that has fewer tokens than others
_PLACE = regex.compile(r"\{digits:(\d+)\}|\{word\}")


@dataclass(frozen=True)
class Canary:
    """A sentence with a number, as found in a text: ``prefix`` + ``secret``, ``times`` times."""

    prefix: str
    secret: str
    times: int


@dataclass(frozen=True)
class Exposure:
    """How exposed the number of a canary is.

    Attributes
    ----------
    canary : Canary
    rank : int
        1 + the number of other numbers that are at least as likely after the prefix.
    space : int
        The number of all numbers.
    """

    canary: Canary
    rank: int
    space: int

    @property
    def bits(self) -> float:
        """log₂(space) - log₂(rank) (Carlini et al. 2019, arXiv:1802.08232, definition 5).

        It is log₂(space) if the number is the likeliest, that is, if the model gives it away. The number of a canary
        that the model has never seen has a random rank, so its exposure is 1.44 on average, and above b with
        probability 2^-b.
        """
        return math.log2(self.space) - math.log2(self.rank)


def find_canaries(documents: Iterable[str], template: str) -> list[Canary]:
    """The sentences of a form that occur in the documents, the most frequent first.

    Parameters
    ----------
    documents : iterable of str
    template : str
        The form, such as ``"The code of {word} is {digits:6}"``: with one ``{digits:N}``, N = 1 … 6, for a number of N
        digits, and any number of ``{word}`` before it.

    Raises
    ------
    ValueError
        If the template has another form.
    """
    pattern = canary_pattern(template)
    found: Counter[tuple[str, str]] = Counter()
    for document in documents:
        found.update((match[1], match[2]) for match in pattern.finditer(document))
    return [Canary(*parts, times) for parts, times in found.most_common()]


def canary_pattern(template: str) -> "regex.Pattern[str]":
    """The regular expression of a template: group 1 is the text before the number, group 2 the number."""
    places = list(_PLACE.finditer(template))
    digits = [place for place in places if place[1]]
    if len(digits) != 1 or places[-1] is not digits[0] or digits[0].start() == 0:
        raise ValueError(
            f"a canary is a sentence with one {{digits:6}} after its first words, and {{word}} only before it, as in "
            f'"The code of {{word}} is {{digits:6}}"; got {template!r}'
        )
    if not 1 <= (n := int(digits[0][1])) <= MOST_DIGITS:
        raise ValueError(f"a canary has 1 to {MOST_DIGITS} digits, got {n} in {template!r}")
    words = template[: digits[0].start()].split("{word}")
    before = r"\w+".join(regex.escape(part, literal_spaces=True) for part in words)
    after = regex.escape(template[digits[0].end() :], literal_spaces=True)
    return regex.compile(f"({before})([0-9]{{{n}}})(?![0-9]){after}")


def exposures(gpt: GPT, canaries: Sequence[Canary], tokenizer: TextTokenizer | None = None) -> list[Exposure]:
    """The exposure of each canary, by the exact rank of its number among all numbers with as many digits.

    For each prefix, all 10^N numbers are scored. They are the leaves of a tree, and numbers with the same first digits
    share the nodes above: for six digits and a token for each, the model reads 111,110 tokens instead of 6,000,000.
    """
    by_prefix: dict[tuple[str, int], list[Canary]] = {}
    for canary in canaries:
        by_prefix.setdefault((canary.prefix, len(canary.secret)), []).append(canary)
    ranks: dict[Canary, int] = {}
    for (prefix, digits), some in by_prefix.items():
        log_p = number_log_probs(gpt, prefix, digits, tokenizer)
        for canary in some:
            ranks[canary] = int((log_p >= log_p[int(canary.secret)]).sum())
    return [Exposure(canary, ranks[canary], 10 ** len(canary.secret)) for canary in canaries]


def number_log_probs(gpt: GPT, prefix: str, digits: int, tokenizer: TextTokenizer | None = None) -> Array:
    """log P(number | prefix) of all numbers with so many digits: float64 (10^digits,), in nats.

    The prefix is read as the beginning of a document, as in `rank`. If some numbers share their first token with the
    end of the prefix, all are scored from the first token at which any two differ.
    """
    begin, rest = number_ids(gpt, prefix, digits, tokenizer)
    if len(begin) + rest.shape[1] - 1 > gpt.config.block_size:
        raise ValueError(
            f"{prefix!r} with a number has {len(begin) + rest.shape[1]} tokens, too many for the model's window of "
            f"{gpt.config.block_size}"
        )
    past = gpt.new_past()
    for cache in past:  # its copies are small then: no number is longer
        cache.room = len(begin) + rest.shape[1]
    x = gpt.hidden_after(begin[None], past)[:, -1]  # (1, C)
    log_p = np.zeros(len(rest))
    rows = np.arange(len(rest))
    add_log_probs(gpt, past, x, rest, rows, np.zeros_like(rows), 0, log_p)
    return checked_log_probs(log_p)


def number_ids(gpt: GPT, prefix: str, digits: int, tokenizer: TextTokenizer | None) -> tuple[Array, Array]:
    """The ids (S,) that all texts prefix + number begin with, and the rest of each (10^digits, L), with `NOTHING` at
    the end of shorter ones.

    If only the first digit can be merged with anything, ten texts are encoded and not a million: the other digits are a
    token each.
    """
    tokenizer = tokenizer or gpt.tokenizer
    single = single_digit_ids(tokenizer, prefix)
    known = 1 if single is not None else digits  # how many first digits must be encoded
    later = digits - known
    texts = [text_ids(gpt, f"{prefix}{n:0{known}}{'0' * later}", tokenizer) for n in range(10**known)]
    begun = [ids[: len(ids) - later] for ids in texts]
    n = common_prefix(begun)
    rest = np.full((10**known, 10**later, max(map(len, begun)) - n + later), NOTHING)
    for rows, ids in zip(rest, begun, strict=True):
        rows[:, : len(ids) - n] = ids[n:]
        if single is not None:
            numerals = np.arange(10**later)[:, None] // 10 ** np.arange(later)[::-1] % 10  # (10^later, later)
            rows[:, len(ids) - n : len(ids) - n + later] = single[numerals]
    check_token_ids(begun[0][:n], gpt.config.vocab_size)
    return begun[0][:n], rest.reshape(10**digits, -1)


def single_digit_ids(tokenizer: TextTokenizer | None, prefix: str) -> Array | None:
    """The ids (10,) of the digits, if each digit of a number after the prefix, except the first, is a token of its own.

    It is, unless a token ends with two digits, and the prefix ends with what stands before them. Otherwise: None.
    """
    before, found = prefix.encode("utf-8", "surrogatepass"), {}
    for token in range(tokenizer.vocab_size if tokenizer else 0):
        text = tokenizer.token_bytes(token) if tokenizer else b""
        start = text.rstrip(b"0123456789")
        if len(text) - len(start) >= 2 and before.endswith(start):
            return None
        if len(text) == 1 and not start:
            found[text] = token
    return np.array([found[b"%d" % digit] for digit in range(10)]) if len(found) == 10 else None


def add_log_probs(
    gpt: GPT, past: list[KVCache], x: Array, ids: Array, rows: Array, node: Array, depth: int, log_p: Array
) -> None:
    """Add the log-probability of all tokens from ``depth`` on to ``log_p``, for some rows of ``ids``.

    Parameters
    ----------
    past : list of KVCache
        What the model has read: one text for each of B nodes of the tree.
    x : array (B, C)
        The hidden states after these texts.
    ids : int array (N, L)
        All candidates, padded with `NOTHING`.
    rows, node : int array (M,)
        The candidates below these nodes, and the node (0 … B - 1) that each one continues.
    log_p : float64 array (N,)
    """
    token = ids[rows, depth]
    log_probs = log_softmax(gpt.head(x)[0].astype(np.float64))  # (B, V)
    log_p[rows] += np.where(token == NOTHING, 0.0, log_probs[node, token])
    if depth + 1 == ids.shape[1]:
        return
    more = ids[rows, depth + 1] != NOTHING
    rows, V = rows[more], log_probs.shape[1]
    children, child = np.unique(node[more] * V + token[more], return_inverse=True)
    for start in range(0, len(children), ROWS):
        some = children[start : start + ROWS]
        below = [cache.select(some // V) for cache in past]
        y = gpt.hidden_after((some % V)[:, None], below)[:, -1]  # (ROWS, C)
        inside = (child >= start) & (child < start + ROWS)
        add_log_probs(gpt, below, y, ids, rows[inside], child[inside] - start, depth + 1, log_p)


def insert_canaries(
    documents: Sequence[str], template: str, times: Sequence[int], rng: np.random.Generator, words: Sequence[str] = ()
) -> tuple[list[str], list[Canary]]:
    """Insert a canary for each number in ``times``, that often, as documents at random places.

    ``words`` are the words for ``{word}``, one for each canary.
    """
    canary_pattern(template)
    canaries = []
    for i, n in enumerate(times):
        sentence = template.replace("{word}", words[i]) if words else template
        before, digits, _ = regex.split(r"\{digits:(\d+)\}", sentence)
        canaries.append(Canary(before, f"{rng.integers(10 ** int(digits)):0{digits}}", n))
    after = _PLACE.split(template)[-1]
    extra = [f"{canary.prefix}{canary.secret}{after}" for canary in canaries for _ in range(canary.times)]
    places = rng.integers(0, len(documents) + 1, len(extra))
    out = list(documents)
    for place, text in sorted(zip(places, extra, strict=True), reverse=True):
        out.insert(place, text)
    return out, canaries
