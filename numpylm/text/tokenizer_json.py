"""Reading transformers' ``tokenizer.json`` with byte-level BPE, such as that of GPT-2, Llama 3, Qwen2 or SmolLM2.

transformers puts text through five stages: it finds added tokens, normalizes, splits into chunks (pre_tokenizer),
applies merges (model), and adds special tokens (post_processor). `numpylm.Tokenizer` has the first four, as far as
these models need them. Everything else is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpylm.system.json_fields import brief
from numpylm.system.whole_files import read_json
from numpylm.text.added_tokens import AddedToken
from numpylm.text.pretokenize import GPT2_PATTERN, Pattern
from numpylm.text.tokenizer_config import read_chat
from numpylm.text.tokenizer_files import (
    Rules,
    TokenizerParts,
    assemble,
    checked_pattern,
    read_two_files,
)

# GPT-2's pattern as its authors wrote it. It finds the same chunks as the shorter one in pretokenize.py.
GPT2_PATTERN_SPELT_OUT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
ONE_FILE = "tokenizer.json"


def read_parts(directory: Path) -> TokenizerParts:
    """Read ``tokenizer.json``, or ``vocab.json`` and ``merges.txt`` if it does not exist.

    transformers writes all three for the same tokenizer, but only tokenizer.json has the pattern and the other rules.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is missing or its content is invalid. The message says which file and where.
    """
    if (directory / ONE_FILE).is_file():
        return read_tokenizer_json(directory / ONE_FILE)
    missing = [name for name in ("vocab.json", "merges.txt") if not (directory / name).is_file()]
    if not missing:
        return read_two_files(directory)
    raise FileNotFoundError(
        f"no tokenizer in {directory}: {missing[0]} is missing (needed: vocab.json and merges.txt, or tokenizer.json)"
    )


def read_tokenizer_json(path: Path) -> TokenizerParts:
    """Read a tokenizer.json. Raises ValueError if it is no byte-level BPE, or has rules that numpylm does not have."""
    whole, model = read_bpe(path)
    if model.get("byte_fallback"):
        raise ValueError(f"{path} holds BPE of characters, as in Llama 2: LlamaTokenizer.load reads it")
    rules = Rules(_normalizer(whole.get("normalizer"), path), bool(model.get("ignore_merges")))
    pattern = _pattern(whole.get("pre_tokenizer"), path)
    added = read_added(whole, path)
    ids = all_ids(model, added, path)
    empty = ids.pop("", None)  # Whisper of many languages has one; no text contains it
    parts = assemble(ids, merge_pairs(model), added, pattern, rules, path, empty)
    absent = 256 - sum(len(token) == 1 for token in parts.vocab)
    if absent and model.get("unk_token"):
        raise ValueError(f"{path}: {absent} bytes have no token, and become unk_token; numpylm would leave them out")
    known = parts.special_tokens | {token.text: token.id for token in added}
    return parts._replace(chat=read_chat(path.parent, known, first_token(whole)))


def read_bpe(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The content of a tokenizer.json with BPE, and its model; see `read_tokenizer_json`."""
    whole = read_json(path)
    model = whole.get("model") if isinstance(whole, dict) else None
    if not isinstance(whole, dict) or not isinstance(model, dict):
        raise ValueError(f"{path} is not a tokenizer.json of transformers: it has no model")
    if model.get("type", "BPE") != "BPE":  # old files have no type
        raise ValueError(f"{path} holds a {model['type']!s:.40} tokenizer; numpylm reads BPE, as in GPT-2 or Llama")
    names = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    if found := [f"model.{name} = {brief(model[name])}" for name in names if model.get(name)]:
        raise ValueError(
            f"{path}: {', '.join(found)}: numpylm would give other ids than the program that made this file"
        )
    ids, merges = model.get("vocab"), model.get("merges")
    if not isinstance(ids, dict) or not all(type(i) is int for i in ids.values()) or not isinstance(merges, list):
        raise ValueError(f"{path}: model should have a vocab (token -> id) and a list of merges")
    return whole, model


def merge_pairs(model: Mapping[str, Any]) -> Iterator[tuple[int, Any]]:
    """The merges with their numbers. Newer files write a merge as ["a", "b"], older ones as "a b"."""
    for n, merge in enumerate(model["merges"], 1):
        yield n, merge.split(" ") if isinstance(merge, str) else merge


def read_added(whole: Mapping[str, Any], path: Path) -> list[AddedToken]:
    """The added tokens of a tokenizer.json."""
    entries = whole.get("added_tokens") or []
    if not isinstance(entries, list):
        raise ValueError(f"{path}: added_tokens should be a list, is {brief(entries)}")
    added = []
    for entry in entries:
        match entry:
            case {"content": str(token), "id": int(i)} if token and type(i) is int:
                special = bool(entry.get("special"))
                flags = {"normalized": not special} | entry  # transformers' default
                names = ("lstrip", "rstrip", "normalized")
                added.append(AddedToken(token, i, special, *(bool(flags.get(name)) for name in names)))
            case _:
                raise ValueError(f"{path}: an added token should have content and an id, got {brief(entry)}")
        if entry.get("single_word"):
            raise ValueError(
                f"{path}: the added token {brief(token)} is found only as a single word (single_word); "
                f"numpylm does not support that"
            )
    return added


def all_ids(model: Mapping[str, Any], added: Sequence[AddedToken], path: Path) -> dict[str, int]:
    """The ids of all tokens, of the model and added ones, by the text in the file."""
    ids = dict(model["vocab"])
    for token in added:
        if ids.setdefault(token.text, token.id) != token.id:
            raise ValueError(f"{path}: {brief(token.text)} has two ids, {ids[token.text]} and {token.id}")
    return ids


def first_token(whole: Mapping[str, Any]) -> str | None:
    """The special token that the post-processor puts before a text, if it adds nothing else."""
    processor = whole.get("post_processor")
    steps = processor.get("processors") if isinstance(processor, dict) else None
    for step in steps if isinstance(steps, list) else [processor]:
        match step:
            case {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": str(token)}}, {"Sequence": _}],
            }:
                return token
    return None


def _normalizer(normalizer: Any, path: Path) -> str:
    match normalizer:
        case None | {"type": "Sequence", "normalizers": []}:
            return ""
        case {"type": "NFC"} | {"type": "Sequence", "normalizers": [{"type": "NFC"}]}:
            return "NFC"
    raise ValueError(f"{path}: its normalizer is {normalizer!r:.300}; numpylm knows only NFC")


def _pattern(pre_tokenizer: Any, path: Path) -> Pattern:
    """The regular expressions that match the chunks, from the ``pre_tokenizer`` of a tokenizer.json."""
    match pre_tokenizer:
        case {"type": "Sequence", "pretokenizers": list(steps)}:
            pass
        case _:
            steps = [pre_tokenizer]
    patterns = []
    for step in steps[:-1]:
        match step:
            case {"type": "Split", "pattern": {"Regex": str(found)}, "behavior": behavior, "invert": bool(invert)}:
                patterns.append(_split(found, behavior, invert, path))
            case {"type": "Digits", "individual_digits": bool(alone)}:
                patterns.append(r"\p{N}|\P{N}+" if alone else r"\p{N}+|\P{N}+")
            case _:
                patterns.append("")
    match steps:
        case [*_, {"type": "ByteLevel", "add_prefix_space": False, **rest}] if "" not in patterns:
            patterns += [GPT2_PATTERN] if rest.get("use_regex", True) else []
            if patterns:
                return patterns[0] if len(patterns) == 1 else tuple(patterns)
    raise ValueError(
        f"{path}: its pre_tokenizer is {pre_tokenizer!r:.600}; numpylm reads ByteLevel with add_prefix_space false, "
        f"alone (GPT-2's chunks) or after steps that are Digits, or Split by a regular expression"
    )


def _split(pattern: str, behavior: Any, invert: bool, path: Path) -> str:
    """A pattern that matches the same chunks as a step Split, or "" for a behavior that numpylm does not have."""
    if pattern in (GPT2_PATTERN, GPT2_PATTERN_SPELT_OUT):
        pattern, covers = GPT2_PATTERN, True
    else:
        pattern, covers = checked_pattern(pattern, path), False
    if behavior == "Isolated":  # the text between two matches is a chunk, too
        return pattern if covers else f"{pattern}|(?:(?!{pattern})[\\s\\S])+"
    return pattern if (behavior, invert) == ("Removed", True) else ""
