"""What a student wrote, as text that can stand in a module of its own."""

import ast
import linecache
from functools import cache
from types import CodeType, ModuleType
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
    seen: set[int] = set()

    def visit(thing: Any) -> None:
        text = _text(thing)
        if id(thing) in seen or not text:
            return
        seen.add(id(thing))
        names, space = _used(thing)
        for name in names:
            if name in space and name not in KNOWN and name not in exported() and space[name] is not thing:
                bring(name, space[name], thing)
        parts.append(text)

    def bring(name: str, value: Any, user: Any) -> None:
        """Make a global name known."""
        module, own = getattr(value, "__module__", None), getattr(value, "__name__", "")
        line = ""
        if isinstance(value, (int, float, str)):
            line = f"{name} = {value!r}"
        elif isinstance(value, ModuleType):
            line = f"import {own} as {name}"
        elif callable(value) and module == user.__module__:
            visit(value)
            line = "" if name == own else f"{name} = {own}"
        elif callable(value) and own and module not in (None, "builtins"):
            line = f"from {module} import {own}" + ("" if name == own else f" as {name}")
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


def _used(thing: Any) -> tuple[list[str], dict[str, Any]]:
    """The names that a function or class uses, and where global ones are looked up."""
    functions = _functions(thing)
    todo, names = [function.__code__ for function in functions], []
    while todo:
        code = todo.pop(0)
        names += code.co_names
        todo += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return list(dict.fromkeys(names)), functions[0].__globals__


def _text(thing: Any) -> str:
    """The definition of one function or class; "" if it cannot be found."""
    functions = _functions(thing)
    source = "".join(linecache.getlines(functions[0].__code__.co_filename)) if functions else ""
    try:
        nodes = [node for node in ast.parse(source).body if getattr(node, "name", "") == thing.__name__]
    except SyntaxError:  # a cell with magics
        return ""
    return (ast.get_source_segment(source, nodes[-1]) or "") if nodes else ""
