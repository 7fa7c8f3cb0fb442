"""What a student wrote, as text that can stand in a module of its own."""

import ast
import linecache
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from numpylm.course.lessons import LESSONS

KNOWN = {"np", "math", "GPTConfig", "Module", "Parameter", "cross_entropy", "cross_entropy_backward", "causal_mask"}


def source_of(*things: Any) -> str:
    """The source of functions and classes, and of what they use from other cells.

    ``inspect.getsource`` cannot find a class of a notebook's cell; but the code of its methods knows its file, and the
    cell's lines are in linecache. What is used by a global name is written before its use, if it is the student's own
    (a helper, a constant, an exercise of before, whatever its name then), and imported, if it is somebody else's.
    """
    parts: list[str] = []
    seen: set[str] = set()

    def visit(thing: Any) -> None:
        text = _text(thing)
        if text and text not in seen:
            seen.add(text)
            file, space = _home(thing)
            bring_names(ast.parse(text), file, space, thing.__name__)
            parts.append(text)

    def bring_names(tree: ast.AST, file: str, space: dict[str, Any], own: str) -> None:
        for name in dict.fromkeys(node.id for node in ast.walk(tree) if isinstance(node, ast.Name)):
            if name in space and name not in KNOWN and name not in exported() and name != own:
                bring(name, file, space)

    def bring(name: str, file: str, space: dict[str, Any]) -> None:
        """Make a global name known."""
        value = space[name]
        module, own = getattr(value, "__module__", None), getattr(value, "__name__", "")
        line = ""
        if isinstance(value, ModuleType):
            line = f"import {own} as {name}"
        elif callable(value) and module == space.get("__name__") and _text(value):
            visit(value)
            line = "" if name == own else f"{name} = {own}"
        elif callable(value) and own and getattr(sys.modules.get(module or ""), own, None) is value:
            line = f"from {module} import {own}" + ("" if name == own else f" as {name}")
        elif (statement := _assignment(name, file)) and statement not in seen:
            seen.add(statement)
            bring_names(ast.parse(statement), file, space, name)
            line = statement
        if line and line not in parts:
            parts.append(line)

    for thing in things:
        visit(thing)
    return "\n\n\n".join(parts)


@cache
def exported() -> frozenset[str]:
    """Names that the student's module has anyway."""
    exercises = [exercise for lesson in LESSONS for exercise in lesson.exercises]
    return frozenset(name for exercise in exercises for name in exercise.exports)


def _functions(thing: Any) -> list[Any]:
    """A function itself, or all methods of a class."""
    if hasattr(thing, "__code__"):
        return [thing]
    methods = [getattr(value, "__func__", value) for value in vars(thing).values()]
    return [method for method in methods if hasattr(method, "__code__")]


def _home(thing: Any) -> tuple[str, dict[str, Any]]:
    """The file (or cell) of a function or class, and its global names."""
    function = _functions(thing)[0]
    return function.__code__.co_filename, function.__globals__


def _assignment(name: str, file: str) -> str:
    """The last statement of the cells (which lie in one folder) that gives a name its value."""
    for other in reversed(list(linecache.cache)):
        if Path(other).parent != Path(file).parent:
            continue
        source = "".join(linecache.getlines(other))
        try:
            body = ast.parse(source).body
        except SyntaxError:  # a cell with magics
            continue
        for node in reversed(body):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return ast.get_source_segment(source, node) or ""
    return ""


def _text(thing: Any) -> str:
    """The definition of one function or class; "" if it cannot be found."""
    functions = _functions(thing)
    source = "".join(linecache.getlines(functions[0].__code__.co_filename)) if functions else ""
    try:
        nodes = [node for node in ast.parse(source).body if getattr(node, "name", "") == thing.__name__]
    except SyntaxError:  # a cell with magics
        return ""
    return (ast.get_source_segment(source, nodes[-1]) or "") if nodes else ""
