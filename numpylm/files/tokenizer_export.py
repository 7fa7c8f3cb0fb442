"""Exporting a tokenizer for transformers' AutoTokenizer, so that it gives the same ids."""

import json
from pathlib import Path
from typing import Any

from numpylm.files.hub import TOKENIZER_FILES
from numpylm.system.whole_files import write_text
from numpylm.text.any_tokenizer import TextTokenizer
from numpylm.text.encoder_input import SPECIAL
from numpylm.text.pretokenize import END_OF_TEXT, GPT2_PATTERN
from numpylm.text.tokenizer import Tokenizer
from numpylm.text.tokenizer_files import letters, written_vocab

OTHERS = ("tokenizer_config.json", "special_tokens_map.json")
OWN_FILES = {
    "Tokenizer": {"vocab.json", "merges.txt", "pattern.txt", "tokenizer.json", "tokenizer_config.json"},
    "CharTokenizer": {"characters.json"},
    "WordPiece": {"vocab.txt", "tokenizer_config.json"},
    "MarianTokenizer": {"vocab.json", "target_vocab.json", "source.spm", "target.spm", "tokenizer_config.json"},
}


def export_tokenizer(tokenizer: TextTokenizer, folder: Path, max_length: int, translates: bool = False) -> None:
    """Write a tokenizer's own files, ``tokenizer.json`` and ``tokenizer_config.json``.

    Files of a different tokenizer in the folder are deleted, because another program might read those instead. A
    CharTokenizer writes only its own file, which transformers cannot read.

    Parameters
    ----------
    tokenizer : Tokenizer, CharTokenizer, WordPiece or MarianTokenizer
    folder : Path
    max_length : int
        Context length of the model, in tokens.
    translates : bool
        Whether the model is an encoder-decoder, which reads texts with <|endoftext|> at their end.
    """
    tokenizer.save(folder)
    if isinstance(tokenizer, Tokenizer):
        write_text(folder / "tokenizer.json", json.dumps(_tokenizer_json(tokenizer, translates), ensure_ascii=False))
        write_text(
            folder / "tokenizer_config.json",
            json.dumps(_tokenizer_config(tokenizer, max_length, translates), indent=2) + "\n",
        )
    for name in {*TOKENIZER_FILES, *OTHERS} - OWN_FILES[type(tokenizer).__name__]:
        (folder / name).unlink(missing_ok=True)


def _added_tokens(tokenizer: Tokenizer) -> list[dict[str, Any]]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return [{"id": i, "content": token, **plain} for token, i in sorted(tokenizer.special_tokens.items(), key=_id)]


def _id(item: tuple[str, int]) -> int:
    return item[1]


def _tokenizer_json(tokenizer: Tokenizer, translates: bool) -> dict[str, Any]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    if tokenizer.pattern == GPT2_PATTERN:
        chunks: dict[str, Any] = byte_level | {"use_regex": True}
    else:  # the matches are the chunks, and text between two matches is dropped, as in our tokenizer
        split = {"type": "Split", "pattern": {"Regex": tokenizer.pattern}, "behavior": "Removed", "invert": True}
        chunks = {"type": "Sequence", "pretokenizers": [split, byte_level | {"use_regex": False}]}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens(tokenizer),
        "normalizer": None,
        "pre_tokenizer": chunks,
        "post_processor": _template(tokenizer, translates),
        "decoder": byte_level | {"use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": written_vocab(tokenizer.vocab, tokenizer.special_tokens),
            "merges": [[letters(left), letters(right)] for left, right in tokenizer.merges],
        },
    }


def _template(tokenizer: Tokenizer, translates: bool) -> dict[str, Any] | None:
    """The special tokens around a text: [CLS] text [SEP] for an encoder, text <|endoftext|> for a translator."""
    first, last = ([], [END_OF_TEXT]) if translates else ([SPECIAL[0]], [SPECIAL[1]])
    if not {*first, *last} <= tokenizer.special_tokens.keys():
        return None

    def special(names: list[str]) -> list[dict[str, Any]]:
        return [{"SpecialToken": {"id": name, "type_id": 0}} for name in names]

    texts = [{"Sequence": {"id": name, "type_id": 0}} for name in "AB"]
    return {
        "type": "TemplateProcessing",
        "single": [*special(first), texts[0], *special(last)],
        "pair": [*special(first), texts[0], *special(last), texts[1], *special(last)],
        "special_tokens": {
            name: {"id": name, "ids": [tokenizer.special_tokens[name]], "tokens": [name]} for name in (*first, *last)
        },
    }


def _tokenizer_config(tokenizer: Tokenizer, max_length: int, translates: bool) -> dict[str, Any]:
    # GPT2Tokenizer has GPT-2's pattern built in; the general class reads the pattern from tokenizer.json.
    general = tokenizer.pattern != GPT2_PATTERN or tokenizer.end_id is None or translates
    end = None if tokenizer.end_id is None else END_OF_TEXT
    names = dict(zip(("cls_token", "sep_token", "pad_token", "mask_token"), SPECIAL, strict=True))
    encoder: dict[str, Any] = names if set(SPECIAL) <= tokenizer.special_tokens.keys() else {}
    if translates:
        encoder = {"pad_token": end}
    return encoder | {
        "tokenizer_class": "PreTrainedTokenizerFast" if general else "GPT2Tokenizer",
        "model_max_length": max_length,
        "bos_token": end,
        "eos_token": end,
        "unk_token": end,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "added_tokens_decoder": {
            str(entry["id"]): {key: value for key, value in entry.items() if key != "id"}
            for entry in _added_tokens(tokenizer)
        },
    }
