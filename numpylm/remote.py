"""A model's replica in a process of its own: weights and gradients lie in memory that both processes see.

Threads of one Python process take turns at its lock (the GIL). While NumPy computes, the lock is free; but between two
calls it is needed, and for a small model, whose calls take microseconds, threads spend much of their time in waiting
for each other. Processes have a lock each. What passes between them in a step is ids, targets and a loss; the weights
are the same memory, and the gradients are read where the other process wrote them.
"""

import copy
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from numpylm.module import Array, Module, Parameter

SPAWN = multiprocessing.get_context("spawn")  # the only way that is safe beside threads, and the same everywhere
ALIGNMENT = 64  # bytes of a cache line


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
    """A model's parameters, moved into shared memory. For the model itself nothing changes."""

    def __init__(self, model: Module) -> None:
        self.parameters = model.parameters()
        self.memory = SharedArrays([p.data for p in self.parameters])
        self.arrays = self.memory.arrays()
        self.keep()

    def keep(self) -> None:
        """Move in what has been put in its place since, such as weights that were loaded."""
        for p, shared in zip(self.parameters, self.arrays, strict=True):
            if p.data is not shared:
                shared[...] = p.data
                p.data = shared


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
        trained = [i for i, p in enumerate(weights.parameters) if not p.frozen]
        gradients = SharedArrays([weights.parameters[i].data for i in trained])
        self.parameters = []
        for i, grad in zip(trained, gradients.arrays(), strict=True):
            self.parameters.append(Parameter(weights.arrays[i]))
            self.parameters[-1].grad = grad
        self.connection, theirs = SPAWN.Pipe()
        given = (theirs, _hollow(model), weights.memory, gradients, trained, setup)
        self.process = SPAWN.Process(target=_serve, args=given, daemon=True)
        try:
            self.process.start()
        except (AttributeError, TypeError, ValueError, ImportError) as error:  # what pickle raises; all kinds of it
            raise ValueError(
                f"this model cannot be sent to another process ({error}): let threads share the batch, or define its "
                f"layers in a module of their own"
            ) from None
        theirs.close()

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """``function(replica, *args)`` in that process; what it raises is raised here."""
        try:
            self.connection.send((function, args))
            error, result = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(1)
            raise RuntimeError(
                f"a worker process ended (exit code {self.process.exitcode}); if memory ran out, take a smaller "
                f"--batch-size, or --recompute"
            ) from None
        if error is not None:
            raise error
        return result

    def trainable_parameters(self) -> list[Parameter]:
        """As the model's own, with that process's gradients."""
        return self.parameters


def _hollow(model: Module) -> Module:
    """A copy whose parameters hold no numbers, and which does not take the tokenizer along."""
    tokenizer = getattr(model, "tokenizer", None)
    memo: dict[int, Any] = {id(tokenizer): None}
    for p in model.parameters():
        memo[id(p)] = empty = Parameter(np.empty(0, p.dtype))
        empty.frozen = p.frozen
    return copy.deepcopy(model, memo)


def _serve(
    connection: Connection,
    model: Module,
    weights: SharedArrays,
    gradients: SharedArrays,
    trained: list[int],
    setup: Callable[[], object],
) -> None:
    """What the other process does: answer until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that was started by hand
    setup()
    parameters = model.parameters()
    for p, data in zip(parameters, weights.arrays(), strict=True):
        p.data = data
    for i, grad in zip(trained, gradients.arrays(), strict=True):
        parameters[i].grad = grad
    while True:
        try:
            function, args = connection.recv()
        except EOFError:
            return
        try:
            connection.send((None, function(model, *args)))
        except Exception as error:
            connection.send((error, None))
