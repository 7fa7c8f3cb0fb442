"""Writing tokenizer files: GPT-2's two files, or transformers' ``tokenizer.json`` for what they cannot hold"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpylm.system.whole_files import write_text
from numpylm.text.added_tokens import AddedToken
from numpylm.text.pretokenize import END_OF_TEXT, GPT2_PATTERN
from numpylm.text.tokenizer_config import CONFIG, TEMPLATE, Chat, chat_config
from numpylm.text.tokenizer_files import PLAIN, TokenizerParts, letters, written_vocab
from numpylm.text.tokenizer_json import ONE_FILE

UNICODE: dict[str, Any] = {"ensure_ascii": False}
TWO_FILES = ("vocab.json", "merges.txt", "pattern.txt", "added_tokens.json")


def write_parts(directory: Path, parts: TokenizerParts) -> None:
    """Write the files of a byte-level BPE, and delete those of another one in the same folder.

    They are GPT-2's two files, ``vocab.json`` and ``merges.txt``, with ``pattern.txt`` (ours) if the pattern is not
    GPT-2's. If they cannot hold this tokenizer, it is ``tokenizer.json``, in transformers' format.
    ``tokenizer_config.json`` has the chat template and the tokens that begin and end a text, if there are any.
    """
    text_of = {token.id: token.text for token in all_added(parts)}
    old = [TEMPLATE]
    if fits_two_files(parts):
        write_text(directory / "vocab.json", json.dumps(written_vocab(parts.vocab, parts.special_tokens), **UNICODE))
        lines = ["#version: 0.2", *(f"{letters(a)} {letters(b)}" for a, b in parts.merges)]
        write_text(directory / "merges.txt", "\n".join(lines) + "\n")
        if parts.pattern != GPT2_PATTERN:
            write_text(directory / "pattern.txt", str(parts.pattern))
        old += [ONE_FILE, "added_tokens.json", *(["pattern.txt"] if parts.pattern == GPT2_PATTERN else [])]
        kind = "GPT2Tokenizer"
    else:
        whole = written_json(parts, begin_template(parts.chat, text_of))
        write_text(directory / ONE_FILE, json.dumps(whole, **UNICODE))
        old += TWO_FILES
        kind = "PreTrainedTokenizerFast"
    end = parts.special_tokens.get(END_OF_TEXT)
    if parts.chat != Chat(eos_ids=() if end is None else (end,)):
        config = {"tokenizer_class": kind} | chat_config(parts.chat, text_of)
        write_text(directory / CONFIG, json.dumps(config, indent=2, **UNICODE) + "\n")
    else:
        old.append(CONFIG)
    for name in old:
        (directory / name).unlink(missing_ok=True)


def fits_two_files(parts: TokenizerParts) -> bool:
    """Whether GPT-2's two files can hold a tokenizer: each token is a byte or made by a merge, in their order."""
    made = {bytes([byte]) for byte in range(256)}
    for left, right in parts.merges:
        if left not in made or right not in made:
            return False
        made.add(left + right)
    return (
        isinstance(parts.pattern, str)
        and parts.rules == PLAIN
        and made == parts.vocab.keys()
        and set(map(letters, made)).isdisjoint(parts.special_tokens)
    )


def all_added(parts: TokenizerParts) -> list[AddedToken]:
    """The special tokens and the other added tokens."""
    plain = {text: AddedToken(text, i) for text, i in parts.special_tokens.items()}
    return [*(plain | {token.text: token for token in parts.rules.added}).values()]


def written_json(parts: TokenizerParts, template: Mapping[str, Any] | None) -> dict[str, Any]:
    """The content of a tokenizer.json, from which transformers makes the same ids.

    ``template`` is its post_processor.
    """
    added = all_added(parts)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    patterns = parts.pattern if isinstance(parts.pattern, tuple) else (parts.pattern,)
    chunks = [byte_level | {"use_regex": patterns[-1] == GPT2_PATTERN}]
    if patterns[-1] == GPT2_PATTERN:
        patterns = patterns[:-1]
    # The matches are the chunks, and text between two matches is dropped, as in our tokenizer.
    chunks[:0] = [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Removed", "invert": True} for pattern in patterns
    ]
    model = {
        "ignore_merges": parts.rules.ignore_merges,
        "byte_fallback": False,
        "vocab": written_vocab(parts.vocab, {token.text: token.id for token in added}),
        "merges": [[letters(left), letters(right)] for left, right in parts.merges],
    }
    return whole_json(
        added,
        {"type": parts.rules.normalizer} if parts.rules.normalizer else None,
        chunks[0] if len(chunks) == 1 else {"type": "Sequence", "pretokenizers": chunks},
        template,
        byte_level | {"use_regex": True},
        model,
    )


def whole_json(
    added: Sequence[AddedToken], normalizer: Any, pre_tokenizer: Any, post_processor: Any, decoder: Any, model: Any
) -> dict[str, Any]:
    """The content of a tokenizer.json with BPE, with the settings that are always the same."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": token.id, **added_entry(token)} for token in sorted(added, key=lambda t: t.id)],
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor,
        "decoder": decoder,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            **model,
        },
    }


def added_entry(token: AddedToken) -> dict[str, Any]:
    """An added token as these files write it."""
    return {"content": token.text, "single_word": False} | {
        name: getattr(token, name) for name in ("lstrip", "rstrip", "normalized", "special")
    }


def begin_template(chat: Chat, text_of: Mapping[int, str]) -> dict[str, Any] | None:
    """The post_processor that puts the first token before each text, if the model expects that."""
    if not chat.add_bos or chat.bos_id is None or chat.bos_id not in text_of:
        return None
    return template_around([text_of[chat.bos_id]], [], {text: i for i, text in text_of.items()})


def template_around(first: Sequence[str], last: Sequence[str], ids: Mapping[str, int]) -> dict[str, Any]:
    """The post_processor that puts special tokens before a text and after it; for two texts, after each of them."""

    def special(names: Sequence[str]) -> list[dict[str, Any]]:
        return [{"SpecialToken": {"id": name, "type_id": 0}} for name in names]

    texts = [{"Sequence": {"id": name, "type_id": 0}} for name in "AB"]
    return {
        "type": "TemplateProcessing",
        "single": [*special(first), texts[0], *special(last)],
        "pair": [*special(first), texts[0], *special(last), texts[1], *special(last)],
        "special_tokens": {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in (*first, *last)},
    }
