"""Decoding text from files, pipes, standard input and the command line.

All text is decoded by the same rules, so that a text gives the same tokens in training and in a prompt: UTF-8 on every
system, ``\n`` at the ends of lines, no byte-order mark. Unicode is not normalized: é as one code point and é as e plus
an accent are different texts, unless training uses ``--clean unicode``.
"""

import gzip
import re
import sys
import zlib
from pathlib import Path

from numpylm.system.shell import shown
from numpylm.system.whole_files import UTF_16_MARKS, decode_text

STDIN = "-"  # means standard input where a file is expected
ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}


def outside_text(data: bytes, name: object) -> str:
    """Decode bytes with `decode_text`, and refuse binary data (data with NUL characters).

    Raises
    ------
    ValueError
        If the bytes are not text. The message says why, and what to do.
    """
    if data.startswith(UTF_16_MARKS) or b"\0" not in data:
        text = decode_text(data, name)
        if "\0" not in text:
            return text
    raise ValueError(
        f"{name} is not a text file: byte {data.index(0)} is NUL, so it is a binary file, or UTF-16 without a "
        f"byte-order mark. Save it as UTF-8 and try again"
    )


def read_document(path: str | Path) -> str:
    """The text of a file or a pipe, or of standard input if the path is ``-``."""
    return read_stdin() if str(path) == STDIN else outside_text(Path(path).read_bytes(), path)


def read_text_file(path: Path) -> str:
    """The text of a file, which may be compressed with gzip (``.gz``)."""
    if path.suffix != ".gz":
        return read_document(path)
    data = path.read_bytes()
    try:
        return outside_text(gzip.decompress(data), path)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{shown(path)} is not a complete gzip file ({error})") from None


def read_stdin() -> str:
    """All of standard input. A pipe or a file is read as UTF-8, a terminal in its own encoding."""
    if sys.stdin.isatty() or not hasattr(sys.stdin, "buffer"):
        return typed_text(sys.stdin.read(), "what was typed")
    return outside_text(sys.stdin.buffer.read(), "standard input")


def typed_text(text: str, name: str) -> str:
    """Decode text that was typed or given as an argument in the same way as the same bytes in a file.

    Python represents bytes that are not UTF-8 as lone surrogates ("surrogateescape"). They are converted back to bytes,
    so that an error message is the same as for a file.
    """
    return outside_text(text.encode("utf-8", "surrogateescape"), name)


def is_file(word: str) -> bool:
    """Whether a word of the command line is the path of a file. A long text is none: its name would be too long."""
    try:
        return Path(word).is_file()
    except (OSError, ValueError):
        return False


def mistaken_escape(option: str, text: str) -> str:
    r"""A note if a text contains ``\n``, which may have been meant as a line end."""
    if r"\n" not in text:
        return ""
    return (
        rf"note: \n in {option} is a backslash and an n; a line end is typed as $'\n' in bash and zsh, "
        "as `n in PowerShell\n"
    )


def unescaped(text: str) -> str:
    r"""Replace ``\n``, ``\t`` and ``\\`` in a typed text by a line end, a tab and one backslash."""
    return re.sub(r"\\[nt\\]", lambda match: ESCAPES[match.group()], text)
