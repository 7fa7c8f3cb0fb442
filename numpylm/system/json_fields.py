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


def json_objects(text: str, name: str, example: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a text with one in each line, or of a JSON array, each with the number of its first line.

    Parameters
    ----------
    text : str
    name : str
        The name of the file, for messages.
    example : str
        What an object looks like, for messages.

    Raises
    ------
    ValueError
        For a line or an entry that is not an object.
    """
    array = text.lstrip().startswith("[")
    for number, entry in _entries(text, name) if array else _lines(text):
        if not isinstance(entry, dict):
            raise ValueError(f"line {number} of {name} is not a JSON object such as {example}")
        yield number, entry


def _lines(text: str) -> Iterator[tuple[int, Any]]:
    """The value in each line that is not blank, with its number; None for a line that is not JSON."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                yield number, None


def _entries(text: str, name: str) -> Iterator[tuple[int, Any]]:
    """The entries of a JSON array, each with the number of its first line."""
    try:
        json.loads(text)  # finds all mistakes, so that the loop below needs no checks
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not a JSON array ({error})") from None
    decoder, line, before = json.JSONDecoder(), 1, 0
    at = text.index("[") + 1
    while (at := _skip(text, at)) < len(text) and text[at] != "]":
        line, before = line + text.count("\n", before, at), at
        value, at = decoder.raw_decode(text, at)
        yield line, value


def _skip(text: str, at: int) -> int:
    """The next position that is neither white space nor a comma."""
    while at < len(text) and text[at] in " \t\r\n,":
        at += 1
    return at


def brief(value: object) -> str:
    """The repr of a value, shortened so that it fits into a message."""
    text = repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"
