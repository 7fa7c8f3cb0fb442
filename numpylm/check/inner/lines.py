"""The student's lines: which names each one reads and sets, and which values the variables have between two lines.

A trace function looks at the local variables between two lines. It can also change one of them, in place, as soon as
it is set (see `inner.flow`).
"""

import ast
import copy
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any, NamedTuple

import numpy as np

from numpylm.check.measure.trial import Trial
from numpylm.nn.module import Array

# ------------------------------------------------------------------------------------------------ the text of the lines


@dataclass
class Line:
    """The statements of one line."""

    number: int
    text: str = ""
    statements: int = 0
    reads: set[str] = field(default_factory=set)
    sets: set[str] = field(default_factory=set)
    updates: set[str] = field(default_factory=set)  # names that += and *= change in place, and so also read
    returned: list[set[str]] = field(default_factory=list)  # the names in each part of a return
    loops: set[str] = field(default_factory=set)  # names that the head of a loop reads
    parts: dict[str, set[str]] = field(default_factory=dict)  # in a, b = f(x), g(y): the names that each one is made of
    partly: set[str] = field(default_factory=set)  # names of which only a part is read, or the shape
    several: bool = False  # whether values come from one expression, as in a, b = f(x), or from the head of a loop

    @property
    def mixes(self) -> bool:
        """Whether it is unclear which of the names that it reads a value comes from."""
        return self.several or self.statements != 1

    def made_of(self, name: str) -> set[str]:
        """The names that a value of this line is made of."""
        exact = self.parts.get(name) if self.statements < 2 else None
        return exact if exact is not None else self.reads | self.loops


def lines_of(code: CodeType) -> dict[int, Line]:
    """All lines of a function by number. A statement over several lines has one entry. Empty without the source."""
    try:
        source, first = inspect.getsourcelines(code)
        tree = ast.parse(textwrap.dedent("".join(source)))
    except (OSError, TypeError, SyntaxError):
        return {}
    found: dict[int, Line] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.For):
            line = found.setdefault(node.lineno + first - 1, Line(node.lineno + first - 1))
            line.text = f"for {ast.unparse(node.target)} in {ast.unparse(node.iter)}:"
            line.sets |= _names_in(node.target)
            line.loops |= _names_in(node.iter)
            line.parts |= dict.fromkeys(_names_in(node.target), _names_in(node.iter))
            line.several = True
        if not isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.Return)):
            continue
        line = found.setdefault(node.lineno + first - 1, Line(node.lineno + first - 1))
        between = "; " if line.statements else " " if line.loops else ""  # nothing, or the head of a loop, is before it
        line.text += between + ast.unparse(node)
        line.statements += 1
        _names(node, line)
        _parts(node, line)
        for number in range(node.lineno + 1, (node.end_lineno or node.lineno) + 1):
            found[number + first - 1] = line  # each line of a longer statement
    return found


def _names(node: ast.stmt, line: Line) -> None:
    for part in ast.walk(node):
        name = name_of(part)
        if name:
            (line.reads if isinstance(part.ctx, ast.Load) else line.sets).add(name)  # type: ignore[attr-defined]
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
        line.sets |= _names_in(node.value.func.value)  # found.append(d) changes found
    for target in node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]:
        base = target
        while isinstance(base, ast.Subscript):
            base = base.value
        if base is not None and name_of(base):
            line.sets.add(name_of(base))  # dx[:, t] = … sets dx
            if base is not target and name_of(base) not in _names_in(node.value):  # type: ignore[attr-defined]
                line.reads.discard(name_of(base))  # but does not read it
    if isinstance(node, ast.AugAssign):
        line.updates |= line.sets & _names_in(node.target)
    for call in (part for part in ast.walk(node) if isinstance(part, ast.Call)):
        outs = {name for keyword in call.keywords if keyword.arg == "out" for name in _names_in(keyword.value)}
        read = {
            name
            for part in (*call.args, *(k.value for k in call.keywords if k.arg != "out"))
            for name in _names_in(part)
        }
        line.sets |= outs
        line.reads -= outs - read
    if isinstance(node, ast.Return) and node.value is not None:
        parts = node.value.elts if isinstance(node.value, (ast.Tuple, ast.List)) else [node.value]
        line.returned = [_names_in(p) for p in parts]


def _parts(node: ast.stmt, line: Line) -> None:
    """Note what each of several values is made of, and of which names only a part or the shape is read."""
    whole = {name for part in _whole(node) for name in [name_of(part)]}
    line.partly = {name for name in line.reads if name not in whole}
    targets = node.targets if isinstance(node, ast.Assign) else []
    for target in (target for target in targets if isinstance(target, (ast.Tuple, ast.List))):
        value = node.value  # type: ignore[attr-defined]
        if isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts):
            pairs = zip(target.elts, value.elts, strict=True)
            line.parts |= {name: _names_in(part) for one, part in pairs if (name := name_of(one))}
        line.several |= not all(name_of(one) in line.parts for one in target.elts)


def _whole(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a statement without what only selects a part of an array, or asks for its shape."""
    yield node
    for part in ast.iter_child_nodes(node):
        of_shape = isinstance(node, ast.Attribute) and node.attr in ("shape", "ndim", "size", "dtype")
        selected = isinstance(node, ast.Subscript) and part is node.value
        if not of_shape and not (selected and name_of(part)):
            yield from _whole(part)


def _names_in(node: ast.AST) -> set[str]:
    return {name_of(part) for part in ast.walk(node)} - {""}


def name_of(node: ast.AST) -> str:
    """``x`` or ``self.x``; empty for other expressions."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
        return f"self.{node.attr}"
    return ""


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
    named_at: int = 0  # the moment at which it had this name
    call: int = 0
    first_name: str = ""
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
    target: Any = trial.setup.layer_or_pair
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


class VariableLog:
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
        """VariableLog what the line before this moment made."""
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
            new.first_name = last.first_name
            if not new.changed:
                self.values.remove(last)  # an array that is being filled: its old numbers were no value
                new.named_at = last.named_at
                if np.any(last.array):  # np.zeros makes an array to fill, not a value
                    new.made = last.made + [here]
                new.changed = last.changed
            if last.written is not None and last.array.shape == value.shape:
                new.written = last.written + np.where(value != last.array, value, np.zeros_like(value))
        else:
            twin = next((v for v in reversed(self.values) if v.live is value), None)
            if twin is not None:  # another name for the same array
                new.made, new.first_name, new.written = list(twin.made), twin.first_name, twin.written
                new.twin = twin.twin or twin
        self._last[call, name] = new
        self._readers[call, name] = set()
        self.values.append(new)

    def _was_read(self, last: Value, value: Any, here: Made) -> bool:
        """Whether overwritten numbers had been read before by another line."""
        overwrites = last.array.shape != np.shape(value) or bool(np.any((last.array != value) & (last.array != 0)))
        return overwrites and bool(self._readers.get((last.call, last.name), set()) - {here.line})


def record_forward(trial: Trial, code: CodeType) -> VariableLog:
    """All variables of the forward."""
    record = VariableLog()
    inputs = [copy.deepcopy(value) for value in trial.inputs]
    with watching(code, lambda moment, frame, call: record.look(moment, frame, call) and None):
        trial.run(inputs)
    return record


def record_backward(trial: Trial, code: CodeType) -> VariableLog:
    """All variables of the backward and of its helpers, and when it adds to the gradients of parameters."""
    record = VariableLog()
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
