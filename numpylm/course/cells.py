"""The statements of a notebook's cells or of a Python file, with the names that each one defines, changes and reads."""

import ast
import dis
import linecache
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

LOADS = {"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"}
SIMPLE = (ast.Assign, ast.AnnAssign, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Statement:
    """One top-level statement of a cell or file.

    Attributes
    ----------
    code : str
    file : str
        The file or cell that contains it.
    lines : range
        Its line numbers in that file.
    simple : bool
        True for an assignment, an import or a definition; False for a loop or any other statement that contains
        statements.
    defines : frozenset of str
        The names that it assigns.
    changes : str
        The name whose attribute or entry it assigns (``table["a"] = 1``, ``MyLinear.backward = f``); "" if none.
    reads : tuple of str
        The global names that it reads when it runs (including decorators, default arguments and base classes).
    needs : tuple of str
        Those names, and the ones that its functions read when they are called.
    """

    code: str
    file: str
    lines: range
    simple: bool
    defines: frozenset[str]
    changes: str
    reads: tuple[str, ...]
    needs: tuple[str, ...]


def statements(source: str, file: str) -> list[Statement]:
    """The statements of a cell or file; none if it is not Python. Each imported name becomes a separate statement."""
    try:
        body = ast.parse(source).body
        return [found for node in body for found in _statements(node, source, file)]
    except (SyntaxError, ValueError):  # ValueError: a NUL in the text
        return []


def _statements(node: ast.stmt, source: str, file: str) -> Iterator[Statement]:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        for alias in node.names:
            one = ast.copy_location(type(node)(**dict(ast.iter_fields(node)) | {"names": [alias]}), node)
            yield _statement(one, ast.unparse(one), file)
        return
    if (inside := _magic_body(node)) is not None:
        yield from statements(inside, file)
        return
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])
    text = "\n".join(source.splitlines()[first - 1 : node.end_lineno])
    yield _statement(node, text if first < node.lineno else ast.get_source_segment(source, node) or text, file)


def _statement(node: ast.stmt, code: str, file: str) -> Statement:
    compiled = compile(ast.Module([node], []), file, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    return Statement(
        code,
        file,
        lines=range(node.lineno, (node.end_lineno or node.lineno) + 1),
        simple=isinstance(node, SIMPLE),
        defines=stored_names(compiled),
        changes=_changed(node),
        reads=own_names(compiled),
        needs=needed_names(compiled),
    )


def _magic_body(node: ast.stmt) -> str | None:
    """The code below a cell magic such as ``%%time``, which IPython passes on as one string."""
    call = node.value if isinstance(node, ast.Expr) else None
    if not isinstance(call, ast.Call) or getattr(call.func, "attr", "") != "run_cell_magic" or len(call.args) < 3:
        return None
    return getattr(call.args[2], "value", None)


def _changed(node: ast.stmt) -> str:
    target: Any = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    if not isinstance(target, (ast.Attribute, ast.Subscript)):
        return ""
    while isinstance(target, (ast.Attribute, ast.Subscript)):
        target = target.value
    return getattr(target, "id", "")


def own_names(code: CodeType) -> tuple[str, ...]:
    """The global names that code reads when it runs, without those that its functions read when they are called.

    A name that is assigned before it is read does not come from outside. This holds in a class body and in a module.
    """
    stored: set[str] = set()
    found: dict[str, None] = {}
    for instruction in dis.get_instructions(code):
        if instruction.opname == "STORE_NAME":
            stored.add(instruction.argval)
        elif instruction.opname in LOADS and instruction.argval not in stored:
            found[instruction.argval] = None
    return tuple(found)


def needed_names(code: CodeType) -> tuple[str, ...]:
    """The global names that a module, including its functions and classes, needs from elsewhere."""
    stored = stored_names(code)
    later = (name for inner in _inside(code) for name in own_names(inner) if name not in stored)
    return tuple(dict.fromkeys([*own_names(code), *later]))


def stored_names(code: CodeType) -> frozenset[str]:
    """The names that the code of a module assigns."""
    stores = ("STORE_NAME", "STORE_GLOBAL")
    return frozenset(i.argval for i in dis.get_instructions(code) if i.opname in stores)


def _inside(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _inside(constant)


def statements_around(file: str) -> list[Statement]:
    """The statements of a Python file, or of all cells of a notebook, in the order in which the cells first ran.

    IPython keeps the source of its cells in linecache, under made-up names in one folder and without a file time.
    """
    made_up = [name for name, entry in linecache.cache.items() if len(entry) > 1 and entry[1] is None]
    together = [name for name in made_up if Path(name).parent == Path(file).parent] if file in made_up else [file]
    return [found for name in together for found in statements("".join(linecache.getlines(name)), name)]
