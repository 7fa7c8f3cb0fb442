"""Verses: quatrains that rhyme abab, each on one of twelve themes, with a known P(poem | theme)

A text is the theme, a line end and four lines. `numpylm.corpora.known_entropy` explains why its probability is known
exactly. The theme decides the words, and the picked rows of `RHYMES` decide which ends of lines can follow.
"""

import math
from collections.abc import Sequence

from numpylm.corpora.known_entropy import Teller
from numpylm.corpora.verse_words import BRIDGES, LINKS, MUSINGS, RHYMES, THEMES, Theme

THEME_NATS = math.log(len(THEMES))  # -log P(theme); the nats of a text minus these are -log P(poem | theme)
Row = tuple[str, ...]  # of RHYMES


def tell(t: Teller) -> None:
    """Write a theme and a quatrain on it. No being, deed or end of a line occurs twice."""
    theme = t.choose(THEMES, lambda theme: theme.name + "\n")
    used: list[str] = []
    t.say("The ")
    clause(t, theme, used)
    odd = first_end(t, RHYMES, ",\n", used)
    bridge(t, theme, used)
    even = first_end(t, [row for row in RHYMES if row is not odd], ".\n", used)
    t.choose(MUSINGS, lambda words: f"{words} ")
    t.choose(LINKS, lambda word: f"{word} ")
    clause(t, theme, used)
    second_end(t, odd, ",\n", used)
    bridge(t, theme, used)
    second_end(t, even, ".", used)


def bridge(t: Teller, theme: Theme, used: list[str]) -> None:
    """Write the beginning of an even line: "And icy ravens huddle "."""
    t.choose(BRIDGES, lambda word: f"{word} ")
    clause(t, theme, used)


def clause(t: Teller, theme: Theme, used: list[str]) -> None:
    """Write who does what: "icy ravens huddle "."""
    for words in (theme.kinds, theme.beings, theme.deeds):
        used.append(t.choose([word for word in words if word not in used], lambda word: f"{word} "))


def first_end(t: Teller, rows: Sequence[Row], mark: str, used: list[str]) -> Row:
    """Write an end of any row; return the row."""
    row, end = t.choose([(row, end) for row in rows for end in row], lambda choice: choice[1] + mark)
    used.append(end)
    return row


def second_end(t: Teller, row: Row, mark: str, used: list[str]) -> None:
    """Write another end of the row, which rhymes."""
    used.append(t.choose([end for end in row if end not in used], lambda end: end + mark))
