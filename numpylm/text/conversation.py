"""Conversation: the messages of a user and an assistant, and reading conversations from JSON lines."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from numpylm.system.json_fields import brief, json_objects
from numpylm.system.shell import shown
from numpylm.text.pretokenize import utf8
from numpylm.text.text_input import read_text_file

SYSTEM, USER, ASSISTANT = ROLES = ("system", "user", "assistant")
EXAMPLE = '{"messages": [{"role": "user", "content": …}, {"role": "assistant", "content": …}]}'


class Message(NamedTuple):
    """What one side says."""

    role: str  # one of ROLES
    content: str


Conversation = tuple[Message, ...]


def as_conversation(messages: Iterable[tuple[str, str]]) -> Conversation:
    """Messages as a conversation: a system message or none, then user and assistant in turn.

    Raises
    ------
    ValueError
        If a role is unknown or at the wrong place, or a content is empty or not a text.
    """
    found = tuple(Message(*message) for message in messages)
    expected = USER
    for number, (role, content) in enumerate(found, 1):
        if role not in ROLES:
            raise ValueError(f"message {number} has the unknown role {brief(role)}; the roles are {', '.join(ROLES)}")
        if not isinstance(content, str):
            raise ValueError(f"the content of message {number} should be a text, is {brief(content)}")
        if not content.strip():
            raise ValueError(f"the content of message {number} is empty")
        utf8(content)
        if role == SYSTEM and number == 1:
            continue
        if role != expected:
            raise ValueError(f"message {number} is the {role}'s, but it is the {expected}'s turn")
        expected = ASSISTANT if role == USER else USER
    return found


def read_conversations(paths: Sequence[str]) -> list[Conversation]:
    """The conversations of all files, which hold JSON lines or a JSON array; ``.gz`` too.

    An object has either ``messages``, a list of objects with ``role`` and ``content``; or ``instruction``, optionally
    ``input``, and ``output``, which is one turn. Other keys are ignored.

    Raises
    ------
    ValueError
        If an object has neither form, its messages are not a conversation (see `as_conversation`), or the assistant
        says nothing. The message gives the file and the number of the line.
    """
    found = []
    for path in paths:
        name = shown(path)
        for number, entry in json_objects(read_text_file(Path(path)), name, EXAMPLE):
            try:
                found.append(_conversation(entry))
            except ValueError as error:
                raise ValueError(f"line {number} of {name}: {error}") from None
    if not found:
        raise ValueError(f"{shown(', '.join(paths))} has no conversation: each line should be {EXAMPLE}")
    return found


def _conversation(entry: Mapping[str, Any]) -> Conversation:
    messages: list[tuple[Any, Any]]
    if "messages" in entry:
        messages = role_and_content(entry["messages"], "messages")
    elif {"instruction", "output"} <= entry.keys():
        parts = [entry["instruction"], entry.get("input") or ""]
        if not all(isinstance(part, str) for part in parts):
            raise ValueError("instruction and input should be texts")
        messages = [(USER, "\n\n".join(part for part in parts if part.strip())), (ASSISTANT, entry["output"])]
    else:
        raise ValueError(f"neither messages nor instruction and output; expected is {EXAMPLE}")
    conversation = as_conversation(messages)
    if not any(message.role == ASSISTANT for message in conversation):
        raise ValueError("the assistant says nothing: there is nothing to learn")
    return conversation


def role_and_content(listed: Any, name: str) -> list[tuple[Any, Any]]:
    """The roles and contents of a list of messages, not checked yet; ``name`` is what a message of an error says."""
    if not isinstance(listed, list) or not all(isinstance(m, dict) and {"role", "content"} <= m.keys() for m in listed):
        raise ValueError(f"{name} should be a list of objects with role and content, is {brief(listed)}")
    return [(message["role"], message["content"]) for message in listed]


def without_oldest_turn(messages: Sequence[Message]) -> Conversation | None:
    """The messages without the oldest turn (user and assistant). The system message stays.

    None if only one turn is left, or its beginning.
    """
    start = int(bool(messages) and messages[0].role == SYSTEM)
    return (*messages[:start], *messages[start + 2 :]) if len(messages) > start + 2 else None
