"""Guesses the arrays that a layer is made with, as in ``def __init__(self, W, b)``: by their names, or by their use."""

import ast
import contextlib
import inspect
import itertools
import textwrap
from collections.abc import Iterator
from typing import Any

import numpy as np

from numpylm.check.inner.lines import name_of
from numpylm.check.student import guess
from numpylm.check.subject.calls import CheckError, is_float
from numpylm.check.subject.paths import float_arrays, path_name
from numpylm.nn.module import Array

MOST = 40  # combinations of shapes that are tried
OF_ARRAYS = ("T", "shape", "ndim", "dot", "copy", "reshape", "astype", "transpose")  # attributes that only arrays have
WITH_ARRAYS = ("dot", "matmul", "zeros_like", "ones_like", "empty_like", "einsum")  # functions that take arrays
MATRICES = ("w", "wq", "wk", "wv", "wo", "w1", "w2", "wx", "w_x", "wxh", "w_xh", "wh", "w_h", "whh", "w_hh")
BESIDE = ("b", "b1", "b2", "bias")  # arrays where a matrix stands beside them
# One of these alone may be a number.
TOGETHER = (("weight", *BESIDE), ("weights", *BESIDE), ("kernel", *BESIDE), ("gamma", "beta"))
Rng = np.random.Generator


def arrays(kind: type, rng: Rng) -> Iterator[dict[str, Array]]:
    """Arrays for the arguments of a class that need them, in the likeliest shapes first. Nothing if there are none."""
    names = _names(kind)
    choices = [[value for value in guess.anything(name, rng) if is_float(value)] for name in names]
    for values in itertools.islice(guess.combinations(choices), MOST if names else 0):
        yield dict(zip(names, values, strict=True))


def mark_constants(layer: Any, arrays: dict[str, Array]) -> None:
    """Say on a layer that arrays without the name of a weight may be constants: they need no gradient."""
    named = {name for names in TOGETHER for name in names} | {*MATRICES, *BESIDE}
    maybe = [id(value) for name, value in arrays.items() if _plain(name) not in named]
    held = [path_name(path) for key, (_, paths) in float_arrays(layer).items() if key in maybe for path in paths]
    if held:
        with contextlib.suppress(AttributeError):  # a class with slots
            layer.constants = (*getattr(layer, "constants", ()), *held)


def only_by_name(kind: type) -> bool:
    """Whether nothing but their names says that some arguments are arrays: they may be numbers."""
    names = _names(kind)
    return bool(names) and not set(names) & _used(kind)


def unknown(kind: type) -> bool:
    """Whether some argument of a class must be guessed, and its name says nothing."""
    return any(name not in guess.NUMBERS for name in map(_plain, _required(kind)))


def stops_on_a_guess(kind: type, error: CheckError) -> bool:
    """Whether an error may come from a number that was guessed for an argument without a known name."""
    cause = error.__cause__
    if not unknown(kind):
        return False
    if isinstance(cause, AttributeError):
        return isinstance(cause.obj, (int, float, guess.Config))
    return isinstance(cause, TypeError) and any(f"'{name}'" in str(cause) for name in ("int", "float", "Config"))


def _plain(name: str) -> str:
    return name.lower().strip("_")


def _required(kind: type) -> list[str]:
    parameters = inspect.signature(kind).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def _names(kind: type) -> list[str]:
    """The arguments that must be arrays."""
    needed = {name: _plain(name) for name in _required(kind) if _plain(name) not in guess.NUMBERS}
    used, plain = _used(kind), set(needed.values())
    sure = {name for name, said in needed.items() if name in used or said in MATRICES}
    for first, *others in TOGETHER:
        if first in plain and plain & set(others):
            sure |= {name for name, said in needed.items() if said in (first, *others)}
    return [name for name, said in needed.items() if name in sure or (sure and said in BESIDE)]


def _used(kind: type) -> set[str]:
    """The arguments of ``__init__`` that the code uses as arrays, under their own names or as ``self.name``."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError, SyntaxError):
        return set()
    used = {name for node in ast.walk(tree) for name in _arrays_in(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
            used |= {node.value.id for target in node.targets if name_of(target) in used}
    return used


def _arrays_in(node: ast.AST) -> Iterator[str]:
    """The names that one expression uses as arrays."""
    found: list[Any] = []
    if isinstance(node, ast.Attribute) and node.attr in OF_ARRAYS:
        found = [node.value]
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        found = [node.left, node.right]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WITH_ARRAYS:
        found = node.args
    yield from (name for name in map(name_of, found) if name)
