"""The text of the student's lines: which names each line reads and sets, and what each of its values is made of."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import CodeType


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
