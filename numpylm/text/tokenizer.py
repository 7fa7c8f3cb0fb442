"""Tokenizer: byte-level BPE as in GPT-2, with training, encoding and decoding.

Byte-level (Radford et al. 2019, section 2.2) means that text is first converted to UTF-8 bytes. So there are 256 base
tokens, and they can express any text in any language. A pattern splits the text into chunks (a word with its leading
space, a number, a run of punctuation). Merges are learned and applied only inside chunks.

    "Once upon"  ->  "Once", " upon"  ->  bytes 4f 6e 63 65, 20 75 70 6f 6e  ->  merges  ->  ids
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Self

from tqdm import tqdm

from numpylm.system.whole_files import write_text
from numpylm.text.bpe import Pair, apply_merges, learn_merges
from numpylm.text.pretokenize import END_OF_TEXT, GPT2_PATTERN, blocks, chunk_finder, count_chunks, special_regex, utf8
from numpylm.text.tokenizer_files import LETTER_OF_BYTE, letters, read_parts, written_vocab

CACHED_CHUNKS = 1 << 18  # number of distinct chunks that the encoder remembers: about 50 MB at most
LONGEST_CACHED_CHUNK = 64  # characters; longer chunks hardly ever occur again


def count_merges(vocab_size: int, specials: int = 1) -> int:
    """The number of merges in a vocabulary, without bytes and special tokens. Raises ValueError if it is too small."""
    if vocab_size < 256 + specials:
        raise ValueError(
            f"vocab_size must be at least {256 + specials}: 256 bytes and {specials} special "
            f"tokens come before the first merge; got {vocab_size}"
        )
    return vocab_size - 256 - specials


class Tokenizer:
    """Byte-level BPE, in GPT-2's format.

    Make one with `Tokenizer.train` or `Tokenizer.load`.

    Parameters
    ----------
    vocab : dict of bytes -> int
        Ids of all ordinary tokens: the 256 single bytes and one token for each merge.
    merges : list of (bytes, bytes)
        In the order in which they were learned, which is also the order in which they are applied.
    special_tokens : dict of str -> int
        `encode` produces these tokens only if the caller allows it.
    pattern : str
        Regular expression (of the ``regex`` package) that matches the chunks.

    Examples
    --------
    >>> tok = Tokenizer.train("low lower lowest low low", vocab_size=260)
    >>> [tok.decode([i]) for i in tok.encode("lowest")]
    ['low', 'e', 's', 't']
    >>> tok.decode(tok.encode("naïve 漢字 🙂"))
    'naïve 漢字 🙂'
    """

    def __init__(
        self,
        vocab: dict[bytes, int],
        merges: Sequence[tuple[bytes, bytes]],
        special_tokens: dict[str, int],
        pattern: str = GPT2_PATTERN,
    ) -> None:
        self.vocab = vocab
        self.merges = list(merges)
        self.special_tokens = special_tokens
        self.pattern = pattern
        self._find_chunks = chunk_finder(pattern)
        self._specials = special_regex(special_tokens)
        self._bytes = {i: token for token, i in vocab.items()}
        self._bytes |= {i: token.encode("utf-8") for token, i in special_tokens.items()}
        self._encode_chunk = _ChunkCache(vocab, self.merges).__getitem__

    @classmethod
    def train(
        cls,
        text: str | Iterable[str],
        vocab_size: int,
        special_tokens: Sequence[str] = (END_OF_TEXT,),
        pattern: str = GPT2_PATTERN,
        progress: bool = False,
        whole_characters: int = 0,
    ) -> Self:
        """Learn a vocabulary from text.

        Parameters
        ----------
        text : str or iterable of str
            One text, or several documents. A special token inside them is a separator; no merge is learned from it.
        vocab_size : int
            256 bytes + merges + special tokens. A short text may give fewer, because a pair must occur twice.
        special_tokens : sequence of str
            They get the last ids.
        pattern : str
        progress : bool
            Show progress bars for counting and for learning.
        whole_characters : int
            Multi-byte characters that occur at least this often become tokens before all other merges, the most
            frequent first. 0 turns this off, as in GPT-2's vocabulary. A rare character is then written in several
            tokens, and a model may write only some of them.

        Raises
        ------
        ValueError
            If vocab_size is too small for the bytes and special tokens, or the text is empty.
        """
        specials = list(dict.fromkeys(special_tokens))
        if "" in specials:
            raise ValueError("a special token must not be empty")
        n_merges = count_merges(vocab_size, len(specials))
        counts = count_chunks([text] if isinstance(text, str) else text, pattern, specials, progress)
        if not counts:
            raise ValueError("cannot train a tokenizer on empty text")
        vocab = {bytes([byte]): i for i, byte in enumerate(sorted(range(256), key=LETTER_OF_BYTE.__getitem__))}
        tokens = list(vocab)
        id_of_byte = [vocab[bytes([byte])] for byte in range(256)]
        words = {tuple(id_of_byte[byte] for byte in utf8(chunk)): n for chunk, n in counts.items()}
        learned: list[Pair] = []
        if whole_characters:
            learned = character_merges(counts, whole_characters, id_of_byte)[:n_merges]
            ranks = {pair: rank for rank, pair in enumerate(learned)}
            made = range(256, 256 + len(learned))
            words = {tuple(apply_merges(word, ranks, made)): n for word, n in words.items()}
        learned += learn_merges(words, 256 + len(learned), n_merges - len(learned), progress)
        merges = []
        for left, right in learned:
            merges.append((tokens[left], tokens[right]))
            tokens.append(tokens[left] + tokens[right])
            vocab[tokens[-1]] = len(tokens) - 1
        return cls(vocab, merges, {token: len(tokens) + n for n, token in enumerate(specials)}, pattern)

    @property
    def vocab_size(self) -> int:
        """Number of ids: bytes, merges and special tokens."""
        return len(self.vocab) + len(self.special_tokens)

    @property
    def end_id(self) -> int | None:
        """Id of <|endoftext|>, which separates documents; None if this vocabulary does not have it."""
        return self.special_tokens.get(END_OF_TEXT)

    def encode(self, text: str, allow_special: bool = False, progress: bool = False) -> list[int]:
        """Ids of a text.

        Parameters
        ----------
        text : str
        allow_special : bool
            Whether "<|endoftext|>" in the text becomes the special token. Leave it off for untrusted text; otherwise
            the text could end a document early.
        progress : bool
            Show a progress bar, in millions of characters.

        Raises
        ------
        ValueError
            If the text contains a lone surrogate (half a character), which UTF-8 cannot express.
        """
        if allow_special and self._specials:
            parts = self._specials.split(text)  # ordinary, special, ordinary, ...
            return [
                i
                for n, part in enumerate(parts)
                for i in ([self.special_tokens[part]] if n % 2 else self._encode_ordinary(part, progress))
            ]
        return self._encode_ordinary(text, progress)

    def _encode_ordinary(self, text: str, progress: bool) -> list[int]:
        parts = tqdm(blocks(text, self.pattern), "tokenizing", unit=" M", disable=not progress, leave=False)
        try:
            # Almost every chunk is in the cache already, so the time goes into splitting and one lookup for each chunk.
            chunks = chain.from_iterable(map(self._find_chunks, parts))
            return list(chain.from_iterable(map(self._encode_chunk, chunks)))
        except UnicodeEncodeError:
            utf8(text)  # raises the error with the position in the whole text
            raise

    def decode(self, ids: Iterable[int], errors: str = "replace") -> str:
        """The text of some ids.

        Bytes that are not valid UTF-8 (half a character) become U+FFFD. For other values of ``errors`` see
        ``bytes.decode``.
        """
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", errors=errors)

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one token; raises ValueError for an id outside the vocabulary."""
        try:
            return self._bytes[token]
        except KeyError:
            raise ValueError(f"token id {token} is outside this vocabulary of {self.vocab_size}") from None

    def save(self, directory: str | Path) -> None:
        """Write GPT-2's two files, ``vocab.json`` and ``merges.txt``, which other programs can read, too.

        These files cannot store a pattern. If it is not GPT-2's, it is written to ``pattern.txt``.
        """
        directory = Path(directory)
        vocab = written_vocab(self.vocab, self.special_tokens)
        write_text(directory / "vocab.json", json.dumps(vocab, ensure_ascii=False))
        lines = ["#version: 0.2", *(f"{letters(a)} {letters(b)}" for a, b in self.merges)]
        write_text(directory / "merges.txt", "\n".join(lines) + "\n")
        if self.pattern != GPT2_PATTERN:
            write_text(directory / "pattern.txt", self.pattern)
        else:
            (directory / "pattern.txt").unlink(missing_ok=True)

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read ``vocab.json`` and ``merges.txt`` (ours or GPT-2's), or else transformers' ``tokenizer.json``.

        A token that is neither a byte nor made by a merge is a special token. A tokenizer.json must contain byte-level
        BPE, as GPT-2's does. transformers recognizes special tokens in every text, and may add some before and after
        it. `encode` recognizes them only if it is allowed to, and never adds any.

        Raises
        ------
        FileNotFoundError, ValueError
            If a file is missing or its content is invalid. The message says which file and where.
        """
        return cls(*read_parts(Path(directory)))

    # Loads by a name such as "gpt2". numpylm/__init__.py attaches this method, because numpylm/files does the download.
    from_pretrained: ClassVar[Any]  # a classmethod


def character_merges(counts: Mapping[str, int], at_least: int, id_of_byte: Sequence[int] = range(256)) -> list[Pair]:
    """The merges that make a token of each multi-byte character that occurs at least ``at_least`` times in the chunks.

    They are the merges that `learn_merges` finds if each character is a word.
    """
    characters: Counter[str] = Counter()
    for chunk, n in counts.items():
        if not chunk.isascii():
            for character in chunk:
                characters[character] += n
    words = {
        tuple(id_of_byte[byte] for byte in utf8(character)): n
        for character, n in characters.items()
        if n >= max(at_least, 2) and not character.isascii()
    }
    return learn_merges(words, 256, 4 * len(words))  # a character has at most four bytes


class _ChunkCache(dict):
    """A dict of chunk -> ids. A missing chunk is tokenized and stored."""

    def __init__(self, vocab: dict[bytes, int], merges: Sequence[tuple[bytes, bytes]]) -> None:
        self.id_of_byte = [vocab[bytes([byte])] for byte in range(256)]
        self.ranks = {(vocab[a], vocab[b]): rank for rank, (a, b) in enumerate(merges)}
        self.made = [vocab[a + b] for a, b in merges]

    def __missing__(self, chunk: str) -> list[int]:
        ids = apply_merges(map(self.id_of_byte.__getitem__, chunk.encode("utf-8")), self.ranks, self.made)
        if len(self) >= CACHED_CHUNKS:
            self.clear()
        if len(chunk) <= LONGEST_CACHED_CHUNK:
            self[chunk] = ids
        return ids
