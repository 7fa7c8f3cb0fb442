"""The solved exercises on this machine, in a small JSON file in the home folder."""

import itertools
import json
import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from numpylm.system.whole_files import read_json, write_text

VARIABLE = "NUMPYLM_COURSE_FILE"  # the path of a file to use instead of ~/.numpylm/course.json


@dataclass(frozen=True)
class Solved:
    """One exercise that passed: the day, and the student's code with the names that it defines."""

    day: str
    source: str
    names: tuple[str, ...]


def progress_file() -> Path:
    """The path of the progress file."""
    return Path(os.environ.get(VARIABLE) or Path.home() / ".numpylm" / "course.json")


def load() -> dict[str, Solved]:
    """Solved exercises by name; empty if there is no file.

    Raises
    ------
    ValueError
        If the file is damaged; the message says where it is.
    """
    path = progress_file()
    if not path.exists():
        return {}
    try:
        found = read_json(path)
        assert isinstance(found, dict)
        solved = {name: Solved(e["day"], e["source"], tuple(e["names"])) for name, e in found.items()}
        assert all(isinstance(text, str) for s in solved.values() for text in (s.day, s.source, *s.names))
    except (AssertionError, KeyError, TypeError, ValueError):
        raise ValueError(
            f"{path} is damaged, or is not a progress file: numpylm course --reset moves it away and starts again"
        ) from None
    return solved


def record(name: str, source: str, names: tuple[str, ...]) -> None:
    """Record that an exercise passed. A damaged or read-only file does not stop the lesson; a message is printed."""
    try:
        solved = load()
        solved[name] = Solved(date.today().isoformat(), source, names)
        data = {key: {"day": s.day, "source": s.source, "names": s.names} for key, s in solved.items()}
        write_text(progress_file(), json.dumps(data, indent=1, ensure_ascii=False))
    except (ValueError, OSError) as error:
        print(f"(progress was not saved: {error})")


def reset() -> Path | None:
    """Start again with no solved exercises; return the new path of the old file (``course.json.1``, …), if any."""
    path = progress_file()
    if not path.exists():
        return None
    kept = free_name(path)
    path.replace(kept)
    return kept


def free_name(path: Path) -> Path:
    """A free name for keeping a file: ``course.json.1``, or the next number that is not used."""
    return next(k for n in itertools.count(1) if not (k := path.with_name(f"{path.name}.{n}")).exists())
