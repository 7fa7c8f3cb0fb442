"""Gradients that cannot be compared: none at all, of another shape, or not finite."""

import numpy as np

from numpylm.checker.report import Cause
from numpylm.checker.trial import Target


def unusable(layer: str, target: Target) -> list[Cause]:
    """Gradients that cannot be compared: none at all, of another shape, or not finite."""
    what, analytic, shape = f"{layer}: the gradient of {target.name}", target.analytic, target.values.shape
    if analytic is None:
        text = f"{layer}: backward returned no gradient for this input, {target.name}."
        return [Cause("never-written", text, 100, target.name)]
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


def shape_hint(expected: tuple[int, ...], got: tuple[int, ...]) -> str:
    if sorted(expected) == sorted(got):
        return ": transposed?"
    if len(got) > len(expected) and (not expected or got[-len(expected) :] == expected):
        return (
            f": not summed over the first {len(got) - len(expected)} axes? What is broadcast in forward is summed in "
            "backward."
        )
    if np.prod(expected) == np.prod(got):
        return ": reshaped?"
    if len(got) < len(expected):
        return ": summed over too many axes?"
    return "."
