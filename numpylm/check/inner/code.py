"""The student's backward as text: which names each line reads and sets."""

import ast
import inspect
import textwrap
from dataclasses import dataclass, field
from types import CodeType


@dataclass
class Line:
    """One or more statements that stand in the same line."""

    number: int
    text: str = ""
    statements: int = 0
    reads: set[str] = field(default_factory=set)
    sets: set[str] = field(default_factory=set)
    updates: set[str] = field(default_factory=set)  # what += and *= change in place, and so read, too
    returned: list[set[str]] = field(default_factory=list)  # for a return: the names in each part


def lines_of(code: CodeType) -> dict[int, Line]:
    """All lines of a function by their number (of the first line of the statement); empty without its source."""
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
            line.reads |= _names_in(node.iter)
        if not isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.Return)):
            continue
        line = found.setdefault(node.lineno + first - 1, Line(node.lineno + first - 1))
        line.text = f"{line.text}; {ast.unparse(node)}" if line.text else ast.unparse(node)
        line.statements += 1
        _names(node, line)
        for number in range(node.lineno + 1, (node.end_lineno or node.lineno) + 1):
            found[number + first - 1] = line  # a statement over several lines
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
                line.reads.discard(name_of(base))  # and does not read it
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


def _names_in(node: ast.AST) -> set[str]:
    return {name_of(part) for part in ast.walk(node)} - {""}


def name_of(node: ast.AST) -> str:
    """``x``, or ``self.x``; nothing for all else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
        return f"self.{node.attr}"
    return ""
