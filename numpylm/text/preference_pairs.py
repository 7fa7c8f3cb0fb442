"""Pairs of answers to the same prompt, of which one is preferred: reading them from JSON lines"""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from numpylm.system.json_fields import brief, json_objects
from numpylm.system.shell import shown
from numpylm.text.conversation import ASSISTANT, USER, Conversation, Message, as_conversation, role_and_content
from numpylm.text.text_input import read_text_file

EXAMPLE = '{"prompt": …, "chosen": …, "rejected": …}'
UNKNOWN_TO_US = ("tools", "images", "chat_template_kwargs")  # they change what the model reads


class Preference(NamedTuple):
    """Two answers to a prompt."""

    prompt: Conversation  # it ends with the user's turn
    chosen: str
    rejected: str


def read_preferences(paths: Sequence[str]) -> list[Preference]:
    """The pairs of all files, which hold JSON lines or a JSON array; ``.gz`` too.

    ``prompt`` is a text, which the user says, or a list of messages with ``role`` and ``content``. ``chosen`` and
    ``rejected`` are texts, which the assistant says, or lists of messages: the answer alone, or the prompt and the
    answer. Then ``prompt`` may be missing, and is what both lists have in common. These are the forms of trl's
    datasets. Other keys, such as scores, are ignored.

    Raises
    ------
    ValueError
        If an object has another form, with the file and the number of the line.
    """
    found = []
    for path in paths:
        name = shown(path)
        for number, entry in json_objects(read_text_file(Path(path)), name, EXAMPLE):
            try:
                found.append(_preference(entry))
            except ValueError as error:
                raise ValueError(f"line {number} of {name}: {error}") from None
    if not found:
        raise ValueError(f"{shown(', '.join(paths))} has no pair: each line should be {EXAMPLE}")
    return found


def _preference(entry: Mapping[str, Any]) -> Preference:
    if unknown := [key for key in UNKNOWN_TO_US if entry.get(key)]:
        raise ValueError(f"{unknown[0]} are not supported: the model reads the prompt and the answer alone")
    if missing := [key for key in ("chosen", "rejected") if key not in entry]:
        raise ValueError(f"{missing[0]} is missing; expected is {EXAMPLE}")
    answers = {key: _messages(entry[key], key, ASSISTANT) for key in ("chosen", "rejected")}
    if "prompt" in entry:
        prompt = _messages(entry["prompt"], "prompt", USER)
    elif isinstance(entry["chosen"], list) and isinstance(entry["rejected"], list):
        prompt = _common(answers["chosen"][:-1], answers["rejected"][:-1])
    else:
        raise ValueError(f"prompt is missing; expected is {EXAMPLE}")
    for key, said in answers.items():
        if said[: len(prompt)] == prompt:
            said = said[len(prompt) :]
        if len(said) != 1 or said[0][0] != ASSISTANT:
            raise ValueError(f"{key} should be one message of the assistant after the prompt, is {_roles(said)}")
        answers[key] = said
    conversations = {key: as_conversation([*prompt, *said]) for key, said in answers.items()}
    *before, chosen = conversations["chosen"]
    return Preference(tuple(before), chosen.content, conversations["rejected"][-1].content)


def _messages(value: Any, key: str, role: str) -> list[tuple[Any, Any]]:
    """A text as one message of ``role``; a list as its messages."""
    if isinstance(value, str):
        return [(role, value)]
    if not isinstance(value, list):
        raise ValueError(f"{key} should be a text or a list of messages, is {brief(value)}")
    return role_and_content(value, key)


def _common(a: list[tuple[Any, Any]], b: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """The messages at the beginning that both lists share."""
    return [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False))]


def _roles(messages: Sequence[tuple[Any, Any]]) -> str:
    return ", ".join(brief(role) for role, _ in messages) or "nothing"


def whole(prompt: Conversation, answer: str) -> Conversation:
    """The conversation that an answer ends."""
    return (*prompt, Message(ASSISTANT, answer))
