"""Reading typed values from JSON files, with a clear error for a file that was edited wrongly or is damaged."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numpylm.system.whole_files import read_text

SHOWN = 40  # characters of a value that a message shows


def typed(found: Mapping[str, Any], name: str, *kinds: type) -> Any:
    """The value of a name, if it exists and has one of the given types. A bool does not count as an int.

    Raises
    ------
    ValueError
        If not. The message gives the expected type and the actual value.
    """
    if name not in found:
        raise ValueError(f"{name} is missing")
    value = found[name]
    if type(value) not in kinds:
        expected = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
        raise ValueError(f"{name} should be {expected}, is {brief(value)}")
    return value


def whole(found: Mapping[str, Any], name: str) -> int:
    """The value of a name that must be a whole number of at least 0."""
    number: int = typed(found, name, int)
    if number < 0:
        raise ValueError(f"{name} should be at least 0, is {number}")
    return number


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file. Invalid lines are skipped, because a crash may have cut one off."""
    for line in read_text(path).splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            yield entry


def brief(value: object) -> str:
    """The repr of a value, shortened so that it fits into a message."""
    text = repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
