"""Gradient check: is backward really the derivative of forward?

The analytic gradient is compared with differences of the forward pass alone, in float64. The check closes
the five places where wrong gradients hide: special initial values (parameters are randomised), dropout that
is switched off (give the layer p > 0: every forward here sees the same dropout mask), upstream gradients of
ones (they are random here), tolerances that are absolute, and parameters that nobody looks at.
"""

import copy
import inspect
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from numpylm.module import Array, Cache, Parameter, named_parameters

TOLERANCE = 1e-6  # worst relative error that passes; a right backward is typically below 1e-9
FULL_CHECK = 40  # arrays up to this size are checked element by element
SAMPLED = 12  # larger ones at so many random coordinates, and along one random direction
STEPS = (1e-3, 1e-4, 1e-5, 1e-6)  # a coordinate that fails with one step gets the next: see `_difference`


@dataclass
class Row:
    """What was found for one input or parameter: ``max_rel_error`` is the worst over the checked places."""

    name: str
    shape: tuple[int, ...]
    max_rel_error: float
    ok: bool
    hint: str = ""


@dataclass
class Report:
    """Result of `gradcheck`. ``str(report)`` is a table; ``report.ok`` is True if every row passes."""

    title: str
    rows: list[Row]
    problems: list[str] = field(default_factory=list)  # what concerns the layer as a whole
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return bool(self.rows) and all(row.ok for row in self.rows) and not self.problems

    def __str__(self) -> str:
        width = max([len(row.name) for row in self.rows] + [4])
        shapes = ["×".join(map(str, row.shape)) or "scalar" for row in self.rows]
        shape_width = max([len(shape) for shape in shapes] + [5])
        lines = [f"{self.title}  ({self.seconds:.2f} s)"]
        lines.append(f"  {'name':{width}}  {'shape':{shape_width}}  worst rel. error")
        for row, shape in zip(self.rows, shapes, strict=True):
            verdict = "ok" if row.ok else "WRONG"
            lines.append(f"  {row.name:{width}}  {shape:{shape_width}}  {row.max_rel_error:16.1e}  {verdict}")
            if row.hint:
                lines.append(f"      {row.hint}")
        lines += [f"  {problem}" for problem in self.problems]
        if not self.rows:
            lines.append("  nothing to check: no floating-point input and no Parameter")
        return "\n".join(lines)


def gradcheck(
    layer: Any,
    *inputs: Any,
    rng: np.random.Generator | None = None,
    tolerance: float = TOLERANCE,
    **options: Any,
) -> Report:
    """Compare a layer's backward with differences of its forward.

    Parameters
    ----------
    layer : object with ``forward`` and ``backward``, or a pair of functions
        ``out, cache = forward(*inputs)`` and ``grads = backward(dout, cache)``, where grads is one array or a
        tuple with one for each floating-point input, in order. The layer itself is left alone: a float64
        copy with random parameters is checked.
    *inputs : arrays
        Floating-point inputs are differentiated; ids, targets and masks are passed on as they are.
    rng : numpy.random.Generator, optional
        Draws parameters, upstream gradient and coordinates; the default gives the same check every time.
    tolerance : float
        The worst relative error that passes.
    **options
        Passed on to the forward by name (for example ``mask=…``).

    Returns
    -------
    report : Report
        With a row for each input and each parameter; ``print(report)`` shows it.

    Notes
    -----
    With u = dL/dout random and L = Σ u · out, the derivative along a coordinate or a direction e is

        [8 (L(h) - L(-h)) - (L(2h) - L(-2h))] / 12h,     L(s) = L(θ + s e),

    whose error is h⁴ L⁽⁵⁾ / 30 plus rounding of about 1e-16 |L| / h: both near 1e-12 at h = 1e-3. The relative
    error of analytic a against numerical n is |a - n| / max(|a|, |n|, floor). The floor, 1e-4 of the largest
    gradient in the same array or 1e7 times the rounding, keeps gradients that are exactly zero (a key's bias
    in softmax attention) from being compared with noise.

    Gradients start at random values, not at zero, so that a backward which assigns (=) instead of adding (+=)
    fails. The forward runs once more on other values before the backward, so that state kept on the layer
    shows, and the backward runs twice on one cache, so that writing into it shows.
    """
    start = time.perf_counter()
    rng = rng or np.random.default_rng(0)
    check = _Check(layer, inputs, options, rng)
    rows = [check.row(*target, tolerance) for target in check.targets()]
    return Report(check.title, rows, check.problems, time.perf_counter() - start)


class _Check:
    """One layer on one set of inputs: analytic gradients, and numerical ones where asked for."""

    def __init__(self, layer: Any, inputs: tuple, options: dict, rng: np.random.Generator) -> None:
        self.rng = rng
        self.options = options
        self.problems: list[str] = []
        self.inputs = [_as_float64(value) for value in inputs]
        self.forward: Callable[..., tuple[Any, Cache]]
        self.backward: Callable[[Any, Cache], Any]
        if isinstance(layer, tuple):
            self.forward, self.backward = layer
            self.title, self.parameters = self.forward.__name__, []
        else:
            layer = copy.deepcopy(layer)
            self.forward, self.backward = layer.forward, layer.backward
            self.title, self.parameters = type(layer).__name__, list(named_parameters(layer))
        for _, parameter in self.parameters:
            parameter.data = _random_values(parameter, rng)
            parameter.grad = rng.standard_normal(parameter.shape)
        self.takes_rng = "rng" in inspect.signature(self.forward).parameters and "rng" not in options
        self.dropout_seed = int(rng.integers(2**32))
        self._run_backward()

    def run(self, inputs: list) -> tuple[Any, Cache]:
        """Forward, with the same dropout mask each time."""
        options = self.options
        if self.takes_rng:
            options = options | {"rng": np.random.default_rng(self.dropout_seed)}
        return self.forward(*inputs, **options)

    def loss(self) -> Array:
        """Terms of L = Σ u · out, not yet summed: differences of terms round less than those of the sum."""
        out, _ = self.run([np.copy(value) if _is_float(value) else value for value in self.inputs])
        return np.asarray(out * self.dout)

    def _run_backward(self) -> None:
        before = copy.deepcopy(self.inputs)
        out, cache = self.run(self.inputs)
        self.dout = self.rng.standard_normal(np.shape(out)) if np.ndim(out) else float(self.rng.normal())
        self.run([_other_values(value, self.rng) for value in self.inputs])
        upstream = copy.deepcopy(self.dout)
        starts = [parameter.grad.copy() for _, parameter in self.parameters]
        self.input_grads = _as_list(self.backward(self.dout, cache))
        self.parameter_grads = [
            parameter.grad - start for (_, parameter), start in zip(self.parameters, starts, strict=True)
        ]
        self.assigned = [parameter.grad.copy() for _, parameter in self.parameters]
        first = copy.deepcopy(self.input_grads)
        self.backward(copy.deepcopy(upstream), cache)
        if not _same(before, self.inputs):
            self.inputs = before
            self.problems.append("forward or backward writes into an input: make a new array instead")
        if not _same(upstream, self.dout):
            self.dout = upstream
            self.problems.append("backward writes into its upstream gradient: make a new array instead")
        twice = [parameter.grad - start for (_, parameter), start in zip(self.parameters, starts, strict=True)]
        again = _as_list(self.backward(copy.deepcopy(upstream), cache))
        doubled = all(
            np.allclose(two, 2 * one, rtol=1e-6, atol=1e-9)
            for one, two in zip(self.parameter_grads, twice, strict=True)
        )
        if not (doubled and _same(first, again)):
            self.problems.append(
                "a second backward on the same cache adds another gradient than the first: does backward write "
                "into its cache, or assign (=) to a .grad where it should add (+=)?"
            )

    def targets(self) -> Iterator[tuple[str, Array, Any, Any]]:
        """(name, values, analytic gradient, gradient as it stands) of everything that is differentiated."""
        floats = [i for i, value in enumerate(self.inputs) if _is_float(value)]
        grads = self.input_grads
        if len(grads) == len(self.inputs) != len(floats):
            grads = [grads[i] for i in floats]  # backward also returned something for ids or masks
        if len(grads) < len(floats):
            grads = grads + [None] * (len(floats) - len(grads))
        names = _input_names(self.forward, len(self.inputs))
        for position, i in enumerate(floats):
            yield names[i], self.inputs[i], grads[position], None
        for (name, parameter), grad, assigned in zip(self.parameters, self.parameter_grads, self.assigned, strict=True):
            yield name, parameter.data, grad, assigned

    def row(self, name: str, values: Array, analytic: Any, assigned: Array | None, tolerance: float) -> Row:
        """Check one array."""
        if analytic is None:
            return Row(name, values.shape, np.inf, False, "backward returned no gradient for this input")
        if np.shape(analytic) != values.shape:
            hint = f"the gradient should have shape {values.shape}, has {np.shape(analytic)}"
            if np.shape(analytic) == values.shape[::-1]:
                hint += ": transposed?"
            return Row(name, values.shape, np.inf, False, hint)
        if not np.isfinite(analytic).all():
            return Row(name, values.shape, np.inf, False, "the gradient holds NaN or infinity")
        places = self._places(values)
        a = np.array(
            [np.vdot(analytic, place) if isinstance(place, np.ndarray) else analytic[place] for place in places]
        )
        n = np.array([self._derivative(values, place, STEPS[0]) for place in places])
        floor = max(1e-4 * np.abs(n).max(initial=0), 1e7 * self._rounding())
        error = _relative_error(a, n, floor)
        for step in STEPS[1:]:
            for i in np.flatnonzero(error > tolerance):
                finer = self._derivative(values, places[i], step)
                noise = floor * STEPS[0] / step  # rounding grows as the step shrinks
                if (finer_error := _relative_error(a[i], finer, noise)) < error[i]:
                    error[i], n[i] = finer_error, finer
        worst = float(error.max(initial=0))
        ok = worst <= tolerance
        return Row(name, values.shape, worst, ok, "" if ok else _hint(a, n, analytic, assigned, places, tolerance))

    def _rounding(self) -> float:
        """How far rounding alone can move a difference quotient at the first step."""
        return 1e-16 * float(np.linalg.norm(self.loss())) / STEPS[0]

    def _places(self, values: Array) -> list:
        """Coordinates, and for larger arrays one random direction of length 1."""
        if values.size <= FULL_CHECK:
            return list(np.ndindex(values.shape))
        flat = self.rng.choice(values.size, SAMPLED, replace=False)
        coordinates = list(zip(*(axis.tolist() for axis in np.unravel_index(flat, values.shape)), strict=True))
        direction = self.rng.standard_normal(values.shape)
        return [direction / np.linalg.norm(direction), *coordinates]

    def _derivative(self, values: Array, place: Any, h: float) -> float:
        """The fourth-order central difference of L along a coordinate or a direction."""
        original = values.copy()
        if not isinstance(place, np.ndarray):
            h *= max(1.0, abs(float(values[place])))

        def terms(steps: int) -> Array:
            if isinstance(place, np.ndarray):
                values[...] = original + (steps * h) * place
            else:
                values[place] = original[place] + steps * h
            return self.loss()

        near = terms(1) - terms(-1)
        far = terms(2) - terms(-2)
        values[...] = original
        return float((8 * near - far).sum()) / (12 * h)


def _relative_error(a: Any, n: Any, floor: float) -> Any:
    return np.abs(a - n) / np.maximum(np.maximum(np.abs(a), np.abs(n)), floor)


def _hint(a: Array, n: Array, analytic: Array, assigned: Array | None, places: list, tolerance: float) -> str:
    """What the numbers say about a wrong gradient, or where it is worst."""

    def explains(candidate: Array) -> bool:
        return float(np.abs(candidate - n).max()) <= 100 * tolerance * float(np.abs(n).max())

    if not np.any(analytic):
        return "received no gradient: backward never adds to it"
    if assigned is not None:
        last = np.array([np.vdot(assigned, p) if isinstance(p, np.ndarray) else assigned[p] for p in places])
        if explains(last):
            return "assigned (=) where it must be added (+=): the gradient that was there before is lost"
    if explains(-a):
        return "has the wrong sign"
    factor = float(a @ n) / float(n @ n) if np.any(n) else 0.0
    if factor and explains(a / factor):
        return f"is {factor:.6g} times the true gradient"
    i = int(np.argmax(np.abs(a - n)))
    where = "along a random direction" if isinstance(places[i], np.ndarray) else f"at {list(places[i])}"
    return f"worst {where}: backward says {a[i]:.6g}, the difference quotient {n[i]:.6g}"


def _random_values(parameter: Parameter, rng: np.random.Generator) -> Array:
    """O(1) values: matrices keep the size of what passes through them, vectors are N(0, 1)."""
    scale = 1.0 if len(parameter.shape) < 2 else parameter.shape[0] ** -0.5
    return scale * rng.standard_normal(parameter.shape)


def _other_values(value: Any, rng: np.random.Generator) -> Any:
    return rng.standard_normal(value.shape) if _is_float(value) else value


def _as_float64(value: Any) -> Any:
    array = np.asarray(value)
    return np.array(array, dtype=np.float64) if array.dtype.kind == "f" else value


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _as_list(grads: Any) -> list:
    if grads is None:
        return []
    return list(grads) if isinstance(grads, (tuple, list)) else [grads]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return bool(np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f"))


def _input_names(forward: Callable, count: int) -> list[str]:
    """The forward's own argument names."""
    names = [
        name
        for name, parameter in inspect.signature(forward).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    return (names + [f"input {i}" for i in range(len(names), count)])[:count]
