"""Detecting files in which each line is a separate document, such as a list of names, questions or captions.

A model learns more from a list if each line is a document: the lines are unrelated, and the model learns where a line
ends. But if a running text were split into lines, the model would lose what connects them. So a file counts as a list
only if all signs agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import regex

LOOKED_AT = 500_000  # characters of a text that are examined
FEWEST_LINES = 100  # lines; a model cannot learn much from a shorter list
SHORT = 300  # characters of a line
NEARLY_ALL = 0.95
FEW = 0.02
DOUBLE_SPACED = 0.45  # blank lines, as a fraction of all lines, if there is one after each line
SOME = 0.1
MOST = 0.8
NAMES = "names, words or other short entries"
NAME_WORDS = 4  # mean number of words of a line without punctuation: names and titles have fewer, lines of poems more

# The end of a sentence: a punctuation mark, then optional quotes or brackets.
_SENTENCE = regex.compile(r"[.!?…。！？]\s?[\"'”’»」』)\]）]*\s*$")
# A line that belongs to another line: it begins with an indent, a list marker, a dash or quote of speech, or a speaker.
_PART = regex.compile(r"\s|[-–—*•#>|\"“„«「『]|\p{L}[\p{L} .]{0,20}[:：](\s|$)")
# Words, and the punctuation inside a name. A comma at the end does not match, because the next line would continue it.
_BARE = regex.compile(r"[\p{L}\p{M}\p{N} .,'’&()-]*[\p{L}\p{M}\p{N})'’.]\s*")
_WORD = regex.compile(r"\p{Han}|[\p{L}\p{M}\p{N}]+")  # Chinese has no spaces, so each character counts as a word


@dataclass(frozen=True)
class Lines:
    """Statistics of the lines of a text. All but ``count`` and ``words`` are fractions between 0 and 1."""

    count: int  # number of lines that are not blank
    blank: float  # blank lines, as a fraction of all lines
    short: float  # lines of at most `SHORT` characters
    sentences: float  # lines that end with the end of a sentence
    parts: float  # lines whose beginning shows that they belong to another line
    bare: float  # lines with only words, and no end of a sentence
    columns: float  # lines with the most frequent number of tabs, if this is at least one
    words: float  # mean number of words of a line

    @classmethod
    def of(cls, text: str) -> "Lines":
        """Compute the statistics of a text, or of the first `LOOKED_AT` characters of a long one."""
        every = text[:LOOKED_AT].rstrip("\n").split("\n")
        lines = [line for line in every if line.strip()]
        n = max(len(lines), 1)
        tabs = [line.count("\t") for line in lines]
        usual = max(set(tabs), key=tabs.count, default=0)
        ends = [bool(_SENTENCE.search(line)) for line in lines]
        return cls(
            len(lines),
            (len(every) - len(lines)) / len(every),
            sum(len(line) <= SHORT for line in lines) / n,
            sum(ends) / n,
            sum(bool(_PART.match(line)) for line in lines) / n,
            sum(bool(_BARE.fullmatch(line)) and not end for line, end in zip(lines, ends, strict=True)) / n,
            tabs.count(usual) / n if usual else 0.0,
            sum(len(_WORD.findall(line)) for line in lines) / n,
        )

    @property
    def kind(self) -> str | None:
        """The kind of list, if each line is a separate text; None if the lines belong together."""
        if self.count < FEWEST_LINES or self.short < NEARLY_ALL:
            return None
        bare = self.bare >= NEARLY_ALL and self.words <= NAME_WORDS and self.parts <= SOME
        if self.blank > FEW:  # paragraphs or stanzas, unless a list has a blank line after each entry
            return NAMES if bare and self.blank >= DOUBLE_SPACED else None
        if self.columns >= NEARLY_ALL:
            return "records with tabs"
        if self.parts > SOME:
            return None
        if self.sentences >= MOST and self.sentences + self.bare >= NEARLY_ALL:
            return "sentences"
        return NAMES if bare else None


def kind_of_lines(documents: Sequence[str]) -> str | None:
    """The kind of list, if all documents are lists of the same kind; else None."""
    kind = None
    for document in documents:
        found = Lines.of(document).kind
        if found is None or kind not in (None, found):
            return None
        kind = found
    return kind


def cut_lines(documents: Sequence[str]) -> list[str]:
    """Split documents into lines. Each line that is not blank becomes a document."""
    return [line for document in documents for line in document.split("\n") if line.strip()]
