"""Layers inside a layer: every call is recorded, and each inner layer is checked alone.

The record holds the inputs and outputs of each inner forward and backward. Three things follow from it:

1. Each inner layer is checked alone, on the inputs that it had inside.
2. The calls are counted, and each cache is followed from its forward to its backward.
3. A small array is added to an inner layer's *output*, and the loss is differenced with respect to it. That gives the
   true gradient at this place, which is compared with the gradient that backward used there. In the order of the
   backward, the fault is before the first place where the two differ. See `numpylm.check.inner.connections`.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from numpylm.check.measure.trial import Trial
from numpylm.check.report import Report
from numpylm.check.subject.calls import is_float
from numpylm.check.subject.paths import children
from numpylm.nn.module import Array, Cache


@dataclass(eq=False)
class Call:
    """One call of an inner layer's forward, and of its backward if there was one."""

    path: str
    layer: Any
    inputs: tuple
    options: dict
    out: Array
    cache: Cache
    nudge: Array  # added to the output; zeros unless it is being differenced
    again: Any = None  # the output of a repeated forward
    dout: Array | None = None
    dx: Any = None
    backwards: int = 0


@dataclass
class CallLog:
    """All calls of one forward and backward, in the order of the forward."""

    trial: Trial
    calls: list[Call] = field(default_factory=list)
    mixups: list[tuple[str, str]] = field(default_factory=list)  # (layer, the owner of the cache that it got)
    backward_counts: Counter = field(default_factory=Counter)
    returned: list[Call] = field(default_factory=list)  # in the order of the backward
    replay: int = -1  # which call a repeated forward has reached; -1 while recording

    def forward(self, path: str, layer: Any, original: Callable, inputs: tuple, options: dict) -> Any:
        result = original(*inputs, **options)
        if not (isinstance(result, tuple) and len(result) == 2 and is_float(np.asarray(result[0]))):
            return result
        out, cache = result
        if self.replay < 0:
            rng = options.get("rng")
            kept = copy.deepcopy(tuple(v for v in inputs if v is not None and not isinstance(v, np.random.Generator)))
            plain = {k: v for k, v in options.items() if v is not rng}
            self.calls.append(Call(path, layer, kept, plain, np.array(out), cache, np.zeros(np.shape(out))))
            return result
        number, self.replay = self.replay, self.replay + 1
        if number < len(self.calls) and np.shape(out) == self.calls[number].nudge.shape:
            self.calls[number].again = np.array(out)
            return out + self.calls[number].nudge, cache
        return result

    def backward(
        self, path: str, layer: Any, original: Callable, dout: Any, cache: Cache, *others: Any, **options: Any
    ) -> Any:
        if self.replay >= 0:
            return original(dout, cache, *others, **options)
        self.backward_counts[path] += 1
        own = [call for call in self.calls if call.layer is layer]
        same = [call for call in own if call.cache is cache and cache is not None]
        foreign = [call for call in self.calls if call.cache is cache and cache is not None and call.layer is not layer]
        if foreign and not same:
            self.mixups.append((path, f"{foreign[0].path}.forward"))
        fresh = [call for call in same or own if not call.backwards]
        if same and not fresh and len(own) > 1:
            self.mixups.append((path, f"another call of {path}.forward, whose backward had run already"))
        kept = np.array(dout)
        grad = original(dout, cache, *others, **options)
        call = (fresh or same or own or [None])[-1]  # type: ignore[list-item]
        if call is not None:
            call.backwards += 1
            if call.backwards == 1:
                call.dout, call.dx = kept, grad
                self.returned.append(call)
        return grad


def record(trial: Trial) -> CallLog | None:
    """Run a trial's layer once with all inner calls recorded; None if it has no inner layers."""
    found = list(children(trial.subject.layer)) if trial.subject.layer is not None else []
    log = CallLog(trial)
    for path, layer in found:
        _wrap(log, path, layer)
    if not found:
        return None
    for _, parameter in trial.subject.parameters:
        parameter.grad = np.zeros(parameter.shape)
    _, cache = trial.run([copy.deepcopy(value) for value in trial.inputs])
    trial.subject.backward(copy.deepcopy(trial.dout), cache)
    log.replay = 0
    plain_run = trial.run

    def replayed(inputs: list, stream: int = 2) -> tuple[Any, Cache]:
        log.replay = 0
        return plain_run(inputs, stream)

    trial.run = replayed  # type: ignore[method-assign]
    return log


def _wrap(log: CallLog, path: str, layer: Any) -> None:
    forward, backward = layer.forward, layer.backward
    layer.forward = lambda *inputs, **options: log.forward(path, layer, forward, inputs, options)
    layer.backward = lambda dout, cache=None, *others, **options: log.backward(
        path, layer, backward, dout, cache, *others, **options
    )


def suspects(log: CallLog, check: Callable[..., Report]) -> list[tuple[str, Report]]:
    """Inner layers that fail alone, on the inputs that they had inside."""
    failing, seen = [], set()
    for call in log.calls:
        parameters = tuple(np.shape(p.data) for p in vars(call.layer).values() if hasattr(p, "grad"))
        key = (type(call.layer), tuple(np.shape(v) for v in call.inputs), parameters)
        if key in seen:
            continue
        seen.add(key)
        if any(hasattr(value, "backward") for value in call.inputs):
            continue  # it is given another layer, so it cannot be checked alone
        layer = copy.copy(call.layer)
        vars(layer).pop("forward", None)
        vars(layer).pop("backward", None)
        report = check(layer, *call.inputs, **call.options)
        if not report.ok and (report.rows or report.findings):
            failing.append((call.path, report))
    return failing


def passed_on(log: CallLog, without: Call | None = None) -> dict[str, Array]:
    """All gradients that inner layers got or returned, by their names in sentences."""
    found: dict[str, Array] = {}
    for call in log.calls:
        if call is without:
            continue
        if call.dout is not None:
            found.setdefault(f"the gradient at the output of {call.path}", np.asarray(call.dout))
        for name, grad in _returned_by(call):
            found.setdefault(name, grad)
    return found


def _returned_by(call: Call) -> Iterator[tuple[str, Array]]:
    """What a backward returned, by its name in sentences: one gradient or several."""
    name = f"what {call.path}.backward returned"
    if isinstance(call.dx, tuple):
        yield from ((f"{name} ({k + 1})", grad) for k, grad in enumerate(call.dx) if isinstance(grad, np.ndarray))
    elif isinstance(call.dx, np.ndarray):
        yield name, call.dx


def returned(log: CallLog, without: Call | None = None) -> dict[str, Array]:
    """All gradients that inner layers returned, by their names in sentences."""
    found: dict[str, Array] = {}
    for call in log.calls:
        for name, grad in _returned_by(call) if call is not without else ():
            found.setdefault(name, grad)
    return found


def which_call(log: CallLog, call: Call) -> str:
    """Which call it is, if the layer is called several times."""
    same = [other for other in log.calls if other.path == call.path]
    number = next(i for i, other in enumerate(same) if other is call)
    return "" if len(same) == 1 else f" (call {number + 1} of {len(same)})"
