"""Formulas for an array as a product of known arrays: elementwise and summed, K1ᵀ K2 over rows, K1 @ K2."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from numpylm.check.limits import FIT, MOST_IN_PRODUCT, NEAR_ARRAYS
from numpylm.nn.module import Array

ROWS = " (over all rows)"
Known = dict[str, Array]
Product = tuple[str, Array]


@dataclass(frozen=True)
class Formula:
    """A formula for an array in terms of known arrays.

    Attributes
    ----------
    text : str
    opposite : str
        The formula without its leading minus, or empty if it has none.
    has_terms : bool
        Whether it has a sum or a difference anywhere.
    """

    text: str
    opposite: str = ""
    has_terms: bool = False


def explain(wanted: Array, known: Known, upstream: float | None = None) -> str:
    """The text of `find_formula`; empty if nothing fits."""
    found = find_formula(wanted, known, upstream)
    return "" if found is None else found.text


def find_formula(wanted: Array, known: Known, upstream: float | None = None) -> Formula | None:
    """A formula for an array in terms of known arrays, or None if none fits. Simple formulas are tried first.

    ``upstream`` is the upstream gradient if it is a single (random) number. Coefficients are given as multiples of it.
    """
    if not np.any(wanted):
        return None
    scale = float(np.abs(wanted).max())
    fit = FIT if wanted.size > 1 else FIT / 1000  # a single number fits easily by chance
    with np.errstate(all="ignore"):
        for text, value in candidates(wanted.shape, known):
            if np.abs(value - wanted).max() <= fit * scale:
                return _formula(text)
            size = float(np.vdot(value, value))
            factor = float(np.vdot(value, wanted)) / size if size else 0.0
            if wanted.size > 4 and np.abs(factor * value - wanted).max() <= FIT * scale:
                return _formula(_times(factor, text, upstream))
    return None


def _formula(text: str) -> Formula:
    return Formula(text, text[1:] if text[0] == "-" else "", any(sign in text for sign in (" + ", " - ")))


def _times(factor: float, text: str, upstream: float | None) -> str:
    """A formula times a coefficient, in brackets if it is a sum. A random upstream gradient is called by its name."""
    whole = f"({text})" if _is_sum(text) else text
    if abs(factor + 1) < FIT:
        return f"-{whole}"
    if not upstream:
        return f"{factor:.5g} * {whole}"
    rest = factor / upstream
    return ("" if abs(rest - 1) < FIT else f"{rest:.5g} * ") + f"the upstream gradient * {whole}"


def _is_sum(text: str) -> bool:
    """Whether a formula has a + or - outside all brackets, and so needs brackets before a factor is put in front."""
    depth = 0
    for i, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if not depth and text[i : i + 3] in (" + ", " - "):
            return True
    return False


def candidates(shape: tuple[int, ...], known: Known) -> Iterator[Product]:
    """All products of one, two or three known arrays that have the shape."""
    floats = {name: k.astype(np.float64) for name, k in known.items() if k.dtype.kind in "fb"}
    near = dict(list(floats.items())[:NEAR_ARRAYS])
    for form in (_alone, _elementwise, _outer, _matrix, _shifted_outer):
        yield from form(shape, floats)
    yield from _less_its_sum(shape, near)
    yield from _triple(shape, near)
    yield from _two_outers(shape, near)
    yield from _scattered(shape, known)


def _axes(full: int, shape: tuple[int, ...]) -> tuple[tuple[int, ...], str]:
    """The leading axes to sum over, and the words for that sum."""
    axes = tuple(range(full - len(shape)))
    return axes, "" if not axes else f"the sum over the first {'axis' if len(axes) == 1 else f'{len(axes)} axes'} of "


def _alone(shape: tuple[int, ...], known: Known) -> Iterator[Product]:
    for name, k in known.items():
        if k.shape[k.ndim - len(shape) :] == shape:
            axes, sum_over = _axes(k.ndim, shape)
            yield sum_over + name, k.sum(axes) if axes else k
        if k.ndim == 2 and k.shape == shape and shape[0] == shape[1]:
            yield f"{name}ᵀ", k.T


FORMS: tuple[tuple[str, Callable[[Array], Array]], ...] = (
    ("{}", lambda k: k),
    ("(1 - {})", lambda k: 1 - k),
    ("(1 - {}²)", lambda k: 1 - k * k),
    ("{}²", lambda k: k * k),
)


def _pairs(known: Known, fits: Callable[[Array, Array], bool]) -> Iterator[tuple[str, Array, str, Array]]:
    names = list(known)
    for i, first in enumerate(names):
        for second in names[i:]:
            if known[first].size * known[second].size and fits(known[first], known[second]):
                yield first, known[first], second, known[second]


def _elementwise(shape: tuple[int, ...], known: Known) -> Iterator[Product]:
    def fits(a: Array, b: Array) -> bool:
        full = _broadcast(a, b)
        return full is not None and full in (a.shape, b.shape) and _ends_with(full, shape)

    for first, a, second, b in _pairs(known, fits):
        for form, f in FORMS:
            for one, x, two, y in ((first, a, second, b), (second, b, first, a))[: 1 if form == "{}" else 2]:
                full = x * f(y)
                axes, sum_over = _axes(full.ndim, shape)
                yield f"{sum_over}{one} * {form.replace('{}', two)}", full.sum(axes) if axes else full


def _less_its_sum(shape: tuple[int, ...], near: Known) -> Iterator[Product]:
    """The backwards of softmax, log-softmax and a mean."""
    for first, a in near.items():
        if a.shape != shape or not shape:
            continue
        yield f"{first} - {first}.mean(-1, keepdims=True)", a - a.mean(-1, keepdims=True)
        for second, p in near.items():
            if p.shape == shape and first != second:
                yield f"{first} - {second} * {first}.sum(-1, keepdims=True)", a - p * a.sum(-1, keepdims=True)
                less = a - (a * p).sum(-1, keepdims=True)
                yield f"{second} * ({first} - ({first} * {second}).sum(-1, keepdims=True))", p * less


def _ends_with(full: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a sum over leading axes gives the shape, and the array is not too large."""
    return len(full) >= len(shape) and full[len(full) - len(shape) :] == shape and int(np.prod(full)) <= MOST_IN_PRODUCT


def _broadcast(*arrays: Array) -> tuple[int, ...] | None:
    try:
        return np.broadcast_shapes(*(array.shape for array in arrays))
    except ValueError:
        return None


def _triple(shape: tuple[int, ...], near: Known) -> Iterator[Product]:
    """K1 * K2 * K3, summed over leading axes where it has more."""
    for names in combinations(near, 3):
        full = _broadcast(*(near[name] for name in names))
        if full is not None and _ends_with(full, shape):
            axes, sum_over = _axes(len(full), shape)
            product = near[names[0]] * near[names[1]] * near[names[2]]
            yield sum_over + " * ".join(names), product.sum(axes) if axes else product


def _outer(shape: tuple[int, ...], known: Known) -> Iterator[Product]:
    """K1ᵀ K2 over all rows, the form of a matrix gradient."""
    if len(shape) != 2:
        return
    rows = _rows(known)
    for first, a in rows.items():
        for second, b in rows.items():
            if len(a) == len(b) and (a.shape[1], b.shape[1]) == shape:
                yield f"{first}ᵀ @ {second}{ROWS}", a.T @ b


def _rows(known: Known) -> Known:
    rows = {name: k.reshape(-1, k.shape[-1]) for name, k in known.items() if k.ndim >= 2 and k.size <= MOST_IN_PRODUCT}
    wide = {
        f"{n}.reshape({len(k)}, -1)": k.reshape(len(k), -1)
        for n, k in known.items()
        if k.ndim > 2 and k.size <= MOST_IN_PRODUCT
    }
    return rows | wide


def _two_outers(shape: tuple[int, ...], near: Known) -> Iterator[Product]:
    """The sum of two such products, for a matrix that is used in two places."""
    found = list(_outer(shape, near))
    for (first, a), (second, b) in combinations(found, 2):
        yield f"{first.replace(ROWS, '')} + {second}", a + b


def _shifted_outer(shape: tuple[int, ...], known: Known) -> Iterator[Product]:
    """K1ᵀ K2 with K1 one step earlier along axis 1, as for a state that enters each step of a loop."""
    if len(shape) != 2:
        return
    series = {name: k for name, k in known.items() if k.ndim == 3 and k.size <= MOST_IN_PRODUCT}
    states = {name: k for name, k in known.items() if k.ndim == 2}
    for first, a in series.items():
        for second, b in series.items():
            if a.shape[:2] != b.shape[:2] or (a.shape[-1], b.shape[-1]) != shape:
                continue
            later = np.einsum("bti,btj->ij", a[:, :-1], b[:, 1:])
            yield f"({first}, one step earlier)ᵀ @ {second}", later
            yield (
                f"({first}, one step earlier, with the last step in first place)ᵀ @ {second}",
                later + a[:, -1].T @ b[:, 0],
            )
            for name, k in states.items():
                if k.shape == a[:, 0].shape:
                    yield f"({name}, then {first} one step earlier)ᵀ @ {second}", later + k.T @ b[:, 0]


def _scattered(shape: tuple[int, ...], known: Known) -> Iterator[Product]:
    """Rows of K added, or assigned, at the places that an array of integers names."""
    indices = [(name, k) for name, k in known.items() if k.dtype.kind in "iu" and k.size > 1]
    indices += [(f"|{name}|", np.abs(k)) for name, k in indices if (k < 0).any()]
    for name, index in indices:
        if index.min() < 0 or index.max() >= shape[0]:
            continue
        for other, k in known.items():
            full = (*index.shape, *shape[1:])
            if k.dtype.kind != "f" or k.shape[k.ndim - len(full) :] != full:
                continue
            axes, sum_over = _axes(k.ndim, full)
            rows = k.sum(axes) if axes else k
            added, assigned = np.zeros(shape), np.zeros(shape)
            np.add.at(added, index, rows)
            assigned[index] = rows
            what = f"({sum_over}{other})"
            yield f"np.add.at with the index {name} and {what}: each use adds", added
            yield (
                f"{what} assigned at the index {name} (also += keeps only the last of several equal indices)",
                assigned,
            )


def _matrix(shape: tuple[int, ...], known: Known) -> Iterator[Product]:
    """K1 @ K2 over the last two axes, with one of the two transposed or none."""
    if len(shape) < 2:
        return
    wide = {name: k for name, k in known.items() if k.ndim >= 2 and k.size <= MOST_IN_PRODUCT}
    for first, a in wide.items():
        for second, b in wide.items():
            if first == second or b.ndim not in (2, a.ndim):
                continue
            for left, right, text in (
                (a, b, f"{first} @ {second}"),
                (a, b.swapaxes(-1, -2), f"{first} @ {second}ᵀ"),
                (a.swapaxes(-1, -2), b, f"{first}ᵀ @ {second}"),
            ):
                if a.ndim == 2 and left is not a:
                    continue  # for two axes `_outer` has this product
                good = left.shape[-1] == right.shape[-2] and (*left.shape[:-1], right.shape[-1]) == shape
                if good and (b.ndim == 2 or left.shape[:-2] == right.shape[:-2]):
                    yield text, left @ right
