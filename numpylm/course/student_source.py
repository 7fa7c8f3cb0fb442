"""The source of a student's functions and classes, with everything they need, for a separate module."""

import ast
import math
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import numpylm
from numpylm.course import cells
from numpylm.course.lessons import LESSONS
from numpylm.models.gpt import GPTConfig
from numpylm.nn.attention import causal_mask
from numpylm.nn.functional import cross_entropy, cross_entropy_backward
from numpylm.nn.module import Module, Parameter

# What the lessons use in addition to the exercises.
ALWAYS = (GPTConfig, Module, Parameter, cross_entropy, cross_entropy_backward, causal_mask)
PASSED: list[Any] = []  # the functions and classes of this session that have passed
PLAIN_LENGTH = 200  # characters; a longer value is not written into a module as a constant


@cache
def ours() -> dict[str, Any]:
    """The names that every student's module has, each with our own object, which is used until the student's passes."""
    exercises = [exercise for lesson in LESSONS for exercise in lesson.exercises]
    exports = {name: own for e in exercises for name, own in zip(e.exports, e.ours, strict=False)}
    return {"np": np, "math": math} | {thing.__name__: thing for thing in ALWAYS} | exports


def source_of(things: tuple[Any, ...], space: dict[str, Any], file: str) -> tuple[str, tuple[str, ...]]:
    """The source of functions and classes, and of what they use from other cells.

    If a function or class reads a global name, and the object is the student's own (a helper, a constant, an earlier
    exercise under any name), its source comes first. If the object comes from a library, it is imported. Names that
    every module has (`ours`) are left out.

    Parameters
    ----------
    things : tuple of functions or classes
    space : dict
        The global names of the cell or file in which ``check`` is called.
    file : str
        The name of that cell or file.

    Returns
    -------
    text : str
    names : tuple of str
        The names under which ``text`` defines the things; "" for a thing without a name.
    """
    home = Home(space, cells.statements_around(file))
    text = _Text()
    names = tuple(home.name_of(thing) for thing in things)
    for name in names:
        text.write(name, home)
    return "\n\n\n".join(text.parts), names


@dataclass(frozen=True, eq=False)
class Home:
    """The cell or file in which code was written: the values of its global names, and the statements that set them."""

    space: dict[str, Any]
    statements: list[cells.Statement]

    def name_of(self, thing: Any) -> str:
        """A global name of a thing; its own name if possible."""
        own = getattr(thing, "__name__", "")
        if self.space.get(own) is thing:
            return own
        return next((name for name, value in self.space.items() if value is thing and name[0] != "_"), "")

    def made_by(self, name: str) -> list[cells.Statement]:
        """The last statement that set a name, or several statements if they build on each other."""
        found = [s for s in self.statements if name in s.defines]
        last = max((i for i, s in enumerate(found) if _holds(s, self.space[name])), default=len(found) - 1)
        first = last
        while first > 0 and name in found[first].reads:
            first -= 1
        after = self.statements.index(found[last]) if found else 0
        changes = [s for s in self.statements[after:] if s.changes == name]
        return found[max(first, 0) : last + 1] + changes


def _holds(statement: cells.Statement, value: Any) -> bool:
    """Whether a statement contains the code of a function or class."""
    methods = [getattr(method, "__func__", method) for method in getattr(value, "__dict__", {}).values()]
    codes = [code for thing in (value, *methods) if (code := getattr(thing, "__code__", None))]
    return any(c.co_filename == statement.file and c.co_firstlineno in statement.lines for c in codes)


class _Text:
    """Source statements, in an order in which they can run."""

    def __init__(self) -> None:
        self.parts: dict[str, None] = {}
        self.brought: set[tuple[int, str]] = set()

    def bring(self, name: str, home: Home) -> None:
        """Write the source of a global name, unless the module already has it."""
        value = home.space.get(name)
        known = name in ours() and (value is ours()[name] or any(value is thing for thing in PASSED))
        if name in home.space and not name.startswith("__") and not known:
            self.write(name, home)

    def write(self, name: str, home: Home) -> None:
        """Write the source of a global name, after everything that it needs."""
        if name not in home.space or (id(home.space), name) in self.brought:
            return
        self.brought.add((id(home.space), name))
        value = home.space[name]
        own = getattr(value, "__name__", "")
        module = _module_of(value)
        if isinstance(value, ModuleType):
            imports = [s.code for s in home.statements if name in s.defines and s.simple]
            self.parts |= dict.fromkeys(imports or [f"import {own} as {name}"])
        elif module is None or vars(module) is home.space:
            if own != name and home.space.get(own) is value:
                self._alias(name, own, home)
            else:
                self._made(name, home)
        elif _is_library(module):
            self.parts[f"from {module.__name__} import {own}" + ("" if own == name else f" as {name}")] = None
        else:
            self._alias(name, own, Home(vars(module), cells.statements_around(str(module.__file__))))

    def _alias(self, name: str, own: str, home: Home) -> None:
        """Write a function or class under its own name, and add the other name."""
        self.write(own, home)
        if own != name:
            self.parts[f"{name} = {own}"] = None

    def _made(self, name: str, home: Home) -> None:
        """Write a plain value if it is not clear which statement set it; otherwise write the statements."""
        made = home.made_by(name)
        clear = len([s for s in home.statements if name in s.defines]) == 1 and all(s.simple for s in made)
        if not clear and (text := _plain(home.space[name])):
            self.parts[f"{name} = {text}"] = None
        elif not any(_of_the_course(home.space.get(read)) for s in made for read in s.reads):
            self._statements(made, home)

    def _statements(self, found: list[cells.Statement], home: Home) -> None:
        for statement in found:
            for name in statement.needs:
                self.bring(name, home)
            self.parts[statement.code] = None


def _module_of(value: Any) -> ModuleType | None:
    """The module that contains a function or class under its own name."""
    module = sys.modules.get(getattr(value, "__module__", None) or "")
    own = getattr(value, "__name__", None)
    return module if module and isinstance(own, str) and getattr(module, own, None) is value else None


def _is_library(module: ModuleType) -> bool:
    """Whether a module is installed, and not one of the student's files."""
    file = getattr(module, "__file__", None)
    folders = {sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    installed = [Path(numpylm.__file__).parent, *map(Path, folders)]
    return file is None or any(folder in Path(file).parents for folder in installed)


def _of_the_course(value: Any) -> bool:
    """Whether a value belongs to the course's own tools, such as ``check``, whose results are not written."""
    return str(getattr(value, "__module__", "")).startswith("numpylm.course")


def _plain(value: Any) -> str:
    """The source of a number, a string, or a tuple, list or dictionary of these; "" for anything else."""
    text = repr(value) if isinstance(value, (int, float, str, tuple, list, dict, type(None))) else ""
    try:
        return text if text and len(text) <= PLAIN_LENGTH and ast.literal_eval(text) == value else ""
    except (ValueError, SyntaxError):  # NaN, or something else among them
        return ""
