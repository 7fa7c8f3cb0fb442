"""Compares a student's dropout with ours by what its mask does, because masks may be drawn in many ways."""

import numpy as np

from numpylm.check.confidence import KNOWN_VARIANT, UNUSABLE
from numpylm.check.limits import SAME_DIGITS
from numpylm.check.report import Cause, Row
from numpylm.nn.module import Array


def dropout_row(title: str, x: Array, out: Array, p: float) -> Row:
    """The row that tells whether about a share ``p`` of the places is zero, and the others are x / (1 - p)."""
    row = Row("forward", out.shape, np.inf, False)
    if out.shape != x.shape:
        text = f"{title}: the output has shape {out.shape}, the input {x.shape}."
        row.explain([Cause("shape", text, UNUSABLE, "forward")])
        return row
    kept = out != 0
    ratio = out[kept] / x[kept]
    dropped = 1 - float(kept.mean())
    scale = float(np.median(ratio)) if ratio.size else 0.0
    spread = float(np.abs(ratio / (scale or 1) - 1).max(initial=0))
    row.max_rel_error = max(spread, abs(scale * (1 - p) - 1))
    if row.max_rel_error <= SAME_DIGITS and _likely(dropped, p, out.size):
        row.ok = True
    else:
        row.explain(
            [Cause("forward", f"{title}: {_said(dropped, scale, spread, p, out.size)}", KNOWN_VARIANT, "forward")]
        )
    return row


def _likely(share: float, p: float, count: int) -> bool:
    """Whether a share of places fits the probability p within five standard deviations."""
    return abs(share - p) <= 5 * np.sqrt(p * (1 - p) / count)


def _said(dropped: float, scale: float, spread: float, p: float, count: int) -> str:
    """How a dropout differs from ours."""
    if dropped == 0 and abs(scale - 1) <= SAME_DIGITS:
        return (
            "the forward drops nothing. Ours does if it is given a generator, forward(x, rng); does yours wait for a "
            "flag such as training?"
        )
    if spread > SAME_DIGITS:
        return "the kept values are not multiplied by the same number everywhere; ours divides them by 1 - p."
    if _likely(dropped, 1 - p, count):
        return f"the forward is that of Dropout with p as the probability to keep, not to drop: {dropped:.0%} are zero."
    if _likely(dropped, p, count) and abs(scale - 1) <= SAME_DIGITS:
        return "the forward is that of Dropout with no division by 1 - p."
    return (
        f"{dropped:.1%} of the places are zero and the others multiplied by {scale:.6g}; ours drops p = {p:.0%} and "
        f"multiplies by 1 / (1 - p) = {1 / (1 - p):.6g}."
    )
