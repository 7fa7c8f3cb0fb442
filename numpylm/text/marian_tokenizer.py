"""MarianTokenizer: the tokenizer of Marian's translation models, with a SentencePiece model for each language.

A SentencePiece model (Kudo and Richardson 2018, arXiv:1808.06226) cuts a text into pieces, in which ▁ stands for a
space. Marian has two, one for each side, and its own ids for their pieces. A model that translates into several
languages is told which one by a code before the text:

    ">>fr<< A cat."  ->  ">>fr<<", "▁A", "▁cat", "."  ->  ids
"""

import json
import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Self

from numpylm.system.json_fields import brief, typed
from numpylm.system.optional_packages import needed
from numpylm.system.whole_files import write_atomically, write_text
from numpylm.text.bert_words import drop_spaces
from numpylm.text.pretokenize import special_regex, utf8
from numpylm.text.tokenizer_config import naming, read_object, token_text
from numpylm.text.wordpiece_files import added_by_id, more_special_tokens

SPECIAL = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
LANGUAGE_CODE = re.compile(">>.*?<<", re.DOTALL)
BYTE = re.compile("<0x([0-9A-F]{2})>")  # a piece for one byte of a character that has no piece
SPACE = "▁"  # U+2581, in pieces


class MarianTokenizer:
    """The tokenizer of a Marian model, with transformers' ids. It has the same interface as `Tokenizer`.

    Make one with `MarianTokenizer.load`. transformers' class has a method that normalizes punctuation, but it does not
    call it when it encodes, so there is none here.

    Parameters
    ----------
    vocab : dict of str -> int
        Ids of the pieces of source texts, and of target texts, too, if ``target_vocab`` is None.
    target_vocab : dict of str -> int, optional
        Ids of the pieces of target texts. Special tokens may have other ids in it than in ``vocab``. (transformers
        always uses the ids in ``vocab`` for them. In Marian's own vocabularies </s> and <unk> are the same in both.)
    source_model, target_model : bytes
        SentencePiece models, as in a ``.spm`` file.
    config : dict
        The content of ``tokenizer_config.json``.

    Raises
    ------
    ModuleNotFoundError
        If the package sentencepiece is not installed.
    ValueError
        If the ids are not 0 … n - 1, a special token is missing, or a setting is not supported.
    """

    def __init__(
        self,
        vocab: dict[str, int],
        target_vocab: dict[str, int] | None,
        source_model: bytes,
        target_model: bytes,
        config: Mapping[str, Any],
    ) -> None:
        separate = {"separate_vocabs": target_vocab is not None}
        self.config = {"tokenizer_class": "MarianTokenizer"} | dict(config) | separate
        self.vocab = vocab
        self.target_vocab = vocab if target_vocab is None else target_vocab
        self.models = {"source.spm": source_model, "target.spm": target_model}
        self._source, self._target = (_sentencepiece(data, name) for name, data in self.models.items())
        # With one vocabulary, transformers decodes target texts with the model of the source, so this does it, too.
        self._decoder = self._source if target_vocab is None else self._target
        _check_config(config)
        self.special = {name: token_text(config, name, usual) for name, usual in SPECIAL.items()}
        _check_vocab(vocab, "vocab.json", self.special)
        _check_vocab(self.target_vocab, "target_vocab.json", self.special)
        more = more_special_tokens(added_by_id(config), {i: piece for piece, i in vocab.items()}, self.special)
        self.special_tokens = {token: vocab[token] for token in (*self.special.values(), *more)}
        self._specials = special_regex(self.special_tokens)
        self._pieces = {i: piece for piece, i in self.target_vocab.items()}

    @property
    def vocab_size(self) -> int:
        """Number of ids of source texts."""
        return len(self.vocab)

    @property
    def end_id(self) -> int:
        """Id of </s>, which ends each source text."""
        return self.vocab[self.special["eos_token"]]

    @property
    def pad_id(self) -> int:
        """Id of <pad>, which fills the shorter rows of a batch. Marian's decoder begins with it, too."""
        return self.vocab[self.special["pad_token"]]

    @property
    def unk_id(self) -> int:
        """Id of <unk>, which stands for pieces that are not in the vocabulary."""
        return self.vocab[self.special["unk_token"]]

    @property
    def language_codes(self) -> list[str]:
        """The codes for target languages that the vocabulary has, such as ``>>fr<<``."""
        return [piece for piece in self.vocab if LANGUAGE_CODE.fullmatch(piece)]

    def encode(self, text: str, allow_special: bool = False, progress: bool = False) -> list[int]:
        """Ids of a source text, without </s> at its end.

        Parameters
        ----------
        text : str
            It may begin with a language code, ``>>…<<``. A code that is not in the vocabulary becomes <unk>.
        allow_special : bool
            Whether "</s>" in the text becomes the special token, as in transformers.
        progress : bool
            Exists only for the common interface.

        Raises
        ------
        ValueError
            If the text contains a lone surrogate (half a character).
        """
        return self._encode(text, allow_special, self._source, self.vocab)

    def encode_source(self, text: str, allow_special: bool = False) -> list[int]:
        """Ids of a source text with </s>, for the encoder."""
        return [*self.encode(text, allow_special), self.end_id]

    def encode_target(self, text: str, allow_special: bool = False) -> list[int]:
        """Ids of a target text with </s>, which the decoder learns to write."""
        ids = self._encode(text, allow_special, self._target, self.target_vocab)
        return [*ids, self.target_vocab[self.special["eos_token"]]]

    def _encode(self, text: str, allow_special: bool, model: Any, vocab: Mapping[str, int]) -> list[int]:
        utf8(text)
        parts = self._specials.split(text) if allow_special and self._specials else [text]
        pieces: list[str] = []
        for n, part in enumerate(parts):  # ordinary, special, ordinary, ...
            if n % 2:
                pieces.append(part)
                continue
            code = LANGUAGE_CODE.match(part)
            pieces += [code[0]] if code else []
            pieces += model.encode(part[code.end() :] if code else part, out_type=str)
        unknown = vocab[self.special["unk_token"]]
        return [vocab.get(piece, unknown) for piece in pieces]

    def decode(self, ids: Iterable[int], errors: str = "replace", skip_special: bool = True) -> str:
        """The target text of some ids.

        ``errors`` exists only for the common interface: SentencePiece writes U+FFFD for bytes that are not UTF-8.
        """
        text = ""
        run: list[str] = []
        for token in ids:
            piece = self._piece(token)
            if piece not in self.special_tokens:
                run.append(piece)
            elif not skip_special:
                text += f"{self._decoder.decode_pieces(run)}{piece} "
                run = []
        text = (text + self._decoder.decode_pieces(run)).replace(SPACE, " ").strip()
        return drop_spaces(text) if self.config.get("clean_up_tokenization_spaces") else text

    def _piece(self, token: int) -> str:
        try:
            return self._pieces[token]
        except KeyError:
            raise ValueError(f"token id {token} is outside this vocabulary of {len(self._pieces)}") from None

    def token_bytes(self, token: int) -> bytes:
        """What a token adds to a target text, in UTF-8; raises ValueError for an id outside the vocabulary."""
        piece = self._piece(token)
        if (byte := BYTE.fullmatch(piece)) and self._decoder.is_byte(self._decoder.piece_to_id(piece)):
            return bytes([int(byte[1], 16)])
        return piece.replace(SPACE, " ").encode("utf-8")

    def save(self, directory: str | Path) -> None:
        """Write all files that `load` reads. transformers' AutoTokenizer makes the same ids from them."""
        directory = Path(directory)
        objects: dict[str, Any] = {"vocab.json": self.vocab, "tokenizer_config.json": self.config}
        if self.target_vocab is not self.vocab:
            objects["target_vocab.json"] = self.target_vocab
        for name, content in objects.items():
            write_text(directory / name, json.dumps(content, ensure_ascii=False, indent=2) + "\n")
        for name, data in self.models.items():
            write_atomically(directory / name, partial(_write, data))

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read ``vocab.json``, ``source.spm``, ``target.spm`` and ``tokenizer_config.json``, if that exists.

        ``target_vocab.json`` is read if tokenizer_config.json has separate_vocabs.

        Raises
        ------
        FileNotFoundError, ValueError
            If a file is missing or its content is invalid. The message says which.
        """
        directory = Path(directory)
        config_file = directory / "tokenizer_config.json"
        config = read_object(config_file) if config_file.is_file() else {}
        names = ["vocab.json", *(["target_vocab.json"] if config.get("separate_vocabs") else [])]
        if missing := [name for name in (*names, "source.spm", "target.spm") if not (directory / name).is_file()]:
            raise FileNotFoundError(f"no Marian tokenizer in {directory}: {missing[0]} is missing")
        vocabs = [read_object(directory / name) for name in names]
        models = [(directory / name).read_bytes() for name in ("source.spm", "target.spm")]
        with naming(directory):
            return cls(vocabs[0], vocabs[1] if len(vocabs) > 1 else None, models[0], models[1], config)


def _write(data: bytes, file: BinaryIO) -> None:
    file.write(data)


def _sentencepiece(data: bytes, name: str) -> Any:
    sentencepiece = needed("sentencepiece", "hub", "a Marian tokenizer")
    model = sentencepiece.SentencePieceProcessor()
    try:
        model.LoadFromSerializedProto(data)
    except RuntimeError:
        raise ValueError(f"{name} is not a SentencePiece model") from None
    return model


def _check_config(config: Mapping[str, Any]) -> None:
    name = config.get("tokenizer_class")
    if name not in (None, "MarianTokenizer"):
        raise ValueError(f"tokenizer_class is {brief(name)}, not MarianTokenizer")
    if config.get("sp_model_kwargs"):
        raise ValueError("sp_model_kwargs asks for random pieces, or for others; numpylm does not support it")
    for flag in ("separate_vocabs", "clean_up_tokenization_spaces"):
        if flag in config:
            typed(config, flag, bool, type(None))


def _check_vocab(vocab: Mapping[str, Any], name: str, special: Mapping[str, str]) -> None:
    if not all(type(i) is int for i in vocab.values()) or sorted(vocab.values()) != list(range(len(vocab))):
        raise ValueError(f"the ids in {name} should be 0 … {len(vocab) - 1}, each once")
    utf8("".join(vocab))
    if missing := [token for token in special.values() if token not in vocab]:
        raise ValueError(f"{name} has no {missing[0]}, a special token of Marian")
