"""What has been solved on this machine: one small JSON file in the home folder."""

import itertools
import json
import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from numpylm.system.whole_files import read_json, write_text

VARIABLE = "NUMPYLM_COURSE_FILE"  # names another file than ~/.numpylm/course.json


@dataclass(frozen=True)
class Solved:
    """One exercise that passed: when, and the student's code, with the names that it defines."""

    day: str
    source: str
    names: tuple[str, ...]


def progress_file() -> Path:
    """Where progress is kept."""
    return Path(os.environ.get(VARIABLE) or Path.home() / ".numpylm" / "course.json")


def load() -> dict[str, Solved]:
    """Solved exercises by name; none if there is no file.

    Raises
    ------
    ValueError
        If the file is damaged: says where it is.
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
            f"{path} is damaged, or no progress file of the course: numpylm course --reset moves it away and begins "
            "anew"
        ) from None
    return solved


def record(name: str, source: str, names: tuple[str, ...]) -> None:
    """Remember that an exercise passed. A file that is damaged or cannot be written is no reason to stop a lesson."""
    try:
        solved = load()
        solved[name] = Solved(date.today().isoformat(), source, names)
        data = {key: {"day": s.day, "source": s.source, "names": s.names} for key, s in solved.items()}
        write_text(progress_file(), json.dumps(data, indent=1, ensure_ascii=False))
    except (ValueError, OSError) as error:
        print(f"(progress was not saved: {error})")


def reset() -> Path | None:
    """Forget everything that was solved; return where the file is kept now (``course.json.1``, …), if there was one."""
    path = progress_file()
    if not path.exists():
        return None
    kept = free_name(path)
    path.replace(kept)
    return kept


def free_name(path: Path) -> Path:
    """Where a file can be kept when another takes its name: ``course.json.1``, or the next number that is free."""
    return next(k for n in itertools.count(1) if not (k := path.with_name(f"{path.name}.{n}")).exists())
