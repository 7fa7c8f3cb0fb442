"""BERT's tokenizer files: ``vocab.txt`` with ``tokenizer_config.json``, or transformers' ``tokenizer.json``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from numpylm.system.json_fields import brief, typed
from numpylm.system.whole_files import read_text, write_text
from numpylm.text.bert_words import BertWords
from numpylm.text.pretokenize import utf8
from numpylm.text.tokenizer_config import naming, read_object, token_text

# The special tokens that every BERT has: their names in tokenizer_config.json, and their usual texts.
SPECIAL = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
LONGEST_WORD = 100  # characters; a longer word is [UNK]
# The classes of transformers that do the same; each may end in Fast. The last two say nothing about the kind.
CLASSES = [
    *(f"{name}Tokenizer" for name in ("Bert", "DistilBert", "Electra", "MobileBert", "ConvBert", "SqueezeBert")),
    "PreTrainedTokenizer",
    "TokenizersBackend",
]


class WordPieceParts(NamedTuple):
    """The arguments of `numpylm.text.wordpiece.WordPiece`."""

    tokens: list[str]
    words: BertWords
    special: dict[str, str]
    more_special: list[str]


def read_wordpiece(directory: Path) -> WordPieceParts:
    """Read ``vocab.txt`` and ``tokenizer_config.json``, if that exists; or ``tokenizer.json`` if there is no vocab.txt.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is missing, or its content is invalid or of another kind. The message says which file, and why.
    """
    config_file, vocab_file = directory / "tokenizer_config.json", directory / "vocab.txt"
    json_file = directory / "tokenizer.json"
    config = read_object(config_file) if config_file.is_file() else {}
    with naming(config_file):
        special = {name: token_text(config, name, usual) for name, usual in SPECIAL.items()}
        words, added = _words(config), added_by_id(config)
    if vocab_file.is_file():
        tokens = _read_lines(vocab_file)
    elif json_file.is_file():
        whole = read_object(json_file)
        with naming(json_file):
            tokens, words = _read_model(whole, special)
            added |= _added_in_list(whole)
    else:
        raise FileNotFoundError(f"no WordPiece tokenizer in {directory}: it has no vocab.txt and no tokenizer.json")
    with naming(vocab_file if vocab_file.is_file() else json_file):
        return WordPieceParts(tokens, words, special, more_special_tokens(added, dict(enumerate(tokens)), special))


def _read_lines(path: Path) -> list[str]:
    """The tokens in vocab.txt. As in transformers, white space at the end of a line is not part of the token."""
    text = read_text(path)
    if not text.strip():
        raise ValueError(f"{path} is empty; it should have one token in each line")
    lines = text.removesuffix("\n").split("\n")
    if "" in lines:
        raise ValueError(f"{path}, line {lines.index('') + 1} is empty; it should have one token in each line")
    return [line.rstrip() or line for line in lines]


def _words(config: dict[str, Any]) -> BertWords:
    name = config.get("tokenizer_class")
    if name is not None and str(name).removesuffix("Fast") not in CLASSES:
        raise ValueError(f"tokenizer_class is {brief(name)}; numpylm reads WordPiece only as in BertTokenizer")
    if config.get("do_basic_tokenize") is False or config.get("never_split"):
        raise ValueError("do_basic_tokenize and never_split change how words are split; numpylm does not support them")
    found = {field: typed(config, field, bool) for field in BertWords._fields if config.get(field) is not None}
    return BertWords(**found)


def write_wordpiece(directory: Path, parts: WordPieceParts) -> None:
    """Write ``vocab.txt`` and ``tokenizer_config.json``, and delete a ``tokenizer.json``, which others would prefer."""
    if broken := [token for token in parts.tokens if "\n" in token or "\r" in token]:
        raise ValueError(f"the token {broken[0]!r} has a line end, so vocab.txt cannot hold it")
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    special = {parts.tokens.index(token): token for token in (*parts.special.values(), *parts.more_special)}
    config = {
        "tokenizer_class": "BertTokenizer",
        **parts.words._asdict(),
        **parts.special,
        "added_tokens_decoder": {str(i): {"content": token, **plain} for i, token in special.items()},
        "clean_up_tokenization_spaces": True,
    }
    write_text(directory / "vocab.txt", "\n".join(parts.tokens) + "\n")
    write_text(directory / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")
    (directory / "tokenizer.json").unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------- tokenizer.json


def _read_model(whole: dict[str, Any], special: dict[str, str]) -> tuple[list[str], BertWords]:
    for part, kind in (("model", "WordPiece"), ("normalizer", "BertNormalizer"), ("pre_tokenizer", "BertPreTokenizer")):
        found = whole.get(part)
        name = found.get("type") if isinstance(found, dict) else found
        if name != kind:
            raise ValueError(f"its {part} is {brief(name)}; numpylm reads WordPiece only as in BERT, with {kind}")
    model, rules = whole["model"], whole["normalizer"]
    _expect(model, "model", {"continuing_subword_prefix": "##", "max_input_chars_per_word": LONGEST_WORD})
    _expect(model, "model", {"unk_token": special["unk_token"]})
    _expect(rules, "normalizer", {"clean_text": True})
    words = BertWords(
        typed(rules, "lowercase", bool),
        typed(rules, "strip_accents", bool, type(None)),
        typed(rules, "handle_chinese_chars", bool),
    )
    _check_pairs(whole.get("post_processor"), special)
    ids = typed(model, "vocab", dict)
    if not all(type(i) is int for i in ids.values()) or sorted(ids.values()) != list(range(len(ids))):
        raise ValueError(f"the ids in vocab should be 0 … {len(ids) - 1}, each once")
    utf8("".join(ids))
    return sorted(ids, key=ids.__getitem__), words


def _expect(found: dict[str, Any], part: str, expected: dict[str, Any]) -> None:
    for name, value in expected.items():
        if found.get(name) != value:
            raise ValueError(f"{part}.{name} is {brief(found.get(name))}; numpylm reads only {value!r}")


def _check_pairs(post_processor: Any, special: dict[str, str]) -> None:
    """Raise ValueError if two texts are not joined as [CLS] first [SEP] second [SEP]."""
    cls, sep = special["cls_token"], special["sep_token"]
    match post_processor:
        case None | {"type": "BertProcessing"}:
            return
        case {"type": "TemplateProcessing", "pair": list(steps)}:
            found = [tuple(item.values()) for step in steps for item in step.values()]
            if found == [(cls, 0), ("A", 0), (sep, 0), ("B", 1), (sep, 1)]:
                return
    raise ValueError(f"its post_processor does not join texts as {cls} first {sep} second {sep}, with types 0 and 1")


# --------------------------------------------------------------------------------------------- added tokens


def added_by_id(config: Mapping[str, Any]) -> dict[int, Any]:
    """The added tokens in tokenizer_config.json."""
    entries = config.get("added_tokens_decoder") or {}
    if not isinstance(entries, dict) or not all(str(i).isdecimal() for i in entries):
        raise ValueError(f"added_tokens_decoder should be an object of id -> token, is {brief(entries)}")
    return {int(i): entry for i, entry in entries.items()}


def _added_in_list(whole: dict[str, Any]) -> dict[int, Any]:
    entries = whole.get("added_tokens") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"added_tokens should be a list of objects, is {brief(entries)}")
    return {entry.get("id"): entry for entry in entries}


def more_special_tokens(added: dict[int, Any], tokens: Mapping[int, str], special: Mapping[str, str]) -> list[str]:
    """The added tokens that are not in ``special``. They must be special, and in the vocabulary with the same id."""
    more = []
    for i, entry in added.items():
        match entry:
            case {"content": str(text), "special": True} if tokens.get(i) == text:
                if text not in special.values():
                    more.append(text)
            case _:
                raise ValueError(
                    f"the added token {brief(entry)} with id {i} is not a special token of this vocabulary; "
                    f"numpylm does not support others"
                )
    return more
