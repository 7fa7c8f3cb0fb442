"""Poems as rows of ids, ``theme ⏎ poem end``, and the nats that each character costs, rare characters included"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from numpylm.inference.scoring import score
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.module import Array
from numpylm.text.char_tokenizer import UNKNOWN, CharTokenizer
from numpylm.text.padding import in_batches, padded
from numpylm.text.poem import Poem, rhyming_places
from numpylm.text.pretokenize import END_OF_TEXT

EVALUATED_TOKENS = 4000  # in a batch of the evaluation


class PoemRow(NamedTuple):
    """One poem: what the model reads, and what it must write."""

    ids: Array  # (T,)
    targets: Array  # (T,), IGNORE_INDEX for the theme and for characters without a token
    unknown: int  # characters of the poem without a token
    rhymes: Array  # (T,), the targets of the words that rhyme, IGNORE_INDEX for all others


def train_tokenizer(poems: Sequence[Poem], least: int) -> CharTokenizer:
    """Tokens: the line end, each character that occurs at least ``least`` times, the end, one for all others."""
    counts: dict[str, int] = {}
    for poem in poems:
        for character in poem.theme + "".join(poem.lines):
            counts[character] = counts.get(character, 0) + 1
    kept = {character for character, count in counts.items() if count >= least} - {UNKNOWN, "\n"}
    return CharTokenizer("\n" + "".join(sorted(kept)), (END_OF_TEXT, UNKNOWN))


def theme_ids(tokenizer: Any, theme: str) -> list[int]:
    """What the model reads before it writes a poem: the end of the text before, the theme, a line end."""
    return [tokenizer.end_id, *tokenizer.encode(theme + "\n")]


def poem_row(tokenizer: Any, poem: Poem) -> PoemRow:
    """The row of a poem. Only the poem counts in the loss, with its line ends and its end."""
    before = theme_ids(tokenizer, poem.theme)
    ids = np.array([*before, *tokenizer.encode(poem.text), tokenizer.end_id])
    targets = ids[1:].copy()
    targets[: len(before) - 1] = IGNORE_INDEX
    unknown = targets == tokenizer.unknown_id
    targets[unknown] = IGNORE_INDEX
    rhymes = np.full_like(targets, IGNORE_INDEX)
    places = len(before) - 1 + np.array(rhyming_places(poem), int)  # a character is the target of the one before it
    rhymes[places] = targets[places]
    return PoemRow(ids[:-1], targets, int(unknown.sum()), rhymes)


def row_arrays(rows: Sequence[PoemRow], rhymes: bool = False) -> dict[str, Array]:
    """Ids and targets (B, T) of some poems, padded at the right. With ``rhymes``, only words that rhyme are targets."""
    targets, _ = padded([row.rhymes if rhymes else row.targets for row in rows], IGNORE_INDEX)
    return {"ids": padded([row.ids for row in rows])[0], "targets": targets}


@dataclass(frozen=True)
class RareCharacters:
    """How a model without tokens for rare characters gives them a probability.

    The model's p(c | before) is a distribution over the known characters only: it never learns to write the token of
    unknown ones. A share λ of each character's probability goes to the U rare characters, the same to each:

        P(c | before) = (1 - λ) p(c | before)   if c is known,        λ / U   if it is rare

    These add up to 1. λ is the share of rare characters in the training poems.

    Attributes
    ----------
    share : float
        λ, above 0 unless there are no rare characters.
    count : int
        U, the different rare characters of all poems, the held-out ones included.
    """

    share: float
    count: int

    @classmethod
    def of(cls, tokenizer: CharTokenizer, train: Sequence[Poem], val: Sequence[Poem]) -> "RareCharacters":
        known = set(tokenizer.characters)
        written = [character for poem in train for line in poem.lines for character in line]
        rare = sum(character not in known for character in written)
        different = {c for poem in (*train, *val) for line in poem.lines for c in line} - known
        return cls((rare + 1) / (len(written) + 2) if different else 0.0, len(different))

    def nats(self, known: int, unknown: int) -> float:
        """What is added to the nats of the model for this many known and unknown characters."""
        if unknown and not self.share:
            raise ValueError("these poems have rare characters, but the characters of their training had none")
        cost = -known * math.log1p(-self.share)
        return cost + unknown * math.log(self.count / self.share) if unknown else cost


class PoemNats(NamedTuple):
    """What held-out poems cost. All are sums over poems."""

    loss: float  # nats of the counted targets: known characters, line ends and ends
    targets: int
    characters_nats: float  # nats of all characters, the rare ones included
    form_nats: float  # nats of line ends and ends
    characters: int

    @property
    def per_character(self) -> float:
        """Nats a character of the poem, without what line ends and ends cost."""
        return self.characters_nats / self.characters

    @property
    def with_form(self) -> float:
        """Nats a character, with the line ends and the end of the poem."""
        return (self.characters_nats + self.form_nats) / self.characters


def poem_nats(
    model: Any,
    tokenizer: Any,
    rows: Sequence[PoemRow],
    rare: RareCharacters,
    scores: Callable[[Iterator[tuple[Array, Array]]], Iterable[tuple[Array, Array]]] | None = None,
    between: Callable[[], object] | None = None,
) -> PoemNats:
    """What poems cost under a model. ``scores`` may share the batches among workers."""
    lengths = np.array([len(row.ids) for row in rows])
    batches = [row_arrays([rows[n] for n in some]) for some in in_batches(lengths, EVALUATED_TOKENS)]
    pairs = ((arrays["ids"], arrays["targets"]) for arrays in batches)
    found = scores(pairs) if scores else (score(model, *pair) for pair in pairs)
    nats, form, targets, marks = 0.0, 0.0, 0, 0
    for arrays, (log_p, _) in zip(batches, found, strict=True):
        counted = arrays["targets"][arrays["targets"] != IGNORE_INDEX]
        mark = np.isin(counted, [tokenizer.end_id, *tokenizer.encode("\n")])
        nats, form = nats - float(log_p[~mark].sum()), form - float(log_p[mark].sum())
        targets, marks = targets + len(counted), marks + int(mark.sum())
        if between:
            between()
    known, unknown = targets - marks, sum(row.unknown for row in rows)
    return PoemNats(nats + form, targets, nats + rare.nats(known, unknown), form, known + unknown)
