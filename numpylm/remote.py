"""A model's replica in a process of its own: weights and gradients lie in memory that both processes see.

Threads of one Python process take turns at its lock (the GIL). While NumPy computes, the lock is free; but between two
calls it is needed, and for a small model, whose calls take microseconds, threads spend much of their time in waiting
for each other. Processes have a lock each. What passes between them in a step is ids, targets and a loss; the weights
are the same memory, and the gradients are read where the other process wrote them.
"""

import copy
import multiprocessing
import pickle
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker, util
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.interrupts import STOPPING
from numpylm.module import Array, Module, Parameter

SPAWN = multiprocessing.get_context("spawn")  # the only way that is safe beside threads, and the same everywhere
ALIGNMENT = 64  # bytes; arrays begin at multiples of it from the beginning of their block
SMALL = 2**26  # bytes


class WorkerError(RuntimeError):
    """A worker process is not there any more; the message says what to do."""


# ---------------------------------------------------------------------------------------- shared memory


def room_to_share(size: int) -> bool:
    """Whether so many bytes that processes share stay in memory here.

    Linux keeps them under /dev/shm, which in a container often has 64 MB; what does not fit there goes to a file, as
    everything does on macOS. Small files stay in memory; large ones are written to disk, again and again.
    """
    shm = Path("/dev/shm")
    return size < SMALL or sys.platform == "win32" or (shm.is_dir() and shutil.disk_usage(shm).free > size)


class SharedArrays:
    """Arrays of given shapes and dtypes in one block of memory that processes share. It ends with its last user."""

    def __init__(self, like: Sequence[Array]) -> None:
        self.kinds = [(array.shape, array.dtype) for array in like]
        starts = np.cumsum([0, *(-(-array.nbytes // ALIGNMENT) * ALIGNMENT for array in like)])
        self.starts = [int(start) for start in starts[:-1]]
        self.block = SPAWN.RawArray("b", max(1, int(starts[-1])))  # zeros

    def arrays(self) -> list[Array]:
        """Views of the block, in the order of ``like``."""
        return [
            np.frombuffer(self.block, dtype, int(np.prod(shape)), start).reshape(shape)
            for (shape, dtype), start in zip(self.kinds, self.starts, strict=True)
        ]


class SharedWeights:
    """A model's parameters, moved into shared memory: their ``.data`` are views of it from now on."""

    def __init__(self, model: Module) -> None:
        self.parameters = model.parameters()
        self.memory = SharedArrays([p.data for p in self.parameters])
        self.arrays = self.memory.arrays()
        self.keep()

    def keep(self) -> None:
        """Move in what has been put in its place since, such as weights that were loaded."""
        for p, shared in zip(self.parameters, self.arrays, strict=True):
            if p.data is not shared:
                if (p.shape, p.dtype) != (shared.shape, shared.dtype):
                    raise ValueError(
                        f"a parameter of {shared.shape} {shared.dtype} has become one of {p.shape} {p.dtype}: make a "
                        f"new DataParallel for the changed model"
                    )
                shared[...] = p.data
                p.data = shared


# --------------------------------------------------------------------------------------- this process


class RemoteReplica:
    """Stands for a replica in a process of its own, which ends with this object, or with this process.

    Parameters
    ----------
    model : Module
        Must be made of classes that another process can import: not of ones that a notebook defines.
    weights : SharedWeights
        Those of ``model``; for all its replicas the same.
    setup : callable
        What the process does first; a function of a module.

    Raises
    ------
    ValueError
        If the model cannot be sent to another process.
    """

    def __init__(self, model: Module, weights: SharedWeights, setup: Callable[[], object]) -> None:
        try:
            hollow = pickle.dumps(_hollow(model))
        except Exception as error:  # pickle raises all kinds
            raise ValueError(
                f"this model cannot be sent to another process ({error}): let threads share the batch, or define its "
                f"layers in a module of their own"
            ) from None
        trained = [i for i, p in enumerate(weights.parameters) if not p.frozen]
        gradients = SharedArrays([weights.parameters[i].data for i in trained])
        self.parameters = []
        for i, grad in zip(trained, gradients.arrays(), strict=True):
            self.parameters.append(Parameter(weights.arrays[i]))
            self.parameters[-1].grad = grad
        self.turn = threading.Lock()  # a question and its answer belong together
        self.connection, theirs = SPAWN.Pipe()
        given = (theirs, weights.memory, gradients, trained, setup)
        self.process = SPAWN.Process(target=_serve, args=given, daemon=True)
        with _no_signals():
            self.process.start()
        theirs.close()
        util.Finalize(self, self.connection.close, exitpriority=0)  # ends the process, for which Python waits at exit
        with self._alive():  # not as an argument: one who dies before reading a large one would be waited for, forever
            self.connection.send_bytes(hollow)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """``function(replica, *args)`` in that process; what it raises is raised here."""
        with self.turn, self._alive():
            self.connection.send((function, args))
            error, result = self.connection.recv()
        if error is not None:
            raise error
        return result

    def trainable_parameters(self) -> list[Parameter]:
        """As the model's own, with that process's gradients."""
        return self.parameters

    @contextmanager
    def _alive(self) -> Iterator[None]:
        """One clear error if the process has ended."""
        try:
            yield
        except (EOFError, OSError):
            self.process.join(1)
            code = self.process.exitcode
            hint = "memory ran out? A smaller batch or recompute takes less" if code == -9 else "what it said is above"
            raise WorkerError(f"a worker process ended (exit code {code}): {hint}") from None


def _hollow(model: Module) -> Module:
    """A copy whose parameters hold no numbers, and which does not take the tokenizer along."""
    tokenizer = getattr(model, "tokenizer", None)
    memo: dict[int, Any] = {id(tokenizer): None}
    for p in model.parameters():
        memo[id(p)] = empty = Parameter(np.empty(0, p.dtype))
        empty.frozen = p.frozen
    return copy.deepcopy(model, memo)


@contextmanager
def _no_signals() -> Iterator[None]:
    """Ctrl-C waits for the end of this; processes that are started here never hear of it (not on Windows).

    Nor of the other signals that ask for an end: a batch system or a closing terminal sends them to all processes, and
    this one needs its workers until it has saved.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        resource_tracker.ensure_running()  # a process of Python's own; its start lets some signals through again
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# ----------------------------------------------------------------------------------- the other process


def _serve(
    connection: Connection,
    weights: SharedArrays,
    gradients: SharedArrays,
    trained: list[int],
    setup: Callable[[], object],
) -> None:
    """Take a model and answer questions about it until nobody asks any more."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)  # they are for the process that was started by hand
    try:
        model: Any = None
        failure: Exception | None = None
        shared = dict(zip(trained, gradients.arrays(), strict=True))
        try:
            model = connection.recv()
            for p, data in zip(model.parameters(), weights.arrays(), strict=True):
                p.data = data
            _keep_gradients(model, shared)
            setup()
        except Exception as error:  # such as a class that cannot be imported here; told when something is asked
            failure = error
        while True:
            question = connection.recv_bytes()
            try:
                if failure is not None:
                    raise failure
                function, args = pickle.loads(question)
                answer = pickle.dumps((None, function(model, *args)))
                _keep_gradients(model, shared)
            except Exception as error:
                answer = pickle.dumps((_portable(error), None))
            connection.send_bytes(answer)
    except (EOFError, OSError):
        return  # the other side is gone


def _keep_gradients(model: Module, shared: dict[int, Array]) -> None:
    """Let gradients lie in shared memory, also those of a layer that puts a new array in its ``.grad``'s place."""
    parameters = model.parameters()
    for i, array in shared.items():
        if (grad := parameters[i].grad) is not array:
            array[...] = grad
            parameters[i].grad = array


def _portable(error: Exception) -> Exception:
    """The error, or one that says the same, as it can be sent; with the place where it was raised."""
    error.add_note("in a worker process:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
