"""Makes a student's layer and its inputs: guessed from names, or given by a function ``NAME_example(rng)``."""

import inspect
from typing import Any

import numpy as np

from numpylm.check.report import plural
from numpylm.check.student import guess
from numpylm.check.student.find import Found
from numpylm.check.student.search import search, unfed
from numpylm.check.subject.calls import CheckError, FinalError, call


def prepare(item: Found, seed: int = 0) -> tuple[Any, tuple, list[str]]:
    """The subject, its inputs, and notes about them. Raises CheckError if no inputs work."""
    rng = np.random.default_rng(seed)
    if item.example is not None:
        return *from_example(item, rng), []
    subject = build(item, rng) if item.kind == "layer" else item.target
    return subject, *search(item, subject, rng)


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


def build(item: Found, rng: np.random.Generator, unknown: tuple = (), **sizes: int | float) -> Any:
    """An object of the student's class, made with arguments that are guessed from their names."""
    given = guess.arguments(item.target, rng, unknown, **sizes)
    said = ", ".join(f"{name}={value!r}" for name, value in given.items() if not isinstance(value, np.random.Generator))
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
