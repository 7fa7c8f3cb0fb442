"""Where a layer holds its arrays, and where their gradients may be: attributes, lists, dicts, layers inside layers.

A place is a path: ``("layers", 0, "W")`` is ``layer.layers[0].W``.
"""

import copy
import io
import threading
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from numpylm.check.subject.calls import UncheckedError
from numpylm.nn.module import Array, Parameter

AttributePath = tuple[Any, ...]
DEAD_ENDS = (str, bytes, type, types.ModuleType, types.FunctionType, types.MethodType, np.random.Generator)
LOCKS = (type(threading.Lock()), type(threading.RLock()))
SHARED = (types.ModuleType, types.GeneratorType, io.IOBase, *LOCKS)  # what cannot be copied
HOLDERS = ("params", "parameters", "_params", "value", "data")  # left out of a name: W is enough
GRADIENT_HOLDERS = ("grads", "gradients", "grad", "_grads", "dparams")


def get_at(root: Any, path: AttributePath) -> Any:
    """The value at a path, or None if there is none."""
    for key in path:
        if isinstance(root, dict):
            root = root.get(key)
        elif isinstance(root, (list, tuple)):
            root = root[key] if isinstance(key, int) and key < len(root) else None
        else:
            root = getattr(root, key, None) if isinstance(key, str) else None
    return root


def set_at(root: Any, path: AttributePath, value: Any) -> None:
    """Set the value at a path (in place if the holder is a tuple)."""
    holder, key = get_at(root, path[:-1]), path[-1]
    if isinstance(holder, tuple):
        holder[key][...] = value
    elif isinstance(holder, (dict, list)):
        holder[key] = value
    elif holder is not None:
        setattr(holder, key, value)


def walk(root: Any) -> Iterator[tuple[AttributePath, Any]]:
    """Everything that a layer holds, in the order of its attributes. Objects come once, arrays once for each path."""
    seen: set[int] = set()

    def visit(value: Any, path: AttributePath) -> Iterator[tuple[AttributePath, Any]]:
        if isinstance(value, (np.ndarray, np.generic, np.random.Generator, np.random.RandomState)):
            yield path, value
            return
        if value is None or isinstance(value, DEAD_ENDS) or id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, Parameter):
            yield path, value
            return
        for key, item in _items(value):
            yield from visit(item, (*path, key))

    yield from visit(root, ())


def _items(holder: Any) -> list[tuple[Any, Any]]:
    """The contents of a dict, a list or an object, by key."""
    if isinstance(holder, dict):
        return list(holder.items())
    return list(enumerate(holder)) if isinstance(holder, (list, tuple)) else attributes(holder)


def everything(root: Any) -> Iterator[Any]:
    """All that can be reached from a layer, each object once."""
    seen: set[int] = set()

    def visit(value: Any) -> Iterator[Any]:
        yield value
        if id(value) not in seen and not isinstance(value, (np.ndarray, str, bytes, type, *SHARED)):
            seen.add(id(value))
            for _, item in _items(value):
                yield from visit(item)

    yield from visit(root)


def children(layer: Any) -> Iterator[tuple[str, Any]]:
    """The layers that a layer holds directly or in lists and dicts, each once."""
    seen: set[int] = set()

    def visit(value: Any, path: str) -> Iterator[tuple[str, Any]]:
        if callable(getattr(value, "forward", None)) and callable(getattr(value, "backward", None)):
            if id(value) not in seen and not isinstance(value, type):
                seen.add(id(value))
                yield path, value
        elif isinstance(value, (list, tuple)):
            for i, item in enumerate(value):
                yield from visit(item, f"{path}.{i}")
        elif isinstance(value, dict):
            for key, item in value.items():
                yield from visit(item, f"{path}.{key}")

    for name, value in getattr(layer, "__dict__", {}).items():
        yield from visit(value, name)


def copied(layer: Any) -> Any:
    """A deep copy of a layer. Modules, files and locks, as in ``self.xp = np``, are shared with the original.

    Raises
    ------
    UncheckedError
        If something else on the layer cannot be copied.
    """
    shared = {id(value): value for value in everything(layer) if isinstance(value, SHARED)}
    try:
        return copy.deepcopy(layer, shared)
    except (TypeError, ValueError) as error:
        raise UncheckedError(
            f"{type(layer).__name__} cannot be copied, and the check runs only copies. {type(error).__name__}: {error}"
        ) from error


def attributes(thing: Any) -> list[tuple[str, Any]]:
    """The attributes of an object, its slots, and the arrays of its class."""
    found = dict(getattr(thing, "__dict__", {}))
    for kind in type(thing).__mro__[:-1]:
        for name in getattr(kind, "__slots__", ()):
            if isinstance(name, str) and hasattr(thing, name):
                found.setdefault(name, getattr(thing, name))
        for name, value in vars(kind).items():
            if isinstance(value, (np.ndarray, Parameter)):
                found.setdefault(name, value)
    return list(found.items())


def float_arrays(root: Any) -> dict[int, tuple[Array, list[AttributePath]]]:
    """Floating-point arrays on a layer by identity, each with all the paths that lead to it."""
    found: dict[int, tuple[Array, list[AttributePath]]] = {}
    for path, value in walk(root):
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            found.setdefault(id(value), (value, []))[1].append(path)
    return found


def path_name(path: AttributePath) -> str:
    """The student's name: ``l1.W`` for ``self.l1.W``, ``W`` for ``self.params["W"]`` and ``self.W.value``."""
    parts = [str(key) for key in path if key not in HOLDERS]
    return ".".join(map(str, path)) if not parts or all(part.isdigit() for part in parts) else ".".join(parts)


def gradient_names(key: Any) -> list[str]:
    """Names that the gradient of ``W`` may have: ``dW``, ``grad_W``, ``gradW``, ``W_grad`` …"""
    if not isinstance(key, str):
        return []
    name = key.lstrip("_")
    made = [f"d{name}", f"d_{name}", f"grad_{name}", f"grad{name}", f"{name}_grad", f"{name}grad", f"g{name}"]
    made += [f"g_{name}", f"gradient_{name}", f"{name}_gradient", f"delta_{name}", f"grad{name[:1].upper()}{name[1:]}"]
    if name in ("params", "parameters", "value", "data", "weights"):
        made += [*GRADIENT_HOLDERS, "gradient"]
    return made + ([f"_{other}" for other in made] if key != name else [])


def gradient_paths(path: AttributePath) -> list[AttributePath]:
    """All places where the gradient of an array may be, most likely first."""
    head, leaf = path[:-1], path[-1]
    found: list[AttributePath] = [(*head, other) for other in gradient_names(leaf)]
    for level, key in enumerate(head):
        for other in gradient_names(key):
            above, below = path[:level], path[level + 1 : -1]
            found += [(*above, other, *below, last) for last in (leaf, *gradient_names(leaf))]
    found += [(*head, holder, last) for holder in GRADIENT_HOLDERS for last in (leaf, *gradient_names(leaf))]
    if len(head) and head[-1] in HOLDERS:
        found += [(*head[:-1], other) for other in gradient_names(leaf)]
    return found


def same_name(key: Any, name: str) -> bool:
    """Whether a dict key of returned gradients, ``W`` or ``dW``, means the array of that name."""
    leaf = name.split(".")[-1]
    return key in (name, leaf, *gradient_names(leaf), *gradient_names(name))
