"""Reading the requests of OpenAI's API: the fields that numpylm computes, with their types and ranges.

What a client asks for and numpylm does not compute is refused by name. Fields that ask for nothing, such as a penalty
of 0, are accepted. Unknown fields are ignored, because clients send many that change no text (metadata, store, ...).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpylm.inference.sampling import check_sampling
from numpylm.serving.api_error import ApiError
from numpylm.system.json_fields import brief, typed
from numpylm.text.conversation import Message

MOST_CHOICES = 4  # n
MOST_PROMPTS = 16
MOST_STOPS, LONGEST_STOP = 4, 500  # stop strings, and characters of one: it is compared with the text at each token
SEEDS = range(-(1 << 63), 1 << 63)
HOTTEST = 2.0  # OpenAI's largest temperature
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}

# Fields that numpylm does not compute, with the values that ask for nothing. null never asks for anything.
NOT_COMPUTED: dict[str, tuple[Any, ...]] = {
    "logprobs": (False,),
    "top_logprobs": (0,),
    "presence_penalty": (0, 0.0),
    "frequency_penalty": (0, 0.0),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "suffix": ("",),
    "echo": (False,),
    "best_of": (1,),
}


@dataclass(frozen=True)
class Options:
    """What a request says about the texts. ``max_tokens`` and ``seed`` are None if it does not say."""

    max_tokens: int | None
    n: int
    stop: tuple[str, ...]
    seed: int | None
    stream: bool
    include_usage: bool
    sampling: dict[str, Any]


def read_body(data: bytes) -> dict[str, Any]:
    """The JSON object of a request. Raises ApiError if it is none."""
    try:
        body = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ApiError(f"the body is not valid JSON in UTF-8: {reason}") from None
    if not isinstance(body, dict):
        raise ApiError(f"the body should be a JSON object, is {brief(body)}")
    return body


def check_model(body: dict[str, Any], name: str) -> None:
    """Raise ApiError if a request names another model. A request without a name means the one that there is."""
    asked = optional(body, "model", str)
    if asked is not None and asked != name:
        message = f"the model {brief(asked)} does not exist; this server has {brief(name)}"
        raise ApiError(message, "model", 404, "model_not_found")


def read_options(body: dict[str, Any]) -> Options:
    """The fields that chat and completions share. Raises ApiError with the name of the field that is wrong."""
    _refuse_not_computed(body)
    optional(body, "user", str)
    stream = optional(body, "stream", bool) or False
    sampling: dict[str, Any] = {
        "temperature": number(body, "temperature", 0, HOTTEST, 1.0),
        "top_p": number(body, "top_p", 0, 1, 1.0),
        "top_k": whole(body, "top_k", range(1, 1 << 31)),
        "min_p": number(body, "min_p", 0, 1, None),
        "repetition_penalty": number(body, "repetition_penalty", 0.01, 100, 1.0),
    }
    try:
        check_sampling(**sampling)
    except ValueError as error:
        raise ApiError(str(error), str(error).split()[0]) from None
    return Options(
        max_tokens=_max_tokens(body),
        n=whole(body, "n", range(1, MOST_CHOICES + 1)) or 1,
        stop=_stop(body),
        seed=whole(body, "seed", SEEDS),
        stream=stream,
        include_usage=_include_usage(body, stream),
        sampling=sampling,
    )


def read_messages(body: dict[str, Any]) -> list[Message]:
    """The conversation of a chat request. Raises ApiError."""
    messages = optional(body, "messages", list)
    if not messages:
        raise ApiError("messages should be a list of at least one message", "messages")
    return [_message(message, f"messages[{i}]") for i, message in enumerate(messages)]


def read_prompts(body: dict[str, Any]) -> list[str]:
    """The prompts of a completion request: one, or a list of them. Raises ApiError."""
    prompt = optional(body, "prompt", str, list)
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not prompts:
        raise ApiError("prompt should be a text, or a list of at least one", "prompt")
    if odd := [part for part in prompts if not isinstance(part, str)]:
        raise ApiError(f"prompt should be a text or a list of texts, holds {brief(odd[0])}", "prompt")
    if len(prompts) > MOST_PROMPTS:
        raise ApiError(f"prompt should hold at most {MOST_PROMPTS} texts, holds {len(prompts)}", "prompt")
    return [unicode_text(part, "prompt") for part in prompts]


# ----------------------------------------------------------------------------------------------- single fields


def optional(body: dict[str, Any], name: str, *kinds: type) -> Any:
    """The value of a field of one of these types; None if it is missing or null. Raises ApiError."""
    if body.get(name) is None:
        return None
    return _checked(name, lambda: typed(body, name, *kinds))


def number(body: dict[str, Any], name: str, low: float, high: float, default: float | None) -> float | None:
    """A number from ``low`` to ``high``."""
    value: float | None = optional(body, name, int, float)
    if value is not None and not low <= value <= high:
        raise ApiError(f"{name} should be from {low} to {high}, is {brief(value)}", name)
    return default if value is None else float(value)


def whole(body: dict[str, Any], name: str, allowed: range) -> int | None:
    """A whole number in a range."""
    value: int | None = optional(body, name, int)
    if value is not None and value not in allowed:
        raise ApiError(f"{name} should be from {allowed[0]} to {allowed[-1]}, is {brief(value)}", name)
    return value


def unicode_text(text: str, name: str) -> str:
    """The text, if it can be encoded: JSON can write half of a surrogate pair, which is no character."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ApiError(f"{name} holds half of a surrogate pair, at position {error.start}", name) from None
    return text


def _checked(name: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except ValueError as error:
        raise ApiError(str(error), name) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def _refuse_not_computed(body: dict[str, Any]) -> None:
    """Raise ApiError for a field that numpylm does not compute, unless its value asks for nothing."""
    for name, nothing in NOT_COMPUTED.items():
        value = body.get(name)
        if value is not None and not any(type(value) is type(none) and value == none for none in nothing):
            allowed = f"; allowed: {' or '.join(json.dumps(none) for none in nothing)}" if nothing else ""
            raise ApiError(f"{name} is not supported by this server{allowed}", name, code="unsupported_parameter")


def _max_tokens(body: dict[str, Any]) -> int | None:
    """max_tokens, or its newer name in chats."""
    given = {name: whole(body, name, range(1, 1 << 31)) for name in ("max_tokens", "max_completion_tokens")}
    if None not in given.values():
        raise ApiError("max_tokens and max_completion_tokens mean the same: give one of them", "max_tokens")
    return given["max_tokens"] or given["max_completion_tokens"]


def _stop(body: dict[str, Any]) -> tuple[str, ...]:
    stop = optional(body, "stop", str, list)
    stops = [stop] if isinstance(stop, str) else stop or []
    right = len(stops) <= MOST_STOPS and all(isinstance(s, str) and 0 < len(s) <= LONGEST_STOP for s in stops)
    if not right:
        expected = f"a text of 1 to {LONGEST_STOP} characters, or a list of at most {MOST_STOPS} of them"
        raise ApiError(f"stop should be {expected}, is {brief(stop)}", "stop")
    return tuple(unicode_text(s, "stop") for s in stops)


def _include_usage(body: dict[str, Any], stream: bool) -> bool:
    options = optional(body, "stream_options", dict)
    if options is None:
        return False
    if not stream:
        raise ApiError("stream_options is allowed only with stream: true", "stream_options")
    return optional(options, "include_usage", bool) or False


def _message(message: Any, name: str) -> Message:
    if not isinstance(message, dict):
        raise ApiError(f"{name} should be an object with role and content, is {brief(message)}", name)
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise ApiError(f"{name}.role should be one of {', '.join(ROLES)}, is {brief(role)}", f"{name}.role")
    for asked in ("tool_calls", "function_call", "audio"):
        if message.get(asked):
            raise ApiError(f"{name}.{asked} is not supported by this server", f"{name}.{asked}")
    return Message(ROLES[role], unicode_text(_content(message.get("content"), name), f"{name}.content"))


def _content(content: Any, name: str) -> str:
    """The text of a message: a string, or a list of parts of the type text."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) and content else [None]
    texts = [part["text"] for part in parts if isinstance(part, dict) and part.get("type") == "text" and "text" in part]
    if len(texts) < len(parts) or not all(isinstance(text, str) for text in texts):
        expected = 'a text, or a list of parts {"type": "text", "text": ...}'
        raise ApiError(f"{name}.content should be {expected}, is {brief(content)}", f"{name}.content")
    return "".join(texts)
