"""A process that runs functions for this one: a second interpreter, with a pipe to it and a pipe from it.

Python's ``multiprocessing`` does more than that, and the surplus breaks things. Its new processes run the main script
again, so that a script needs a guard and a notebook or ``python -`` cannot have any; they look for modules in the
working folder first, where a student's ``struct.py`` may lie; and each of them prints a traceback at Ctrl-C. A worker
of ours runs nothing but what it is asked to run, and finds the standard library before all other files.
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

from tqdm import tqdm

from numpylm.system.signals import STOPPING

# Without site (-S), sys.path is the standard library alone. What this process has in its own comes behind it.
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
    """A worker process could not start, or has ended; the message says why."""


def say(line: str) -> None:
    """Print one line to stderr, above a progress bar if there is one."""
    if sys.stderr is not None:
        tqdm.write(f"note: {line}", file=sys.stderr)


# --------------------------------------------------------------------------------------- this process


class Worker:
    """A process that runs functions of modules, one at a time. It ends with this object, or with this process.

    Parameters
    ----------
    begin : callable
        What it runs before all that it is asked: ``begin(*args)``.
    args : tuple
    fds : sequence of int
        Open files that it inherits (not on Windows).

    Raises
    ------
    WorkerError
        If ``begin`` and ``args`` cannot be sent to another process, or none can be started.
    """

    def __init__(self, begin: Callable[..., object], args: tuple, fds: Sequence[int] = ()) -> None:
        if _serving:
            raise WorkerError("a worker process starts no others")
        self.begin: bytes | None = _sendable(begin, args)
        try:
            self.process = subprocess.Popen(
                [str(sys.executable), "-S", "-P", "-c", START, *(str(Path(entry).absolute()) for entry in sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if sys.stderr is None else None,
                env=os.environ | {"PYTHONPATH": ""},
                pass_fds=fds,
                process_group=0,  # a new one: Ctrl-C is for the process that was started by hand
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # the same on Windows
            )
        except OSError as error:
            raise WorkerError(f"a worker process could not start ({error})") from None
        self.turn = threading.Lock()  # a question and its answer belong together
        weakref.finalize(self, _end, self.process)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """``function(*args)`` in that process; what it raises is raised here.

        Raises
        ------
        WorkerError
            If the process has ended or could not begin.
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
        """What was raised, if anything was, and what was returned."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            _write(self.process.stdin, question)
            return pickle.loads(_read(self.process.stdout))
        except (EOFError, OSError):
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
            raise WorkerError(_obituary(self.process.returncode)) from None

    def end(self) -> None:
        """End the process at once, in the middle of what it does."""
        self.process.kill()


def _sendable(function: Callable[..., object], args: tuple) -> bytes:
    """A question for a worker, who must be able to import all that it is made of."""
    try:
        question = pickle.dumps((function, args))
    except Exception as error:  # pickle raises all kinds
        raise WorkerError(f"they cannot be sent what they need ({error})") from None
    if any(value == "__main__" for _, value, _ in pickletools.genops(question)):
        raise WorkerError(
            "they cannot import classes that a script or notebook defines; put these into a module of their own"
        )
    return question


def _obituary(code: int | None) -> str:
    """How a worker process ended."""
    if code == -9:
        return "a worker process was killed (if memory was short: a smaller batch or --recompute takes less)"
    return f"a worker process ended with exit code {code}"


def _end(process: subprocess.Popen) -> None:
    """End a process, which has nothing to save, and leave nothing of it, not even a zombie."""
    with suppress(OSError), process:  # closes the pipes, one perhaps with a question that was not read, and waits
        process.kill()


# ---------------------------------------------------------------------------------------------- pipes


def _write(pipe: IO[bytes], message: bytes) -> None:
    """Send a message, its length first."""
    pipe.write(len(message).to_bytes(8, "little"))
    pipe.write(message)
    pipe.flush()


def _read(pipe: IO[bytes]) -> bytes:
    """Receive a message; EOFError if the other side has ended."""

    def exactly(count: int) -> bytes:
        data = pipe.read(count)
        if len(data) < count:
            raise EOFError
        return data

    return exactly(int.from_bytes(exactly(8), "little"))


# ----------------------------------------------------------------------------------- the other process


def serve() -> NoReturn:
    """Answer questions until nobody can ask any more: the pipe ends with the process that asks, however that ends."""
    global _serving
    _serving = True
    for (
        number
    ) in STOPPING:  # a batch system sends them to all processes of a job; this one is needed until all is saved
        signal.signal(number, signal.SIG_IGN)
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # what a layer prints is no answer
    with suppress(EOFError, OSError):
        while True:
            _write(answers, _answer(_read(questions)))
    os._exit(0)  # at once; nobody reads what may be left in a buffer


def _answer(question: bytes) -> bytes:
    """Run what is asked: (what was raised, what was returned)."""
    try:
        function, args = pickle.loads(question)
        return pickle.dumps((None, function(*args)))
    except Exception as error:
        return pickle.dumps((_portable(error), None))


def _portable(error: Exception) -> Exception:
    """The error, or one that says the same, as it can be sent; with the place where it was raised."""
    error.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
