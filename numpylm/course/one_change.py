"""Where a wrong answer goes wrong: try small changes of the student's code, and name the place of one that helps.

Most wrong answers differ from a right one in one place: an operator, an axis, a name. The search changes one such place
at a time in a copy of the code and runs the exercise's test on the copy. If the test passes, the place is known. The
sentence names the place and the kind of change, but not the change itself.
"""

import ast
import contextlib
import functools
import inspect
import io
import sys
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from numpylm.course.edits import Edit, edits

FILE = "<one change>"
SECONDS = 3.0  # of this process's own time for the whole search; a student waits for it
ORDER = {"forward": 0, "step": 0, "backward": 1, "__init__": 4}  # in which methods are changed; others before __init__
LINES = 20_000  # that one try may run: a changed loop may never end


@dataclass(frozen=True)
class Place:
    """Where a change makes an answer right."""

    line: int
    code: str
    at: str
    kind: str

    def __str__(self) -> str:
        code = self.code if len(self.code) <= 100 else self.code[:97] + "…"
        at = f" at `{self.at}`" if self.at and self.at != code and len(self.at) <= 60 else ""
        where = f"line {self.line}, `{code}`,{at or ' as a whole'}"
        end = "" if self.kind.endswith("?") else "."
        return f"One change would make it right: look at {where}: {self.kind}{end}"


class _TooLong(BaseException):
    """Not an Exception, so that no test takes it for an error of the student's."""


def find(theirs: Sequence[Any], works: Callable[..., bool], seconds: float = SECONDS) -> Place | None:
    """The first place where one change makes an answer right; None if none was found in time.

    Parameters
    ----------
    theirs : sequence of functions or classes
        What the student wrote.
    works : callable
        Takes as many objects, and says whether they are right.
    seconds : float
        The time for the search.
    """
    end = time.process_time() + seconds
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they would be about changed code, which the student has not written
        for i, thing in enumerate(theirs):
            for function, rebuild in _functions(thing):
                for edit, changed in _changed(function):
                    if time.process_time() > end:
                        return None
                    if _right([*theirs[:i], rebuild(changed), *theirs[i + 1 :]], works, end):
                        return _place(function, edit)
    return None


def _functions(thing: Any) -> Iterator[tuple[FunctionType, Callable[[FunctionType], Any]]]:
    """The functions of a student's object, each with a function that puts a changed one in its place."""
    if str(getattr(thing, "__module__", "")).startswith("numpylm."):
        return  # ours: it is right
    if inspect.isfunction(thing):
        yield thing, lambda changed: changed
    elif inspect.isclass(thing):
        methods = {name: method for name, method in vars(thing).items() if inspect.isfunction(method)}
        for name in sorted(methods, key=lambda name: ORDER.get(name, 3)):
            yield methods[name], functools.partial(_with_method, thing, name)


def _with_method(kind: type, name: str, method: FunctionType) -> type:
    """A class with one method changed."""
    return type(kind.__name__, (kind,), {name: method})


def _parsed(function: FunctionType) -> ast.FunctionDef | None:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):  # no source, or only a part of it
        return None
    ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)
    node = tree.body[0]
    return node if isinstance(node, ast.FunctionDef) and node.name == function.__name__ else None


def _changed(function: FunctionType) -> Iterator[tuple[Edit, FunctionType]]:
    """The function with one change after another."""
    node = _parsed(function)
    if node is None or function.__closure__:
        return
    for edit in edits(node):
        with edit.made():
            try:
                code = compile(ast.fix_missing_locations(ast.Module([node], [])), FILE, "exec")
            except Exception:  # not every change is valid code
                continue
        space = dict(function.__globals__)
        exec(code, space)
        yield edit, space[node.name]


def _right(theirs: list[Any], works: Callable[..., bool], end: float) -> bool:
    """Whether changed code is right; code that takes too long is not."""
    lines = 0

    def count(frame: Any, event: str, arg: Any) -> Any:
        nonlocal lines
        if frame.f_code.co_filename != FILE:
            return None
        lines += 1
        if lines > LINES or time.process_time() > end:
            raise _TooLong
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return works(*theirs)
    except (Exception, _TooLong):
        return False
    finally:
        sys.settrace(before)


def _place(function: FunctionType, edit: Edit) -> Place:
    lines = inspect.getsource(function).splitlines()
    line = edit.at.lineno
    code = lines[line - function.__code__.co_firstlineno].split("  #")[0].strip()
    at: Any = edit.at
    unclear = isinstance(at, (ast.Constant, ast.Slice)) or (
        isinstance(at, ast.expr) and code.count(ast.unparse(at)) > 1
    )
    if unclear and isinstance(edit.parent, ast.expr):
        at = edit.parent
    return Place(line, code, ast.unparse(at) if isinstance(at, ast.expr) else "", edit.kind)
