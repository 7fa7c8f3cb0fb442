"""Signals that ask a program to end: Ctrl-C, SIGTERM etc. from a batch system, SIGHUP from a terminal that closes.

Python turns Ctrl-C into an exception; the other signals kill the program. With `stoppable`, all of them raise an
exception, so that half-written files are removed. With `interruptible`, they only set a flag, so that a training step
is completed before its result is saved.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Windows has SIGBREAK (Ctrl-Break) instead of SIGHUP. Batch systems send the last three before their time limit ends.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK", "SIGUSR1", "SIGUSR2", "SIGXCPU")
STOPPING: tuple[int, ...] = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))


def stop(number: int) -> None:
    """Raise KeyboardInterrupt for Ctrl-C, and SystemExit with code 128 + number for other signals."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


class Interrupted(Exception):
    """A long computation was stopped because of a signal."""


class Interrupt:
    """A flag that stores the first signal that was received, if any."""

    def __init__(self) -> None:
        self.number: int | None = None

    def is_set(self) -> bool:
        """Whether a signal was received."""
        return self.number is not None

    def check(self) -> None:
        """Raise `Interrupted` if a signal was received."""
        if self.is_set():
            raise Interrupted

    def stop(self) -> None:
        """End the program if a signal was received; see `stop`."""
        if self.number is not None:
            stop(self.number)

    def handle(self, number: int, frame: Any) -> None:
        """Store the first signal. A second Ctrl-C stops at once; a second SIGHUP does not: terminals may send two."""
        if self.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = self.number or number


@contextmanager
def stoppable() -> Iterator[None]:
    """Let every stopping signal raise an exception, as Ctrl-C does, so that ``finally`` clauses run."""
    with _handled_by(lambda number, frame: stop(number)):
        yield


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Let a stopping signal only set a flag, which the code inside the ``with`` checks where it can stop."""
    interrupt = Interrupt()
    with _handled_by(interrupt.handle):
        yield interrupt


@contextmanager
def _handled_by(handle: Callable[[int, Any], None]) -> Iterator[None]:
    """Call ``handle`` for all stopping signals, except ignored ones (nohup ignores SIGHUP).

    It does nothing outside the main thread, because Python allows handlers in the main thread only.
    """
    before: dict[int, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: the handler was not set by Python
                    before[number] = signal.signal(number, handle)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
