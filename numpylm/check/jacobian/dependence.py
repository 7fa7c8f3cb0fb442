"""Which output depends on which input, in the forward and according to the backward.

The Jacobian J[o, i] = ∂out_o/∂x_i is measured from the forward. The backward has a Jacobian, too: row o is its result
for an upstream gradient that is 1 at o and 0 elsewhere. If the two have nonzero entries at different places, the places
show what went wrong: a causal mask, an axis, a transpose.
"""

import numpy as np

from numpylm.check.confidence import (
    FUTURE_LEAKS,
    IGNORES_UPSTREAM,
    MASK_OFF_BY_ONE,
    MASK_ON_DIAGONAL,
    MISSING_MIXING,
    MIXED_PLACES,
    NOT_LINEAR,
    OTHER_MASK,
    OTHER_PLACES,
    SOME_SIGNS,
    TRANSPOSED_JACOBIAN,
    WRONG_SLOPE,
)
from numpylm.check.jacobian.routes import depends_along, moved, partial, routed, window
from numpylm.check.limits import FIT, MOST_OUTPUTS, TINY
from numpylm.check.measure.evidence import UPSTREAM, Evidence
from numpylm.check.measure.trial import Trial
from numpylm.check.report import Cause, listing
from numpylm.nn.module import Array

INFLUENCE = {
    False: "as in softmax, where every output depends on every input of its row",
    True: "as in attention, or in a loop over time, where what comes back from later steps must be added",
}


def backward_jacobian(trial: Trial, index: int) -> Array | None:
    """The Jacobian ∂out/∂(target number ``index``) according to backward: (out.size, target.size)."""
    size = np.size(trial.out)
    if size > MOST_OUTPUTS:
        return None
    rows = []
    for o in range(size):
        one = np.zeros(size)
        one[o] = 1.0
        dout = one.reshape(np.shape(trial.out)) if np.ndim(trial.out) else 1.0
        rows.append(np.asarray(trial.gradients(dout)[index]).reshape(-1))
    return np.stack(rows)


def linear(e: Evidence, trial: Trial, index: int) -> Cause | None:
    """Find a backward that is not linear in the upstream gradient."""
    u = np.asarray(trial.dout)
    first = np.asarray(trial.gradients(trial.dout)[index])
    doubled = np.asarray(trial.gradients(2 * trial.dout if u.ndim else 2 * float(u))[index])
    if not np.any(first):
        return None
    if e.equal(doubled, first):
        text = (
            f"{e.what} stays the same when the upstream gradient is doubled: backward does not use it. By the chain "
            "rule every gradient is multiplied by it, also where a loss is the last step and it is 1."
        )
        return Cause("upstream", text, IGNORES_UPSTREAM, e.name)
    negated = np.asarray(trial.gradients(-trial.dout)[index])
    if not e.equal(doubled, 2 * first) or not e.equal(negated, -first):
        text = (
            f"{e.what} is not proportional to the upstream gradient (twice as much, or its opposite, gives something "
            "else): does backward use the upstream gradient where it should use the input, or multiply by it twice?"
        )
        return Cause("upstream", text, NOT_LINEAR, e.name)
    return None


def dependence(e: Evidence, trial: Trial, index: int) -> list[Cause]:
    """Compare the two Jacobians of one array."""
    if e.jacobian is None:
        return []
    given = backward_jacobian(trial, index)
    if given is None:
        return []
    true = e.jacobian
    looks = (
        _transposed(e, true, given),
        _signs(e, true, given),
        routed(e, trial, true, given),
        moved(e, true, given),
        partial(e, trial, true),
    )
    causes = [cause for cause in looks if cause]
    out_shape = np.shape(trial.out)
    if e.name not in trial.subject.input_names or not out_shape:
        return causes
    tolerance = FIT * float(np.abs(true).max(initial=0))
    n, a = (np.abs(j) > tolerance for j in (true, given))
    seen = (_causal(e, true, given, out_shape), window(e, n, a, out_shape), _axes(e, n, a, out_shape))
    causes += [cause for cause in seen if cause]
    if not causes and out_shape == e.given.shape:
        causes += [cause for cause in (_elementwise(e, trial, n, true, given),) if cause]
    return causes


def _transposed(e: Evidence, true: Array, given: Array) -> Cause | None:
    """The backward multiplies by a matrix where it should multiply by its transpose."""
    scale = max(float(np.abs(true).max(initial=0)), TINY)
    if true.shape[0] == true.shape[1] and np.abs(given - true.T).max() <= FIT * scale < np.abs(true - true.T).max():
        text = (
            f"{e.what} is made with a matrix where its transpose is needed: the Jacobian that backward uses is the "
            "true one transposed (cosine 1.000). For y = x W, dx = dy Wᵀ; for y = P v, dv = Pᵀ dy; "
            "for a rotation, the rotation by the opposite angle."
        )
        return Cause("transposed", text, TRANSPOSED_JACOBIAN, e.name)
    return None


def _signs(e: Evidence, true: Array, given: Array) -> Cause | None:
    """Every entry of the Jacobian has the right size, and some have the wrong sign."""
    tolerance = FIT * float(np.abs(true).max(initial=0))
    wrong = np.abs(given - true) > tolerance
    apart = ~np.eye(len(true), true.shape[1], dtype=bool)
    elementwise = not (np.abs(true)[apart] > tolerance).any()
    if elementwise or not wrong.any() or (np.abs(given + true)[wrong] > tolerance).any():
        return None
    out, into = (int(i) for i in np.argwhere(wrong)[0])
    text = (
        f"{e.what}: every derivative of an output by an input has the right size, and {int(wrong.sum())} of "
        f"{int((np.abs(true) > tolerance).sum())} have the wrong sign, for example {given[out, into]:.4g} where "
        f"{true[out, into]:.4g} is right. Compare the signs of the terms in forward and backward."
    )
    return Cause("sign", text, SOME_SIGNS, e.name)


def _causal(e: Evidence, n: Array, a: Array, out_shape: tuple[int, ...]) -> Cause | None:
    """The forward looks only back along an axis, and the backward differs from it there."""
    tolerance = FIT * float(np.abs(n).max(initial=0))
    for axis in range(1, min(len(out_shape), e.given.ndim) - 1):
        # (out, in) positions
        true, given = (depends_along(np.abs(j) > tolerance, out_shape, e.given.shape, axis) for j in (n, a))
        if true.shape[0] != true.shape[1] or len(true) < 3 or (true != np.tri(len(true), dtype=bool)).any():
            continue
        later, lost = np.argwhere(np.triu(given, 1)), np.argwhere(true & ~given)
        # The last position sees all positions, with or without a mask.
        last = np.moveaxis((n - a).reshape(*out_shape, -1), axis, 0)[-1]
        if len(later) and np.abs(last).max() <= tolerance:
            off = " by exactly one position" if (later[:, 1] - later[:, 0] == 1).all() else ""
            text = (
                f"{e.what}: output position {later[0][0]} sends a gradient to position {later[0][1]}, which it "
                f"cannot see (axis {axis}). The forward never looks ahead, the backward does{off}: the causal mask "
                f"is {'off by one' if off else 'missing'} in backward."
            )
            return Cause("causal", text, MASK_OFF_BY_ONE if off else FUTURE_LEAKS, e.name)
        if len(later):
            text = (
                f"{e.what}: output position {later[0][0]} sends a gradient to position {later[0][1]}, which it "
                f"cannot see (axis {axis}), and the last position, which sees all, is wrong as well. So it is not "
                "the mask alone: is a matrix between positions used where its transpose is needed "
                "(dv = Pᵀ dy, dk = dSᵀ q)?"
            )
            return Cause("transposed", text, FUTURE_LEAKS, e.name)
        if len(lost) and (lost[:, 0] == lost[:, 1]).any():
            text = (
                f"{e.what}: no gradient goes from output position {lost[0][0]} to position {lost[0][1]}, which it "
                f"sees in the forward (axis {axis}), as if the causal mask in backward were off by one: the diagonal "
                "belongs to what may be seen."
            )
            return Cause("causal", text, MASK_ON_DIAGONAL, e.name)
    return None


def _axes(e: Evidence, n: Array, a: Array, out_shape: tuple[int, ...]) -> Cause | None:
    """An axis along which only one of forward and backward mixes positions."""
    if len(out_shape) != e.given.ndim:
        return None
    for axis in range(e.given.ndim):
        if out_shape[axis] != e.given.shape[axis] or out_shape[axis] < 2:
            continue
        off = ~np.eye(out_shape[axis], dtype=bool)
        true, given = (bool((depends_along(j, out_shape, e.given.shape, axis) & off).any()) for j in (n, a))
        which = f"axis {axis}" + (", the batch" if axis == 0 and e.given.ndim > 2 else "")
        if given and not true:
            text = (
                f"{e.what} mixes different places along {which}, which the forward keeps apart: a sum, mean or "
                "product over the wrong axis in backward?"
            )
            return Cause("mixing", text, MIXED_PLACES, e.name)
        if true and not given:
            text = (
                f"{e.what} treats every place along {which} on its own, but in the forward they influence each other "
                f"({INFLUENCE[axis < e.given.ndim - 1]}): the terms off the diagonal are missing."
            )
            upstream = e.known.get(UPSTREAM)
            if upstream is not None and upstream.shape == e.given.shape and np.array_equal(upstream, e.given):
                text += " It is the upstream gradient itself, unchanged: the backward of what forward does is missing."
            return Cause("diagonal", text, MISSING_MIXING, e.name)
    return _other_places(e, n, a, out_shape)


def _other_places(e: Evidence, n: Array, a: Array, out_shape: tuple[int, ...]) -> Cause | None:
    """An axis along which forward and backward connect different places."""
    for axis in range(e.given.ndim):
        true, given = (depends_along(j, out_shape, e.given.shape, axis) for j in (n, a))
        place = int(np.argmax((given & ~true).any(axis=1) & (true & ~given).any(axis=1)))
        if not (given & ~true)[place].any() or not (true & ~given)[place].any():
            continue
        into, back = (listing(np.flatnonzero(row[place]).tolist()) for row in (true, given))
        text = (
            f"{e.what} arrives at other places along axis {axis} than the forward reads: output {place} is made of "
            f"inputs {into}, and sends its gradient to {back}. Are pairs or groups formed in another way?"
        )
        return Cause("mixing", text, OTHER_PLACES, e.name)
    return None


def _elementwise(e: Evidence, trial: Trial, n: Array, true: Array, given: Array) -> Cause | None:
    """An elementwise function with a wrong derivative: where it is wrong, and whether it is a known function."""
    x = next((target.values.reshape(-1) for target in trial.targets if target.name == e.name), None)
    slopes, right = np.diag(given), np.diag(true)
    if x is None or (n & ~np.eye(len(n), dtype=bool)).any():
        return None
    if not (np.abs(slopes - right) > FIT * max(1.0, float(np.abs(right).max()))).any():
        return None
    if (dropped := _other_mask(e, trial, slopes, right)) is not None:
        return dropped
    i = int(np.argmax(np.abs(slopes - right)))
    text = (
        f"{e.what}: the function is elementwise, and its derivative is wrong: at x = {x[i]:.4g} backward uses "
        f"{slopes[i]:.6g}, the slope is {right[i]:.6g}. {_about_slopes(e, trial, x, slopes, right)}"
    )
    return Cause("slope", text, WRONG_SLOPE, e.name)


def _other_mask(e: Evidence, trial: Trial, slopes: Array, right: Array) -> Cause | None:
    """A dropout whose backward drops other places than its forward."""
    if "rng" not in trial.subject.signature.parameters or (right != 0).all() or len(np.unique(right.round(9))) != 2:
        return None
    let_through = int(((slopes != 0) & (right == 0)).sum())
    lost = int(((slopes == 0) & (right != 0)).sum())
    if not let_through and not lost:
        return None
    text = (
        f"{e.what} does not go through the mask of its own forward: it passes at {let_through} places that the "
        f"forward dropped, and is zero at {lost} that it kept. The cache must carry the mask: a new mask is "
        "a different one."
    )
    return Cause("dropout", text, OTHER_MASK, e.name)


def _about_slopes(e: Evidence, trial: Trial, x: Array, slopes: Array, right: Array) -> str:
    """A sentence about the slopes that backward uses: what they equal, or where they are right."""
    out = np.asarray(trial.out).reshape(-1)
    bad = np.abs(slopes - right) > FIT * max(1.0, float(np.abs(right).max()))
    with np.errstate(all="ignore"):
        names = {"the output itself": out, "the input itself": x, "output / input": out / x, "1": np.ones_like(x)}
    alike = [name for name, value in names.items() if np.allclose(slopes, value, rtol=1e-6, atol=1e-9)]
    if alike == ["output / input"]:
        return (
            "It equals output / input: for x g(x) the product rule has two terms, g + x g', and the second is missing."
        )
    if alike:
        return f"It equals {alike[0]} everywhere."
    if not bad[x > 0].any():
        return "It is right wherever x > 0 and wrong only below."
    if not bad[x < 0].any():
        return "It is right wherever x < 0 and wrong only above."
    if np.allclose(_slope_at_output(trial, e.name, out), slopes, rtol=1e-5, atol=1e-7):
        return "It is the derivative taken at the output f(x) instead of at the input x."
    return f"The error is largest there and {np.abs(slopes - right).min():.2g} at its smallest."


def _slope_at_output(trial: Trial, name: str, out: Array) -> Array:
    """f'(f(x)), by differences."""
    target = next(target for target in trial.targets if target.name == name)
    original = target.values.copy()
    try:
        target.values[...] = out.reshape(original.shape)
        return np.array([trial.derivative(target.values, place)[place] for place in np.ndindex(original.shape)])
    finally:
        target.values[...] = original
