"""Text to tokens and back: byte-level BPE as in GPT-2, and a character tokenizer for small experiments.

Byte-level (Radford et al. 2019, section 2.2): text becomes UTF-8 bytes, so the alphabet has 256 letters and
every text in every language can be written in it. A pattern first cuts the text into chunks (a word with its
leading space, a number, a run of punctuation); merges are learnt and applied inside chunks only.

    "Once upon"  ->  "Once", " upon"  ->  bytes 4f 6e 63 65, 20 75 70 6f 6e  ->  merges  ->  ids
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Protocol, Self

import regex
from tqdm import tqdm

from numpylm.bpe import Pair, apply_merges, learn_merges
from numpylm.files import read_text, write_text

END_OF_TEXT = "<|endoftext|>"

# GPT-2's rule for where chunks begin: contractions; words, numbers and other signs, each with at most one
# space before; white space, whose last character is left to the word that follows.
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

CACHED_CHUNKS = 1 << 18  # how many distinct chunks the encoder remembers: about 50 MB at the most
BLOCK = 1 << 20  # characters that are split at a time, so that long texts need little memory


class TextTokenizer(Protocol):
    """What the rest of numpylm needs of a tokenizer."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def end_id(self) -> int | None: ...
    def encode(self, text: str, allow_special: bool = False) -> list[int]: ...
    def decode(self, ids: Iterable[int], errors: str = "replace") -> str: ...
    def token_bytes(self, token: int) -> bytes: ...
    def save(self, directory: str | Path) -> None: ...


def byte_letters() -> dict[int, str]:
    """GPT-2's way of writing any byte as one visible character in its files.

    The 188 bytes that are visible in Latin-1 stand for themselves; the others, in order, take the characters
    from U+0100 on. So a space (0x20) is written Ġ. In the order of these characters, bytes get ids 0 … 255.
    """
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = {byte: chr(byte) for byte in visible}
    hidden = (byte for byte in range(256) if byte not in letters)
    return letters | {byte: chr(256 + n) for n, byte in enumerate(hidden)}


LETTER_OF_BYTE = byte_letters()
BYTE_OF_LETTER = {letter: byte for byte, letter in LETTER_OF_BYTE.items()}


class Tokenizer:
    """Byte-level BPE, in GPT-2's format.

    Make one with `Tokenizer.train` or `Tokenizer.load`.

    Parameters
    ----------
    vocab : dict of bytes -> int
        Ids of all ordinary tokens: the 256 single bytes and one token for each merge.
    merges : list of (bytes, bytes)
        In the order in which they were learnt, which is the order in which they are applied.
    special_tokens : dict of str -> int
        Tokens that no text can produce, unless the caller allows it.
    pattern : str
        Regular expression (of the ``regex`` package) whose matches are the chunks.

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
        self._chunks = regex.compile(pattern)
        self._specials = _special_regex(special_tokens)
        self._bytes = {i: token for token, i in vocab.items()}
        self._bytes |= {i: token.encode("utf-8") for token, i in special_tokens.items()}
        ranks = {(vocab[a], vocab[b]): (rank, vocab[a + b]) for rank, (a, b) in enumerate(self.merges)}
        self._encode_chunk = _ChunkCache(vocab, ranks).__getitem__

    @classmethod
    def train(
        cls,
        text: str | Iterable[str],
        vocab_size: int,
        special_tokens: Sequence[str] = (END_OF_TEXT,),
        pattern: str = GPT2_PATTERN,
        progress: bool = False,
    ) -> Self:
        """Learn a vocabulary from text.

        Parameters
        ----------
        text : str or iterable of str
            One text, or several documents. A special token inside them separates, and is not learnt from.
        vocab_size : int
            256 bytes + merges + special tokens. A short text may give fewer: a pair must occur twice.
        special_tokens : sequence of str
            They get the last ids.
        pattern : str
        progress : bool
            Show bars for counting and for learning.

        Raises
        ------
        ValueError
            If vocab_size leaves no room for the bytes and special tokens, or the text is empty.
        """
        specials = list(dict.fromkeys(special_tokens))
        if "" in specials:
            raise ValueError("a special token must not be empty")
        n_merges = vocab_size - 256 - len(specials)
        if n_merges < 0:
            raise ValueError(
                f"vocab_size must be at least {256 + len(specials)}: 256 bytes and {len(specials)} special "
                f"tokens come before the first merge; got {vocab_size}"
            )
        counts = _count_chunks([text] if isinstance(text, str) else text, pattern, specials, progress)
        if not counts:
            raise ValueError("cannot train a tokenizer on empty text")
        vocab = {bytes([byte]): i for i, byte in enumerate(sorted(range(256), key=LETTER_OF_BYTE.__getitem__))}
        tokens = list(vocab)
        id_of_byte = [vocab[bytes([byte])] for byte in range(256)]
        words = {tuple(id_of_byte[byte] for byte in _utf8(chunk)): n for chunk, n in counts.items()}
        merges = []
        for left, right in learn_merges(words, 256, n_merges, progress):
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
        """Id of <|endoftext|>, which separates documents, if this vocabulary has it."""
        return self.special_tokens.get(END_OF_TEXT)

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """Ids of a text.

        Parameters
        ----------
        text : str
        allow_special : bool
            Whether "<|endoftext|>" in the text becomes that token. Leave it off for text from outside, or
            whoever wrote it can end your documents for you.

        Raises
        ------
        ValueError
            If the text holds a lone surrogate (half a character), which UTF-8 cannot express.
        """
        if allow_special and self._specials:
            parts = self._specials.split(text)  # ordinary, special, ordinary, ...
            return [
                i
                for n, part in enumerate(parts)
                for i in ([self.special_tokens[part]] if n % 2 else self._encode_ordinary(part))
            ]
        return self._encode_ordinary(text)

    def _encode_ordinary(self, text: str) -> list[int]:
        try:
            # Almost every chunk has been seen before: what counts is the split and one look-up for each.
            chunks = chain.from_iterable(self._chunks.findall(part) for part in _blocks(text, self.pattern))
            return list(chain.from_iterable(map(self._encode_chunk, chunks)))
        except UnicodeEncodeError:
            _utf8(text)  # raises the same complaint with the position in the whole text
            raise

    def decode(self, ids: Iterable[int], errors: str = "replace") -> str:
        """Text of ids. Bytes that are not UTF-8 (a character cut in half) become U+FFFD, unless ``errors``
        says otherwise: see ``bytes.decode``."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", errors=errors)

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one token; raises ValueError for an id outside the vocabulary."""
        try:
            return self._bytes[token]
        except KeyError:
            raise ValueError(f"token id {token} is outside this vocabulary of {self.vocab_size}") from None

    def save(self, directory: str | Path) -> None:
        """Write GPT-2's two files, ``vocab.json`` and ``merges.txt``, which other tokenizers read too.

        A pattern other than GPT-2's has no place in them and goes to ``pattern.txt``.
        """
        directory = Path(directory)
        vocab = {_letters(token): i for token, i in self.vocab.items()} | self.special_tokens
        ordered = dict(sorted(vocab.items(), key=lambda item: item[1]))
        write_text(directory / "vocab.json", json.dumps(ordered, ensure_ascii=False))
        lines = ["#version: 0.2", *(f"{_letters(a)} {_letters(b)}" for a, b in self.merges)]
        write_text(directory / "merges.txt", "\n".join(lines) + "\n")
        if self.pattern != GPT2_PATTERN:
            write_text(directory / "pattern.txt", self.pattern)
        else:
            (directory / "pattern.txt").unlink(missing_ok=True)

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read ``vocab.json`` and ``merges.txt``, ours or GPT-2's own.

        What is in the vocabulary and is neither a byte nor made by a merge is a special token.

        Raises
        ------
        FileNotFoundError, ValueError
            If a file is missing or does not hold what it should; says which and where.
        """
        directory = Path(directory)
        for name in ("vocab.json", "merges.txt"):
            if not (directory / name).is_file():
                raise FileNotFoundError(
                    f"no tokenizer in {directory}: {name} is missing (vocab.json and merges.txt are needed)"
                )
        ids = _read_vocab(directory / "vocab.json")
        merges = _read_merges(directory / "merges.txt")
        ordinary = [bytes([byte]) for byte in range(256)] + [a + b for a, b in merges]
        if absent := [token for token in ordinary if _letters(token) not in ids]:
            raise ValueError(
                f"{directory}: vocab.json has no id for {len(absent)} tokens that merges.txt or single bytes "
                f"need, first {_letters(absent[0])!r}: are the two files from the same tokenizer?"
            )
        vocab = {token: ids.pop(_letters(token)) for token in dict.fromkeys(ordinary)}
        made: set[bytes] = {bytes([byte]) for byte in range(256)}
        for line, (a, b) in enumerate(merges, 2):
            if a not in made or b not in made:
                raise ValueError(f"{directory / 'merges.txt'}, line {line}: merges a token that is not made before")
            made.add(a + b)
        custom = directory / "pattern.txt"
        return cls(vocab, merges, ids, read_text(custom) if custom.exists() else GPT2_PATTERN)


class _ChunkCache(dict):
    """chunk -> its ids; a chunk that is not there yet is tokenized and remembered."""

    def __init__(self, vocab: dict[bytes, int], ranks: dict[Pair, tuple[int, int]]) -> None:
        self.id_of_byte = [vocab[bytes([byte])] for byte in range(256)]
        self.ranks = ranks

    def __missing__(self, chunk: str) -> list[int]:
        ids = apply_merges([self.id_of_byte[byte] for byte in chunk.encode("utf-8")], self.ranks)
        if len(self) >= CACHED_CHUNKS:
            self.clear()
        if len(chunk) <= 64:  # longer ones hardly ever come back
            self[chunk] = ids
        return ids


class CharTokenizer:
    """One token a character, for character-level models. The same interface as `Tokenizer`.

    Parameters
    ----------
    characters : str
        Their ids are their positions.
    special_tokens : sequence of str
        They follow the characters.
    """

    def __init__(self, characters: str, special_tokens: Sequence[str] = ()) -> None:
        self.characters = characters
        self.special_tokens = {token: len(characters) + n for n, token in enumerate(special_tokens)}
        self._specials = _special_regex(self.special_tokens)
        self._ids = {character: i for i, character in enumerate(characters)}
        self._tokens = [*characters, *special_tokens]

    @classmethod
    def train(
        cls,
        text: str | Iterable[str],
        vocab_size: int | None = None,
        special_tokens: Sequence[str] = (),
        pattern: str | None = None,
        progress: bool = False,
    ) -> Self:
        """Collect the characters that occur, in Unicode order; with ``vocab_size``, only the commonest."""
        special = _special_regex(dict.fromkeys(special_tokens, 0))
        counts: Counter[str] = Counter()
        for document in tqdm([text] if isinstance(text, str) else text, disable=not progress, leave=False):
            counts.update(special.sub("", document) if special else document)
        if not counts:
            raise ValueError("cannot train a tokenizer on empty text")
        room = None if vocab_size is None else vocab_size - len(special_tokens)
        if room is not None and room < 1:
            raise ValueError(f"vocab_size must be above the {len(special_tokens)} special tokens, got {vocab_size}")
        kept = sorted(counts, key=lambda c: (-counts[c], c))[:room]
        return cls("".join(sorted(kept)), tuple(special_tokens))

    @property
    def vocab_size(self) -> int:
        """Characters and special tokens."""
        return len(self._tokens)

    @property
    def end_id(self) -> int | None:
        """Id of <|endoftext|>, if this vocabulary has it."""
        return self.special_tokens.get(END_OF_TEXT)

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """Ids of a text; raises ValueError for a character that the vocabulary does not have."""
        try:
            if allow_special and self._specials:
                parts = self._specials.split(text)
                return [
                    i
                    for n, part in enumerate(parts)
                    for i in ([self.special_tokens[part]] if n % 2 else map(self._ids.__getitem__, part))
                ]
            return list(map(self._ids.__getitem__, text))
        except KeyError as error:
            character = error.args[0]
            raise ValueError(
                f"the character {character!r} (U+{ord(character):04X}, first at position {text.index(character)}) "
                f"is not among the {len(self.characters)} that this tokenizer was trained on"
            ) from None

    def decode(self, ids: Iterable[int], errors: str = "replace") -> str:
        """Text of ids. (``errors`` is there for the common interface; characters cannot be cut.)"""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", errors=errors)

    def token_bytes(self, token: int) -> bytes:
        """The UTF-8 bytes of one token; raises ValueError for an id outside the vocabulary."""
        if not 0 <= token < len(self._tokens):
            raise ValueError(f"token id {token} is outside this vocabulary of {self.vocab_size}")
        return self._tokens[token].encode("utf-8")

    def save(self, directory: str | Path) -> None:
        """Write ``characters.json``."""
        state = {"characters": self.characters, "special_tokens": list(self.special_tokens)}
        write_text(Path(directory) / "characters.json", json.dumps(state, ensure_ascii=False))

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read ``characters.json``."""
        path = Path(directory) / "characters.json"
        state = _read_json(path)
        if not (isinstance(state, dict) and {"characters", "special_tokens"} <= state.keys()):
            raise ValueError(f"{path} is not a character tokenizer: it needs characters and special_tokens")
        return cls(state["characters"], state["special_tokens"])


def load_tokenizer(directory: str | Path) -> Tokenizer | CharTokenizer:
    """Load whichever tokenizer a folder holds."""
    if (Path(directory) / "characters.json").exists():
        return CharTokenizer.load(directory)
    return Tokenizer.load(directory)


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the text holds a lone surrogate, U+{ord(text[error.start]):04X}, at position {error.start}: half a "
            f"character, which UTF-8 cannot express. Read the text again with its right encoding, or drop "
            f'such halves with text.encode("utf-8", "ignore").decode("utf-8")'
        ) from None


def _letters(token: bytes) -> str:
    return "".join(map(LETTER_OF_BYTE.__getitem__, token))


def _special_regex(special_tokens: Iterable[str]) -> "regex.Pattern | None":
    """Finds special tokens in a text, the longer one where two begin at the same place."""
    ordered = sorted(special_tokens, key=len, reverse=True)
    return regex.compile("(" + "|".join(map(regex.escape, ordered)) + ")") if ordered else None


_CUT = regex.compile(r"(?<=\S)\s")


def _blocks(text: str, pattern: str) -> Iterator[str]:
    """Cut a long text where GPT-2's pattern always begins a new chunk: before white space after a word.

    No chunk of that pattern has white space after anything else, and none looks to its left, so the blocks
    split exactly as the whole text does. For other patterns that is not known, and the text stays whole.
    """
    start = 0
    while pattern == GPT2_PATTERN and len(text) - start > BLOCK and (cut := _CUT.search(text, start + BLOCK)):
        yield text[start : cut.start()]
        start = cut.start()
    yield text[start:] if start else text


def _count_chunks(
    documents: Iterable[str], pattern: str, special_tokens: Sequence[str], progress: bool
) -> Counter[str]:
    split = regex.compile(pattern).findall
    special = _special_regex(special_tokens)
    counts: Counter[str] = Counter()
    with tqdm(desc="counting", unit=" chars", unit_scale=True, disable=not progress, leave=False) as bar:
        for document in documents:
            parts = special.split(document)[::2] if special else [document]
            for block in chain.from_iterable(_blocks(part, pattern) for part in parts):
                counts.update(split(block))
                bar.update(len(block))
    return counts


def _read_json(path: Path) -> object:
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None


def _read_vocab(path: Path) -> dict[str, int]:
    ids = _read_json(path)
    if not isinstance(ids, dict) or not all(isinstance(i, int) for i in ids.values()):
        raise ValueError(f"{path} should be one JSON object of token -> id")
    if sorted(ids.values()) != list(range(len(ids))):
        raise ValueError(f"{path}: ids should be 0 … {len(ids) - 1}, each once")
    return ids


def _read_merges(path: Path) -> list[tuple[bytes, bytes]]:
    merges = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        pair = line.split(" ")
        if len(pair) != 2 or not all(pair) or not all(letter in BYTE_OF_LETTER for letter in "".join(pair)):
            raise ValueError(f"{path}, line {number}: expected two tokens with a space between, got {line!r}")
        left, right = (bytes(map(BYTE_OF_LETTER.__getitem__, token)) for token in pair)
        merges.append((left, right))
    return merges
