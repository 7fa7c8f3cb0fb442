"""The values of the student's variables between two lines, and what changes if one of them changes.

A trace function looks at the local variables between two lines. In the forward it can also add a small array to one
of them, in place, as soon as the variable is set. So the true gradient of any variable can be measured by differences
of the loss, as for an input, and compared with the variables of backward, line by line.
"""

import copy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np

from numpylm.check.inner.source import Line, lines_of
from numpylm.check.measure.trial import Trial
from numpylm.check.weights import INNER_STEP
from numpylm.nn.module import Array

# ---------------------------------------------------------------------------------------------- the values of variables


class Made(NamedTuple):
    """When and where an array was made or changed."""

    moment: int  # how many lines had started
    line: int
    call: int  # the call of a function that the line belongs to: 0 for backward itself


@dataclass(eq=False)
class Value:
    """The value of a local variable from one moment on."""

    name: str
    array: Array  # a copy
    made: list[Made]
    live: Any = field(default=None, repr=False)
    written: Array | None = None  # the sum of all that was written into it, as if each line had added and not assigned
    seen: int = 0  # the moment at which it had this name
    call: int = 0
    first: str = ""  # its first name
    twin: "Value | None" = field(default=None, repr=False)  # the same array under that name
    changed: bool = False  # changed in place after another line had read the old numbers

    @property
    def moment(self) -> int:
        """When it got its present numbers."""
        return self.made[-1].moment

    @property
    def line(self) -> int:
        return self.made[-1].line


def code_of(trial: Trial, which: str) -> CodeType | None:
    """The code of the student's ``forward`` or ``backward``."""
    target: Any = trial.setup.target
    if isinstance(target, (tuple, list)):
        function = target[which == "backward"]
    else:
        function = getattr(target if isinstance(target, type) else type(trial.subject.layer), which, None)
    return getattr(function, "__code__", None)


@contextmanager
def watching(code: CodeType, look: Callable[[int, FrameType, int], None], helpers: bool = False) -> Iterator[None]:
    """Call ``look(moment, frame, call)`` before each line of a function, and before it returns.

    With ``helpers``, also in functions of the same file that it calls, unless they belong to other layers.
    """
    moment, calls = -1, -1

    def start(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal calls
        own = frame.f_code is code
        if not own and not (helpers and calls >= 0 and _helps(frame, code)):
            return None
        calls += 1
        call = calls

        def local(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal moment
            if event in ("line", "return"):
                moment += 1
                look(moment, frame, call)
            return local

        return local

    before = sys.gettrace()
    sys.settrace(start)
    try:
        yield
    finally:
        sys.settrace(before)


def _helps(frame: FrameType, code: CodeType) -> bool:
    """Whether a call goes to a helper of this layer: a plain function, or a method of the layer itself."""
    if frame.f_code.co_filename != code.co_filename or frame.f_code.co_name.startswith("<") or frame.f_back is None:
        return False
    names = frame.f_code.co_varnames[:1]
    owner = frame.f_locals.get(names[0]) if names else None
    return not hasattr(owner, "backward") or owner in list(frame.f_back.f_locals.values())[:1]


def variables(frame: FrameType) -> dict[str, Any]:
    """Local variables, and attributes of the layer as ``self.x``."""
    found = dict(frame.f_locals)
    own = getattr(found.get("self"), "__dict__", {})
    return found | {f"self.{name}": value for name, value in own.items()}


class Record:
    """The values of all variables of one run, in the order in which they were made."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.changes: list[tuple[str, Made]] = []  # when the gradient of a parameter changed
        self.returned = Made(0, 0, 0)
        self.codes: set[CodeType] = set()
        self.boxes: set[tuple[int, str]] = set()  # (call, name) of lists and dicts, whose contents are not recorded
        self._source: dict[CodeType, dict[int, Line]] = {}
        self._readers: dict[tuple[int, str], set[int]] = {}  # lines that read the present value of a variable
        self._begun: dict[int, int] = {}  # the present line of each call
        self._within = 0  # the call that was recorded last
        self._last: dict[tuple[int, str], Value] = {}

    def look(self, moment: int, frame: FrameType, call: int) -> Made:
        """Record what the line before this moment made."""
        maker = call if call in self._begun else self._within  # arguments are made by the calling line
        here = Made(moment, self._begun.get(maker, frame.f_code.co_firstlineno), maker)
        for name, value in variables(frame).items():
            if isinstance(value, (np.ndarray, np.floating)) and value.dtype.kind in "fbiu" and value.size:
                self._note(name, value, here, call)
            elif isinstance(value, (list, dict)):
                self.boxes.add((call, name))
        self._begun[call], self._within = frame.f_lineno, call
        self.codes.add(frame.f_code)
        if frame.f_code not in self._source:
            self._source[frame.f_code] = lines_of(frame.f_code)
        line = self._source[frame.f_code].get(frame.f_lineno)
        for name in line.reads | line.loops if line else ():
            self._readers.setdefault((call, name), set()).add(frame.f_lineno)
        if call == 0:
            self.returned = Made(moment + 1, frame.f_lineno, 0)
        return here

    def _note(self, name: str, value: Any, here: Made, call: int) -> None:
        last = self._last.get((call, name))
        new = Value(name, np.array(value), [here], value, np.array(value), here.moment, call, name)
        if last is not None and last.live is value:
            if np.array_equal(last.array, value, equal_nan=value.dtype.kind == "f"):
                return
            new.changed = self._was_read(last, value, here)
            new.first = last.first
            if not new.changed:
                self.values.remove(last)  # an array that is being filled: its old numbers were no value
                new.seen = last.seen
                if np.any(last.array):  # np.zeros makes an array to fill, not a value
                    new.made = last.made + [here]
                new.changed = last.changed
            if last.written is not None and last.array.shape == value.shape:
                new.written = last.written + np.where(value != last.array, value, np.zeros_like(value))
        else:
            twin = next((v for v in reversed(self.values) if v.live is value), None)
            if twin is not None:  # another name for the same array
                new.made, new.first, new.written = list(twin.made), twin.first, twin.written
                new.twin = twin.twin or twin
        self._last[call, name] = new
        self._readers[call, name] = set()
        self.values.append(new)

    def _was_read(self, last: Value, value: Any, here: Made) -> bool:
        """Whether overwritten numbers had been read before by another line."""
        overwrites = last.array.shape != np.shape(value) or bool(np.any((last.array != value) & (last.array != 0)))
        return overwrites and bool(self._readers.get((last.call, last.name), set()) - {here.line})


def record_forward(trial: Trial, code: CodeType) -> Record:
    """All variables of the forward."""
    record = Record()
    inputs = [copy.deepcopy(value) for value in trial.inputs]
    with watching(code, lambda moment, frame, call: record.look(moment, frame, call) and None):
        trial.run(inputs)
    return record


def record_backward(trial: Trial, code: CodeType) -> Record:
    """All variables of the backward and of its helpers, and when it adds to the gradients of parameters."""
    record = Record()
    known = {name: np.zeros(parameter.shape) for name, parameter in trial.subject.parameters}

    def look(moment: int, frame: FrameType, call: int) -> None:
        here = record.look(moment, frame, call)
        for name, parameter in trial.subject.parameters:
            if not np.array_equal(parameter.grad, known[name]):
                known[name] = np.array(parameter.grad)
                record.changes.append((name, here))

    with watching(code, look, helpers=True):
        trial.gradients(trial.dout)
    return record


def patched_gradients(trial: Trial, code: CodeType, patches: dict[int, tuple[str, Array]]) -> list:
    """The gradients if some variables of backward are overwritten as soon as they are set: {moment: (name, array)}."""

    def look(moment: int, frame: FrameType, call: int) -> None:
        if moment in patches:
            name, array = patches[moment]
            held = variables(frame).get(name)
            if held is not None and held.flags.writeable and held.shape == array.shape:
                held[...] = array

    with watching(code, look, helpers=True):
        return trial.gradients(trial.dout)


def nudged_loss(trial: Trial, code: CodeType, value: Value, nudge: Array) -> float:
    """The loss if a small array is added to a variable of the forward as soon as it is set."""

    def look(moment: int, frame: FrameType, call: int) -> None:
        if moment == value.moment:
            variables(frame)[value.name][...] += nudge

    with watching(code, look):
        out = trial.value()
    return float(np.sum(out * trial.dout))


def slope(trial: Trial, code: CodeType, value: Value, direction: Array) -> float:
    """The true derivative of the loss along a direction of a variable of the forward."""
    size = float(np.sqrt(np.mean(value.array**2))) or 1.0
    h = INNER_STEP * min(1.0, size)
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
    """Whether a variable is a writable float64 array that shares no memory with a parameter."""
    parameters = [parameter.data for _, parameter in trial.subject.parameters]
    return (
        value.array.dtype == np.float64
        and value.live.flags.writeable
        and not any(np.may_share_memory(value.live, array) for array in parameters)
    )
