"""Reading tokenizer files: GPT-2's ``vocab.json`` and ``merges.txt``, and transformers' ``tokenizer.json``.

These files write each byte of a token as one visible character. For example, " the" is written as Ġthe.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import regex

from numpylm.system.json_fields import brief
from numpylm.system.whole_files import read_json, read_text
from numpylm.text.pretokenize import GPT2_PATTERN

# GPT-2's pattern as its authors wrote it. It finds the same chunks as the shorter one in pretokenize.py.
GPT2_PATTERN_SPELT_OUT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def byte_letters() -> dict[int, str]:
    """The table with which GPT-2's files write each byte as one visible character.

    The 188 bytes that are visible in Latin-1 are written as that character. The others, in order, are written as the
    characters from U+0100 on, so a space (0x20) is written Ġ. Bytes get the ids 0 … 255 in the order of these
    characters.
    """
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    letters = {byte: chr(byte) for byte in visible}
    hidden = (byte for byte in range(256) if byte not in letters)
    return letters | {byte: chr(256 + n) for n, byte in enumerate(hidden)}


LETTER_OF_BYTE = byte_letters()
BYTE_OF_LETTER = {letter: byte for byte, letter in LETTER_OF_BYTE.items()}


def letters(token: bytes) -> str:
    """A token as it is written in these files."""
    return "".join(map(LETTER_OF_BYTE.__getitem__, token))


def written_vocab(vocab: dict[bytes, int], special_tokens: dict[str, int]) -> dict[str, int]:
    """The content of vocab.json: all tokens in the order of their ids."""
    ids = {letters(token): i for token, i in vocab.items()} | special_tokens
    return dict(sorted(ids.items(), key=lambda item: item[1]))


class TokenizerParts(NamedTuple):
    """The arguments of `numpylm.Tokenizer`."""

    vocab: dict[bytes, int]
    merges: list[tuple[bytes, bytes]]
    special_tokens: dict[str, int]
    pattern: str


def read_parts(directory: Path) -> TokenizerParts:
    """Read ``vocab.json`` and ``merges.txt``, or ``tokenizer.json`` if one of the two is missing.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is missing or its content is invalid. The message says which file and where.
    """
    missing = [name for name in ("vocab.json", "merges.txt") if not (directory / name).is_file()]
    if not missing:
        return _read_two_files(directory)
    if (directory / "tokenizer.json").is_file():
        return _read_one_file(directory / "tokenizer.json")
    raise FileNotFoundError(
        f"no tokenizer in {directory}: {missing[0]} is missing (needed: vocab.json and merges.txt, or tokenizer.json)"
    )


def _read_two_files(directory: Path) -> TokenizerParts:
    """Read GPT-2's two files, ``added_tokens.json`` (older transformers) and ``pattern.txt`` (ours) if they exist."""
    ids = _read_ids(directory / "vocab.json")
    if (added := directory / "added_tokens.json").is_file():
        ids |= _read_ids(added)
    lines = enumerate(read_text(directory / "merges.txt").split("\n"), 1)
    pairs = ((n, line.split(" ")) for n, line in lines if line and not (n == 1 and line.startswith("#version")))
    custom = directory / "pattern.txt"
    pattern = _checked_pattern(read_text(custom), custom) if custom.is_file() else GPT2_PATTERN
    return _assemble(ids, pairs, pattern, directory / "vocab.json", directory / "merges.txt", "line")


def _read_ids(path: Path) -> dict[str, int]:
    ids = read_json(path)
    if not isinstance(ids, dict) or not all(type(i) is int for i in ids.values()):
        raise ValueError(f"{path} should be one JSON object of token -> id")
    return ids


def _assemble(
    ids: dict[str, int], pairs: Iterable[tuple[int, Any]], pattern: str, vocab_file: Path, merges_file: Path, unit: str
) -> TokenizerParts:
    """Build the vocabulary from bytes and merges. A token that is neither a byte nor made by a merge is special.

    ``pairs`` are (number, [left, right]) as written in the file. ``unit`` says what the numbers count, for messages.
    """
    if sorted(ids.values()) != list(range(len(ids))):
        raise ValueError(f"{vocab_file}: ids should be 0 … {len(ids) - 1}, each once")
    if "" in ids:
        raise ValueError(f"{vocab_file}: a token must not be empty")
    made = {letter: bytes([byte]) for byte, letter in LETTER_OF_BYTE.items()}
    merges = []
    for number, pair in pairs:
        if not isinstance(pair, list) or [*map(type, pair)] != [str, str]:
            raise ValueError(f"{merges_file}, {unit} {number}: expected two tokens, got {brief(pair)}")
        left, right = pair
        if left not in made or right not in made:
            raise ValueError(
                f"{merges_file}, {unit} {number}: merges a token that is not made before, "
                f"{right if left in made else left!r}"
            )
        merges.append((made[left], made[right]))
        made[left + right] = made[left] + made[right]
    if absent := [written for written in made if written not in ids]:
        raise ValueError(
            f"{vocab_file} has no id for {len(absent)} tokens that the merges in {merges_file.name} or single bytes "
            f"need, first {absent[0]!r}: do vocabulary and merges come from the same tokenizer?"
        )
    vocab = {token: ids[written] for written, token in made.items()}
    return TokenizerParts(vocab, merges, {token: i for token, i in ids.items() if token not in made}, pattern)


# ------------------------------------------------------------------------------------------- tokenizer.json


def _read_one_file(path: Path) -> TokenizerParts:
    whole = read_json(path)
    model = whole.get("model") if isinstance(whole, dict) else None
    if not isinstance(whole, dict) or not isinstance(model, dict):
        raise ValueError(f"{path} is not a tokenizer.json of transformers: it has no model")
    if model.get("type", "BPE") != "BPE":  # old files have no type
        raise ValueError(f"{path} holds a {model['type']} tokenizer; numpylm reads only byte-level BPE, as in GPT-2")
    _refuse_other_rules(whole, model, path)
    ids, merges = model.get("vocab"), model.get("merges")
    if not isinstance(ids, dict) or not all(type(i) is int for i in ids.values()) or not isinstance(merges, list):
        raise ValueError(f"{path}: model should have a vocab (token -> id) and a list of merges")
    # Newer files write a merge as ["a", "b"], older ones as "a b".
    pairs = ((n, merge.split(" ") if isinstance(merge, str) else merge) for n, merge in enumerate(merges, 1))
    added = _added_tokens(whole.get("added_tokens") or [], path)
    parts = _assemble(ids | added, pairs, _chunk_pattern(whole.get("pre_tokenizer"), path), path, path, "merge")
    if both := added.keys() - parts.special_tokens.keys():
        raise ValueError(
            f"{path}: {min(both)!r} is both an added token and an ordinary one; numpylm does not support that"
        )
    return parts


def _refuse_other_rules(whole: dict[str, Any], model: dict[str, Any], path: Path) -> None:
    """Raise ValueError for settings with which plain byte-level BPE would give different ids."""
    rules = {"normalizer": whole.get("normalizer")}
    names = ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "ignore_merges")
    rules |= {f"model.{name}": model.get(name) for name in names}
    if found := [f"{name} = {value!r}" for name, value in rules.items() if value]:
        raise ValueError(
            f"{path}: {', '.join(found)}: numpylm would give other ids than the program that made this file. "
            f"It reads only plain byte-level BPE, as in GPT-2"
        )


def _added_tokens(entries: Any, path: Path) -> dict[str, int]:
    if not isinstance(entries, list):
        raise ValueError(f"{path}: added_tokens should be a list, is {brief(entries)}")
    added = {}
    for entry in entries:
        match entry:
            case {"content": str(token), "id": int(i)}:
                added[token] = i
            case _:
                raise ValueError(f"{path}: an added token should have content and an id, got {brief(entry)}")
        if asked := [flag for flag in ("lstrip", "rstrip", "single_word") if entry.get(flag)]:
            raise ValueError(
                f"{path}: the added token {token!r} depends on the text around it ({', '.join(asked)}); "
                f"numpylm's special tokens do not"
            )
    return added


def _chunk_pattern(pre_tokenizer: Any, path: Path) -> str:
    """The regular expression that matches the chunks, from the ``pre_tokenizer`` of a tokenizer.json."""
    match pre_tokenizer:
        case {"type": "Sequence", "pretokenizers": list(steps)}:
            pass
        case _:
            steps = [pre_tokenizer]
    match steps:
        case [{"type": "ByteLevel", "add_prefix_space": False, **rest}] if rest.get("use_regex", True):
            return GPT2_PATTERN
        case [
            {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": behavior, "invert": invert},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ] if (behavior, invert) in (("Isolated", False), ("Removed", True)):
            if pattern in (GPT2_PATTERN, GPT2_PATTERN_SPELT_OUT):
                return GPT2_PATTERN
            pattern = _checked_pattern(pattern, path)
            # "Isolated" keeps the text between two matches as separate chunks.
            return pattern if invert else f"{pattern}|(?:(?!{pattern})[\\s\\S])+"
    raise ValueError(
        f"{path}: its pre_tokenizer is {pre_tokenizer!r}; numpylm reads ByteLevel with add_prefix_space false, alone "
        f"(GPT-2's chunks) or after one Split by a regular expression"
    )


def _checked_pattern(pattern: str, path: Path) -> str:
    try:
        groups = regex.compile(pattern).groups
    except (regex.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{path}: the pattern {brief(pattern)} is not a regular expression: {error}") from None
    if groups:
        raise ValueError(f"{path}: the pattern {brief(pattern)} has groups (...): write them as (?:...)")
    return pattern
