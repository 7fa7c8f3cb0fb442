"""Standard input, output and error: always there, able to show every character, and never worth a training.

A shell may start a program with any of the three closed. A reader such as ``head`` may leave in the middle, the disk
behind ``> file`` may be full, a terminal may be closed. What that means is decided here: a command that only prints
ends with its reader; a training goes on without one.
"""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))  # in the order of their descriptors: 0, 1, 2


class ReaderLeft(BrokenPipeError):
    """The program that read the output has ended; for a command that only prints, the work is done."""


class Guarded:
    """A text stream that hands its errors to a function; everything else is the stream's own.

    Parameters
    ----------
    stream : text stream
    failed : callable
        Gets the OSError or ValueError of a write or flush. If it returns, the text is dropped.
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
    """What a command runs in: all three streams are there, output is UTF-8, and a reader that leaves is `ReaderLeft`.

    Errors of stderr are ignored: it carries notes and progress bars.
    """
    for descriptor, (name, mode) in enumerate(STREAMS):
        if getattr(sys, name) is None:
            setattr(sys, name, _nothing(descriptor, mode))
    before = sys.stdout, sys.stderr
    for stream in before:
        if hasattr(stream, "reconfigure"):  # names of files may hold bytes that are no characters
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
    """Inside, whatever happens to stdout and stderr, the work goes on; what cannot be printed is dropped."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_guarded(stream, _ignore) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


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
    """A stream that reads and writes nothing, at the descriptor of the one that was closed.

    The next file to be opened would get a free descriptor, and what a library prints there would land in that file.
    """
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != descriptor and not _is_open(descriptor):
        os.dup2(opened, descriptor)
        os.close(opened)
        opened = descriptor
    os.set_inheritable(opened, True)  # worker processes need the three, too
    return cast(TextIO, open(opened, mode, encoding="utf-8", closefd=False))


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _settle(stream: TextIO) -> None:
    """Flush; text that cannot be written goes to nowhere, or Python would complain of it at its end."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            stream.flush()
