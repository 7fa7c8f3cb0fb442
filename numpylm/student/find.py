"""What a file holds that can be checked."""

import contextlib
import importlib.util
import inspect
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from numpylm.checker.clipping import check_clipping
from numpylm.checker.optimizers import check_optimizer
from numpylm.checker.report import Cause, Report
from numpylm.checker.subject import CheckError, Subject, describe
from numpylm.gradcheck import gradcheck
from numpylm.student import guess

ENDINGS = ("_backward", "_bwd", "_back", "_grad", "_vjp")


@dataclass(frozen=True)
class Found:
    """Something in a student's file that can be checked: a layer, a pair of functions, an optimizer, a clipping."""

    name: str
    kind: str  # "layer", "context", "pair", "optimizer" or "clipping"
    target: Any
    example: Callable | None = None  # the student's own NAME_example(rng)


def load_file(path: Path) -> ModuleType:
    """Import a Python file; raises ValueError with the student's own line if that fails."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is not a file: --file expects a Python file with layers or function pairs")
    name = f"student_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None or path.suffix != ".py":
        raise ValueError(f"{path} is not a Python file (its name must end in .py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # a file that prints when it runs should not spoil the report
            spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ValueError(f"{path}, line {error.lineno}: {error.msg}\n    {(error.text or '').strip()}") from error
    except (Exception, SystemExit) as error:
        raise ValueError(f"{path} could not be imported. {describe(error)}") from error
    finally:
        sys.path.pop(0)
    return module


def find(module: ModuleType) -> list[Found]:
    """Everything in a module that can be checked, in the order of the file."""
    own = {name: v for name, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__}
    found = [*_classes(module, own), *_pairs(module, own)]
    return sorted(found, key=lambda item: _line(item.target))


def _line(target: Any) -> int:
    function = target[0] if isinstance(target, tuple) else target
    try:
        return inspect.getsourcelines(function)[1]
    except (OSError, TypeError):
        return 10**9


def _classes(module: ModuleType, own: dict[str, Any]) -> Iterator[Found]:
    for name, value in own.items():
        if not inspect.isclass(value):
            continue
        example = getattr(module, f"{name}_example", None)
        forward, backward = (inspect.getattr_static(value, m, None) for m in ("forward", "backward"))
        if forward is not None and backward is not None:
            static = isinstance(forward, staticmethod)
            yield Found(name, "context" if static else "layer", value, example)
        elif callable(getattr(value, "step", None)) and len(inspect.signature(value).parameters) > 1:
            yield Found(name, "optimizer", value)


def _pairs(module: ModuleType, own: dict[str, Any]) -> Iterator[Found]:
    functions = {name: v for name, v in own.items() if inspect.isfunction(v)}
    for name, function in functions.items():
        stem = name.removesuffix("_forward").removesuffix("_fwd")
        names = [stem + ending for ending in ENDINGS] + [f"d_{stem}", f"backward_{stem}", f"d{stem}"]
        if name.startswith("forward_"):
            names.append("backward_" + name.removeprefix("forward_"))
        backward = next((n for n in names if n in functions and n != name), None)
        if backward:
            example = functions.get(f"{name}_example") or functions.get(f"{stem}_example")
            yield Found(stem, "pair", (function, functions[backward]), example)
        elif "clip" in name and len(inspect.signature(function).parameters) >= 2:
            yield Found(name, "clipping", function)


def choose(path: Path, only: str | None = None, like: str | None = None) -> list[Found]:
    """What to check in a file: all of it, one name, or (with ``like``) the one that is meant.

    Raises
    ------
    ValueError
        If there is nothing, nothing of that name, or if it is not clear what to hold against ``like``.
    """
    items = find(load_file(path))
    if not items:
        raise ValueError(
            f"{path} holds nothing to check: it needs classes with forward and backward, function pairs such as f "
            "and f_backward (or f_forward and f_backward), optimizers with step, or a function with clip in its name"
        )
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
    """Whether one name is part of the other, whatever the case and underscores: ``my_layer_norm`` and LayerNorm."""
    a, b = (text.lower().replace("_", "") for text in (name, like))
    return a in b or b in a


def check_file(path: Path, seed: int = 0) -> Iterator[Report]:
    """Check everything in a file."""
    for item in choose(path):
        yield check_found(item, seed)


def check_found(item: Found, seed: int = 0) -> Report:
    """Check one thing from a file."""
    if item.kind == "optimizer":
        return check_optimizer(item.target, seed)
    if item.kind == "clipping":
        return check_clipping(item.target, seed)
    try:
        subject, inputs, options = prepare(item, seed)
    except CheckError as error:
        return Report(item.name, [], [Cause("error", str(error), 100, item.name)])
    report = gradcheck(subject, *inputs, rng=np.random.default_rng(seed), **options)
    report.title = item.name
    return report


def prepare(item: Found, seed: int = 0) -> tuple[Any, tuple, dict]:
    """The subject, its inputs and options; raises CheckError if none can be found that work."""
    rng = np.random.default_rng(seed)
    if item.example is not None:
        return _from_example(item, rng)
    subject = item.target
    if item.kind == "layer":
        subject = _build(item, rng)
    forward = item.target.forward if item.kind == "context" else Subject(subject)._forward
    first: tuple[CheckError, tuple] | None = None
    accepted: tuple | None = None
    for inputs in guess.inputs(forward, rng, skip_first=item.kind == "context"):
        try:
            trial = Subject(subject)
            out, cache = trial.forward(*inputs)
            if np.asarray(out).dtype.kind != "f":
                continue
            accepted = accepted or inputs
            trial.backward(np.array(out, dtype=np.float64) if np.ndim(out) else 1.0, cache)
            return subject, inputs, {}
        except CheckError as error:
            first = first or (error, inputs)
    if accepted:
        return subject, accepted, {}  # backward stops whatever it is given: the report says where
    tried = ", ".join(str(np.shape(value)) for value in first[1]) if first else "none"
    why = f" With inputs of shape {tried}: {first[0]}" if first else ""
    raise CheckError(
        f"{item.name}: no inputs were found that its forward accepts. Say which to use: add a function "
        f"{item.name}_example(rng) to the file that returns {'the object and ' if item.kind == 'layer' else ''}the "
        f"inputs as a tuple.{why}"
    )


def _from_example(item: Found, rng: np.random.Generator) -> tuple[Any, tuple, dict]:
    assert item.example is not None
    try:
        given = item.example(rng)
    except Exception as error:
        raise CheckError(f"{item.name}_example stopped. {describe(error)}") from error
    values = given if isinstance(given, tuple) else (given,)
    if item.kind == "layer":
        return values[0], values[1:], {}
    return item.target, values, {}


def _build(item: Found, rng: np.random.Generator) -> Any:
    """An object of the student's class, its arguments guessed from their names."""
    given = guess.arguments(item.target, rng)
    try:
        return item.target(**given)
    except Exception as error:
        said = ", ".join(
            f"{name}={value!r}" for name, value in given.items() if not isinstance(value, np.random.Generator)
        )
        raise CheckError(
            f"{item.name}({said}) could not be made; these arguments were guessed from their names. Say what to "
            "use: add a "
            f"function {item.name}_example(rng) to the file that returns the object and its inputs as a "
            f"tuple.\n{describe(error)}"
        ) from error
