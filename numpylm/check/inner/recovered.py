"""Gradients inside a layer, computed back from the gradients of its weights.

For y = x W the gradient of W is dW = xᵀ d, where d is the gradient at y. If x has no more rows than columns, this can
be solved: d = (xᵀ)⁺ dW. In the same way d = dx (Wᵀ)⁺ if x is used only in x W. So the gradient at y is known even if
no variable in the student's code holds y, and even where the code itself cannot be watched. `inner.flow` and
`inner.pinpoint` need a variable for y and name a line; this file needs neither.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from numpylm.check.confidence import ANOTHER_FACTOR, LOST_PATH, PATTERN, UNCHANGED_INSIDE
from numpylm.check.limits import FIT, TINY
from numpylm.check.measure.evidence import Evidence
from numpylm.check.measure.trial import Trial
from numpylm.check.numbers.detect import detect
from numpylm.check.report import Cause
from numpylm.check.subject.calls import comparable
from numpylm.nn.module import Array


@dataclass(frozen=True)
class Product:
    """A product x W in the forward, and the true gradient ``d`` at it."""

    x: str
    weight: str
    d: Array  # (..., out)
    back: Array  # d Wᵀ, the part of x's gradient that comes through W


def products_in(trial: Trial, true: dict[str, Array]) -> list[Product]:
    """All products of an input with a matrix for which the gradient at the product can be computed."""
    found = []
    inputs = {t.name: t.values for t in trial.targets if t.parameter is None and t.values.ndim >= 2}
    for weight, W in weights(trial, include_inputs=len(inputs) > 1).items():
        for x, values in inputs.items():
            rows = values.reshape(-1, values.shape[-1])
            if x == weight or weight not in true or np.isnan(true[weight]).any():
                continue
            for transposed in (False, True):
                matrix, grad = (W.T, true[weight].T) if transposed else (W, true[weight])
                d = solve_upstream(rows, grad)
                if d is not None:
                    back = (d @ matrix.T).reshape(values.shape)
                    found.append(Product(x, weight, d.reshape(*values.shape[:-1], -1), back))
                    break
    return found


def weights(trial: Trial, include_inputs: bool) -> dict[str, Array]:
    """Matrices: parameters and, because a function's weights are inputs, also inputs with two axes."""
    matrices = [t for t in trial.targets if t.values.ndim == 2]
    return {t.name: t.values for t in matrices if include_inputs or t.parameter is not None}


def solve_upstream(rows: Array, grad: Array) -> Array | None:
    """d with rowsᵀ d = grad, if there is exactly one."""
    if rows.shape[1] != grad.shape[0] or len(rows) > rows.shape[1] or np.linalg.matrix_rank(rows) < len(rows):
        return None
    d = np.linalg.pinv(rows.T) @ grad
    fits = np.abs(rows.T @ d - grad).max() <= 1e-7 * max(np.abs(grad).max(), TINY)
    return d if fits else None


def recover(trial: Trial, gathered: dict[str, Evidence]) -> Iterator[Cause]:
    """Causes of wrong gradients from the gradients inside. ``place`` is the array whose gradient is wrong."""
    true = {name: e.true for name, e in gathered.items() if e.fully_measured}
    true |= {
        t.name: np.asarray(t.analytic)
        for t in trial.targets
        if t.name not in gathered and comparable(t.analytic, t.values.shape)
    }
    found = products_in(trial, true)
    for name, e in gathered.items():
        if not e.fully_measured:
            continue
        yield from at_product(trial, e, found)
        yield from behind_product(trial, e)
        yield from lost_path(e, [product for product in found if product.x == name], set(gathered))


def inner_known(trial: Trial, found: list[Product], skip: str) -> dict[str, Array]:
    """Gradients that a student may have used by mistake."""
    known = {
        f"the gradient at {product.x} @ {product.weight}": product.d for product in found if product.weight != skip
    }
    dout = np.asarray(trial.dout)
    for name, parameter in trial.subject.parameters:
        W = parameter.data
        if dout.ndim and W.ndim == 2 and W.shape[1] == dout.shape[-1]:
            known[f"the upstream gradient @ {name}ᵀ"] = dout @ W.T
    return known


def at_product(trial: Trial, e: Evidence, found: list[Product]) -> Iterator[Cause]:
    """The gradient of a matrix is wrong: look at the array that was multiplied by xᵀ."""
    product = next((product for product in found if product.weight == e.name), None)
    if product is None:
        return
    x, values = product.x, next(t.values for t in trial.targets if t.name == product.x)
    rows = values.reshape(-1, values.shape[-1])
    transposed = e.given.shape[0] != rows.shape[1]  # W is (out, in)
    given = solve_upstream(rows, e.given.T if transposed else e.given)
    if given is None:
        text = (
            f"{e.what} is not {x}ᵀ times anything, and the true one is {x}ᵀ times the gradient at {x} @ {e.name}: is "
            f"another array than {x} used?"
        )
        yield Cause("missing-factor", text, ANOTHER_FACTOR, e.name)
        return
    given, name = given.reshape(product.d.shape), f"{x} @ {e.name}"
    inner = Evidence(e.layer, name, given, product.d, known=e.known, sizes=e.sizes, heads=e.heads)
    equation = f"dᵀ {x}" if transposed else f"{x}ᵀ d"
    origin = f"(Computed from the gradient of {e.name}: {_gradient(e.name)} = {equation}, solved for d.)"
    yield from _explained(inner, inner_known(trial, found, e.name), e.name, origin)


def behind_product(trial: Trial, e: Evidence) -> Iterator[Cause]:
    """The gradient of an input is wrong and comes through one matrix only: look at what was multiplied by Wᵀ."""
    for name, W in weights(trial, include_inputs=True).items():
        if name == e.name or e.given.ndim < 2 or W.ndim != 2:
            continue
        if W.shape[0] != e.given.shape[-1] or W.shape[1] > W.shape[0]:
            continue
        if np.linalg.matrix_rank(W) < W.shape[1] or W.shape[1] == W.shape[0]:
            continue  # every gradient is a product with a square matrix, which proves nothing
        inverse = np.linalg.pinv(W.T)
        given, right = e.given @ inverse, e.true @ inverse
        if not (e.equal(given @ W.T, e.given) and e.equal(right @ W.T, e.true)):
            continue
        inner = Evidence(e.layer, f"{e.name} @ {name}", given, right, known=e.known, sizes=e.sizes, heads=e.heads)
        origin = f"(Computed from the gradient of {e.name}: {_gradient(e.name)} = d {name}ᵀ, solved for d.)"
        yield from _explained(inner, {}, e.name, origin)
        return


def _gradient(name: str) -> str:
    """How a student would call the gradient of an array in an equation: dW for W and for attn.W."""
    return f"d{name.rpartition('.')[2]}"


def _explained(inner: Evidence, known: dict[str, Array], place: str, origin: str) -> Iterator[Cause]:
    """The best explanation of an inner gradient."""
    for name, k in known.items():
        if k.shape == inner.given.shape and inner.equal(inner.given, k) and not inner.equal(inner.true, k):
            text = (
                f"{inner.what} is {name}, unchanged: something that the forward does after {inner.name} has no "
                f"backward here. {origin}"
            )
            yield Cause("wiring", text, UNCHANGED_INSIDE, place, source="recovered")
            return
    best = max(detect(inner), key=lambda cause: cause.confidence, default=None)
    if best is not None and best.confidence > PATTERN:
        yield replace(best, text=f"{best.text} {origin}", place=place, source="recovered")


def lost_path(e: Evidence, products: list[Product], wrong: set[str]) -> Iterator[Cause]:
    """The part of an input's gradient that comes through one of several matrices is missing, or counts twice."""
    rest = e.true - e.given
    for product in products:
        W, back = product.weight, product.back
        if np.abs(back).max(initial=0) <= FIT * e.scale:
            continue
        if e.equal(rest, back):
            text = (
                f"{e.what} lacks the path through {W}: {e.name} is used in {e.name} @ {W}, too, so (the gradient "
                f"there) @ {W}ᵀ must be added. Every use of an array adds to its gradient."
            )
            yield Cause("missing-term", text, LOST_PATH, e.name)
        elif e.equal(rest, -back) and not e.equal(e.true, back) and W not in wrong:
            text = f"{e.what} counts the path through {W} ({e.name} @ {W}) twice."
            yield Cause("missing-term", text, LOST_PATH, e.name)
