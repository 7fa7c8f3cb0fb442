"""Text cleaning in optional steps: Unicode, control characters, white space, repeats, personal data."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import regex

from numpylm.text.personal_data import KINDS, mask_personal_data


@dataclass(frozen=True)
class Cleaned:
    """The result of one cleaning step: it changed ``count`` ``unit`` in all documents."""

    step: str
    count: int
    unit: str

    def __str__(self) -> str:
        return f"{self.step}: {self.count:,} {self.unit}"


def _unicode(documents: list[str]) -> tuple[list[str], Cleaned]:
    """Normalize to NFC, so that é is one code point no matter how it was typed."""
    out = [unicodedata.normalize("NFC", document) for document in documents]
    changed = sum(a != b for a, b in zip(documents, out, strict=True))
    return out, Cleaned("unicode", changed, "documents normalized to NFC")


_CONTROL = regex.compile(r"[\p{Cc}\p{Cf}--[\n\t\u200c\u200d]]", regex.VERSION1)


def _control(documents: list[str]) -> tuple[list[str], Cleaned]:
    """Remove control and format characters, except line ends, tabs, and the joiners that some scripts need."""
    pairs = [_CONTROL.subn("", document) for document in documents]
    return [text for text, _ in pairs], Cleaned("control", sum(n for _, n in pairs), "characters removed")


_BLANKS = regex.compile(r"(?<=\S)[^\S\n]{2,}(?=\S)|[^\S\n]+$|\n(?:[^\S\n]*\n){2,}", regex.MULTILINE)


def _whitespace(documents: list[str]) -> tuple[list[str], Cleaned]:
    """Leave one space between words, no space at the end of a line, and at most one empty line. Keep indentation."""

    def shorter(match: "regex.Match[str]") -> str:
        run = match.group()
        return (
            "\n\n"
            if "\n" in run
            else " "
            if match.end() < len(match.string) and match.string[match.end()] != "\n"
            else ""
        )

    pairs = [_BLANKS.subn(shorter, document) for document in documents]
    return [text.strip("\n") for text, _ in pairs], Cleaned("whitespace", sum(n for _, n in pairs), "runs shortened")


def _repeated_lines(documents: list[str]) -> tuple[list[str], Cleaned]:
    """Keep only the first of equal consecutive lines (menus, rulers, stuck keys)."""
    removed = 0
    out = []
    for document in documents:
        lines = document.split("\n")
        kept = [line for i, line in enumerate(lines) if i == 0 or line != lines[i - 1] or not line.strip()]
        removed += len(lines) - len(kept)
        out.append("\n".join(kept))
    return out, Cleaned("repeated_lines", removed, "lines removed")


def _repeated_documents(documents: list[str]) -> tuple[list[str], Cleaned]:
    """Keep only the first of documents that are equal except for white space."""
    first: dict[str, str] = {}
    for document in documents:
        first.setdefault(" ".join(document.split()), document)
    out = list(first.values())
    return out, Cleaned("repeated_documents", len(documents) - len(out), "documents removed")


def _personal(documents: list[str]) -> tuple[list[str], Cleaned]:
    """Mask e-mail addresses, phone numbers, card numbers and bank accounts."""
    pairs = [mask_personal_data(document) for document in documents]
    counts = sum((found for _, found in pairs), Counter())
    kinds = ", ".join(f"{counts[kind]:,} {name}" for kind, name in KINDS.items())
    return [text for text, _ in pairs], Cleaned("personal", counts.total(), f"numbers and addresses masked ({kinds})")


CLEANING: dict[str, Callable[[list[str]], tuple[list[str], Cleaned]]] = {
    "unicode": _unicode,
    "control": _control,
    "whitespace": _whitespace,
    "repeated_lines": _repeated_lines,
    "repeated_documents": _repeated_documents,
    "personal": _personal,
}
ALL = tuple(name for name in CLEANING if name != "personal")  # "all" leaves out what changes the meaning of the text


def step_names(steps: Sequence[str]) -> list[str]:
    """The names of the steps, with ``"all"`` expanded to `ALL`. Raises ValueError for an unknown step."""
    names = [name for step in steps for name in (ALL if step == "all" else (step,))]
    if unknown := [name for name in names if name not in CLEANING]:
        raise ValueError(f"unknown cleaning step {unknown[0]!r}; there are: {', '.join(CLEANING)}, or all")
    return names


def clean(documents: list[str], steps: Sequence[str]) -> tuple[list[str], list[Cleaned]]:
    """Apply cleaning steps in the given order. Documents that become empty are dropped.

    Parameters
    ----------
    documents : list of str
    steps : sequence of str
        Names from `CLEANING`; ``"all"`` means those of `ALL` in their order, which is all except ``"personal"``.

    Returns
    -------
    documents : list of str
    report : list of Cleaned
        One entry for each step, and one for the documents that became empty.
    """
    names = step_names(steps)
    report = []
    for name in names:
        documents, entry = CLEANING[name](documents)
        report.append(entry)
    full = [document for document in documents if document.strip()]
    if names:
        report.append(Cleaned("empty", len(documents) - len(full), "documents dropped"))
    if not full:
        raise ValueError("cleaning left no text at all")
    return full, report
