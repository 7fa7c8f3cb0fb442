"""A worker process: a second Python interpreter that runs functions for this process, connected by two pipes.

Python's ``multiprocessing`` does more than we need, and this causes problems. Its new processes run the main script
again, so a script needs an ``if __name__ == "__main__"`` guard, and a notebook or ``python -`` cannot have workers at
all. Its processes search for modules in the working folder first, where a student may have a file ``struct.py``. And
each of them prints a traceback at Ctrl-C. Our worker runs only the functions that it is asked to run, and finds the
standard library before all other files.
"""

import os
import pickle
import pickletools
import signal
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NoReturn

from numpylm.system.signals import STOPPING

# With -S (no site), sys.path contains only the standard library. The sys.path of this process is appended to it.
START = """
import sys
sys.path += sys.argv[1:]
import site
site.main()
try:
    from numpylm.system.worker import serve
except BaseException as error:
    sys.exit(f"numpylm: a worker process cannot start: {error!r}")
serve()
"""

_serving = False  # whether this process is a worker


class WorkerError(RuntimeError):
    """A worker process could not start, or has ended. The message says why."""


# --------------------------------------------------------------------------------------- this process


class Worker:
    """A process that runs functions of modules, one at a time. It ends with this object, or with this process.

    Parameters
    ----------
    begin : callable
        The worker calls ``begin(*args)`` first, before all other functions.
    args : tuple
    fds : sequence of int
        Open files that it inherits (not on Windows).

    Raises
    ------
    WorkerError
        If ``begin`` and ``args`` cannot be sent to another process, or no process can be started.
    """

    def __init__(self, begin: Callable[..., object], args: tuple, fds: Sequence[int] = ()) -> None:
        if _serving:
            raise WorkerError("a worker process cannot start other worker processes")
        self.begin: bytes | None = _sendable(begin, args)
        try:
            self.process = subprocess.Popen(
                [str(sys.executable), "-S", "-P", "-c", START, *(str(Path(entry).absolute()) for entry in sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if sys.stderr is None else None,
                env=os.environ | {"PYTHONPATH": ""},
                pass_fds=fds,
                process_group=0,  # its own group, so that Ctrl-C goes only to the process that the user started
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # the same on Windows
            )
        except OSError as error:
            raise WorkerError(f"a worker process could not start ({error})") from None
        self.turn = threading.Lock()  # only one thread at a time may send a request and read its answer
        weakref.finalize(self, _end, self.process)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run ``function(*args)`` in the worker process. An exception that it raises is raised here.

        Raises
        ------
        WorkerError
            If the process has ended, or ``begin`` failed.
        """
        question = pickle.dumps((function, args))
        with self.turn:
            if self.begin is not None:
                error, _ = self._ask(self.begin)
                if error is not None:
                    raise WorkerError(f"a worker process could not begin ({type(error).__name__}: {error})")
                self.begin = None
            error, result = self._ask(question)
        if error is not None:
            raise error
        return result

    def _ask(self, question: bytes) -> tuple[Exception | None, Any]:
        """Send a request; return the exception that it raised, or None, and its result."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            _write(self.process.stdin, question)
            return pickle.loads(_read(self.process.stdout))
        except (EOFError, OSError):
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
            raise WorkerError(_exit_message(self.process.returncode)) from None

    def end(self) -> None:
        """Kill the process at once, even if it is running a function."""
        self.process.kill()


def _sendable(function: Callable[..., object], args: tuple) -> bytes:
    """A pickled request for a worker. The worker must be able to import every function and class in it."""
    try:
        question = pickle.dumps((function, args))
    except Exception as error:  # pickle raises many types
        raise WorkerError(f"worker processes cannot be sent what they need ({error})") from None
    if any(value == "__main__" for _, value, _ in pickletools.genops(question)):
        raise WorkerError(
            "worker processes cannot import classes that a script or notebook defines; move them into a module"
        )
    return question


def _exit_message(code: int | None) -> str:
    """A message that says how a worker process ended."""
    if code == -9:
        return "a worker process was killed (if memory was short: a smaller batch or --recompute takes less)"
    return f"a worker process ended with exit code {code}"


def _end(process: subprocess.Popen) -> None:
    """Kill a process and wait for it, so that no zombie is left. A worker has nothing to save."""
    with suppress(OSError), process:  # closes the pipes, even if one still holds an unread request, and waits
        process.kill()


# ---------------------------------------------------------------------------------------------- pipes


def _write(pipe: IO[bytes], message: bytes) -> None:
    """Send the length of a message, then the message."""
    pipe.write(len(message).to_bytes(8, "little"))
    pipe.write(message)
    pipe.flush()


def _read(pipe: IO[bytes]) -> bytes:
    """Receive a message. Raises EOFError if the other process has ended."""

    def exactly(count: int) -> bytes:
        data = pipe.read(count)
        if len(data) < count:
            raise EOFError
        return data

    return exactly(int.from_bytes(exactly(8), "little"))


# ----------------------------------------------------------------------------------- the other process


def serve() -> NoReturn:
    """Answer requests until the pipe is closed, which happens when the parent process ends for any reason."""
    global _serving
    _serving = True
    # A batch system sends these signals to all processes of a job. The parent still needs this one until it has saved.
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what a layer prints must not get into the pipe of answers
    with suppress(EOFError, OSError):
        while True:
            _write(answers, _answer(_read(questions)))
    os._exit(0)  # at once, without flushing buffers that no process reads


def _answer(question: bytes) -> bytes:
    """Run a request: the pickled pair (exception or None, result)."""
    try:
        function, args = pickle.loads(question)
        return pickle.dumps((None, function(*args)))
    except Exception as error:
        return pickle.dumps((_portable(error), None))


def _portable(error: Exception) -> Exception:
    """The error with its traceback as a note, or a RuntimeError with the same text if it cannot be pickled."""
    error.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
