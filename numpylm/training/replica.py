"""Replicas of a model that share its weights and have gradients of their own: in this process or in worker processes.

The threads of a Python process share one lock (the GIL). NumPy releases it while it computes, but it is needed between
two calls. The calls of a small model take only microseconds, so its threads spend much of their time waiting for each
other. Each process has its own lock. In a step, only ids, targets and a loss are sent between processes. The weights
and gradients are in shared memory.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from numpylm.models.gpt import GPT
from numpylm.nn.module import Array, Module, Parameter
from numpylm.system.shared_memory import SharedArrays
from numpylm.system.worker import Worker


def replica_in_this_process(gpt: GPT) -> GPT:
    """A second model that shares the weights but has its own gradients."""
    tokenizer = getattr(gpt, "tokenizer", None)
    shared: dict[int, Any] = {id(tokenizer): tokenizer}
    for p in gpt.parameters():
        shared[id(p)] = other = Parameter(p.data)
        other.frozen = p.frozen
    return copied(gpt, shared)


class SharedWeights:
    """Moves the parameters of a model into shared memory. Afterwards their ``.data`` are views of this memory."""

    def __init__(self, model: Module) -> None:
        self.parameters = model.parameters()
        self.memory = SharedArrays([p.data for p in self.parameters])
        self.arrays = self.memory.arrays()
        self.keep()

    def keep(self) -> None:
        """Copy arrays that have replaced a parameter's ``.data`` (such as loaded weights) into shared memory."""
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
    """A proxy for a replica in a worker process. The worker ends with this object, or with this process.

    Parameters
    ----------
    model : Module
        The worker must be able to import all its classes, so a script or notebook must not define them.
    weights : SharedWeights
        The weights of ``model``, shared by all its replicas.
    setup : callable
        A function of a module that the worker calls first.

    Raises
    ------
    WorkerError
        If the model cannot be sent to another process, or no process can be started.
    OSError
        If there is not enough memory for its gradients.
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
        arguments = (_without_values(model), weights.memory, gradients, trained, setup)
        self.worker = Worker(_begin, arguments, weights.memory.fds + gradients.fds)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run ``function(replica, *args)`` in the worker process. It raises the same errors as `Worker.run`."""
        return self.worker.run(_call, function, args)

    def trainable_parameters(self) -> list[Parameter]:
        """The trained parameters of the model, with the gradients of the worker process."""
        return self.parameters


def _without_values(model: Module) -> Module:
    """A copy of the model with empty parameters and without its tokenizer."""
    tokenizer = getattr(model, "tokenizer", None)
    memo: dict[int, Any] = {id(tokenizer): None}
    for p in model.parameters():
        memo[id(p)] = empty = Parameter(np.empty(0, p.dtype))
        empty.frozen = p.frozen
    return copied(model, memo)


def copied(model: Any, memo: dict[int, Any]) -> Any:
    """A deep copy, except for the objects in ``memo``. Raises ValueError if the model cannot be copied."""
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:  # each class may raise its own type
        raise ValueError(f"each worker needs a copy of the model, and it cannot be copied ({error})") from None


# ----------------------------------------------------------------------------------- the other process

_here: dict[str, Any] = {}  # the replica of this process, and the shared memory of its gradients


def _begin(
    model: Module, weights: SharedArrays, gradients: SharedArrays, trained: list[int], setup: Callable[[], object]
) -> None:
    """Set up the replica: its parameters become views of the shared memory."""
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
    """Keep gradients in shared memory, even if a layer has replaced its ``.grad`` by a new array."""
    parameters = _here["model"].parameters()
    shared: dict[int, Array] = _here["gradients"]
    for i, array in shared.items():
        if (grad := parameters[i].grad) is not array:
            array[...] = grad
            parameters[i].grad = array
