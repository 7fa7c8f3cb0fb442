"""A model's replica in a process of its own: weights and gradients lie in memory that both processes see.

Threads of one Python process take turns at its lock (the GIL). While NumPy computes, the lock is free; but between two
calls it is needed, and for a small model, whose calls take microseconds, threads spend much of their time in waiting
for each other. Processes have a lock each. What passes between them in a step is ids, targets and a loss; the weights
are the same memory, and the gradients are read where the other process wrote them.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from numpylm.nn.module import Array, Module, Parameter
from numpylm.system.shared_memory import SharedArrays
from numpylm.system.worker import Worker


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


class RemoteReplica:
    """Stands for a replica in a worker process, which ends with this object, or with this process.

    Parameters
    ----------
    model : Module
        Must be made of classes that another process can import: not of ones that a script or notebook defines.
    weights : SharedWeights
        Those of ``model``; for all its replicas the same.
    setup : callable
        What the process does first; a function of a module.

    Raises
    ------
    WorkerError
        If the model cannot be sent to another process, or none can be started.
    OSError
        If there is no room for its gradients.
    ValueError
        If the model cannot be copied.
    """

    def __init__(self, model: Module, weights: SharedWeights, setup: Callable[[], object]) -> None:
        trained = [i for i, p in enumerate(weights.parameters) if not p.frozen]
        gradients = SharedArrays([weights.parameters[i].data for i in trained])
        self.parameters = []
        for i, grad in zip(trained, gradients.arrays(), strict=True):
            self.parameters.append(Parameter(weights.arrays[i]))
            self.parameters[-1].grad = grad
        given = (_hollow(model), weights.memory, gradients, trained, setup)
        self.worker = Worker(_begin, given, weights.memory.fds + gradients.fds)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """``function(replica, *args)`` in that process; raises what it raises, and WorkerError as `Worker.run` does."""
        return self.worker.run(_call, function, args)

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
    return copied(model, memo)


def copied(model: Any, memo: dict[int, Any]) -> Any:
    """A deep copy that takes from ``memo`` what is there already; ValueError if there can be none."""
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:  # as many kinds as there are classes
        raise ValueError(f"each worker needs a copy of the model, and it cannot be copied ({error})") from None


# ----------------------------------------------------------------------------------- the other process

_here: dict[str, Any] = {}  # the replica of this process, and where its gradients belong


def _begin(
    model: Module, weights: SharedArrays, gradients: SharedArrays, trained: list[int], setup: Callable[[], object]
) -> None:
    """Fill the hollow model."""
    for p, data in zip(model.parameters(), weights.arrays(), strict=True):
        p.data = data
    _here["model"], _here["gradients"] = model, dict(zip(trained, gradients.arrays(), strict=True))
    _keep_gradients()
    setup()


def _call(function: Callable[..., Any], args: tuple) -> Any:
    result = function(_here["model"], *args)
    _keep_gradients()
    return result


def _keep_gradients() -> None:
    """Let gradients lie in shared memory, also those of a layer that puts a new array in its ``.grad``'s place."""
    parameters = _here["model"].parameters()
    shared: dict[int, Array] = _here["gradients"]
    for i, array in shared.items():
        if (grad := parameters[i].grad) is not array:
            array[...] = grad
            parameters[i].grad = array
