"""LlamaTokenizer: BPE of characters, with bytes for rare ones, as in Llama 2, TinyLlama and Mistral

SentencePiece trains it (Kudo and Richardson 2018, arXiv:1808.06226). A space is written ▁, and another one is put
before the text. The merges apply to the whole text, not to words:

    "A cat 🙂"  ->  "▁A▁cat▁🙂"  ->  "▁A", "▁cat", "▁", <0xF0>, <0x9F>, <0x99>, <0x82>  ->  ids
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import regex

from numpylm.system.json_fields import brief
from numpylm.system.whole_files import write_text
from numpylm.text.added_tokens import AddedToken, AddedTokens
from numpylm.text.bpe import ChunkCache
from numpylm.text.marian_tokenizer import BYTE, SPACE
from numpylm.text.pretokenize import utf8
from numpylm.text.tokenizer_config import CONFIG, SILENT, TEMPLATE, Chat, chat_config, naming, read_chat
from numpylm.text.tokenizer_files import check_vocabulary_ids
from numpylm.text.tokenizer_json import ONE_FILE, all_ids, first_token, merge_pairs, read_added, read_bpe
from numpylm.text.write_tokenizer import TWO_FILES, begin_template, whole_json

PREPEND = {"type": "Prepend", "prepend": SPACE}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
DECODE = [REPLACE | {"pattern": {"String": SPACE}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]


class LlamaTokenizer:
    """The tokenizer of Llama 2 and its relatives. It has the same interface as `Tokenizer`.

    Make one with `LlamaTokenizer.load`, or from a GGUF file with `load_tokenizer`.

    Parameters
    ----------
    vocab : dict of str -> int
        Ids of all tokens, with ``<0x00>`` … ``<0xFF>`` for bytes.
    merges : sequence of (str, str)
        In the order in which they are applied.
    added : sequence of AddedToken
        The special tokens and other added ones.
    prefix : bool
        Whether a space is put before the text, and before the text after an added token.
    chat : Chat
        See `Tokenizer`, as for the attributes chat_template, bos_id, add_bos and eos_ids.

    Raises
    ------
    ValueError
        If a byte has no token, or a merge has or makes a token that is not in the vocabulary.
    """

    def __init__(
        self,
        vocab: dict[str, int],
        merges: Sequence[tuple[str, str]],
        added: Sequence[AddedToken],
        prefix: bool = True,
        chat: Chat = SILENT,
    ) -> None:
        self.vocab, self.merges, self.prefix = vocab, list(merges), prefix
        self.added_tokens = sorted(added, key=lambda token: token.id)
        self.special_tokens = {token.text: token.id for token in self.added_tokens if token.special}
        self.chat_template, self.bos_id, self.add_bos, self.eos_ids = chat
        if missing := [name for byte in range(256) if (name := f"<0x{byte:02X}>") not in vocab]:
            raise ValueError(f"the vocabulary has no token for {len(missing)} bytes, first {missing[0]}")
        self._added = AddedTokens(self.added_tokens)
        self._pieces = {i: piece for piece, i in vocab.items()}
        self._encode_chunk = ChunkCache(self._first_ids, *self._ranks()).__getitem__
        # No token has a ▁ after another character, so no merge crosses the place before such a ▁.
        divided = not any(regex.search(f"[^{SPACE}]{SPACE}", left + right) for left, right in self.merges)
        self._chunks = regex.compile(f"{SPACE}*[^{SPACE}]+|{SPACE}+" if divided else r"(?s:.+)").findall

    def _ranks(self) -> tuple[dict[tuple[int, int], int], list[int]]:
        """The merges as `apply_merges` needs them."""
        for left, right in self.merges:
            if absent := [token for token in (left, right, left + right) if token not in self.vocab]:
                raise ValueError(f"the merge of {brief(left)} and {brief(right)}: {brief(absent[0])} has no id")
        ranks = {(self.vocab[left], self.vocab[right]): rank for rank, (left, right) in enumerate(self.merges)}
        return ranks, [self.vocab[left + right] for left, right in self.merges]

    def _first_ids(self, chunk: str) -> Iterable[int]:
        """The ids of the characters, or of the bytes of those that are not in the vocabulary."""
        for character in chunk:
            if (token := self.vocab.get(character)) is not None:
                yield token
            else:
                yield from (self.vocab[f"<0x{byte:02X}>"] for byte in character.encode("utf-8"))

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return len(self.vocab)

    @property
    def end_id(self) -> int | None:
        """Id of the token that ends a text, usually </s>."""
        return self.eos_ids[0] if self.eos_ids else None

    @property
    def chat(self) -> Chat:
        """Which tokens begin and end a text, and the template of a chat."""
        return Chat(self.chat_template, self.bos_id, self.add_bos, self.eos_ids)

    def encode(self, text: str, allow_special: bool = False, progress: bool = False) -> list[int]:
        """Ids of a text, without the tokens that begin and end it.

        Parameters
        ----------
        text : str
        allow_special : bool
            Whether "</s>" in the text becomes the special token.
        progress : bool
            Exists only for the common interface.

        Raises
        ------
        ValueError
            If the text contains a lone surrogate (half a character).
        """
        utf8(text)
        ids: list[int] = []
        for part in self._added.split(text, allow_special):
            if isinstance(part, int):
                ids.append(part)
            elif part:
                for chunk in self._chunks((SPACE if self.prefix else "") + part.replace(" ", SPACE)):
                    ids += self._encode_chunk(chunk)
        return ids

    def split_special(self, text: str) -> Iterator[str | int]:
        """The parts of a text: ids of the added tokens in it, and between them ordinary text."""
        return self._added.split(text, allow_special=True)

    def decode(self, ids: Iterable[int], errors: str = "replace") -> str:
        """The text of some ids, without the space that `encode` puts before it. For ``errors`` see ``bytes.decode``."""
        text = b"".join(map(self.token_bytes, ids)).decode("utf-8", errors=errors)
        return text.removeprefix(" ") if self.prefix else text

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one token; raises ValueError for an id outside the vocabulary."""
        piece = self._pieces.get(token)
        if piece is None:
            raise ValueError(f"token id {token} is outside this vocabulary of {self.vocab_size}")
        if piece in self._added.tokens:
            return piece.encode("utf-8")
        byte = BYTE.fullmatch(piece)
        return bytes([int(byte[1], 16)]) if byte else piece.replace(SPACE, " ").encode("utf-8")

    def save(self, directory: str | Path) -> None:
        """Write ``tokenizer.json`` and ``tokenizer_config.json``, in transformers' format."""
        directory = Path(directory)
        text_of = {token.id: token.text for token in self.added_tokens}
        model = {
            "unk_token": "<unk>" if "<unk>" in self.vocab else None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": dict(sorted(self.vocab.items(), key=lambda item: item[1])),
            "merges": [list(pair) for pair in self.merges],
        }
        normalizers = [PREPEND, REPLACE] if self.prefix else [REPLACE]
        decoders = [*DECODE, STRIP] if self.prefix else DECODE
        whole = whole_json(
            self.added_tokens,
            {"type": "Sequence", "normalizers": normalizers},
            None,
            begin_template(self.chat, text_of),
            {"type": "Sequence", "decoders": decoders},
            model,
        )
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        config |= chat_config(self.chat, text_of)
        write_text(directory / ONE_FILE, json.dumps(whole, ensure_ascii=False))
        write_text(directory / CONFIG, json.dumps(config, ensure_ascii=False, indent=2) + "\n")
        for name in (*TWO_FILES, TEMPLATE):
            (directory / name).unlink(missing_ok=True)

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read ``tokenizer.json``, and ``tokenizer_config.json`` if it exists.

        Raises
        ------
        FileNotFoundError, ValueError
            If a file is missing, its content is invalid, or it has rules that numpylm does not have.
        """
        path = Path(directory) / ONE_FILE
        whole, model = read_bpe(path)
        added = read_added(whole, path)
        with naming(path):
            prefix = _check(whole, model, added)
            merges = [(str(left), str(right)) for _, (left, right) in _pairs(model)]
        vocab = all_ids(model, added, path)
        check_vocabulary_ids(vocab, path)
        chat = read_chat(path.parent, {token.text: token.id for token in added}, first_token(whole))
        with naming(path):
            return cls(vocab, merges, added, prefix, chat)


def _pairs(model: Mapping[str, Any]) -> Iterable[tuple[int, list[str]]]:
    for n, pair in merge_pairs(model):
        if not isinstance(pair, list) or [*map(type, pair)] != [str, str]:
            raise ValueError(f"merge {n}: expected two tokens, got {brief(pair)}")
        yield n, pair


def _check(whole: Mapping[str, Any], model: Mapping[str, Any], added: Sequence[AddedToken]) -> bool:
    """Whether a tokenizer.json puts a space before a text; ValueError if it has rules that this class does not have."""
    normalizer, decoder = whole.get("normalizer"), whole.get("decoder")
    steps = normalizer.get("normalizers", [normalizer]) if isinstance(normalizer, dict) else None
    prefix = steps == [PREPEND, REPLACE]
    if not prefix and steps != [REPLACE]:
        raise ValueError(f"its normalizer is {normalizer!r:.300}; numpylm knows Prepend and Replace, as in Llama 2")
    if whole.get("pre_tokenizer") is not None:
        raise ValueError(f"its pre_tokenizer is {whole['pre_tokenizer']!r:.300}; in Llama 2 there is none")
    expected = [*DECODE, STRIP] if prefix else DECODE
    if not isinstance(decoder, dict) or decoder.get("decoders") != expected:
        raise ValueError(f"its decoder is {decoder!r:.300}; numpylm knows only the one of Llama 2")
    if not model.get("byte_fallback") or model.get("ignore_merges"):
        raise ValueError("its model has byte_fallback false or ignore_merges true; in Llama 2 it is otherwise")
    if late := [token.text for token in added if token.normalized]:
        raise ValueError(f"the added token {brief(late[0])} is found after normalization; numpylm cannot do that")
    return prefix
