"""Signals that ask a program to end: Ctrl-C, the SIGTERM of a batch system, the SIGHUP of a terminal that closes.

Python turns Ctrl-C into an exception, wherever the program is; the others kill it. Here all of them are an exception
(`stoppable`), so that half-written files are removed, or a flag (`interruptible`), so that a step ends before its
result is saved.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # Windows has no SIGHUP, but Ctrl-Break
STOPPING: tuple[int, ...] = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))


def stop(number: int) -> None:
    """End as a program that a signal has ended: KeyboardInterrupt for Ctrl-C, else SystemExit with 128 + number."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


class Interrupted(Exception):
    """What a long computation raises when it is given up because of a signal."""


class Interrupt:
    """A flag: the first signal that came, if one has come."""

    def __init__(self) -> None:
        self.number: int | None = None

    def is_set(self) -> bool:
        """Whether a signal has come."""
        return self.number is not None

    def check(self) -> None:
        """Raise `Interrupted` if a signal has come."""
        if self.is_set():
            raise Interrupted

    def stop(self) -> None:
        """Do what the signal asked for, if one has come; see `stop`."""
        if self.number is not None:
            stop(self.number)

    def handle(self, number: int, frame: Any) -> None:
        """Remember the first signal. A second Ctrl-C stops at once; a closing terminal may well send SIGHUP twice."""
        if self.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = self.number or number


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside, every stopping signal is an exception, as Ctrl-C is, so that ``finally`` clauses are run."""
    with _handled_by(lambda number, frame: stop(number)):
        yield


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Inside, a stopping signal only sets a flag, which the work looks at where it can be ended."""
    interrupt = Interrupt()
    with _handled_by(interrupt.handle):
        yield interrupt


@contextmanager
def _handled_by(handle: Callable[[int, Any], None]) -> Iterator[None]:
    """Let ``handle`` have all stopping signals but those that are ignored, as nohup ignores SIGHUP.

    In the main thread only: Python allows no other to set a handler.
    """
    before: dict[int, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: set by others than Python
                    before[number] = signal.signal(number, handle)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
