"""What is checked, brought into one shape, whoever wrote it.

A layer of ours, a pair of functions, a pair in the way of cs231n (``dx, dw, db = f_backward(dout, cache)``), a
class in the way of torch.autograd.Function (``forward(ctx, x)``, ``backward(ctx, dout)``), and a layer that keeps
its cache on itself (``out = forward(x)``, ``dx = backward(dout)``): all of them become a `Subject`.
"""

import ast
import copy
import inspect
import linecache
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.module import Array, Cache, Parameter, named_parameters

PACKAGE = Path(__file__).parents[1]
OWN_FILES = {str(PACKAGE / "gradcheck.py"), *(str(path) for path in (PACKAGE / "checker").glob("*.py"))}
NUMPY = str(Path(np.__file__).parent)


class CheckError(ValueError):
    """The code under check stopped, or does not have the shape of a layer. The message says where and why."""


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


class PlainParameter(Parameter):
    """An array attribute of a layer with its gradient beside it: ``W`` and ``dW``, ``params["W"]`` and ``grads["W"]``.

    ``value`` and ``gradient`` are paths: an attribute, or a dict attribute and a key in it.
    """

    def __init__(self, layer: Any, value: tuple[str, ...], gradient: tuple[str, ...]) -> None:
        self.layer, self.value, self.gradient = layer, value, gradient

    def _get(self, path: tuple[str, ...]) -> Any:
        found = getattr(self.layer, path[0], None)
        return found if len(path) == 1 else (found or {}).get(path[1])

    def _set(self, path: tuple[str, ...], value: Array) -> None:
        if len(path) == 1:
            setattr(self.layer, path[0], value)
        else:
            getattr(self.layer, path[0])[path[1]] = value

    @property
    def data(self) -> Array:
        return self._get(self.value)

    @data.setter
    def data(self, value: Array) -> None:
        self._set(self.value, value)

    @property
    def grad(self) -> Array:
        found = self._get(self.gradient)
        return np.zeros_like(self.data) if found is None else np.asarray(found)

    @grad.setter
    def grad(self, value: Array) -> None:
        self._set(self.gradient, value)


class Subject:
    """One copy of a layer or pair, ready to be run.

    Attributes
    ----------
    name : str
    layer : object or None
        The copy, where it is an object.
    parameters : list of (name, Parameter)
    keeps_cache : bool
        The layer keeps its cache on itself: ``backward(dout)``.
    """

    def __init__(self, target: Any) -> None:
        self.layer: Any = None
        self.parameters: list[tuple[str, Parameter]] = []
        self.plain = False
        self.keeps_cache = False
        if isinstance(target, (tuple, list)):
            if len(target) != 2 or not all(callable(part) for part in target):
                raise TypeError(
                    "gradcheck expects a layer, a pair (forward, backward) of functions, or a class with "
                    f"forward(ctx, …) and backward(ctx, …); got a {type(target).__name__} of {len(target)}"
                )
            self._forward, self._backward = target
            name = getattr(self._forward, "__name__", "function")
            self.name = name.removesuffix("_forward").removesuffix("_fwd") or name
        elif isinstance(target, type):
            self._use_context_class(target)
        else:
            self._use_layer(target)
        self.signature = inspect.signature(self._forward)

    def _use_layer(self, target: Any) -> None:
        missing = [name for name in ("forward", "backward") if not callable(getattr(target, name, None))]
        if missing:
            raise TypeError(
                f"gradcheck needs forward and backward; {type(target).__name__} has no {' and no '.join(missing)}"
            )
        self.layer = copy.deepcopy(target)
        self.name = type(target).__name__
        self._forward, self._backward = self.layer.forward, self.layer.backward
        self.parameters = list(named_parameters(self.layer))
        if not self.parameters:
            self.parameters = _plain_parameters(self.layer)
            self.plain = bool(self.parameters)
        self.keeps_cache = _count_required(self._backward) == 1 and _count_positional(self._backward) == 1

    def _use_context_class(self, target: type) -> None:
        static = all(
            isinstance(inspect.getattr_static(target, name, None), staticmethod) for name in ("forward", "backward")
        )
        if not static:
            raise TypeError(
                f"gradcheck got the class {target.__name__} itself: pass an object, {target.__name__}(…); only a "
                "class with static forward(ctx, …) and backward(ctx, …) is checked as a class"
            )
        self.name = target.__name__

        def forward(*inputs: Any, **options: Any) -> tuple[Any, Cache]:
            context = Context()
            return target.forward(context, *inputs, **options), context  # type: ignore[attr-defined]

        def backward(dout: Any, context: Cache) -> Any:
            return target.backward(context, dout)  # type: ignore[attr-defined]

        signature = inspect.signature(target.forward)  # type: ignore[attr-defined]
        forward.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
        self._forward, self._backward = forward, backward

    def forward(self, *inputs: Any, **options: Any) -> tuple[Any, Cache]:
        """(out, cache), whichever way the subject says it."""
        result = self._call("forward", self._forward, *inputs, **options)
        if self.keeps_cache:
            return np.asarray(result), None
        if not (isinstance(result, tuple) and len(result) == 2):
            got = f"a tuple of {len(result)}" if isinstance(result, tuple) else f"a {type(result).__name__}"
            raise CheckError(f"{self.name}: forward must return the pair (out, cache), got {got}")
        out, cache = result
        if not (isinstance(out, (np.ndarray, float, int, np.number))):
            raise CheckError(
                f"{self.name}: the first thing that forward returns must be one array (or number), got a "
                f"{type(out).__name__}"
            )
        return out, cache

    def backward(self, dout: Any, cache: Cache) -> list:
        """The gradients that backward returns, as a list."""
        arguments = (dout,) if self.keeps_cache else (dout, cache)
        return as_list(self._call("backward", self._backward, *arguments))

    def _call(self, what: str, function: Callable, *args: Any, **options: Any) -> Any:
        try:
            with np.errstate(all="ignore"):
                return function(*args, **options)
        except CheckError:
            raise
        except Exception as error:
            raise CheckError(f"{self.name}.{what} stopped. {describe(error)}") from error

    @property
    def input_names(self) -> list[str]:
        """The forward's own names for its positional arguments."""
        return [
            name
            for name, parameter in self.signature.parameters.items()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]


def cache_names(forward: Callable) -> list[str]:
    """What the student calls the parts of the cache: the names in ``return out, (x, mask, …)``; empty if unclear."""
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


def describe(error: BaseException) -> str:
    """An exception as the student's own file, line and code, then the message."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename not in OWN_FILES]
    theirs = [
        f for f in frames if not f.filename.startswith((str(PACKAGE), NUMPY)) and "site-packages" not in f.filename
    ]
    inner = theirs[-1] if theirs else next((f for f in reversed(frames) if not f.filename.startswith(NUMPY)), None)
    said = f"{type(error).__name__}: {error}"
    if inner is None:
        return said
    code = (inner.line or linecache.getline(inner.filename, inner.lineno or 0)).strip()
    return f"{said}\n  {inner.filename}, line {inner.lineno}, in {inner.name}\n    {code}"


def as_list(grads: Any) -> list:
    if grads is None:
        return []
    return list(grads) if isinstance(grads, (tuple, list)) else [grads]


def _plain_parameters(layer: Any) -> list[tuple[str, Parameter]]:
    """Arrays with a gradient beside them: ``W`` and ``dW``, ``grad_W``, ``W_grad``, or dicts ``params``, ``grads``."""
    values = getattr(layer, "__dict__", {})
    found: list[tuple[str, Parameter]] = []
    if isinstance(values.get("params"), dict) and isinstance(values.get("grads"), dict):
        for name, value in values["params"].items():
            if is_float(value):
                found.append((name, PlainParameter(layer, ("params", name), ("grads", name))))
    for name, value in values.items():
        grad_names = [f"d{name}", f"grad_{name}", f"{name}_grad", f"d_{name}"]
        beside = next((grad for grad in grad_names if grad in values or _mentions(layer, grad)), None)
        if is_float(value) and beside:
            found.append((name, PlainParameter(layer, (name,), (beside,))))
    return found


def _mentions(layer: Any, attribute: str) -> bool:
    """Whether backward writes ``self.attribute``."""
    code = getattr(type(layer).backward, "__code__", None)
    return code is not None and attribute in code.co_names


def is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _count_required(function: Callable) -> int:
    return sum(
        p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        for p in inspect.signature(function).parameters.values()
    )


def _count_positional(function: Callable) -> int:
    return sum(
        p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)
        for p in inspect.signature(function).parameters.values()
    )
