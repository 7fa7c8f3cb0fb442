"""Finds what a file holds that can be checked: layers, pairs of functions, optimizers, clipping."""

import ast
import contextlib
import importlib.util
import inspect
import io
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from numpylm.check.student import updates
from numpylm.check.subject.calls import cache_names, describe

ENDINGS = ("_backward", "_bwd", "_back", "_grad", "_vjp")


@dataclass(frozen=True)
class Found:
    """Something in a student's file that can be checked: a layer, a pair of functions, an optimizer, a clipping."""

    name: str
    kind: str  # "layer", "context", "pair", "optimizer", "clipping" or "schedule"
    target: Any
    example: Callable | None = None  # the student's own NAME_example(rng)
    path: Path | None = None  # the file


def load_file(path: Path) -> ModuleType:
    """Import a Python file; raises ValueError with the student's own line if that fails."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is not a file: --file expects a Python file with layers or function pairs")
    name = ".".join([*package_of(path)[1], f"student_{path.stem}"])
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None or path.suffix != ".py":
        raise ValueError(f"{path} is not a Python file (its name must end in .py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with neighbors(path), contextlib.redirect_stdout(io.StringIO()):  # its prints would disturb the report
            spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ValueError(f"{path}, line {error.lineno}: {error.msg}\n    {(error.text or '').strip()}") from error
    except (Exception, SystemExit) as error:
        raise ValueError(f"{path} could not be imported. {describe(error)}") from error
    return module


def package_of(path: Path) -> tuple[Path, list[str]]:
    """The folder from which a file is imported, and the names of the packages around it."""
    folder, names = path.resolve().parent, list[str]()
    while (folder / "__init__.py").is_file():
        folder, names = folder.parent, [folder.name, *names]
    return folder, names


@contextlib.contextmanager
def neighbors(path: Path | None) -> Iterator[None]:
    """Make the modules beside a file importable, while it is loaded and while its functions run."""
    folders = [] if path is None else list(dict.fromkeys([str(path.resolve().parent), str(package_of(path)[0])]))
    sys.path[:0] = folders
    try:
        yield
    finally:  # what the file itself added to the path stays
        for folder in folders:
            with contextlib.suppress(ValueError):
                sys.path.remove(folder)


def find(module: ModuleType) -> list[Found]:
    """Everything in a module that can be checked, in the order of the file. A thing with two names comes once."""
    own = {name: v for name, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__}
    own = dict({id(v): (name, v) for name, v in reversed(own.items())}.values())  # the first name of each object
    path = Path(module.__file__) if module.__file__ else None
    found = [replace(item, path=path) for item in (*_classes(module, own), *_pairs(module, own))]
    return sorted(found, key=lambda item: _line(item.target))


def _line(target: Any) -> int:
    function = target[0] if isinstance(target, tuple) else target
    try:
        return inspect.getsourcelines(function)[1]
    except (OSError, TypeError):
        return 10**9


def _classes(module: ModuleType, own: dict[str, Any]) -> Iterator[Found]:
    for name, value in own.items():
        if not inspect.isclass(value) or _only_a_base(value, own):
            continue
        example = getattr(module, f"{name}_example", None)
        forward, backward = (inspect.getattr_static(value, m, None) for m in ("forward", "backward"))
        if forward is not None and backward is not None:
            static = isinstance(forward, staticmethod)
            yield Found(name, "context" if static else "layer", value, example)
        elif updates.updating(value) or _steps(value):
            yield Found(name, "optimizer", value)
        elif updates.schedule(name, value):
            yield Found(name, "schedule", value)


def _steps(kind: type) -> bool:
    """Whether a class has a step and takes at least two arguments, as an optimizer does."""
    return callable(getattr(kind, "step", None)) and len(inspect.signature(kind).parameters) > 1


def _only_a_base(kind: type, own: dict[str, Any]) -> bool:
    """Whether a class is abstract: it has subclasses in the file, and its forward does nothing."""
    heirs = [
        other for other in own.values() if inspect.isclass(other) and issubclass(other, kind) and other is not kind
    ]
    forward = getattr(kind, "forward", None)
    return bool(heirs) and forward is not None and (inspect.isabstract(kind) or _does_nothing(forward))


def _does_nothing(function: Callable) -> bool:
    """Whether a function holds only a docstring, ``pass``, ``...`` or ``raise NotImplementedError``."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return False
    body = getattr(tree.body[0], "body", [])
    constant = (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) for line in body)
    return all(ok or isinstance(line, (ast.Pass, ast.Raise)) for ok, line in zip(constant, body, strict=True))


def _pairs(module: ModuleType, own: dict[str, Any]) -> Iterator[Found]:
    functions = {name: v for name, v in own.items() if inspect.isfunction(v)}
    for name, function in functions.items():
        stem = name.replace("_forward", "").removesuffix("_fwd").removeprefix("forward_")
        example = functions.get(f"{name}_example") or functions.get(f"{stem}_example")
        backwards = [n for n in _backward_names(name, stem, list(functions)) if n in functions and n != name]
        for i, backward in enumerate(backwards):
            yield Found(stem if i == 0 else backward, "pair", (function, functions[backward]), example)
        if not backwards and "clip" in name and _clips_gradients(name, function):
            yield Found(name, "clipping", function)
        elif not backwards and name.endswith("_loss") and gives_gradient(function):
            yield Found(name, "pair", (function, _times), example)
        elif not backwards and updates.with_config(function):
            yield Found(name, "optimizer", function)
        elif not backwards and updates.schedule(name, function):
            yield Found(name, "schedule", function)


def _backward_names(name: str, stem: str, functions: list[str]) -> list[str]:
    """Possible names of a function's backward: first the usual ones, then variants (``_backward_alt``)."""
    usual = [name.replace("forward", "backward")] if "forward" in name else []
    usual += [stem + ending for ending in ENDINGS] + [f"d_{stem}", f"backward_{stem}", f"d{stem}"]
    first = next((n for n in usual if n in functions and n != name), None)
    if first is None:
        return []
    variants = [n for n in functions if n.startswith(f"{stem}_backward_") and n != first]
    return [first, *(n for n in variants if n.replace("backward", "forward") not in functions)]


def _clips_gradients(name: str, function: Callable) -> bool:
    """Whether a function with clip in its name clips gradients, and not texts or images."""
    parameters = list(inspect.signature(function).parameters)
    first = parameters[0].lower() if parameters else ""
    about = "grad" in name or "norm" in name or "param" in first or "grad" in first or first in ("model", "weights")
    return about and len(parameters) >= 2


def gives_gradient(function: Callable) -> bool:
    """Whether a loss returns its gradient beside itself: ``loss, dx = softmax_loss(x, y)``."""
    names = cache_names(function)
    return len(names) == 1 and names[0].lower().startswith(("d", "grad"))


def _times(dout: Any, gradient: Any) -> Any:
    """The backward of a loss whose forward returned its gradient."""
    return dout * gradient


def items_to_check(path: Path, only: str | None = None, like: str | None = None) -> list[Found]:
    """What to check in a file: everything, one name, or (with ``like``) the item that fits it.

    Raises
    ------
    ValueError
        If there is nothing to check, nothing with that name, or more than one item that may fit ``like``.
    """
    items = find(load_file(path))
    if not items:
        raise ValueError(
            f"{path} holds nothing to check: it needs classes with forward and backward, function pairs such as f "
            "and f_backward (or f_forward and f_backward), optimizers with step or update, or a function with clip in "
            "its name"
        )
    items = items if like is None else [item for item in items if item.kind != "schedule"] or items
    names = [item.name for item in items]
    if only is not None:
        if only not in names:
            raise ValueError(f"{path} has no {only} to check; there is: {', '.join(names)}")
        return [item for item in items if item.name == only]
    if like is None or len(items) == 1:
        return items
    meant = [item for item in items if _alike(item.name, like)]
    if len(meant) != 1:
        raise ValueError(f"{path} holds {', '.join(names)}: say with --only NAME which to hold against {like}")
    return meant


def _alike(name: str, like: str) -> bool:
    """Whether one name is part of the other without case and underscores: ``my_layer_norm`` and LayerNorm."""
    a, b = (text.lower().replace("_", "") for text in (name, like))
    return a in b or b in a
