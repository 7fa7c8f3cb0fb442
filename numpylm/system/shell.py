"""Printing names and commands safely: every character of a name is visible, and commands are quoted for the shell."""

import os
import re
import shlex
import unicodedata
from itertools import groupby
from pathlib import Path

SPECIAL = '"“”„$`!\\%'  # special between double quotes in a POSIX shell, in PowerShell, or in cmd
WORDS = re.compile(r"[^\s-]\S*(?: \S+){0,2}")  # at most three words; the first must not look like an option
LONGEST = 40  # characters


def shown(name: str | Path) -> str:
    """A name on one line. Line ends, escape sequences and invalid bytes are written as Python escapes."""
    return "".join(c if c.isprintable() else _escaped(c) for c in _decoded(name))


def command(*words: str | Path) -> str:
    """A command that the user can type: its words are quoted for the shell, and no path looks like an option."""
    return " ".join(quoted(word) for word in words)


def quoted(word: str | Path) -> str:
    """Quote one word for the shell in use. If possible, the result works in every shell."""
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
    """The first few words of a text that can be put between double quotes in every shell without a change.

    They have at most `LONGEST` characters. Empty if there are none.
    """
    for plain, run in groupby(text[:10_000], _means_itself):
        if plain and (found := WORDS.search("".join(run))):
            return found[0][:LONGEST].rstrip()
    return ""


def _means_itself(c: str) -> bool:
    return c.isprintable() and c not in SPECIAL


def _decoded(name: str | Path) -> str:
    """A name in which bytes that the locale cannot decode (``LC_ALL=C``) are decoded as UTF-8, if they are valid."""

    def read(bytes_in_name: re.Match[str]) -> str:
        return bytes_in_name[0].encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")

    return re.sub("[\udc80-\udcff]+", read, str(name))


def _escaped(c: str) -> str:
    byte = ord(c) - 0xDC00  # Python stores an undecodable byte of a name as a lone surrogate
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else c.encode("unicode_escape").decode("ascii")


def _escaped_byte(byte: int) -> str:
    """A byte as it is written inside $'...'."""
    c = chr(byte)
    return c if c.isascii() and c.isprintable() and c not in "'\\" else f"\\x{byte:02x}"


def printable(text: str) -> str:
    """Make a text safe to print: control characters, except line ends and tabs, become U+FFFD.

    A model early in training may write an escape sequence that clears the screen.
    """
    return "".join(c if c in "\n\t" or not unicodedata.category(c).startswith("C") else "\ufffd" for c in text)
