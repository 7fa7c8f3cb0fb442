"""What the student's own lines make: every array that a local variable of forward or backward holds, as it is made.

A trace function looks at the local variables between two lines. In the forward it can also add a small array to one
of them, in place, at the moment when it has been made. So the true gradient of any variable is a difference of
losses, like that of an input; and what backward holds can be compared with it, line by line.
"""

import copy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

import numpy as np

from numpylm.checker.trial import Trial
from numpylm.module import Array

STEP = 1e-5  # of a difference along a variable: central, second order, so good to about 1e-9
MOST = 90  # variables, counted anew in each round of a loop; more are not looked at


@dataclass(eq=False)
class Value:
    """What a local variable holds from one moment on."""

    name: str
    array: Array  # a copy
    made: list[tuple[int, int]]  # (how many lines had been begun, the line that made or changed it)
    live: Any = field(default=None, repr=False)
    written: Array | None = None  # what all lines together wrote into it: its value, had they added and not assigned

    @property
    def moment(self) -> int:
        """When it stood as it is."""
        return self.made[-1][0]

    @property
    def line(self) -> int:
        return self.made[-1][1]


def code_of(trial: Trial, which: str) -> CodeType | None:
    """The code of the student's ``forward`` or ``backward``."""
    target: Any = trial.setup.target
    if isinstance(target, (tuple, list)):
        function = target[which == "backward"]
    else:
        function = getattr(target if isinstance(target, type) else type(trial.subject.layer), which, None)
    return getattr(function, "__code__", None)


@contextmanager
def watching(code: CodeType, look: Callable[[int, FrameType], None]) -> Iterator[None]:
    """Call ``look(moment, frame)`` before each line of a function, and before it returns."""
    moment = -1

    def local(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal moment
        if event in ("line", "return"):
            moment += 1
            look(moment, frame)
        return local

    before = sys.gettrace()
    sys.settrace(lambda frame, event, argument: local if frame.f_code is code else None)
    try:
        yield
    finally:
        sys.settrace(before)


def variables(frame: FrameType) -> dict[str, Any]:
    """Local variables, and what a layer keeps on itself: ``self.x``."""
    found = dict(frame.f_locals)
    own = getattr(found.get("self"), "__dict__", {})
    return found | {f"self.{name}": value for name, value in own.items()}


class Record:
    """The values of all variables of one run, in the order in which they were made."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.changes: list[tuple[str, int, int]] = []  # (parameter, moment, line) at which its gradient changed
        self.returned = 0  # the line of the return
        self.moments: list[int] = []  # the line that each moment begins
        self._last: dict[str, Value] = {}

    def look(self, moment: int, frame: FrameType) -> None:
        """Note what the line before this moment has made."""
        line = self.moments[-1] if self.moments else frame.f_code.co_firstlineno
        for name, value in variables(frame).items():
            if not isinstance(value, np.ndarray) or value.dtype.kind not in "fbiu" or not value.size:
                continue
            last, made, written = self._last.get(name), [(moment, line)], value.copy()
            if last is not None and last.live is value:
                if np.array_equal(last.array, value):
                    continue
                self.values.remove(last)  # changed in place: what it was before is gone
                made = last.made + made if np.any(last.array) else made  # np.zeros makes a place, not a value
                if last.written is not None and last.array.shape == value.shape:
                    written = last.written + np.where(value != last.array, value, np.zeros_like(value))
            self._last[name] = Value(name, value.copy(), made, value, written)
            self.values.append(self._last[name])
        self.moments.append(frame.f_lineno)
        self.returned = frame.f_lineno


def record_forward(trial: Trial, code: CodeType) -> Record:
    """All variables of the forward."""
    record = Record()
    inputs = [copy.deepcopy(value) for value in trial.inputs]
    with watching(code, record.look):
        trial.run(inputs)
    return record


def record_backward(trial: Trial, code: CodeType) -> Record:
    """All variables of the backward, and where it adds to the gradients of parameters."""
    record = Record()
    known = {name: np.zeros(parameter.shape) for name, parameter in trial.subject.parameters}

    def look(moment: int, frame: FrameType) -> None:
        line = record.moments[-1] if record.moments else 0
        record.look(moment, frame)
        for name, parameter in trial.subject.parameters:
            if not np.array_equal(parameter.grad, known[name]):
                known[name] = np.array(parameter.grad)
                record.changes.append((name, moment, line))

    with watching(code, look):
        trial.gradients(trial.dout)
    return record


def patched_gradients(trial: Trial, code: CodeType, patches: dict[int, tuple[str, Array]]) -> list:
    """What backward gives if some of its variables are overwritten when they have been made: (moment: name, array)."""

    def look(moment: int, frame: FrameType) -> None:
        if moment in patches:
            name, array = patches[moment]
            held = variables(frame)[name]
            if held.flags.writeable:
                held[...] = array

    with watching(code, look):
        return trial.gradients(trial.dout)


def nudged_loss(trial: Trial, code: CodeType, value: Value, nudge: Array) -> float:
    """The loss if a small array is added to a variable of the forward when it has been made."""

    def look(moment: int, frame: FrameType) -> None:
        if moment == value.moment:
            variables(frame)[value.name][...] += nudge

    with watching(code, look):
        out = trial.value()
    return float(np.sum(out * trial.dout))


def slope(trial: Trial, code: CodeType, value: Value, direction: Array) -> float:
    """The true derivative of the loss along a direction of a variable of the forward."""
    size = float(np.sqrt(np.mean(value.array**2))) or 1.0
    h = STEP * min(1.0, size)
    up, down = (nudged_loss(trial, code, value, sign * h * direction) for sign in (1, -1))
    return (up - down) / (2 * h)


def true_gradient(trial: Trial, code: CodeType, value: Value) -> Array:
    """The true gradient of a variable of the forward, coordinate by coordinate."""
    gradient = np.empty(value.array.shape)
    for place in np.ndindex(gradient.shape):
        one = np.zeros(gradient.shape)
        one[place] = 1.0
        gradient[place] = slope(trial, code, value, one)
    return gradient


def can_be_nudged(trial: Trial, value: Value) -> bool:
    """Whether a variable is an array of the forward's own: not a parameter, not read-only."""
    parameters = [parameter.data for _, parameter in trial.subject.parameters]
    return (
        value.array.dtype == np.float64
        and value.live.flags.writeable
        and not any(np.may_share_memory(value.live, array) for array in parameters)
    )
