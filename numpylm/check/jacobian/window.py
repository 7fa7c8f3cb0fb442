"""Attention that looks back over a few positions only: does backward look through the same window?"""

import numpy as np

from numpylm.check.measure.evidence import Evidence
from numpylm.check.report import Cause, plural
from numpylm.nn.module import Array


def along(j: Array, out_shape: tuple[int, ...], in_shape: tuple[int, ...], axis: int) -> Array:
    """Whether anything at one place of an axis of the output depends on anything at a place of the input's axis."""
    full = j.reshape(*out_shape, *in_shape)
    keep = (axis, len(out_shape) + axis)
    return np.asarray(full.any(axis=tuple(i for i in range(full.ndim) if i not in keep)))


def window(e: Evidence, n: Array, a: Array, out_shape: tuple[int, ...]) -> Cause | None:
    """Both see a band of positions, and not the same one. ``n``, ``a``: which output needs which input."""
    for axis in range(1, min(len(out_shape), e.a.ndim) - 1):
        true, given = (_band(along(j, out_shape, e.a.shape, axis)) for j in (n, a))
        if true is None or given is None or true == given:
            continue
        (ahead, back), (given_ahead, given_back), length = true, given, out_shape[axis]
        if ahead or back >= length - 1:
            continue  # it looks ahead, or all the way back: no window
        everything = given_ahead == given_back == length - 1
        if given_ahead and not everything:
            continue
        seen = f"the forward sees itself and {plural(back, 'position')} before it (axis {axis})"
        if everything:
            said = f"{seen}, the backward all of them: the mask is missing in backward."
        elif given_back == length - 1:
            said = f"{seen}, the backward everything before it: the window's mask is missing in backward."
        else:
            off = abs(given_back - back)
            said = f"{seen}, the backward {given_back}: the window is off by {'one' if off == 1 else off} in backward."
        return Cause("causal", f"{e.what}: {said}", 90, e.name)
    return None


def _band(seen: Array) -> tuple[int, int] | None:
    """How far each position looks ahead and back, if all look equally far and miss nothing between."""
    if seen.shape[0] != seen.shape[1] or len(seen) < 4 or not seen.diagonal().all():
        return None
    distance = np.subtract.outer(np.arange(len(seen)), np.arange(len(seen)))
    ahead, back = int(-distance[seen].min()), int(distance[seen].max())
    return (ahead, back) if (seen == ((distance >= -ahead) & (distance <= back))).all() else None
