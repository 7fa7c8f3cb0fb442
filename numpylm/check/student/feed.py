"""Makes a student's layer and its inputs: guessed from names, or given by a function ``NAME_example(rng)``."""

import inspect
from typing import Any

import numpy as np

from numpylm.check.report import plural
from numpylm.check.student import guess, handed
from numpylm.check.student.find import Found
from numpylm.check.student.search import GOOD, Tried, best_of, search, unfed
from numpylm.check.subject.calls import CheckError, FinalError, call
from numpylm.nn.module import Array


def prepare(item: Found, seed: int = 0) -> tuple[Any, tuple, list[str]]:
    """The subject, its inputs, and notes about them. Raises CheckError if no inputs work."""
    rng = np.random.default_rng(seed)
    if item.example is not None:
        return *from_example(item, rng), []
    if item.kind != "layer":
        return item.target, *search(item, item.target, rng)
    return _with_arrays(item, seed) or (subject := build(item, rng), *search(item, subject, rng))


def _with_arrays(item: Found, seed: int) -> tuple[Any, tuple, list[str]] | None:
    """A layer made with guessed arrays, and its inputs; None if it takes no arrays, or none that fit were found."""
    best: tuple[Any, Tried] | None = None
    for arrays in handed.arrays(item.target, np.random.default_rng(seed)):
        try:
            rng = np.random.default_rng(seed)
            subject = build(item, rng, arrays=arrays)
            handed.mark_constants(subject, arrays)
            tried = best_of(item, subject, rng)
        except FinalError:
            raise
        except CheckError:
            continue
        if best is None or tried.rank < best[1].rank:
            best = subject, tried
        if tried.rank == GOOD:
            break
    return None if best is None else (best[0], best[1].inputs, best[1].notes)


def from_example(item: Found, rng: np.random.Generator) -> tuple[Any, tuple]:
    """The subject and its inputs from the student's NAME_example(rng), which may or may not return the subject.

    Raises
    ------
    CheckError
        If the example itself is wrong: no object where one is needed, or a wrong number of inputs.
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
    """Raise CheckError if the forward cannot be called with this number of inputs: then the example is wrong."""
    forward = target[0] if isinstance(target, tuple) else target.forward
    try:
        parameters = inspect.signature(forward)
        parameters.bind(*([None] * (len(values) + skip_first)))
    except ValueError:  # the forward has no signature to look at
        return
    except TypeError as error:
        types = ", ".join(type(value).__name__ for value in values) or "nothing"
        raise CheckError(
            f"{name}(rng) gives {plural(len(values), 'input')} ({types}), but forward{parameters} cannot be called "
            f"with them: {error}. The example returns the inputs as a tuple; for a class, an object of it comes first."
        ) from error


def build(
    item: Found,
    rng: np.random.Generator,
    unknown: tuple = (),
    arrays: dict[str, Array] | None = None,
    **sizes: int | float,
) -> Any:
    """An object of the student's class, made with these arrays and with arguments that are guessed from their names."""
    given = guess.arguments(item.target, rng, unknown, **sizes) | (arrays or {})
    said = ", ".join(
        f"{name}=an array {value.shape}" if isinstance(value, np.ndarray) else f"{name}={value!r}"
        for name, value in given.items()
        if not isinstance(value, np.random.Generator)
    )
    try:
        return call(f"{item.name}({said})", item.target, **given)
    except FinalError:
        raise
    except CheckError as error:
        text = (
            f"{error}\nThe arguments were guessed from their names. To say what to use, add a function "
            f"{item.name}_example(rng) to the file that returns the object and its inputs as a tuple."
        )
        raise unfed(text, error) from error
