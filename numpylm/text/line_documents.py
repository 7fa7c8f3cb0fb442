"""Is a file one text, or a list whose every line is a text: names, questions, verses, captions?

A model learns more from a list if each line is a document: no line says anything about another, and it learns where a
line ends. A text that was cut into its lines, on the other hand, would lose all that connects them. So a file counts as
a list only if everything speaks for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import regex

LOOKED_AT = 500_000  # characters of a text
MANY = 100  # lines; fewer are no list to learn from
SHORT = 300  # characters of a line
NEARLY_ALL = 0.95
FEW = 0.02
SOME = 0.1
MOST = 0.8
NAMES = "names or words"
NAME_WORDS = 4  # words of a line without punctuation, on average: names and titles have fewer, lines of poems more

# A sentence is over: its mark, then perhaps quotes or brackets.
_SENTENCE = regex.compile(r"[.!?…。！？]\s?[\"'”’»」』)\]）]*\s*$")
# A line that goes on with another one, or answers it: an indent, a list's mark, a dash or quote of speech, a speaker.
_PART = regex.compile(r"\s|[-–—*•#>|\"“„«「『]|\p{L}[\p{L} .]{0,20}[:：](\s|$)")
# Words and what stands between the words of a name; a comma at the end would promise another line.
_BARE = regex.compile(r"[\p{L}\p{M}\p{N} .,'’&()-]*[\p{L}\p{M}\p{N})'’.]\s*")
_WORD = regex.compile(r"\p{Han}|[\p{L}\p{M}\p{N}]+")  # Chinese has no spaces: each character counts


@dataclass(frozen=True)
class Lines:
    """Which shares of a text's lines look how; all but ``count`` and ``words`` lie between 0 and 1."""

    count: int  # lines that are not blank
    blank: float  # blank lines, of all
    short: float  # at most `SHORT` characters
    sentences: float  # end as a sentence does
    parts: float  # begin as a part of something larger does
    bare: float  # nothing but words, and no sentence's end
    columns: float  # have as many tabs as most others, and one at least
    words: float  # on average

    @classmethod
    def of(cls, text: str) -> "Lines":
        """Look at the lines of a text, of a long one at the first."""
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
        """What the lines are, if each is a text for itself; None if they belong together."""
        if self.count < MANY or self.blank > FEW or self.short < NEARLY_ALL:
            return None
        if self.columns >= NEARLY_ALL:
            return "records with tabs"
        if self.parts > SOME:
            return None
        if self.sentences >= MOST and self.sentences + self.bare >= NEARLY_ALL:
            return "sentences"
        if self.bare >= NEARLY_ALL and self.words <= NAME_WORDS:
            return NAMES
        return None


def kind_of_lines(documents: Sequence[str]) -> str | None:
    """What the lines of all documents are, if each document is a list of the same kind; else None."""
    kind = None
    for document in documents:
        found = Lines.of(document).kind
        if found is None or kind not in (None, found):
            return None
        kind = found
    return kind


def cut_lines(documents: Sequence[str]) -> list[str]:
    """Each line that is not blank, as a document."""
    return [line for document in documents for line in document.split("\n") if line.strip()]
