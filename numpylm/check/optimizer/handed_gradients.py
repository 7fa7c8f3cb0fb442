"""Handing gradients to a student's clipping: as parameters, as a list or dict of arrays, or as one array."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from numpylm.check.optimizer.steps import Handed, NotChecked
from numpylm.check.report import listing
from numpylm.check.subject.calls import CheckError, describe
from numpylm.nn.module import Array, Parameter

VALUES = -4.0  # the parameters are this many times their gradients: whoever takes one for the other is found out
Grads = list[Array]


@dataclass(frozen=True)
class Clipped:
    """What one call made of gradients."""

    before: Grads
    after: Grads
    returned: Any


def clipped(function: Callable[..., Any], title: str, grads: Grads, limits: dict[str, float]) -> dict[str, Clipped]:
    """What a function makes of the same gradients for each limit, in the first form of them that it takes.

    Raises
    ------
    CheckError
        If it stops.
    NotChecked
        If it takes none of the forms.
    """
    arguments = inspect.signature(function).parameters
    needed = [name for name, argument in arguments.items() if argument.default is argument.empty]
    if len(needed) > 2:
        raise NotChecked(f"{title} needs {listing(needed)}: known are gradients and one limit.")
    forms: list[Callable[[Grads], Any]] = [_parameters, list, _by_name, _first_only]
    if next(iter(arguments), "").lower().startswith(("g", "d")):
        forms = [*forms[1:], _parameters]
    errors: list[Exception] = []
    for form in forms:
        try:
            return {name: _call(function, form, grads, limit) for name, limit in limits.items()}
        except (AttributeError, TypeError, ValueError) as error:  # it wants to be handed another form
            errors.append(error)
        except Exception as error:
            raise CheckError(f"{title} stopped. {describe(error)}") from error
    if any(word in str(errors[0]) for word in ("Parameter'", "Handed'", "'list'", "'dict'")):
        raise NotChecked(f"{title} takes no gradients in a form that is known here. {describe(errors[0])}")
    raise CheckError(f"{title} stopped. {describe(errors[0])}") from errors[0]


def _parameters(grads: Grads) -> Handed:
    handed = Handed(Parameter(VALUES * g) for g in grads)
    for parameter, g in zip(handed, grads, strict=True):
        parameter.grad = g
    return handed


def _by_name(grads: Grads) -> dict[str, Array]:
    return {f"W{i}": g for i, g in enumerate(grads)}


def _first_only(grads: Grads) -> Array:
    return grads[0]


def _call(function: Callable[..., Any], form: Callable[[Grads], Any], grads: Grads, limit: float) -> Clipped:
    argument = form([g.copy() for g in grads])
    before = [g.copy() for g in _arrays(argument) or []]
    with np.errstate(all="ignore"):
        returned = function(argument, limit)
    after = _arrays(argument) or []
    if all(np.array_equal(x, y) for x, y in zip(before, after, strict=True)):  # in place nothing has changed
        parts = returned if isinstance(returned, tuple) else ()
        made = (_arrays(value) for value in (returned, *parts))
        after = next((m for m in made if m is not None and [x.shape for x in m] == [x.shape for x in before]), after)
    return Clipped(before, after, returned)


def _arrays(value: Any) -> Grads | None:
    """The gradients in something, whichever form it has."""
    parts = (
        list(value.values())
        if isinstance(value, dict)
        else list(value)
        if isinstance(value, (list, tuple))
        else [value]
    )
    parts = [part.grad if isinstance(part, Parameter) else part for part in parts]
    return parts if parts and all(isinstance(part, np.ndarray) for part in parts) else None
