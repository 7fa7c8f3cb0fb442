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
from numpylm.text.tokenizer_config import chat_config
from numpylm.text.tokenizer_files import PLAIN
from numpylm.text.write_tokenizer import added_entry, begin_template, template_around, written_json

OTHERS = ("special_tokens_map.json",)
OWN_FILES = {
    "Tokenizer": {"vocab.json", "merges.txt", "pattern.txt", "tokenizer.json", "tokenizer_config.json"},
    "LlamaTokenizer": {"tokenizer.json", "tokenizer_config.json"},
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
    tokenizer : Tokenizer, LlamaTokenizer, CharTokenizer, WordPiece or MarianTokenizer
    folder : Path
    max_length : int
        Context length of the model, in tokens.
    translates : bool
        Whether the model is an encoder-decoder, which reads texts with <|endoftext|> at their end.
    """
    tokenizer.save(folder)
    if isinstance(tokenizer, Tokenizer):
        whole = written_json(tokenizer.parts, _template(tokenizer, translates))
        write_text(folder / "tokenizer.json", json.dumps(whole, ensure_ascii=False))
        config = _tokenizer_config(tokenizer, max_length, translates)
        write_text(folder / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")
    for name in {*TOKENIZER_FILES, *OTHERS} - OWN_FILES[type(tokenizer).__name__]:
        (folder / name).unlink(missing_ok=True)


def _template(tokenizer: Tokenizer, translates: bool) -> dict[str, Any] | None:
    """The special tokens around a text: [CLS] text [SEP] for an encoder, text <|endoftext|> for a translator.

    For other models it is the token that begins a text, if they expect it.
    """
    first, last = ([], [END_OF_TEXT]) if translates else ([SPECIAL[0]], [SPECIAL[1]])
    if not {*first, *last} <= tokenizer.special_tokens.keys():
        return begin_template(tokenizer.chat, tokenizer.text_of)
    return template_around(first, last, tokenizer.special_tokens)


def _tokenizer_config(tokenizer: Tokenizer, max_length: int, translates: bool) -> dict[str, Any]:
    # GPT2Tokenizer has GPT-2's pattern built in; the general class reads the pattern from tokenizer.json.
    plain = tokenizer.pattern == GPT2_PATTERN and tokenizer.rules == PLAIN
    general = not plain or tokenizer.end_id is None or translates or tokenizer.add_bos
    end = None if tokenizer.end_id is None else tokenizer.text_of[tokenizer.end_id]
    names = dict(zip(("cls_token", "sep_token", "pad_token", "mask_token"), SPECIAL, strict=True))
    encoder: dict[str, Any] = names if set(SPECIAL) <= tokenizer.special_tokens.keys() else {}
    if translates:
        encoder = {"pad_token": end}
    chat = chat_config(tokenizer.chat, tokenizer.text_of)
    return encoder | {
        "tokenizer_class": "PreTrainedTokenizerFast" if general else "GPT2Tokenizer",
        "model_max_length": max_length,
        "unk_token": end,
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "added_tokens_decoder": {str(token.id): added_entry(token) for token in tokenizer.added_tokens},
        **chat,
        "bos_token": chat["bos_token"] or end,
    }
