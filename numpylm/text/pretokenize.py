"""Cutting text before any merge: chunks, special tokens, and blocks of long texts."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

import regex
from tqdm import tqdm

END_OF_TEXT = "<|endoftext|>"

# GPT-2's rule for where chunks begin: contractions; words, numbers and other signs, each with at most one
# space before; white space, whose last character is left to the word that follows.
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# The same for plain ASCII, in the words of Python's own re, which has no \p{L} and is twice as fast. White space is
# spelt out, since re takes four control characters for white space that Unicode does not.
ASCII_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+| ?[0-9]+| ?[^\t-\r A-Za-z0-9]+|[\t-\r ]+(?![^\t-\r ])|[\t-\r ]+"

BLOCK = 1 << 20  # characters that are split at a time, so that long texts need little memory
PIECE = 1 << 13  # of which so many are looked at for a character beyond ASCII


def special_regex(special_tokens: Iterable[str]) -> "regex.Pattern | None":
    """Finds special tokens in a text, the longer one where two begin at the same place."""
    ordered = sorted(special_tokens, key=len, reverse=True)
    return regex.compile("(" + "|".join(map(regex.escape, ordered)) + ")") if ordered else None


_CUT = regex.compile(r"(?<=\S)\s")


def chunk_finder(pattern: str) -> Callable[[str], Iterable[str]]:
    """A function that cuts a text into a pattern's chunks.

    For GPT-2's pattern, pieces of plain ASCII are cut by re: 27 MB/s instead of 14 on Python's source, of which one
    piece in sixty holds another character. German, where every piece does, loses a tenth: 22 instead of 24.
    """
    find = regex.compile(pattern).findall
    if pattern != GPT2_PATTERN:
        return find
    find_ascii = re.compile(ASCII_PATTERN).findall

    def find_by_piece(text: str) -> Iterator[str]:
        """Each piece begins where a chunk begins, so its chunks are those of the whole text."""
        pieces = blocks(text, pattern, PIECE)
        return chain.from_iterable((find_ascii if piece.isascii() else find)(piece) for piece in pieces)

    return find_by_piece


def blocks(text: str, pattern: str, size: int = BLOCK) -> Iterator[str]:
    """Cut a long text where GPT-2's pattern always begins a new chunk: before white space after a word.

    No chunk of that pattern has white space after anything else, and none looks to its left, so the blocks
    split exactly as the whole text does. For other patterns that is not known, and the text stays whole.
    """
    start = 0
    while pattern == GPT2_PATTERN and len(text) - start > size and (cut := _CUT.search(text, start + size)):
        yield text[start : cut.start()]
        start = cut.start()
    yield text[start:] if start else text


def count_chunks(documents: Iterable[str], pattern: str, special_tokens: Sequence[str], progress: bool) -> Counter[str]:
    """How often each chunk occurs in all documents; special tokens part the text and are not counted."""
    split = chunk_finder(pattern)
    special = special_regex(special_tokens)
    counts: Counter[str] = Counter()
    with tqdm(desc="counting", unit=" chars", unit_scale=True, disable=not progress, leave=False) as bar:
        for document in documents:
            parts = special.split(document)[::2] if special else [document]
            for block in chain.from_iterable(blocks(part, pattern) for part in parts):
                counts.update(split(block))
                bar.update(len(block))
    return counts


def utf8(text: str) -> bytes:
    """The text as UTF-8; raises a ValueError that says where, if it holds half a character."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the text holds a lone surrogate, U+{ord(text[error.start]):04X}, at position {error.start}: half a "
            f"character, which UTF-8 cannot express. Read the text again with its right encoding, or drop "
            f'such halves with text.encode("utf-8", "ignore").decode("utf-8")'
        ) from None
