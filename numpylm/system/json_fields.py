"""What a JSON file says, checked as it is read: somebody may have edited it, or a disk may have."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numpylm.system.whole_files import read_text

SHOWN = 40  # characters of a value that a message shows


def typed(found: Mapping[str, Any], name: str, *kinds: type) -> Any:
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


def whole(found: Mapping[str, Any], name: str) -> int:
    """The value of a name that must be a whole number from 0 on."""
    number: int = typed(found, name, int)
    if number < 0:
        raise ValueError(f"{name} should be at least 0, is {number}")
    return number


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file with one on each line; lines that are none are left out: a crash may have cut one off."""
    for line in read_text(path).splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            yield entry


def brief(value: object) -> str:
    """A value as Python writes it, not longer than a message should be."""
    text = repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
