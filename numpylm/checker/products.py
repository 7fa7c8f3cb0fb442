"""Which product of known arrays is this? K1 · K2 element by element, summed or not; K1ᵀ K2 over rows; K1 @ K2."""

from collections.abc import Callable, Iterator

import numpy as np

from numpylm.checker.evidence import FIT
from numpylm.module import Array

LARGEST = 20_000  # entries of a product that is tried
Known = dict[str, Array]
Product = tuple[str, Array]


def explain(wanted: Array, known: Known) -> str:
    """What an array is, made of known ones; empty if nothing fits. The plainest comes first."""
    if not np.any(wanted) or wanted.size < 2:
        return ""
    scale = float(np.abs(wanted).max())
    for text, value in candidates(wanted.shape, known):
        if np.abs(value - wanted).max() <= FIT * scale:
            return text
    return ""


def candidates(shape: tuple[int, ...], known: Known) -> Iterator[Product]:
    """Everything of that shape that one or two known arrays make."""
    for form in (_alone, _elementwise, _outer, _matrix, _shifted_outer):
        yield from form(shape, known)


def _alone(shape: tuple[int, ...], known: Known) -> Iterator[Product]:
    for name, k in known.items():
        if k.shape == shape:
            yield name, k
            if k.ndim == 2 and shape[0] == shape[1]:
                yield f"{name}ᵀ", k.T
        elif k.ndim > len(shape) and k.shape[k.ndim - len(shape) :] == shape:
            axes = tuple(range(k.ndim - len(shape)))
            yield f"the sum of {name} over its first {'axis' if len(axes) == 1 else f'{len(axes)} axes'}", k.sum(axes)


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
        try:
            full = np.broadcast_shapes(a.shape, b.shape)
        except ValueError:
            return False
        return full in (a.shape, b.shape) and full[len(full) - len(shape) :] == shape and np.prod(full) <= LARGEST

    for first, a, second, b in _pairs(known, fits):
        for (form, f), (one, x, two, y) in (
            (form, pair) for form in FORMS for pair in ((first, a, second, b), (second, b, first, a))
        ):
            full = x * f(y)
            axes = tuple(range(full.ndim - len(shape)))
            text = f"{one} * {form.replace('{}', two)}"
            yield (f"the sum of {text} over the first {'axis' if len(axes) == 1 else f'{len(axes)} axes'}", full.sum(axes)) if axes else (text, full)


def _outer(shape: tuple[int, ...], known: Known) -> Iterator[Product]:
    """K1ᵀ K2 over all rows: what the gradient of a matrix is."""
    if len(shape) != 2:
        return
    rows = _rows(known)
    for first, a in rows.items():
        for second, b in rows.items():
            if len(a) == len(b) and (a.shape[1], b.shape[1]) == shape:
                yield f"{first}ᵀ @ {second} (over all rows)", a.T @ b


def _rows(known: Known) -> Known:
    return {name: k.reshape(-1, k.shape[-1]) for name, k in known.items() if k.ndim >= 2 and k.size <= LARGEST}


def _shifted_outer(shape: tuple[int, ...], known: Known) -> Iterator[Product]:
    """K1ᵀ K2 with K1 taken one step earlier or later along axis 1: the state before, not the state after."""
    if len(shape) != 2:
        return
    series = {name: k for name, k in known.items() if k.ndim == 3 and k.size <= LARGEST}
    for first, a in series.items():
        for second, b in series.items():
            if a.shape[:2] == b.shape[:2] and (a.shape[-1], b.shape[-1]) == shape:
                for text, x, y in (
                    (f"{first} one step earlier, ᵀ @ {second}", a[:, :-1], b[:, 1:]),
                    (f"{first} one step later, ᵀ @ {second}", a[:, 1:], b[:, :-1]),
                ):
                    yield text, np.einsum("bti,btj->ij", x, y)


def _matrix(shape: tuple[int, ...], known: Known) -> Iterator[Product]:
    """K1 @ K2 with the second, or the first, transposed or not, over the last two axes."""
    if len(shape) < 2:
        return
    wide = {name: k for name, k in known.items() if k.ndim >= 2 and k.size <= LARGEST}
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
                    continue  # with two axes that is a product over rows
                good = left.shape[-1] == right.shape[-2] and (*left.shape[:-1], right.shape[-1]) == shape
                if good and (b.ndim == 2 or left.shape[:-2] == right.shape[:-2]):
                    yield text, left @ right
