"""What a student's layer is made with and fed: guessed from names, or as a function ``NAME_example(rng)`` says."""

import copy
import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np

from numpylm.checker.calls import CheckError, FinalError, call
from numpylm.checker.report import plural
from numpylm.checker.subject import Subject
from numpylm.checker.trial import Setup, Trial
from numpylm.student import guess
from numpylm.student.find import Found


def prepare(item: Found, seed: int = 0) -> tuple[Any, tuple, list[str]]:
    """The subject, its inputs, and what to note about them; raises CheckError if none can be found that work."""
    rng = np.random.default_rng(seed)
    if item.example is not None:
        return *from_example(item, rng), []
    return _search(item, build(item, rng) if item.kind == "layer" else item.target, rng)


def _search(item: Found, subject: Any, rng: np.random.Generator) -> tuple[Any, tuple, list[str]]:
    """The first guessed inputs under which everything runs and the gradients have as many axes as their arrays.

    cs231n's layernorm sums over axis 0, which is right for two axes only. Where no guess is that good, the best one
    is taken: the report then says what is wrong.
    """
    forward = item.target.forward if item.kind == "context" else Subject(subject)._forward
    failed: tuple[CheckError, tuple] | None = None
    best: Tried | None = None
    for inputs in guess.inputs(forward, rng, subject, skip_first=item.kind == "context"):
        try:
            tried = _try(subject, inputs)
        except FinalError:
            raise
        except CheckError as error:
            failed = failed or (error, inputs)
            continue
        forgives = best is not None and best.misfit and max(map(np.ndim, tried.inputs), default=0) < 2  # needs no sum
        if best is None or (tried.rank < best.rank and not forgives):
            if best is not None and best.misfit:
                tried.notes.append(
                    f"the inputs had {_shapes(tried.inputs)}; with {_shapes(best.inputs)}, {best.misfit}."
                )
            best = tried
        if tried.rank == 0:
            break
    if best is not None:
        return subject, best.inputs, best.notes
    raise CheckError(_advice(item, failed))


@dataclass
class Tried:
    """Inputs that a forward accepts, and how good they are: 0 is best."""

    inputs: tuple
    notes: list[str]
    rank: int = 0
    misfit: str = ""  # which gradient has another number of axes than its array


def _shapes(inputs: tuple) -> str:
    """``shape (2, 5, 12), (12,)``: those of the arrays among some inputs."""
    return "shape " + ", ".join(str(np.shape(value)) for value in inputs if isinstance(value, np.ndarray))


def _try(subject: Any, inputs: tuple) -> Tried:
    """How good some inputs are, or others of a legal domain; CheckError if the forward does not take them."""
    out, inputs, domain = _forward_in_domain(subject, inputs)
    if out.dtype.kind != "f":
        raise CheckError(f"the forward gives an array of {out.dtype}, not of floating-point numbers")
    why = [f"forward gives NaN for normally distributed inputs, so it was checked with {domain}."] if domain else []
    tried = Tried(inputs, why)
    if not np.isfinite(out).all():
        tried.rank = 4
        return tried
    try:
        trial = Trial(Setup.make(subject, inputs, {}, 0))
    except CheckError:
        tried.rank = 3  # backward stops, whatever it is given: the report says where
        return tried
    most = max(map(np.ndim, inputs), default=0)
    given = [target for target in trial.targets if isinstance(target.analytic, np.ndarray)]
    misfits = [target for target in given if target.analytic.ndim != target.values.ndim]
    summed_well = any(t.analytic.ndim == t.values.ndim < most for t in given)
    if misfits and not summed_well:  # where one sum is right for so many axes, the others are wrong
        tried.rank, worst = 1, misfits[-1]
        tried.misfit = (
            f"the gradient of {worst.name}, {worst.values.shape}, would have shape {np.shape(worst.analytic)}"
        )
    if not trial.targets:
        tried.rank = 2
    return tried


def _forward_in_domain(subject: Any, inputs: tuple) -> tuple[np.ndarray, tuple, str]:
    """The output for some inputs; where it holds NaN, for others that a logarithm or a root can take."""
    first = np.asarray(Subject(subject).forward(*copy.deepcopy(inputs))[0])
    if first.dtype.kind == "f" and not np.isfinite(first).all():
        for other, domain in guess.in_domain(inputs):
            out = np.asarray(Subject(subject).forward(*copy.deepcopy(other))[0])
            if np.isfinite(out).all():
                return out, other, domain
    return first, inputs, ""


def _advice(item: Found, failed: tuple[CheckError, tuple] | None) -> str:
    """Why no inputs were found, the student's own error first, and how to say which to use."""
    given = "the object and its inputs" if item.kind == "layer" else "the inputs"
    example = f"add a function {item.name}_example(rng) to the file that returns {given} as a tuple."
    if failed is None or not failed[1]:
        return (
            f"{item.name}: forward takes no positional argument, so there is nothing to feed it. To check it, {example}"
        )
    error, inputs = failed
    return (
        f"{error}\nThat was with inputs of {_shapes(inputs)}, guessed from their names; no other guess did better. "
        f"To say which to use, {example}"
    )


def from_example(item: Found, rng: np.random.Generator) -> tuple[Any, tuple]:
    """The subject and its inputs, as the student's NAME_example(rng) says; also if it names what is known already.

    Raises
    ------
    CheckError
        If the example itself is to blame: no object where one is needed, or another number of inputs.
    """
    assert item.example is not None
    name = f"{item.name}_example"
    given = call(name, item.example, rng)
    values = given if isinstance(given, tuple) else (given,)
    target, first = item.target, values[0] if values else None
    is_object = inspect.isclass(target) and isinstance(first, target)
    if is_object or first is target or (isinstance(target, tuple) and any(first is f for f in target if callable(f))):
        values = values[1:]
    if item.kind == "layer":
        target = first if is_object else build(item, rng)
    _fits(name, target, values, skip_first=item.kind == "context")
    return target, values


def _fits(name: str, target: Any, values: tuple, skip_first: bool) -> None:
    """Whether a forward can be called with so many inputs; if not, it is the example that is wrong."""
    forward = target[0] if isinstance(target, tuple) else target.forward
    try:
        parameters = inspect.signature(forward)
        parameters.bind(*([None] * (len(values) + skip_first)))
    except ValueError:  # a forward without a signature: it must be tried
        return
    except TypeError as error:
        types = ", ".join(type(value).__name__ for value in values) or "nothing"
        raise CheckError(
            f"{name}(rng) gives {plural(len(values), 'input')} ({types}), but forward{parameters} cannot be called "
            f"with them: {error}. The example returns the inputs as a tuple; for a class, an object of it comes first."
        ) from error


def build(item: Found, rng: np.random.Generator, unknown: tuple = (), **sizes: int | float) -> Any:
    """An object of the student's class, its arguments guessed from their names."""
    given = guess.arguments(item.target, rng, unknown, **sizes)
    said = ", ".join(f"{name}={value!r}" for name, value in given.items() if not isinstance(value, np.random.Generator))
    try:
        return call(f"{item.name}({said})", item.target, **given)
    except CheckError as error:
        raise CheckError(
            f"{error}\nThe arguments were guessed from their names. To say what to use, add a function "
            f"{item.name}_example(rng) to the file that returns the object and its inputs as a tuple."
        ) from error
