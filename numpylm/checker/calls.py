"""Calling a student's code: what it prints is muted, what goes wrong is told with its own file and line."""

import contextlib
import io
import linecache
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE = Path(__file__).parents[1]
OWN_FILES = {
    str(PACKAGE / "gradcheck.py"),
    *(str(path) for folder in ("checker", "student") for path in (PACKAGE / folder).glob("*.py")),
}
NUMPY = str(Path(np.__file__).parent)
PYTHON = str(Path(contextlib.__file__).parent)  # exit() is a line of site.py


class CheckError(ValueError):
    """The code under check stopped, or does not have the shape of a layer. The message says where and why."""


class FinalError(CheckError):
    """An error that no other input would mend."""


class Muted(io.StringIO):
    """Where ``print`` goes while a student's code runs: a layer is called a thousand times."""

    def __init__(self) -> None:
        super().__init__()
        self.used = False

    def write(self, text: str) -> int:
        if debugging() and sys.__stdout__ is not None:  # breakpoint() in a student's forward must show its prompt
            return sys.__stdout__.write(text)
        self.used = True
        return len(text)


def debugging() -> bool:
    """Whether Python's own debugger is running."""
    bdb = sys.modules.get("bdb")
    return bdb is not None and isinstance(getattr(sys.gettrace(), "__self__", None), bdb.Bdb)


def call(what: str, function: Callable, *args: Any, muted: Muted | None = None, **options: Any) -> Any:
    """What a student's function returns.

    Raises
    ------
    CheckError
        If it stops, also by ``exit()``: "``what`` stopped", the error, and the student's own line.
    """
    try:
        with np.errstate(all="ignore"), contextlib.redirect_stdout(muted or Muted()):
            return function(*args, **options)
    except CheckError:
        raise
    except (Exception, SystemExit) as error:
        kind = FinalError if isinstance(error, (SystemExit, NotImplementedError)) else CheckError
        raise kind(f"{what} stopped. {describe(error)}") from error


def describe(error: BaseException) -> str:
    """An exception as the student's own file, line and code, then the message."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename not in OWN_FILES]
    theirs = [
        f
        for f in frames
        if not f.filename.startswith((str(PACKAGE), NUMPY, PYTHON, "<frozen")) and "site-packages" not in f.filename
    ]
    inner = theirs[-1] if theirs else next((f for f in reversed(frames) if not f.filename.startswith(NUMPY)), None)
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, SystemExit):
        said = "It calls exit(), which ends the whole program: raise an error instead."
    if inner is None:
        return said
    code = (inner.line or linecache.getline(inner.filename, inner.lineno or 0)).strip()
    return f"{said}\n  {inner.filename}, line {inner.lineno}, in {inner.name}\n    {code}"
