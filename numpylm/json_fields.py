"""What a JSON file says, checked as it is read: somebody may have edited it, or a disk may have."""

import json
from collections.abc import Mapping
from typing import Any

SHOWN = 40  # characters of a value that a message shows


def field(found: Mapping[str, Any], name: str, *kinds: type) -> Any:
    """The value of a name, if it is there and of one of the kinds; a bool is no int here.

    Raises
    ------
    ValueError
        If not; says what it should be and what it is.
    """
    if name not in found:
        raise ValueError(f"{name} is missing")
    value = found[name]
    if type(value) not in kinds:
        expected = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
        raise ValueError(f"{name} should be {expected}, is {brief(value)}")
    return value


def count(found: Mapping[str, Any], name: str) -> int:
    """The value of a name that must be a whole number from 0 on."""
    number: int = field(found, name, int)
    if number < 0:
        raise ValueError(f"{name} should be at least 0, is {number}")
    return number


def brief(value: object) -> str:
    """A value as JSON has it, not longer than a message should be."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
