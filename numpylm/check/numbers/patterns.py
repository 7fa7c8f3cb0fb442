"""What a wrong gradient looks like beside the true one: sign, factor, order. One function for each pattern."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from numpylm.check.confidence import (
    ALL_ZERO,
    ANOTHER_ORDER,
    ELEMENTWISE_FACTOR,
    FACTOR,
    GRADIENT_OF_ANOTHER,
    NAMED_FACTOR,
    RESHAPED,
    ROW_FACTORS,
    TRANSPOSED,
    WRONG_SIGN,
)
from numpylm.check.limits import FIT, NO_FACTOR
from numpylm.check.measure.evidence import Evidence, cosine
from numpylm.check.measure.sizes import name_factor
from numpylm.check.report import Cause
from numpylm.nn.module import Array

Detective = Callable[[Evidence], Cause | None]


def factor(e: Evidence) -> Cause | None:
    """a = c n: the wrong sign, or a constant factor that is missing or extra."""
    a, n = e.given[e.measured], e.true[e.measured]
    c = float(a @ n) / float(n @ n) if np.any(n) else 0.0
    if not c or not e.equal(e.given, c * e.true) or abs(c - 1) < NO_FACTOR:
        return None
    if abs(c + 1) < FIT:
        text = f"{e.what} has the wrong sign: it is -1 times {e.words.truth} (cosine {cosine(e.given, e.true):.3f})."
        return Cause("sign", text, WRONG_SIGN, e.name)
    names, moves = _confirmed(c, e)
    if moves and not names and e.given.size <= 2:
        return None  # any single number is a multiple of any other
    text = f"{e.what} is {c:.6g} times {e.words.truth} everywhere"
    if names:
        perhaps = "" if e.elsewhere is not None else "perhaps "
        text += f": {perhaps}{' or '.join(names[:2])}"
    elif moves:
        text += " (with other numbers another multiple): a single number computed from the data is missing or extra"
    elif e.elsewhere is not None:
        text += ", a constant that is none of the sizes"
    return Cause(
        "factor",
        f"{text} (cosine {cosine(e.given, e.true):.3f}).",
        NAMED_FACTOR if names else FACTOR,
        e.name,
        detail=f"{c:.6g}",
    )


def _confirmed(c: float, e: Evidence) -> tuple[list[str], bool]:
    """The names of a factor that also fit at other sizes, and whether the factor changes there."""
    names, moves = name_factor(c, e.sizes), False
    for other, sizes in e.elsewhere() if e.elsewhere is not None else ():
        there = name_factor(other, sizes, ones=True)
        names = [name for name in names if name in there]
        moves |= abs(other - c) > 1e-5 * abs(c)
    return names, moves


def swapped(e: Evidence) -> Cause | None:
    """a is the true gradient of something else."""
    for name, other in e.others.items():
        if name != e.name and other.shape == e.given.shape and e.equal(e.given, other) and not e.equal(e.true, other):
            text = (
                f"{e.what} is the true gradient of {name} (cosine {cosine(e.given, other):.3f}): are two results "
                "exchanged, or is the same one used twice?"
            )
            return Cause("swapped", text, GRADIENT_OF_ANOTHER, e.name, detail=name)
    return None


def never_written(e: Evidence) -> Cause | None:
    """a is zero."""
    if np.any(e.given):
        return None
    text = f"{e.what} is zero: it received no gradient. Backward never adds to it (or adds only zeros)."
    return Cause("never-written", text, ALL_ZERO, e.name)


def _sigmoid(k: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-k)))


FORMS: tuple[tuple[str, Callable[[Array], Array]], ...] = (
    ("{}", lambda k: k),
    ("(1 - {})", lambda k: 1 - k),
    ("(1 + {})", lambda k: 1 + k),
    ("{}²", lambda k: k * k),
    ("(1 - {}²)", lambda k: 1 - k * k),
    ("{} (1 - {})", lambda k: k * (1 - k)),
    ("exp({})", lambda k: np.exp(np.minimum(k, 700))),
    ("sigmoid({})", lambda k: _sigmoid(k)),
    ("the slope of the sigmoid at {}", lambda k: _sigmoid(k) * (1 - _sigmoid(k))),
    ("the slope of tanh at {}", lambda k: 1 - np.tanh(k) ** 2),
)


def missing_factor(e: Evidence) -> Cause | None:
    """n = a f(K) or a = n f(K) with an array K that is known and a simple function f."""
    for form, function in FORMS:
        for name, k in e.known.items():
            K = _broadcast(k, e.given.shape)
            if K is None or np.ptp(K) == 0:
                continue
            with np.errstate(all="ignore"):
                f = function(K)
            if not np.isfinite(f).all() or np.ptp(f) == 0:
                continue
            f_of_K = form.replace("{}", name)
            if e.equal(e.given * f, e.true):
                text = f"{e.what} lacks a factor: multiplied elementwise by {f_of_K} it is the true one (cosine 1.000)."
                return Cause("missing-factor", text, ELEMENTWISE_FACTOR, e.name, detail=f_of_K)
            if e.equal(e.given, e.true * f):
                text = f"{e.what} has an extra factor: it is the true one multiplied elementwise by {f_of_K}."
                return Cause("missing-factor", text, ELEMENTWISE_FACTOR, e.name, detail=f"1 / {f_of_K}")
    return None


def _broadcast(k: Array, shape: tuple[int, ...]) -> Array | None:
    """k broadcast to a shape, or None if k does not fit it."""
    try:
        return np.broadcast_to(k, shape) if k.ndim <= len(shape) else None
    except ValueError:
        return None


def row_factors(e: Evidence) -> Cause | None:
    """a is n with a factor of its own for each row, which no known array names."""
    if e.given.ndim < 2 or e.given.shape[-1] < 3 or not e.fully_measured:
        return None
    a, n = (array.reshape(-1, e.given.shape[-1]) for array in (e.given, e.true))
    a, n = (array[np.abs(n).max(axis=1) > FIT * e.scale] for array in (a, n))  # other rows have no direction
    factors = (a * n).sum(axis=1) / (n * n).sum(axis=1)
    odd = factors[np.abs(factors - 1) > FIT]
    parallel = np.abs(a - factors[:, None] * n).max(initial=0) <= FIT * e.scale
    if not parallel or (np.abs(factors) < FIT).any() or len(odd) < 2 or np.ptp(odd) < FIT:
        return None
    listed = ", ".join(f"{factor:.4g}" for factor in factors[:4]) + (", …" if len(factors) > 4 else "")
    text = (
        f"{e.what} has a wrong length in each row and the right direction: the rows are {listed} times the true ones. "
        "A factor for each row (a weight, a mean, a norm) is missing or extra."
    )
    return Cause("missing-factor", text, ROW_FACTORS, e.name)


def views(e: Evidence) -> Iterator[tuple[tuple[int, ...], str]]:
    """Possible shapes of the array: its own, and with the last axis split into heads."""
    yield e.given.shape, ""
    if e.given.ndim >= 2:
        for heads in e.heads:
            if e.given.shape[-1] % heads == 0 and 1 < heads < e.given.shape[-1] and e.given.ndim < 4:
                size = e.given.shape[-1] // heads
                yield (*e.given.shape[:-1], heads, size), f" with its last axis split into {heads} heads of {size}"


def _orders(ndim: int) -> list[tuple[int, ...]]:
    """Orders of the axes. With four or more axes the first one (the batch) stays first."""
    if ndim < 4:
        return list(itertools.permutations(range(ndim)))
    return [(0, *rest) for rest in itertools.permutations(range(1, ndim))]


def transposed(e: Evidence) -> Cause | None:
    """The axes of a are in another order than those of n."""
    if e.given.ndim < 2:
        return None
    for shape, split in views(e):
        a, n = e.given.reshape(shape), e.true.reshape(shape)
        for order in _orders(len(shape)):
            moved = np.transpose(a, order)
            if order == tuple(range(len(shape))) or moved.shape != shape:
                continue
            if e.equal(moved.reshape(e.given.shape), e.true) and not e.equal(e.given, e.true):
                axes = [i for i, axis in enumerate(order) if i != axis]
                which = "last two axes" if axes == [len(shape) - 2, len(shape) - 1] else f"axes {axes}"
                like = f"{e.what}{split} equals {e.words.truth} transposed over its {which}"
                text = f"{like}: cosine {cosine(moved, n):.3f}."
                return Cause("transposed", text, TRANSPOSED, e.name, detail=str((shape, order)))
    return None


def reshaped(e: Evidence) -> Cause | None:
    """n was put into another order of axes and then reshaped, where it should have been transposed back."""
    if e.given.ndim < 2 or not e.fully_measured:
        return None
    for shape, split in views(e):
        n = e.true.reshape(shape)
        orders = _orders(len(shape))
        for order, target in itertools.product(orders, orders):
            if order == target:
                continue
            wrong = np.transpose(n, order).reshape([shape[i] for i in target])
            wrong = np.transpose(wrong, np.argsort(target)).reshape(e.given.shape)
            if e.equal(e.given, wrong) and not e.equal(wrong, e.true):
                was, became = (_layout(shape, axes, bool(split)) for axes in (order, target))
                text = (
                    f"{e.what}{split} has the right numbers in the wrong places: laid out as {was} they were reshaped "
                    f"to {became}, where they must be transposed (swapaxes). reshape never moves a number in memory. "
                    f"({e.words.cosine.capitalize()} {cosine(e.given, e.true):.3f}, {e.words.reshaped} 1.000.)"
                )
                return Cause("reshaped", text, RESHAPED, e.name, detail=str((shape, order, target)))
    return None


def _layout(shape: tuple[int, ...], axes: tuple[int, ...], split: bool) -> str:
    """The axes as letters if they have any: ``(B, H, D, T)``."""
    letters = {(3, False): "BTC", (4, True): "BTHD", (4, False): "BHTD"}.get((len(shape), split))
    names = [letters[i] if letters else str(shape[i]) for i in axes]
    return f"({', '.join(names)})"


def permuted(e: Evidence) -> Cause | None:
    """Whole slices of a are those of n in another order."""
    for shape, split in views(e):
        a, n = e.given.reshape(shape), e.true.reshape(shape)
        for axis in range(len(shape)):
            order = _slice_order(np.moveaxis(a, axis, 0), np.moveaxis(n, axis, 0), e.scale) if shape[axis] > 1 else None
            if order is None:
                continue
            called = "heads" if split and axis == len(shape) - 2 else f"slices along axis {axis}"
            text = f"{e.what}{split} has its {called} in the wrong order: {_describe_order(order)}."
            return Cause("permuted", text, ANOTHER_ORDER, e.name, detail=str((axis, order)))
    return None


def _describe_order(order: list[int]) -> str:
    """The order in words, by blocks if the slices moved in blocks."""
    count = len(order)
    for size in (count // k for k in range(2, count) if count % k == 0):
        starts = order[::size]
        if all(order[i] == starts[i // size] + i % size and starts[i // size] % size == 0 for i in range(count)):
            break
    else:
        size = 1
    blocks = f", in blocks of {size}" if size > 1 else ""
    places = [start // size for start in order[::size]]
    return f"what is at {list(range(len(places)))}{blocks} belongs at {places}"


def _slice_order(a: Array, n: Array, scale: float) -> list[int] | None:
    """The right index of each slice of a, if a's slices are n's in another order."""
    if len(a) > 64 or np.isnan(n).any():
        return None
    a, n = a.reshape(len(a), -1), n.reshape(len(n), -1)
    if a.shape[1] < 2 and len(a) < 4:
        return None  # a few single numbers agree by chance
    gap = np.abs(a[:, None] - n[None]).max(axis=-1)  # (slices of a, slices of n)
    order = gap.argmin(axis=1)
    alike = gap[np.arange(len(a)), order] <= FIT * scale
    if not alike.all() or sorted(order) != list(range(len(a))) or (order == np.arange(len(a))).all():
        return None
    return [int(i) for i in order]


PATTERNS: tuple[Detective, ...] = (
    never_written,
    swapped,
    factor,
    missing_factor,
    row_factors,
    transposed,
    reshaped,
    permuted,
)
