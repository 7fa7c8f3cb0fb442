"""Which of the student's variables in backward hold a true gradient, and between which lines it is lost.

A small array is added to a variable of the forward, in place, as soon as it is set. So the true gradient of any
variable can be measured by differences of the loss, as for an input, and compared with the variables of backward.
"""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import CodeType, FrameType

import numpy as np

from numpylm.check.inner.lines import Line, Made, Value, lines_of, record_backward, record_forward, variables, watching
from numpylm.check.limits import DIRECTIONS, FIT, INNER_STEP, MOST_VARIABLES
from numpylm.check.measure.trial import Target, Trial
from numpylm.check.report import Cause
from numpylm.check.subject.calls import CheckError
from numpylm.check.subject.paths import gradient_names
from numpylm.nn.module import Array

AFTER_ALL_LINES = 1 << 30  # a moment later than every line of a forward: the output is made last


@dataclass
class Cone:
    """The lines between what is right and what is wrong."""

    lines: set[int] = field(default_factory=set)
    right: list[Value] = field(default_factory=list)  # the right values that these lines use
    unknown: list[Value] = field(default_factory=list)
    moment: int = 0  # when the last of the lines had run
    mixed: bool = False  # whether the lines read other values, too, or only a part of an unknown value


class Flow:
    """Forward and backward of a trial, variable by variable.

    Attributes
    ----------
    forward_values : list of Value
        The variables of the forward.
    given : list of Value
        The variables of the backward that hold values of the forward.
    truth : dict
        Variable of the backward that holds a true gradient -> the variable of the forward whose gradient it is.
    trusted : dict
        Variable that a right and large enough parameter gradient is made of -> the name of that gradient.
    unexplained : list of Value
        All other variables of the backward: wrong, or not the gradient of a variable.
    """

    def __init__(self, trial: Trial, forward: CodeType, backward: CodeType) -> None:
        self.trial, self.code, self.backward_code = trial, forward, backward
        self.output = Value("the output", np.asarray(trial.out, dtype=np.float64), [Made(AFTER_ALL_LINES, 0, 0)])
        self.forward_values = self._forward_values()
        self.log = record_backward(trial, backward)
        self.source: dict[int, Line] = {}
        for code in self.log.codes:
            self.source |= lines_of(code)
        self.given: list[Value] = []
        self.unexplained: list[Value] = []
        self.truth: dict[Value, Value] = {}
        self.trusted: dict[Value, str] = {}
        self.slopes: dict[Value, Array] = {}
        self.measured: dict[Value, Array] = {}  # whole true gradients of variables of the forward
        self.explained: dict[Value, Cause] = {}  # what `pinpoint` says about a wrong variable
        for value in self.forward_values:
            with contextlib.suppress(CheckError):  # a forward that stops at other values tells nothing
                if can_be_nudged(trial, value):
                    self.slopes[value] = self._slopes(value)
        for value in self.log.values:
            self._sort_in(value)

    def _forward_values(self) -> list[Value]:
        """The variables of the forward, each array once (and once more if it was changed in place)."""
        found: dict[tuple[int, int], Value] = {}
        for value in record_forward(self.trial, self.code).values:
            found.setdefault((id(value.live), value.moment), value)
        return list(found.values())[:MOST_VARIABLES]

    def _slopes(self, value: Value) -> Array:
        shape = value.array.shape
        directions = _directions(value.array.size)
        return np.array([slope(self.trial, self.code, value, e.reshape(shape)) for e in directions])

    def _sort_in(self, value: Value) -> None:
        parameters = [parameter.data for _, parameter in self.trial.subject.parameters]
        arrays = [*(made.array for made in self.forward_values), *parameters]
        if value.array.shape == np.shape(self.trial.dout) and np.array_equal(value.array, self.trial.dout):
            self.truth[value] = self.output
        elif value.array.dtype.kind in "biu" or any(np.array_equal(value.array, array) for array in arrays):
            self.given.append(value)
        elif (owner := self._gradient_of(value)) is not None:
            self.truth[value] = owner
        else:
            self.unexplained.append(value)

    def _gradient_of(self, value: Value) -> Value | None:
        """The variable of the forward whose true gradient this is: first with the same order of axes."""
        if not np.any(value.array):
            return None
        for owner, slopes in sorted(self.slopes.items(), key=lambda item: not named_after(value.name, item[0].name)):
            if owner.array.shape == value.array.shape and _fits(value.array, slopes):
                return owner
        for owner, slopes in self.slopes.items():
            other = owner.array.size == value.array.size and owner.array.shape != value.array.shape
            if other and any(_fits(view, slopes) for view in relaid(value.array, owner.array.shape)):
                return owner
        return None

    def true_gradient(self, owner: Value) -> Array:
        """The whole true gradient of a variable of the forward, measured once."""
        if owner not in self.measured:
            self.measured[owner] = true_gradient(self.trial, self.code, owner)
        return self.measured[owner]

    def trust(self, right: list[Target]) -> None:
        """Trust the variables that right gradients of matrices are made of."""
        for target in right:
            cone = self.cone_of(target)
            for value in cone.unknown if target.values.ndim > 1 and not cone.mixed else ():
                if value.array.size <= target.values.size:
                    self.trusted.setdefault(value, target.name)

    def label(self, value: Value) -> str:
        """A right variable, and the reason why it counts as right."""
        if value in self.truth:
            return f"{self.called(value)} (the true gradient of {self.called(self.truth[value])})"
        return f"{self.called(value)} (the gradient of {self.trusted[value]}, made of it, is right)"

    def called(self, value: Value) -> str:
        """The name of a variable, and which of its values is meant if it has several."""
        if value is self.output:
            return value.name
        values = self.forward_values if value in self.forward_values else self.log.values
        same = [other for other in values if other.name == value.name and other.call == value.call]
        if len({other.line for other in same}) < 2:
            return value.name
        if not value.moment:
            return f"{value.name} as it comes in"
        rounds = [other for other in same if other.line == value.line]
        right = [other in self.truth or other in self.trusted for other in rounds]
        which = f" in round {rounds.index(value) + 1}" if any(right) and not all(right) else ""
        return f"{value.name} of line {value.line}{which}"

    def in_formula(self, value: Value) -> str:
        """The same name, in brackets if a formula needs them."""
        called = self.called(value)
        return f"({called})" if " " in called and value is not self.output else called

    # ------------------------------------------------------------------------ from what is wrong back to what is right

    def cone_of(self, goal: Value | Target) -> Cone:
        """All lines and values that a wrong value or gradient is made of, back to the right values."""
        cone, todo = Cone(mixed=self._beside_others(goal)), list(self._makers(goal))
        seen: set[tuple[Made, frozenset[str]]] = set()
        while todo:
            made, reads = todo.pop()
            if (made, frozenset(reads)) in seen:
                continue
            seen.add((made, frozenset(reads)))
            cone.moment = max(cone.moment, made.moment)
            line = self.source.get(made.line, Line(made.line, statements=1))
            cone.lines.add(line.number)
            boxed = list(self._boxed(reads, made))
            cone.mixed |= line.mixes or bool(boxed)
            todo += boxed
            parts = list(self._read(reads & line.partly, made))
            for value in self._read(reads, made):
                if value in self.truth or value in self.trusted:
                    cone.right += [value] if value not in cone.right else []
                elif value not in self.given:
                    cone.mixed |= value in parts
                    todo += self._makers(value) if value not in cone.unknown else []
                    cone.unknown += [value] if value not in cone.unknown else []
        cone.unknown.sort(key=lambda value: value.moment)
        return cone

    def _makers(self, goal: Value | Target) -> Iterator[tuple[Made, set[str]]]:
        """The lines that made a value or gradient, and the names that they read."""
        if isinstance(goal, Value):
            makers = goal.made
        elif goal.parameter is not None:
            makers = [made for name, made in self.log.changes if name == goal.name]
        else:
            makers = [self.log.returned]
        for made in makers:
            line = self.source.get(made.line, Line(made.line))
            before = line.updates & {goal.name} if isinstance(goal, Value) and goal.changed else set()
            name = goal.first_name if isinstance(goal, Value) else self._gradient_name(goal, line)
            yield made, self._returned(goal, line) if line.returned else line.made_of(name) | before

    @staticmethod
    def _gradient_name(goal: Target, line: Line) -> str:
        """The name under which a line sets the gradient of a parameter beside others, as self.dW."""
        names = (f"self.{name}" for name in gradient_names(goal.name))
        return next((name for name in names if name in line.parts), "")

    def _beside_others(self, goal: Value | Target) -> bool:
        """Whether a line that makes a gradient makes those of other parameters in the same moment."""
        changes = [] if isinstance(goal, Value) or goal.parameter is None else self.log.changes
        own = {made.moment for name, made in changes if name == goal.name}
        return any(made.moment in own for name, made in changes if name != goal.name)

    def _returned(self, goal: Value | Target, line: Line) -> set[str]:
        """The names in that part of a return that belongs to one input."""
        inputs = [target for target in self.trial.targets if target.parameter is None]
        if len(line.returned) == len(inputs) and goal in inputs:
            return line.returned[inputs.index(goal)]
        return line.reads

    def _boxed(self, names: set[str], made: Made) -> Iterator[tuple[Made, set[str]]]:
        """The lines that fill the lists and dicts that a line reads."""
        for name in names:
            if (made.call, name) in self.log.boxes:
                for line in {line.number: line for line in self.source.values()}.values():
                    if name in line.sets and line.number != made.line:
                        yield Made(made.moment, line.number, made.call), line.reads - {name}

    def _read(self, names: set[str], made: Made) -> Iterator[Value]:
        """The values of these variables just before a moment."""
        for name in sorted(names):
            own = [v for v in self.log.values if v.name == name and v.call == made.call and v.named_at < made.moment]
            if own:
                twin = own[-1].twin
                yield twin if twin is not None and twin in self.log.values else own[-1]


def named_after(gradient: str, variable: str) -> bool:
    """Whether a name is usual for a variable's gradient, such as dx for x. Used only for the order of the search."""
    gradient, variable = (name.removeprefix("self.") for name in (gradient, variable))
    return gradient in {f"{d}{variable}" for d in ("d", "d_", "grad_", "g_", "g")} | {f"{variable}_grad"}


def _directions(size: int) -> Array:
    return np.random.default_rng(size).standard_normal((DIRECTIONS, size)) / np.sqrt(size)


def _fits(array: Array, slopes: Array) -> bool:
    flat = array.reshape(-1)
    return bool(np.abs(_directions(flat.size) @ flat - slopes).max() <= FIT * float(np.linalg.norm(flat)))


def relaid(array: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """An array in other orders of its axes, if merging or splitting neighboring axes then gives the shape."""
    if array.ndim > 4:
        return
    for order in itertools.permutations(range(array.ndim)):
        moved = np.transpose(array, order)
        if merges(moved.shape, shape) or merges(shape, moved.shape):
            yield moved.reshape(shape)


def merges(fine: tuple[int, ...], coarse: tuple[int, ...]) -> bool:
    """Whether each axis of ``coarse`` merges neighboring axes of ``fine``."""
    rest = list(fine)
    for length in coarse:
        product = 1
        while rest and product * rest[0] <= length:
            product *= rest.pop(0)
        if product != length:
            return False
    return not rest


# ---------------------------------------------------------------------------------------- true gradients by differences


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
