"""Where the gradient from one output arrives: at the wrong place, with the wrong weight, or through another window."""

import numpy as np

from numpylm.check.confidence import ANOTHER_ORDER, COUNTED_WEIGHTS, MOVED, OTHER_WINDOW, SHIFTED, WEIGHTED_PLACES
from numpylm.check.limits import FIT, MOST_ENTRIES_MOVED, TINY
from numpylm.check.measure.evidence import Evidence
from numpylm.check.measure.sizes import named_inputs
from numpylm.check.measure.trial import Trial
from numpylm.check.report import Cause, listing, plural
from numpylm.nn.module import Array


def routed(e: Evidence, trial: Trial, true: Array, given: Array) -> Cause | None:
    """The gradient from one place of the output is the true gradient from another place."""
    shape = np.shape(trial.out)
    if len(shape) < 2:
        return None
    blocks = int(np.prod(shape[:-1]))
    n, a = (j.reshape(blocks, -1) for j in (true, given))
    if blocks > 64 or blocks < 2:
        return None
    tolerance = FIT * max(float(np.abs(n).max(initial=0)), TINY)
    own = np.abs(a - n).max(axis=1) <= tolerance
    other = (
        np.array([np.abs(row).max() > tolerance and (np.abs(n - row).max(axis=1) <= tolerance).any() for row in a])
        | own
    )
    if own.all() or not other.all():
        return None
    p = int(np.flatnonzero(~own)[0])
    q = int(np.abs(n - a[p]).max(axis=1).argmin())
    places = [[int(i) for i in np.unravel_index(k, shape[:-1])] for k in (p, q)]
    text = (
        f"{e.what} mixes up places: what comes from output {places[0]} is put where the gradient from {places[1]} "
        f"belongs ({int((~own).sum())} of {blocks} places are mixed up). Was one of two arrays sorted or shuffled, and "
        "the other not?"
    )
    return Cause("permuted", text, ANOTHER_ORDER, e.name)


def moved(e: Evidence, true: Array, given: Array) -> Cause | None:
    """The gradient from one output arrives at a wrong index of one axis."""
    if true.size > MOST_ENTRIES_MOVED:
        return None
    tolerance = FIT * max(float(np.abs(true).max(initial=0)), TINY)
    bad = np.flatnonzero(np.abs(true - given).max(axis=1) > tolerance)
    for axis in range(e.given.ndim if len(bad) else 0):  # all errors may be smaller than a difference can tell
        length = e.given.shape[axis]
        if not 1 < length <= 32 or e.given.size // length < 2:
            continue
        n, a = (np.moveaxis(j[bad].reshape(len(bad), *e.given.shape), axis + 1, 1) for j in (true, given))
        n, a = n.reshape(len(bad), length, -1), a.reshape(len(bad), length, -1)
        gap = np.abs(a[:, :, None] - n[:, None]).max(axis=-1)  # (output, given at, belongs at)
        gap -= np.eye(length) * tolerance / 2  # if several indices fit, prefer the unmoved one
        full = np.abs(a).max(axis=-1) > tolerance
        if not full.any() or (gap.min(axis=-1) > tolerance)[full].any():
            continue
        row, at = np.nonzero(full)
        to = gap.argmin(axis=-1)[full]
        once = len(np.unique(row * length + to)) == len(to)  # nothing is copied to several places
        if once and (at != to).any():
            return _moved_along(e, axis, at, to, lost=len(at) < int((np.abs(n).max(axis=-1) > tolerance).sum()))
    return None


def _moved_along(e: Evidence, axis: int, at: Array, to: Array, lost: bool) -> Cause:
    shift, first = np.unique(to - at), int(np.flatnonzero(at != to)[0])
    how = (
        f"always by {abs(int(shift[0]))}" if len(shift) == 1 else f"index {at[first]} gets what belongs to {to[first]}"
    )
    rest = ", and some of it is lost at the end" if lost else ""
    text = (
        f"{e.what} has the right values at the wrong places along axis {axis} ({how}{rest}). An index, the direction "
        "of a shift, or the order in which an axis was split, differs between backward and forward."
    )
    # `routed` explains more, unless this is a shift.
    return Cause("permuted", text, SHIFTED if len(shift) == 1 else MOVED, e.name)


def partial(e: Evidence, trial: Trial, true: Array) -> Cause | None:
    """Places of the output do not count once: a = Σ w_i n_i, with weights w that should be 1."""
    shape = np.shape(trial.out)
    u = np.asarray(trial.dout)
    for axis in range(len(shape) - (len(shape) < 3)):  # also the last axis, for (N, C, L)
        count = shape[axis]
        if not 1 < count <= 32 or count * 2 > e.given.size:
            continue
        parts = []
        for i in range(count):
            one = np.zeros(shape)
            chosen = (slice(None),) * axis + (i,)
            one[chosen] = u[chosen]
            parts.append(one.reshape(-1) @ true)
        basis = np.stack(parts, axis=-1)  # (a.size, count)
        if np.linalg.matrix_rank(basis) < count:
            continue
        weights = np.linalg.lstsq(basis, e.given.reshape(-1), rcond=None)[0]
        if not e.equal(e.given, (basis @ weights).reshape(e.given.shape)) or np.ptp(weights) < FIT:
            continue
        lost, kept = np.flatnonzero(np.abs(weights) < FIT), np.flatnonzero(np.abs(weights - 1) < FIT)
        if len(lost) + len(kept) == count and len(lost) and len(kept):
            text = (
                f"{e.what} counts only what comes from index {listing(kept.tolist())} of axis {axis} of the output; "
                f"what comes from {listing(lost.tolist())} is lost. Sum over that axis."
            )
        elif axis == len(shape) - 1:
            continue  # a weight for each channel is a gain
        else:
            listed = ", ".join(f"{w:.4g}" for w in weights[:6]) + (", …" if count > 6 else "")
            text = (
                f"{e.what} does not count every place along axis {axis} of the output once: the weights are {listed} "
                "where all should be 1."
            )
            counted = _counts(trial, weights)
            if counted:
                return Cause(
                    "counting", f"{text} They are {counted}: divide by what was counted.", COUNTED_WEIGHTS, e.name
                )
        return Cause("partial", text, WEIGHTED_PLACES, e.name)
    return None


def _counts(trial: Trial, weights: Array) -> str:
    """How to call weights that are the numbers of True in the rows of a mask, or their shares; "" for others."""
    for name, value in named_inputs(trial):
        if isinstance(value, np.ndarray) and value.dtype == np.bool_ and value.shape[:1] == weights.shape:
            count = value.reshape(len(value), -1).sum(axis=1)
            length = value[0].size
            for number, meaning in (
                (count, f"the number of True in each row of {name}"),
                (count / length, f"the share of True in each row of {name} (what was counted / {length})"),
            ):
                if np.allclose(weights, number, rtol=FIT):
                    return meaning
    return ""


# ------------------------------------------------------------------------------------------------- windows of positions


def depends_along(j: Array, out_shape: tuple[int, ...], in_shape: tuple[int, ...], axis: int) -> Array:
    """Which places of an axis of the output depend on which places of the same axis of the input: (out, in)."""
    full = j.reshape(*out_shape, *in_shape)
    keep = (axis, len(out_shape) + axis)
    return np.asarray(full.any(axis=tuple(i for i in range(full.ndim) if i not in keep)))


def window(e: Evidence, n: Array, a: Array, out_shape: tuple[int, ...]) -> Cause | None:
    """Forward and backward see two different bands of positions. ``n``, ``a``: which output depends on which input."""
    for axis in range(1, min(len(out_shape), e.given.ndim) - 1):
        true, given = (_band(depends_along(j, out_shape, e.given.shape, axis)) for j in (n, a))
        if true is None or given is None or true == given:
            continue
        (ahead, back), (given_ahead, given_back), length = true, given, out_shape[axis]
        if ahead or back >= length - 1:
            continue  # no window: it looks ahead, or all the way back
        everything = given_ahead == given_back == length - 1
        if given_ahead and not everything:
            continue
        seen = f"the forward sees itself and {plural(back, 'position')} before it (axis {axis})"
        if everything:
            comparison = f"{seen}, the backward all of them: the mask is missing in backward."
        elif given_back == length - 1:
            comparison = f"{seen}, the backward everything before it: the window's mask is missing in backward."
        else:
            off = abs(given_back - back)
            comparison = (
                f"{seen}, the backward {given_back}: the window is off by {'one' if off == 1 else off} in backward."
            )
        return Cause("causal", f"{e.what}: {comparison}", OTHER_WINDOW, e.name)
    return None


def _band(seen: Array) -> tuple[int, int] | None:
    """How far each position looks ahead and back, if all look equally far and there is no gap."""
    if seen.shape[0] != seen.shape[1] or len(seen) < 4 or not seen.diagonal().all():
        return None
    distance = np.subtract.outer(np.arange(len(seen)), np.arange(len(seen)))
    ahead, back = int(-distance[seen].min()), int(distance[seen].max())
    return (ahead, back) if (seen == ((distance >= -ahead) & (distance <= back))).all() else None
