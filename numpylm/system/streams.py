"""Robust standard input, output and error: closed streams, broken pipes and full disks do not end a training run.

A shell may start a program with any of the three streams closed. A reader such as ``head`` may end early, the disk
behind ``> file`` may be full, and a terminal may be closed. This file decides what happens then: a command that only
prints ends with its reader, and a training run continues without one.
"""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from tqdm import tqdm

STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))  # in the order of their descriptors: 0, 1, 2


class ReaderLeft(BrokenPipeError):
    """The program that read the output has ended. A command that only prints can then end, too."""


class Guarded:
    """A wrapper of a text stream that passes the errors of writes and flushes to a function.

    Parameters
    ----------
    stream : text stream
    failed : callable
        It is called with the OSError or ValueError of a write or flush. If it returns, the text is dropped.
    """

    def __init__(self, stream: TextIO, failed: Callable[[Exception], None]) -> None:
        self.stream, self.failed = stream, failed

    def write(self, text: str) -> int:
        """Write, or let ``failed`` decide; returns the number of characters."""
        try:
            self.stream.write(text)
        except (OSError, ValueError) as error:
            self.failed(error)
        return len(text)

    def flush(self) -> None:
        """Flush, or let ``failed`` decide."""
        try:
            self.stream.flush()
        except (OSError, ValueError) as error:
            self.failed(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def standard_streams() -> Iterator[None]:
    """Set up the streams for a command: all three exist, output is UTF-8, and a broken pipe raises `ReaderLeft`.

    Errors of stderr are ignored, because it shows only notes and progress bars.
    """
    for descriptor, (name, mode) in enumerate(STREAMS):
        if getattr(sys, name) is None:
            setattr(sys, name, _nothing(descriptor, mode))
    before = sys.stdout, sys.stderr
    for stream in before:
        if hasattr(stream, "reconfigure"):  # file names may contain bytes that are not valid characters
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    sys.stdout, sys.stderr = _guarded(before[0], _leave), _guarded(before[1], _ignore)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in before:
            _settle(stream)


@contextmanager
def lasting_output() -> Iterator[None]:
    """Ignore all errors of stdout and stderr inside the ``with``; text that cannot be printed is dropped."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_guarded(stream, _ignore) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def print_note(line: str) -> None:
    """Print one line to stderr, above a progress bar if there is one."""
    if sys.stderr is not None:
        tqdm.write(f"note: {line}", file=sys.stderr)


def _guarded(stream: TextIO, failed: Callable[[Exception], None]) -> TextIO:
    return cast(TextIO, Guarded(stream, failed))


def _ignore(error: Exception) -> None:
    pass


def _leave(error: Exception) -> None:
    """Raise ReaderLeft for a closed pipe, and any other error again."""
    closed_on_windows = sys.platform == "win32" and getattr(error, "errno", None) == errno.EINVAL
    if isinstance(error, BrokenPipeError) or closed_on_windows:
        raise ReaderLeft from error
    raise error


def _nothing(descriptor: int, mode: str) -> TextIO:
    """A null stream at the descriptor of a closed standard stream.

    Without it, the next file that is opened would get this descriptor, and a library that prints to standard output
    would write into that file.
    """
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != descriptor and not _is_open(descriptor):
        os.dup2(opened, descriptor)
        os.close(opened)
        opened = descriptor
    os.set_inheritable(opened, True)  # worker processes need the three streams, too
    return cast(TextIO, open(opened, mode, encoding="utf-8", closefd=False))


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _settle(stream: TextIO) -> None:
    """Flush. Text that cannot be written goes to the null device; otherwise Python would report an error at exit."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            stream.flush()
