"""WordPiece: the tokenizer of BERT, which cuts each word into the longest pieces that its vocabulary has.

A text is cleaned and split into words (`numpylm.text.bert_words`). Each word is then cut from left to right: the next
piece is the longest one in the vocabulary with which the rest of the word begins. Pieces inside a word are written with
``##`` before them. A word that cannot be cut to its end becomes one token, [UNK].

    "Tokenizing texts!"  ->  "tokenizing", "texts", "!"  ->  "token", "##izing", "texts", "!"  ->  ids

The text cannot be recovered from the ids exactly: case, accents and white space are lost.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Self

from tqdm import tqdm

from numpylm.text.bert_words import BertWords, drop_spaces
from numpylm.text.bpe import CACHED_CHUNKS
from numpylm.text.pretokenize import special_regex, utf8
from numpylm.text.wordpiece_files import LONGEST_WORD, SPECIAL, WordPieceParts, read_wordpiece, write_wordpiece

INSIDE = "##"  # begins each piece that continues a word
BERT_WORDS = BertWords()


def longest_pieces(word: str, vocab: Mapping[str, int], longest: int) -> list[int] | None:
    """Cut a word into pieces from left to right, always the longest that fits, as BERT does.

    The pieces are the wordpieces of Wu et al. 2016 (arXiv:1609.08144, section 4.1).

    Parameters
    ----------
    word : str
    vocab : dict of str -> int
    longest : int
        Number of characters of the longest token.

    Returns
    -------
    ids : list of int, or None
        None if some part of the word begins with no piece of the vocabulary.
    """
    ids: list[int] = []
    start = 0
    while start < len(word):
        prefix = INSIDE if start else ""
        for end in range(min(len(word), start + longest), start, -1):
            if (piece := vocab.get(prefix + word[start:end])) is not None:
                break
        else:
            return None
        ids.append(piece)
        start = end
    return ids


class WordPiece:
    """BERT's tokenizer (Devlin et al. 2018, arXiv:1810.04805). It has the same interface as `Tokenizer`.

    Parameters
    ----------
    tokens : sequence of str
        The id of a token is its position.
    words : BertWords
        How a text is split into words.
    special : dict of str -> str, optional
        The texts of special tokens with other texts than BERT's, by the names in tokenizer_config.json: ``unk_token``,
        ``sep_token``, ``pad_token``, ``cls_token``, ``mask_token``.
    more_special : sequence of str
        Further special tokens of the vocabulary.

    Raises
    ------
    ValueError
        If a token occurs twice, or a special token is missing.

    Examples
    --------
    >>> wordpiece = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##afford", "##able", "!"])
    >>> wordpiece.encode("Unaffordable!")
    [5, 6, 7, 8]
    >>> wordpiece.encode_pair("Unaffordable", "!")
    ([2, 5, 6, 7, 3, 8, 3], [0, 0, 0, 0, 0, 1, 1])
    """

    def __init__(
        self,
        tokens: Sequence[str],
        words: BertWords = BERT_WORDS,
        special: Mapping[str, str] | None = None,
        more_special: Sequence[str] = (),
    ) -> None:
        self.tokens = list(tokens)
        self.words = words
        self.special = SPECIAL | dict(special or {})
        self.more_special = list(more_special)
        ids = {token: i for i, token in enumerate(tokens)}
        _check(self.tokens, ids, self.special, more_special)
        self.special_tokens = {token: ids[token] for token in (*self.special.values(), *more_special)}
        self._specials = special_regex(self.special_tokens)
        self._special_ids = set(self.special_tokens.values())
        self._encode_chunk = _ChunkCache(ids, self.unk_id, words.split).__getitem__

    @property
    def vocab_size(self) -> int:
        """Number of tokens, special ones included."""
        return len(self.tokens)

    @property
    def end_id(self) -> int:
        """Id of [SEP], which ends each text."""
        return self.sep_id

    @property
    def cls_id(self) -> int:
        """Id of [CLS], which begins the input of the model."""
        return self.special_tokens[self.special["cls_token"]]

    @property
    def sep_id(self) -> int:
        """Id of [SEP], which ends each text in the input of the model."""
        return self.special_tokens[self.special["sep_token"]]

    @property
    def pad_id(self) -> int:
        """Id of [PAD], which fills the shorter rows of a batch."""
        return self.special_tokens[self.special["pad_token"]]

    @property
    def mask_id(self) -> int:
        """Id of [MASK], in whose place the model predicts a token."""
        return self.special_tokens[self.special["mask_token"]]

    @property
    def unk_id(self) -> int:
        """Id of [UNK], which stands for a word that cannot be cut into pieces."""
        return self.special_tokens[self.special["unk_token"]]

    def encode(self, text: str, allow_special: bool = False, progress: bool = False) -> list[int]:
        """Ids of a text, without [CLS] and [SEP].

        Parameters
        ----------
        text : str
        allow_special : bool
            Whether "[SEP]" in the text, written exactly so, becomes the special token, as in transformers. If not, it
            is a word between brackets. Leave it off for untrusted text.
        progress : bool
            Show a progress bar, in millions of characters.

        Raises
        ------
        ValueError
            If the text contains a lone surrogate (half a character).
        """
        parts = self._specials.split(text) if allow_special and self._specials else [text]
        ids: list[int] = []
        for n, part in enumerate(parts):  # ordinary, special, ordinary, ...
            ids += [self.special_tokens[part]] if n % 2 else self._encode_ordinary(part, progress)
        return ids

    def _encode_ordinary(self, text: str, progress: bool) -> list[int]:
        blocks = tqdm(self.words.chunks(text), "tokenizing", unit=" M", disable=not progress, leave=False)
        try:
            return list(chain.from_iterable(map(self._encode_chunk, chain.from_iterable(blocks))))
        except UnicodeEncodeError:
            utf8(text)  # raises the error with the position in the whole text
            raise

    def encode_pair(self, first: str, second: str | None = None) -> tuple[list[int], list[int]]:
        """The input of a BERT: [CLS] first [SEP], or [CLS] first [SEP] second [SEP].

        Returns
        -------
        ids : list of int
        token_types : list of int
            0 for the first text and the special tokens around it, 1 for the second text and its [SEP].
        """
        ids = [self.cls_id, *self.encode(first), self.sep_id]
        more = [] if second is None else [*self.encode(second), self.sep_id]
        return ids + more, [0] * len(ids) + [1] * len(more)

    def decode(self, ids: Iterable[int], errors: str = "replace", skip_special: bool = True) -> str:
        """The text of some ids, with a space between words, but not before punctuation and in English contractions.

        It is that of transformers' decode with clean_up_tokenization_spaces. ``errors`` exists only for the common
        interface; a token is never half a character.
        """
        kept = [i for i in ids if not (skip_special and i in self._special_ids)]
        pieces = [self.token_bytes(i).decode("utf-8", errors) for i in kept]
        if kept:
            pieces[0] = self.tokens[kept[0]]
        return drop_spaces("".join(map(drop_spaces, pieces)))

    def token_bytes(self, token: int) -> bytes:
        """What a token adds to a text, in UTF-8: the rest of a word, or a space and a word.

        Raises ValueError for an id outside the vocabulary.
        """
        if not 0 <= token < len(self.tokens):
            raise ValueError(f"token id {token} is outside this vocabulary of {self.vocab_size}")
        text = self.tokens[token]
        return (text.removeprefix(INSIDE) if text.startswith(INSIDE) else f" {text}").encode("utf-8")

    def save(self, directory: str | Path) -> None:
        """Write ``vocab.txt`` and ``tokenizer_config.json``; transformers' AutoTokenizer makes the same ids from them.

        A ``tokenizer.json`` in the folder is deleted, because transformers would read that instead.
        """
        write_wordpiece(Path(directory), WordPieceParts(self.tokens, self.words, self.special, self.more_special))

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read ``vocab.txt`` and ``tokenizer_config.json``, or else transformers' ``tokenizer.json``.

        In vocab.txt, each line is a token, and its id is the number of lines before it. A tokenizer.json must contain
        WordPiece with BERT's normalizer and pre-tokenizer.

        Raises
        ------
        FileNotFoundError, ValueError
            If a file is missing or its content is invalid. The message says which file and where.
        """
        parts = read_wordpiece(Path(directory))
        try:
            return cls(*parts)
        except ValueError as error:
            raise ValueError(f"the vocabulary in {directory} is not that of a BERT: {error}") from None


def _check(
    tokens: Sequence[str], ids: Mapping[str, int], special: Mapping[str, str], more_special: Sequence[str]
) -> None:
    for i, token in enumerate(tokens):
        if ids[token] != i:
            raise ValueError(f"the token {token!r} occurs twice, with the ids {i} and {ids[token]}")
    if unknown := special.keys() - SPECIAL.keys():
        raise ValueError(f"{min(unknown)!r} is not a special token of BERT; these are {', '.join(SPECIAL)}")
    for name, token in special.items():
        if token not in ids:
            raise ValueError(f"the {name} {token!r} is missing; tokenizer_config.json can give it another text")
    if missing := [token for token in more_special if token not in ids]:
        raise ValueError(f"the special token {missing[0]!r} is not in the vocabulary")


class _ChunkCache(dict):
    """A dict of chunk -> ids. A missing chunk is split into words, which are cut into pieces, and stored."""

    def __init__(self, vocab: Mapping[str, int], unk_id: int, split: Callable[[str], list[str]]) -> None:
        self.vocab = vocab
        self.unk_id = unk_id
        self.split = split
        self.longest = max(map(len, vocab))

    def __missing__(self, chunk: str) -> list[int]:
        chunk.encode("utf-8")  # raises UnicodeEncodeError for half a character
        ids = list(chain.from_iterable(map(self._word, self.split(chunk))))
        if len(self) >= CACHED_CHUNKS:
            self.clear()
        if len(chunk) <= 64:  # longer chunks hardly ever occur again
            self[chunk] = ids
        return ids

    def _word(self, word: str) -> list[int]:
        ids = longest_pieces(word, self.vocab, self.longest) if len(word) <= LONGEST_WORD else None
        return [self.unk_id] if ids is None else ids
