"""Gradients that cannot be compared: none at all, of another shape, or not finite."""

from typing import Any

import numpy as np

from numpylm.check.measure.trial import Target
from numpylm.check.report import Cause
from numpylm.check.subject.returned_gradients import Odd
from numpylm.check.subject.values import kind_of


def unusable(layer: str, target: Target) -> list[Cause]:
    """Why a gradient cannot be compared, if it cannot."""
    what, analytic, shape = f"{layer}: the gradient of {target.name}", target.analytic, target.values.shape
    if analytic is None:
        return [Cause("never-written", _missing(layer, target), 100, target.name)]
    if isinstance(analytic, Odd):
        text = f"{what} is {_strange(analytic.value)}; it must be an array of real numbers."
        return [Cause("error", text, 100, target.name)]
    got = np.shape(analytic)
    if got != shape:
        return [
            Cause(
                "shape",
                f"{what} has the wrong shape: expected {shape}, got {got}{shape_hint(shape, got)}",
                100,
                target.name,
            )
        ]
    if not np.isfinite(analytic).all():
        bad = tuple(int(i) for i in np.argwhere(~np.isfinite(analytic))[0])
        text = f"{what} holds NaN or infinity, first at {list(bad)}: look for a division by zero, log(0), or inf - inf."
        return [Cause("not-finite", text, 100, target.name)]
    return []


def _missing(layer: str, target: Target) -> str:
    """The sentence for a gradient that is not there."""
    name = target.name
    if target.parameter is None:
        return (
            f"{layer}: backward returned no gradient for this input, {name}. Return one for each floating-point input, "
            f"in the order of the forward's arguments; if {name} is a constant, return None in its place."
        )
    return (
        f"{layer}: the gradient of {name} is never written: the output depends on {name}, but backward leaves no "
        f"gradient for it, neither beside it (d{name.split('.')[-1]}, a dict grads, .grad) nor among what it returns. "
        f'If nobody trains {name}, say so on the class: constants = ("{name}",).'
    )


def _strange(value: Any) -> str:
    """What somebody returned in the place of an array of real numbers."""
    if isinstance(value, (tuple, list)):
        return f"{kind_of(value)} inside what backward returned (a comma or a bracket too many?)"
    if isinstance(value, dict):
        return f"a dict with {', '.join(map(str, list(value)[:4])) or 'nothing in it'}"
    if np.iscomplexobj(value):
        return "complex"
    dtype = getattr(value, "dtype", None)
    return f"an array of dtype {dtype}" if dtype is not None else kind_of(value)


def shape_hint(expected: tuple[int, ...], got: tuple[int, ...]) -> str:
    if sorted(expected) == sorted(got):
        return ": transposed?"
    if len(got) > len(expected) and tuple(n for n in got if n != 1) == tuple(n for n in expected if n != 1):
        return ": an axis of length 1 too many (keepdims=True?)."
    if len(got) > len(expected) and (not expected or got[-len(expected) :] == expected):
        extra = len(got) - len(expected)
        axes = "first axis" if extra == 1 else f"first {extra} axes"
        return f": not summed over the {axes}? What is broadcast in forward is summed in backward."
    if np.prod(expected) == np.prod(got):
        return ": reshaped?"
    if len(got) < len(expected):
        return ": summed over too many axes?"
    return "."
