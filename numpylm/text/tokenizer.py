"""Tokenizer: byte-level BPE as in GPT-2, with training, encoding and decoding.

Byte-level (Radford et al. 2019, section 2.2) means that text is first converted to UTF-8 bytes. So there are 256 base
tokens, and they can express any text in any language. A pattern splits the text into chunks (a word with its leading
space, a number, a run of punctuation). Merges are learned and applied only inside chunks.

    "Once upon"  ->  "Once", " upon"  ->  bytes 4f 6e 63 65, 20 75 70 6f 6e  ->  merges  ->  ids
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Self

from tqdm import tqdm

from numpylm.text.added_tokens import AddedToken, AddedTokens
from numpylm.text.bpe import ChunkCache, Pair, apply_merges, character_merges, learn_merges
from numpylm.text.pretokenize import END_OF_TEXT, GPT2_PATTERN, Pattern, blocks, chunk_finder, count_chunks, utf8
from numpylm.text.tokenizer_config import SILENT, Chat
from numpylm.text.tokenizer_files import LETTER_OF_BYTE, PLAIN, Rules, TokenizerParts
from numpylm.text.tokenizer_json import read_parts
from numpylm.text.write_tokenizer import write_parts


def count_merges(vocab_size: int, specials: int = 1) -> int:
    """The number of merges in a vocabulary, without bytes and special tokens. Raises ValueError if it is too small."""
    if vocab_size < 256 + specials:
        raise ValueError(
            f"vocab_size must be at least {256 + specials}: 256 bytes and {specials} special "
            f"tokens come before the first merge; got {vocab_size}"
        )
    return vocab_size - 256 - specials


class Tokenizer:
    """Byte-level BPE, as in GPT-2, Llama 3, Qwen2 and SmolLM2.

    Make one with `Tokenizer.train` or `Tokenizer.load`.

    Parameters
    ----------
    vocab : dict of bytes -> int
        Ids of all ordinary tokens: the 256 single bytes and one token for each merge. A vocabulary of another program
        may lack bytes that its training text did not have.
    merges : list of (bytes, bytes)
        In the order in which they were learned, which is also the order in which they are applied.
    special_tokens : dict of str -> int
        `encode` produces these tokens only if the caller allows it.
    pattern : str or tuple of str
        Regular expression (of the ``regex`` package) that matches the chunks. Of several, each splits the chunks of
        the one before.
    rules : Rules
        What else differs from GPT-2: normalization, tokens that need no merges, other added tokens.
    chat : Chat
        Which tokens begin and end a text, and the template of a chat.

    Attributes
    ----------
    chat_template : str
        A Jinja template, or "".
    bos_id : int or None
        The token that begins a text.
    add_bos : bool
        Whether a model expects it before each text. `encode` never adds it.
    eos_ids : tuple of int
        The tokens that end a text.

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
        pattern: Pattern = GPT2_PATTERN,
        rules: Rules = PLAIN,
        chat: Chat = SILENT,
    ) -> None:
        self.vocab = vocab
        self.merges = list(merges)
        self.special_tokens = special_tokens
        self.pattern = pattern
        self.rules = rules
        self.chat_template, self.bos_id, self.add_bos, self.eos_ids = chat
        if not self.eos_ids and self.end_id is not None:
            self.eos_ids = (self.end_id,)
        self._find_chunks = chunk_finder(pattern)
        added = {token: AddedToken(token, i) for token, i in special_tokens.items()}
        self._added = AddedTokens([*(added | {token.text: token for token in rules.added}).values()], rules.normalizer)
        self._bytes = {i: token for token, i in vocab.items()}
        self._bytes |= {token.id: token.text.encode("utf-8") for token in self._added.tokens.values()}
        self._encode_chunk = self._chunk_cache().__getitem__

    def _chunk_cache(self) -> ChunkCache:
        """Ids of chunks. Bytes that have no token are left out, as in other programs."""
        vocab, id_of_byte = self.vocab, [self.vocab.get(bytes([byte])) for byte in range(256)]

        def first_ids(chunk: str) -> list[int]:
            return [i for byte in chunk.encode("utf-8") if (i := id_of_byte[byte]) is not None]

        def token_itself(chunk: str) -> list[int]:
            i = vocab.get(chunk.encode("utf-8"))
            return first_ids(chunk) if i is None else [i]

        ranks = {(vocab[a], vocab[b]): rank for rank, (a, b) in enumerate(self.merges)}
        return ChunkCache(
            token_itself if self.rules.ignore_merges else first_ids, ranks, [vocab[a + b] for a, b in self.merges]
        )

    @classmethod
    def train(
        cls,
        text: str | Iterable[str],
        vocab_size: int,
        special_tokens: Sequence[str] = (END_OF_TEXT,),
        pattern: Pattern = GPT2_PATTERN,
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
        pattern : str or tuple of str
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
        """Number of ids: bytes, merges, special tokens and other added tokens."""
        return len(self._bytes)

    @property
    def end_id(self) -> int | None:
        """Id of the token that separates documents: <|endoftext|>, else the first that ends a text, else None."""
        return self.special_tokens.get(END_OF_TEXT, self.eos_ids[0] if self.eos_ids else None)

    @property
    def chat(self) -> Chat:
        """Which tokens begin and end a text, and the template of a chat."""
        return Chat(self.chat_template, self.bos_id, self.add_bos, self.eos_ids)

    @property
    def added_tokens(self) -> list[AddedToken]:
        """All special and other added tokens, by their ids."""
        return sorted(self._added.tokens.values(), key=lambda token: token.id)

    @property
    def text_of(self) -> dict[int, str]:
        """The texts of the added tokens by their ids."""
        return {token.id: token.text for token in self.added_tokens}

    @property
    def parts(self) -> TokenizerParts:
        """The arguments from which an equal tokenizer can be made."""
        return TokenizerParts(self.vocab, self.merges, self.special_tokens, self.pattern, self.rules, self.chat)

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
        if not (allow_special or self._added.always):
            return self._encode_ordinary(self._added.normalize(text), progress)
        ids: list[int] = []
        for part in self._added.split(text, allow_special):
            ids += [part] if isinstance(part, int) else self._encode_ordinary(part, progress)
        return ids

    def _encode_ordinary(self, text: str, progress: bool) -> list[int]:
        parts = tqdm(blocks(text, self.pattern), "tokenizing", unit=" M", disable=not progress, leave=False)
        try:
            # Almost every chunk is in the cache already, so the time goes into splitting and one lookup for each chunk.
            chunks = chain.from_iterable(map(self._find_chunks, parts))
            return list(chain.from_iterable(map(self._encode_chunk, chunks)))
        except UnicodeEncodeError:
            utf8(text)  # raises the error with the position in the whole text
            raise

    def split_special(self, text: str) -> Iterator[str | int]:
        """The parts of a text: ids of the added tokens in it, and between them ordinary text."""
        return self._added.split(text, allow_special=True)

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
        """Write the files that `load` reads; other programs can read them, too. See `write_parts`."""
        write_parts(Path(directory), self.parts)

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read transformers' ``tokenizer.json``, or else ``vocab.json`` and ``merges.txt`` (ours or GPT-2's).

        In the two files, a token that is neither a byte nor made by a merge is a special token. A tokenizer.json must
        contain byte-level BPE, as GPT-2's and Llama 3's do. transformers recognizes special tokens in every text, and
        may add some before and after it. `encode` recognizes them only if it is allowed to, and never adds any.

        Raises
        ------
        FileNotFoundError, ValueError
            If a file is missing or its content is invalid. The message says which file and where.
        """
        return cls(*read_parts(Path(directory)))

    # Loads by a name such as "gpt2". numpylm/__init__.py attaches this method, because numpylm/files does the download.
    from_pretrained: ClassVar[Any]  # a classmethod
