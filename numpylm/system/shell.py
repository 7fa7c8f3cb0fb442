"""What is printed to be read or typed next: names with every character visible, commands quoted for the shell."""

import os
import re
import shlex
from itertools import groupby
from pathlib import Path

SPECIAL = '"“”„$`!\\%'  # means something between double quotes: to a POSIX shell, to PowerShell, or to cmd
WORDS = re.compile(r"[^\s-]\S*(?: \S+){0,2}")  # three at most; an option begins with a dash
LONGEST = 40  # characters


def shown(name: str | Path) -> str:
    """A name on one line: line ends, escape sequences and bytes that are no characters are written as in Python."""
    return "".join(c if c.isprintable() else _escaped(c) for c in _decoded(name))


def command(*words: str | Path) -> str:
    """A command to be typed: its words, quoted for the shell in use. No path among them is taken for an option."""
    return " ".join(quoted(word) for word in words)


def quoted(word: str | Path) -> str:
    """One word for the shell in use; quotes that mean the same in every shell if these are enough."""
    text = _decoded(word)
    if isinstance(word, Path) and text.startswith("-"):
        text = f".{os.sep}{text}"
    windows = os.name == "nt" and "SHELL" not in os.environ  # Git's bash on Windows sets it
    if re.fullmatch(r"[\w+=:./\\-]+" if windows else r"[\w+=:./-]+", text):
        return text
    if all(_means_itself(c) or (windows and c in "\\%") for c in text):
        return f'"{text}"'
    if windows:
        return '"' + text.replace('"', '\\"') + '"'
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_escaped_byte, text.encode("utf-8", "surrogateescape"))) + "'"


def first_words(text: str) -> str:
    """A few words of a text, exactly as they stand there, that can be put between double quotes in every shell.

    The first such place is taken, and at most `LONGEST` characters. Empty if there is none.
    """
    for plain, run in groupby(text[:10_000], _means_itself):
        if plain and (found := WORDS.search("".join(run))):
            return found[0][:LONGEST].rstrip()
    return ""


def _means_itself(c: str) -> bool:
    return c.isprintable() and c not in SPECIAL


def _decoded(name: str | Path) -> str:
    """A name, with bytes that the locale has no characters for (``LC_ALL=C``) read as UTF-8 where they are that."""

    def read(bytes_in_name: re.Match[str]) -> str:
        return bytes_in_name[0].encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")

    return re.sub("[\udc80-\udcff]+", read, str(name))


def _escaped(c: str) -> str:
    byte = ord(c) - 0xDC00  # as Python stores a byte of a name that is no character
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else c.encode("unicode_escape").decode("ascii")


def _escaped_byte(byte: int) -> str:
    """A byte between $' and '."""
    c = chr(byte)
    return c if c.isascii() and c.isprintable() and c not in "'\\" else f"\\x{byte:02x}"
