"""Pre-tokenization: splitting text into chunks (words) before BPE merges, and finding special tokens."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

import regex
from tqdm import tqdm

END_OF_TEXT = "<|endoftext|>"

# A regular expression that matches the chunks, or several: each splits the chunks of the one before.
Pattern = str | tuple[str, ...]

# GPT-2's pattern. A chunk is a contraction; or a word, a number or a run of other signs, each with at most one leading
# space; or white space, except for its last character, which belongs to the word that follows.
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

# The same pattern for plain ASCII text and Python's own re module, which does not support \p{L} but is twice as fast.
# White space is listed explicitly, because re counts four control characters as white space that Unicode does not.
ASCII_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+| ?[0-9]+| ?[^\t-\r A-Za-z0-9]+|[\t-\r ]+(?![^\t-\r ])|[\t-\r ]+"

BLOCK = 1 << 20  # characters that are split at a time, so that long texts need little memory
PIECE = 1 << 13  # a block is checked for non-ASCII characters in pieces of this many characters


def special_regex(special_tokens: Iterable[str]) -> "regex.Pattern | None":
    """A regular expression that finds special tokens. If two begin at the same position, it matches the longer one."""
    ordered = sorted(special_tokens, key=len, reverse=True)
    return regex.compile("(" + "|".join(map(regex.escape, ordered)) + ")") if ordered else None


_CUT = regex.compile(r"(?<=\S)\s")


def chunk_finder(pattern: Pattern) -> Callable[[str], Iterable[str]]:
    """A function that splits a text into the chunks of a pattern.

    If there are several patterns, each splits the chunks of the one before.

    For GPT-2's pattern, pieces of plain ASCII are split with Python's re. This reaches 27 MB/s instead of 14 on
    Python's source code, where one piece in sixty has a non-ASCII character. In German text, where every piece has
    one, it is a tenth slower: 22 MB/s instead of 24.
    """
    if isinstance(pattern, tuple):
        return _in_turn([chunk_finder(one) for one in pattern])
    find = regex.compile(pattern).findall
    if pattern != GPT2_PATTERN:
        return find
    find_ascii = re.compile(ASCII_PATTERN).findall

    def find_by_piece(text: str) -> Iterator[str]:
        """Each piece begins where a chunk begins, so its chunks are those of the whole text."""
        pieces = blocks(text, pattern, PIECE)
        return chain.from_iterable((find_ascii if piece.isascii() else find)(piece) for piece in pieces)

    return find_by_piece


def _in_turn(finders: Sequence[Callable[[str], Iterable[str]]]) -> Callable[[str], Iterable[str]]:
    def find(text: str) -> Iterable[str]:
        chunks: Iterable[str] = (text,)
        for finder in finders:
            chunks = chain.from_iterable(map(finder, chunks))
        return chunks

    return find


def blocks(text: str, pattern: Pattern, size: int = BLOCK) -> Iterator[str]:
    """Split a long text at positions where GPT-2's pattern always begins a new chunk: at white space after a word.

    No chunk of that pattern has white space after another character, and no chunk depends on what is to its left. So
    the chunks of the blocks are the chunks of the whole text. For other patterns this is not known, so the text is not
    split.
    """
    start = 0
    while pattern == GPT2_PATTERN and len(text) - start > size and (cut := _CUT.search(text, start + size)):
        yield text[start : cut.start()]
        start = cut.start()
    yield text[start:] if start else text


def count_chunks(
    documents: Iterable[str], pattern: Pattern, special_tokens: Sequence[str], progress: bool
) -> Counter[str]:
    """Count how often each chunk occurs in all documents. Special tokens separate texts and are not counted."""
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
    """The text as UTF-8. Raises a ValueError with the position if the text contains half a character."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the text holds a lone surrogate, U+{ord(text[error.start]):04X}, at position {error.start}: half a "
            f"character, which UTF-8 cannot express. Read the text again with its right encoding, or drop "
            f'such halves with text.encode("utf-8", "ignore").decode("utf-8")'
        ) from None
