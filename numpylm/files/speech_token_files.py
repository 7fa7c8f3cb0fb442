"""``generation_config.json`` of a Whisper: which tokens its texts begin with, and which they must not contain."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpylm.inference.speech_tokens import TASKS, SpeechTokens
from numpylm.system.json_fields import brief
from numpylm.text.tokenizer_config import GENERATION, naming, read_object

LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")
NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")  # the second is OpenAI's older name


def read_speech_tokens(
    folder: Path, settings: Mapping[str, Any], vocab_size: int, special: Mapping[str, int]
) -> SpeechTokens:
    """The special tokens of a model in a folder.

    Parameters
    ----------
    folder : Path
    settings : mapping
        Those in config.json, where old folders have what generation_config.json has today.
    vocab_size : int
    special : mapping of str -> int
        The special tokens of the tokenizer. They count where no file says anything else.

    Raises
    ------
    ValueError
        If an entry has the wrong type, or an id is outside the vocabulary.
    """
    path = folder / GENERATION
    generation = read_object(path) if path.is_file() else {}
    found = dict(settings) | {name: value for name, value in generation.items() if value is not None}
    with naming(path if path.is_file() else folder / "config.json"):
        forced = _forced(found.get("forced_decoder_ids"))
        languages = _languages(found, special, forced, bool(generation))
        tokens = SpeechTokens(
            start_id=_id(found, "decoder_start_token_id", special.get("<|startoftranscript|>")) or 0,
            end_id=_id(found, "eos_token_id", special.get("<|endoftext|>")) or 0,
            no_timestamps_id=_id(found, "no_timestamps_token_id", special.get("<|notimestamps|>")),
            languages=languages,
            tasks=_tasks(found, special) if languages else {},
            no_speech_id=next((special[name] for name in NO_SPEECH if name in special), None),
            previous_id=_id(found, "prev_sot_token_id", special.get("<|startofprev|>")),
            suppressed=_ids(found, "suppress_tokens"),
            suppressed_first=_ids(found, "begin_suppress_tokens"),
            forced=forced,
            max_initial_timestamp=_id(found, "max_initial_timestamp_index", None),
        )
        _check(tokens, vocab_size)
    return tokens


def speech_settings(tokens: SpeechTokens, block_size: int, pad_id: int) -> dict[str, Any]:
    """The content of generation_config.json, from which transformers and `read_speech_tokens` read the same again."""
    settings: dict[str, Any] = {
        "decoder_start_token_id": tokens.start_id,
        "eos_token_id": tokens.end_id,
        "bos_token_id": tokens.end_id,
        "pad_token_id": pad_id,
        "max_length": block_size,
        "begin_suppress_tokens": list(tokens.suppressed_first) or None,
        "suppress_tokens": list(tokens.suppressed) or None,
        "no_timestamps_token_id": tokens.no_timestamps_id,
        "prev_sot_token_id": tokens.previous_id,
        "max_initial_timestamp_index": tokens.max_initial_timestamp,
        "forced_decoder_ids": [list(pair) for pair in tokens.forced] or None,
        "is_multilingual": bool(tokens.languages),
    }
    if tokens.languages:
        settings["lang_to_id"] = {f"<|{code}|>": i for code, i in tokens.languages.items()}
        settings["task_to_id"] = dict(tokens.tasks)
    return {name: value for name, value in settings.items() if value is not None}


def _id(found: Mapping[str, Any], name: str, usual: int | None) -> int | None:
    """The id in an entry; the first one if there are several."""
    value = found.get(name)
    if isinstance(value, list) and value:
        value = value[0]
    if value is None:
        return usual
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} should be a whole number of at least 0, is {brief(value)}")
    return value


def _ids(found: Mapping[str, Any], name: str) -> tuple[int, ...]:
    value = found.get(name) or []
    if not isinstance(value, (list, tuple)) or not all(type(i) is int for i in value):
        raise ValueError(f"{name} should be a list of ids, is {brief(value)}")
    return tuple(value)


def _forced(value: Any) -> tuple[tuple[int, int | None], ...]:
    """forced_decoder_ids, for example [[1, null], [2, 50359]]."""
    match value:
        case None:
            return ()
        case list() if all(
            isinstance(pair, list) and len(pair) == 2 and type(pair[0]) is int and type(pair[1]) in (int, type(None))
            for pair in value
        ) and [pair[0] for pair in value] == list(range(1, len(value) + 1)):
            return tuple((position, i) for position, i in value)
    raise ValueError(f"forced_decoder_ids should be pairs of a position from 1 on and an id, is {brief(value)}")


def _table(found: Mapping[str, Any], name: str) -> dict[str, int]:
    table = found.get(name)
    if not isinstance(table, dict) or not all(type(i) is int for i in table.values()):
        raise ValueError(f"{name} should be an object of token -> id, is {brief(table)}")
    return table


def _languages(
    found: Mapping[str, Any], special: Mapping[str, int], forced: tuple[tuple[int, int | None], ...], told: bool
) -> dict[str, int]:
    """The languages by their codes; none for a model of English, whose vocabulary has their tokens all the same."""
    if found.get("lang_to_id") is not None:
        table = _table(found, "lang_to_id")
        if odd := [token for token in table if not LANGUAGE.fullmatch(token)]:
            raise ValueError(f"lang_to_id should have tokens such as <|en|>, has {brief(odd[0])}")
        return {token[2:-2]: i for token, i in table.items()}
    in_vocabulary = {match[1]: i for token, i in special.items() if (match := LANGUAGE.fullmatch(token))}
    second = dict(forced).get(1, -1)
    several = found.get("is_multilingual") if told else second is None or second in in_vocabulary.values()
    return in_vocabulary if several else {}


def _tasks(found: Mapping[str, Any], special: Mapping[str, int]) -> dict[str, int]:
    if found.get("task_to_id") is not None:
        return {name: i for name, i in _table(found, "task_to_id").items() if name in TASKS}
    return {name: special[f"<|{name}|>"] for name in TASKS if f"<|{name}|>" in special}


def _check(tokens: SpeechTokens, vocab_size: int) -> None:
    """Raise ValueError for an id outside the vocabulary."""
    ids = [tokens.start_id, tokens.end_id, tokens.no_timestamps_id, tokens.previous_id, *tokens.suppressed]
    ids += [*tokens.suppressed_first, *tokens.languages.values(), *tokens.tasks.values(), *dict(tokens.forced).values()]
    if odd := [i for i in ids if i is not None and not 0 <= i < vocab_size]:
        raise ValueError(f"the special token {odd[0]} is outside the vocabulary of {vocab_size}")
    if tokens.no_timestamps_id == vocab_size - 1:
        raise ValueError(f"no_timestamps_token_id is {tokens.no_timestamps_id}, the last id: the times come after it")
