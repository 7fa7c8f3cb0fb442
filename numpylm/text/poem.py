"""Poem: a theme and the lines of a poem, and reading poems from tables and from JSON as in chinese-poetry"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import regex

from numpylm.system.json_fields import brief, json_objects
from numpylm.system.shell import shown
from numpylm.text.pretokenize import utf8
from numpylm.text.text_input import read_text_file

EXAMPLE = '{"title": …, "paragraphs": [line, line, …]}'
TITLES = ("title", "theme", "rhythmic")  # the keys of the theme; songs (ci) of chinese-poetry have rhythmic
BORDER = re.compile(r"\s*\|\s*|\s+/\s+|\n")  # between the lines of a poem in a table
CLAUSE_END = re.compile("[，。！？；]")  # in Chinese, each ends a line of verse
WORD = regex.compile(r"\p{Han}|[\p{L}\p{N}']+")


class Poem(NamedTuple):
    """A poem y and its theme x, of which a model learns P(y | x)."""

    theme: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """The poem without its theme."""
        return "\n".join(self.lines)


def poem_of(theme: str, parts: Sequence[str]) -> Poem:
    """A poem from its theme and its lines. Chinese lines are cut at the ends of clauses, and lose these marks."""
    lines = (" ".join(line.split()) for part in parts for line in CLAUSE_END.split(part))
    return Poem(" ".join(theme.split()), tuple(filter(None, lines)))


def last_word(line: str) -> tuple[int, int]:
    """Where the part of a line that rhymes begins and ends: its last word, or its last Chinese character."""
    words = list(WORD.finditer(line))
    return words[-1].span() if words else (len(line), len(line))


def even_ends(lines: Sequence[str]) -> list[str]:
    """The last words of lines 2, 4, 6, …, in lower case. They rhyme in quatrains and in regulated verse."""
    return [line[slice(*last_word(line))].lower() for line in lines[1::2]]


def rhyming_places(poem: Poem) -> list[int]:
    """The places in ``poem.text`` of the last words of lines 4, 6, …: each rhymes with the even line before it."""
    places, start = [], 0
    for n, line in enumerate(poem.lines, 1):
        if n % 2 == 0 and n > 2:
            begin, end = last_word(line)
            places += range(start + begin, start + end)
        start += len(line) + 1
    return places


def lines_of_text(text: str) -> tuple[str, ...]:
    """The lines of a poem in one text, divided by line ends, by " / " or by "|"."""
    return poem_of("", BORDER.split(text)).lines


def read_poems(paths: Sequence[str]) -> list[Poem]:
    """The poems of all files. It prints what it left out: poems without a theme or a line, and copies.

    A file whose text begins with [ or { holds JSON, as an array or in lines: objects with ``title`` and ``paragraphs``,
    a list of lines; other keys, such as ``author``, are ignored. Any other file has a poem in each line: the theme, a
    tab, and the lines of the poem, divided by " / " or by "|". Each may be compressed with gzip (``.gz``).

    Raises
    ------
    ValueError
        For a line or an item of another form, with its number; or if fewer than two poems are left.
    """
    poems = [poem for path in paths for poem in _poems_in(Path(path))]
    kept = list(dict.fromkeys(poem for poem in poems if poem.theme and poem.lines))
    name = shown(", ".join(map(str, paths)))
    print(f"text        {name}: {len(kept):,} poems")
    if empty := sum(not (poem.theme and poem.lines) for poem in poems):
        print(f"left out    {empty:,} poems without a theme or without a line")
    if twice := len(poems) - empty - len(kept):
        print(f"left out    {twice:,} poems that occur twice")
    if len(kept) < 2:
        raise ValueError(f"{name} has {len(kept)} poems with a theme; training needs at least 2")
    return kept


def _poems_in(path: Path) -> Iterator[Poem]:
    text = read_text_file(path)
    utf8(text)
    if text.lstrip()[:1] in ("[", "{"):
        for number, entry in json_objects(text, shown(path), EXAMPLE):
            yield _from_object(entry, f"the item at line {number} of {shown(path)}")
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            theme, tab, poem = line.partition("\t")
            if not tab:
                raise ValueError(
                    f"line {number} of {shown(path)} has no tab: each line should be a theme, a tab, and the lines of "
                    f'a poem, divided by " / " or by "|"'
                )
            yield poem_of(theme, BORDER.split(poem.replace("\t", " ")))


def _from_object(entry: dict[str, Any], where: str) -> Poem:
    """A poem from one JSON object."""
    found = [key for key in TITLES if key in entry]
    if not found or "paragraphs" not in entry:
        raise ValueError(f"{where} lacks {'paragraphs' if found else 'title'}: it should be like {EXAMPLE}")
    title, parts = entry[found[0]], entry["paragraphs"]
    if not isinstance(title, str):
        raise ValueError(f"{found[0]} of {where} should be a text, is {brief(title)}")
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise ValueError(f"paragraphs of {where} should be a list of texts, is {brief(parts)}")
    return poem_of(title, parts)
