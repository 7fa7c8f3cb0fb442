"""Calls of a student's code: prints are hidden, errors get their file and line, returned values are examined."""

import ast
import contextlib
import inspect
import io
import linecache
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.check.advice import advice
from numpylm.nn.module import Array

CHECK = Path(__file__).parents[1]
PACKAGE = CHECK.parent
OWN_FILES = {str(path) for path in CHECK.rglob("*.py")}
NUMPY = str(Path(np.__file__).parent)
PYTHON = str(Path(contextlib.__file__).parent)  # exit() is defined in site.py


class CheckError(ValueError):
    """The code under check stopped or is no layer. The message says where and why."""

    @property
    def raised(self) -> str:
        """The name of the exception in the student's code; empty if there was none."""
        return type(self.__cause__).__name__ if self.__cause__ is not None else ""


class FinalError(CheckError):
    """An error that other inputs cannot avoid."""


class UncheckedError(CheckError):
    """The code could not be run because no fitting inputs are known. It may be right."""


class Muted(io.StringIO):
    """Swallows ``print`` while a student's code runs: a layer is called a thousand times."""

    def __init__(self) -> None:
        super().__init__()
        self.used = False

    def write(self, text: str) -> int:
        if debugging() and sys.__stdout__ is not None:  # breakpoint() in a student's forward must show its prompt
            return sys.__stdout__.write(text)
        self.used = True
        return len(text)


def debugging() -> bool:
    """Whether Python's own debugger is running."""
    bdb = sys.modules.get("bdb")
    return bdb is not None and isinstance(getattr(sys.gettrace(), "__self__", None), bdb.Bdb)


LOW = (np.float16, np.float32)  # the roughest first


@contextlib.contextmanager
def in_float64(spaces: list[dict[str, Any]]) -> Iterator[None]:
    """Replace float32 and float16 by float64 in some namespaces, such as NumPy's, until the block ends."""
    low = [
        (space, name, value)
        for space in spaces
        for name, value in space.items()
        if isinstance(value, (type, np.dtype)) and value in LOW
    ]
    for space, name, _ in low:
        space[name] = np.float64
    try:
        yield
    finally:
        for space, name, value in low:
            space[name] = value


def call(what: str, function: Callable, *args: Any, muted: Muted | None = None, **options: Any) -> Any:
    """What a student's function returns.

    Raises
    ------
    CheckError
        If it stops, also by ``exit()``. The message names the error and the student's own line.
    """
    try:
        with np.errstate(all="ignore"), contextlib.redirect_stdout(muted or Muted()):
            return function(*args, **options)
    except CheckError:
        raise
    except (Exception, SystemExit) as error:
        kind = FinalError if isinstance(error, (SystemExit, NotImplementedError)) else CheckError
        raise kind(f"{what} stopped. {describe(error)}") from error


def describe(error: BaseException) -> str:
    """An exception in words: the message, then the student's own file, line and code, and what to try.

    If one of the student's functions called another, both lines are shown. The error occurs in the last one, but the
    first one may have passed a wrong value.
    """
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    frames = [(frame, line) for frame, line in frames if frame.f_code.co_filename not in OWN_FILES]
    theirs = [(frame, line) for frame, line in frames if _is_students(frame.f_code.co_filename)]
    if not theirs:
        theirs = [pair for pair in frames if not pair[0].f_code.co_filename.startswith(NUMPY)][-1:]
    described = f"{type(error).__name__}: {error}"
    if isinstance(error, SystemExit):
        described = "It calls exit(), which ends the whole program: raise an error instead."
    shown = [theirs[0], theirs[-1]] if len(theirs) > 1 else theirs
    for frame, line in shown:
        file, name = frame.f_code.co_filename, frame.f_code.co_qualname
        code = linecache.getline(file, line).strip()
        described += f"\n  {file}, line {line}, in {name}\n    {code}"
    hint = advice(str(error), code) if shown else ""
    return f"{described}\n  {hint}" if hint else described


def _is_students(file: str) -> bool:
    return not file.startswith((str(PACKAGE), NUMPY, PYTHON, "<frozen")) and "site-packages" not in file


# ------------------------------------------------------------------------ values that a student's code gets and returns

RANDOM = (np.random.Generator, np.random.RandomState)


def state_of(generator: Any) -> Any:
    """A copy of the state of either kind of NumPy's generators."""
    return generator.bit_generator.state if isinstance(generator, np.random.Generator) else generator.get_state()


class Context:
    """What ``ctx`` is in torch.autograd.Function: a place for what backward needs."""

    def __init__(self) -> None:
        self.saved_tensors: tuple = ()
        self.needs_input_grad: tuple = (True,) * 64

    def save_for_backward(self, *values: Any) -> None:
        self.saved_tensors = values

    def mark_non_differentiable(self, *values: Any) -> None:
        """Nothing to do: integers are never differentiated here."""

    def set_materialize_grads(self, value: bool) -> None:
        """Nothing to do: every upstream gradient here is an array."""

    @property
    def saved_values(self) -> tuple:
        return self.saved_tensors


def kind_of(value: Any) -> str:
    """A few words that describe a value."""
    if value is None:
        return "nothing (None)"
    if isinstance(value, np.ndarray):
        return "an array"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    article = "an" if type(value).__name__[0].lower() in "aeiou" else "a"
    return f"{article} {type(value).__name__}"


def is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def positional(function: Callable) -> list[str]:
    """The names of a function's positional arguments. ``*args`` counts as ``dout, cache``."""
    names: list[str] = []
    for name, p in inspect.signature(function).parameters.items():
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            names.append(name)
        elif p.kind == p.VAR_POSITIONAL:
            names += ["dout", "cache"][len(names) :]
    return names


@dataclass(frozen=True)
class NotNumbers:
    """A returned value that should be a gradient and is no array of real numbers."""

    value: Any


def as_gradient(value: Any) -> Any:
    """A copy of a gradient as an array, None for None, and `NotNumbers` for what is no array of real numbers.

    A copy, because a layer may write its next gradient into the same array.
    """
    if value is None:
        return None
    try:
        array = np.array(value)
    except ValueError:  # a ragged list
        return NotNumbers(value)
    return array if array.dtype.kind in "fiub" else NotNumbers(value)


def comparable(gradient: Any, shape: tuple[int, ...]) -> bool:
    """Whether a gradient is an array of finite real numbers of the right shape."""
    return isinstance(gradient, np.ndarray) and gradient.shape == shape and bool(np.isfinite(gradient).all())


def difference(after: Any, before: Array) -> Any:
    """What backward added to a gradient, or the gradient itself if its shape changed."""
    same = isinstance(after, np.ndarray) and after.shape == np.shape(before)
    return np.asarray(after - before) if same else after


def same(a: Any, b: Any) -> bool:
    """Whether two values, or lists of values, are equal bit by bit. Strings, dicts and odd values count as equal."""
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if a is None or b is None or isinstance(a, (dict, str)):
        return a is b or isinstance(a, (dict, str))
    if isinstance(a, NotNumbers):
        return True  # the row reports it anyway
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape:
        return False
    if x.dtype.kind == y.dtype.kind == "f":
        return bool(np.array_equal(x, y, equal_nan=True))
    return bool(np.array_equal(x, y))


def cache_names(forward: Callable, cache: Any = None) -> list[str]:
    """The student's names for the parts of the cache: fields, or as in ``return out, (x, mask)``. Empty if unclear."""
    if hasattr(cache, "_fields"):
        return list(cache._fields)  # a NamedTuple
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(forward)))
    except (OSError, TypeError, SyntaxError):
        return []
    for node in ast.walk(tree):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and len(node.value.elts) == 2:
            cache = node.value.elts[1]
            parts = cache.elts if isinstance(cache, (ast.Tuple, ast.List)) else [cache]
            return [ast.unparse(part) for part in parts]
    return []
