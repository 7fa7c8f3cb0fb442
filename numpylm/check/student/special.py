"""Finds ids that a student's code treats specially, such as padding: guessed inputs always include them."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from numpylm.check.measure.sizes import numbers_of
from numpylm.nn.module import Array

NAMED = re.compile(r"pad|ignore|mask|unk|bos|eos|sep|blank|null|special", re.IGNORECASE)


def special_ids(holder: Any, name: str, count: int) -> list[int]:
    """The ids below ``count`` that a layer or pair treats specially, first those with a telling name.

    Parameters
    ----------
    holder : layer, class or pair of functions
    name : str
        The forward's name for its ids.
    count : int
        How many ids there are.

    Returns
    -------
    list of int
        A negative number only if it is compared with the ids, or held by a name such as padding.
    """
    functions = list(_functions(holder))
    compared = [number for function in functions for number in _compared(function, name, holder)]
    held = [*_held(holder), *(pair for function in functions for pair in _defaults(function))]
    named = [number for key, number in held if NAMED.search(key)]
    others = [number for _, number in held if number >= 0]
    beside = [number + step for number in [*named, *compared] if number >= 0 for step in (1, -1)]
    found = dict.fromkeys([*named, *compared, *others, *(number for number in beside if number >= 0)])
    return [number for number in found if number < count]


def with_ids(ids: Array, wanted: list[int]) -> Array:
    """Change ids so that the wanted ones occur, and the first id occurs again at the end."""
    flat = ids.reshape(-1)
    flat[-1] = flat[0]
    for number in wanted:
        free = [i for i in range(1, len(flat) - 1) if flat[i] not in wanted]
        if number not in flat and free:
            flat[free[-1]] = number
    return ids


def _functions(holder: Any) -> Iterator[Callable[..., Any]]:
    """The forward, the backward and ``__init__``."""
    if isinstance(holder, tuple):
        yield from holder
        return
    kind = holder if isinstance(holder, type) else type(holder)
    for name in ("__init__", "forward", "backward"):
        function = inspect.getattr_static(kind, name, None)
        function = function.__func__ if isinstance(function, staticmethod) else function
        if inspect.isfunction(function):
            yield function


def _held(holder: Any) -> Iterator[tuple[str, int]]:
    """Whole numbers that an object or its inner layers hold."""
    for name, number in numbers_of(holder, {}) if not isinstance(holder, (tuple, type)) else ():
        if number == int(number):
            yield name, int(number)


def _defaults(function: Callable[..., Any]) -> Iterator[tuple[str, int]]:
    for name, argument in inspect.signature(function).parameters.items():
        if isinstance(argument.default, int) and not isinstance(argument.default, bool):
            yield name, argument.default


def _compared(function: Callable[..., Any], name: str, holder: Any) -> Iterator[int]:
    """Whole numbers with which a function compares its ids: ``ids != 3``, ``y == PAD``, and -1 for ``y >= 0``."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return
    ids = {name}
    for target, value in _assigned(tree):
        if isinstance(target, ast.Name) and _root(value) in ids:
            ids.add(target.id)
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.Compare)):
        sides = [node.left, *node.comparators]
        for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
            below = isinstance(operator, (ast.GtE, ast.Lt))  # the number and the one below it are on two sides
            if _root(left) in ids and (number := _number(right, function, holder)) is not None:
                yield from (number, number - 1) if below else (number,)
            if _root(right) in ids and (number := _number(left, function, holder)) is not None:
                yield from (number, number - 1) if isinstance(operator, (ast.LtE, ast.Gt)) else (number,)


def _assigned(tree: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """(target, value) of each assignment, also for several at once."""
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.Assign)):
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                yield from zip(target.elts, node.value.elts, strict=False)
            else:
                yield target, node.value


def _root(node: ast.AST) -> str:
    """The array behind an expression: ``y`` for ``y.reshape(-1)[2]`` and ``np.ravel(y)``, else ""."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Subscript):
        return _root(node.value)
    if isinstance(node, ast.Attribute):
        return "" if node.attr in ("shape", "ndim", "size", "dtype") else _root(node.value)
    if isinstance(node, ast.Call):
        method = isinstance(node.func, ast.Attribute) and _root(node.func.value) not in ("", "np", "numpy")
        parts = [node.func] if method else node.args if not isinstance(node.func, ast.Name) else []
        return _root(parts[0]) if parts else ""
    return ""


def _number(node: ast.AST, function: Callable[..., Any], holder: Any) -> int | None:
    """The whole number of an expression: a literal, a global of the file, or an attribute of the layer."""
    if isinstance(node, ast.Name):
        value = getattr(function, "__globals__", {}).get(node.id)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        value = getattr(holder, node.attr, None)
    else:
        try:
            value = ast.literal_eval(node)
        except ValueError:
            return None
    return int(value) if isinstance(value, (int, np.integer)) and not isinstance(value, bool) else None
