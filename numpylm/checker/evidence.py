"""The numbers that a diagnosis starts from: one wrong gradient beside the true one, and everything known around it."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from numpylm.checker.subject import CheckError, cache_names, is_float
from numpylm.checker.trial import Setup, Target, Trial
from numpylm.module import Array

FIT = 1e-5  # two gradients agree if they differ by no more than this share of the largest entry
MEASURED = 700  # at most so many coordinates of a wrong gradient are differenced


@dataclass
class Evidence:
    """One wrong gradient.

    Attributes
    ----------
    layer, name : str
        Where it is.
    a : array
        The gradient that backward gives.
    n : array, same shape
        The true one, from differences; NaN where it was not measured.
    jacobian : array (out.size, a.size) or None
        ∂out/∂array from differences, where all of it was measured.
    known : dict
        Arrays that may take part in the explanation, by the name to call them.
    sizes : dict
        Numbers that may be a wrong factor, by name.
    others : dict
        The true gradients of the other arrays.
    heads : tuple of int
        Into how many heads the last axis may be split.
    """

    layer: str
    name: str
    a: Array
    n: Array
    jacobian: Array | None = None
    known: dict[str, Array] = field(default_factory=dict)
    sizes: dict[str, float] = field(default_factory=dict)
    others: dict[str, Array] = field(default_factory=dict)
    heads: tuple[int, ...] = ()
    indices: dict[str, Array] = field(default_factory=dict)  # integer inputs
    elsewhere: Callable[[], Iterator[tuple[float, dict[str, float]]]] | None = None  # factors at other sizes
    part: str = ""  # which part of the array this is about, where it is not all of it

    @property
    def what(self) -> str:
        """How a sentence begins."""
        return f"{self.layer}: the gradient of {self.name}{self.part}"

    @property
    def seen(self) -> Array:
        return ~np.isnan(self.n)

    @property
    def full(self) -> bool:
        return bool(self.seen.all())

    @property
    def scale(self) -> float:
        both = max(np.nanmax(np.abs(self.n), initial=0), np.abs(self.a).max(initial=0))
        return float(both) or 1.0

    @property
    def wrong(self) -> Array:
        """Where the two differ (False where not measured)."""
        return np.asarray(np.nan_to_num(np.abs(self.a - self.n)) > FIT * self.scale)

    def equal(self, x: Array, y: Array) -> bool:
        """Whether two arrays of this shape agree wherever the true gradient was measured, and are not all zero."""
        gap = np.abs(x - y)[self.seen]
        size = max(float(np.abs(x[self.seen]).max(initial=0)), float(np.abs(y[self.seen]).max(initial=0)))
        return bool(size > 1e-9 * self.scale and gap.max(initial=0) <= FIT * size)


def cosine(a: Array, b: Array) -> float:
    """cos of the angle between two arrays, over the entries that both have."""
    seen = ~(np.isnan(a) | np.isnan(b))
    x, y = a[seen], b[seen]
    norm = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / norm if norm else 0.0


def gather(trial: Trial, target: Target, others: dict[str, Array]) -> Evidence:
    """Measure the true gradient of one array as far as time allows, and collect what is known around it."""
    n, jacobian = measure(trial, target.values, trial.dout)
    return Evidence(
        trial.subject.name,
        target.name,
        np.asarray(target.analytic, dtype=np.float64),
        n,
        jacobian,
        known_arrays(trial),
        known_sizes(trial),
        others,
        head_counts(trial.subject.layer, trial.setup.options),
        {name: v for name, v in named_inputs(trial) if isinstance(v, np.ndarray) and v.dtype.kind in "iu"},
        lambda: factors_elsewhere(trial, target.name),
    )


def measure(trial: Trial, values: Array, dout: Any) -> tuple[Array, Array | None]:
    """The true gradient of ``values``, and the whole Jacobian if all coordinates could be measured."""
    limit = affordable(trial)
    u = np.asarray(dout, dtype=np.float64).reshape(-1)
    n = np.full(values.shape, np.nan)
    if values.size <= limit:
        jacobian = np.empty((u.size, values.size))
        for column, place in enumerate(np.ndindex(values.shape)):
            jacobian[:, column] = derivative(trial, values, place).reshape(-1)
        n[...] = (u @ jacobian).reshape(values.shape)
        return n, jacobian
    for place in _sample(values.shape, limit):
        n[place] = float(derivative(trial, values, place).reshape(-1) @ u)
    return n, None


def affordable(trial: Trial) -> int:
    """How many coordinates may be measured: fewer for larger subjects, and never depending on the clock."""
    work = sum(target.values.size for target in trial.targets)
    return int(np.clip(6e5 / work, 128, MEASURED)) if work < 1e5 else max(8, int(1.28e7 / work))


def derivative(trial: Trial, values: Array, place: tuple) -> Array:
    """As `Trial.derivative`, with finer steps where a kink lies near."""
    first = trial.derivative(values, place)
    finer = trial.derivative(values, place, 1e-5) if _rough(trial, values) else first
    return finer


def _rough(trial: Trial, values: Array) -> bool:
    """Whether differences with a coarse and a fine step disagree anywhere along one direction (asked once)."""
    memory = trial.__dict__.setdefault("rough", {})
    if id(values) not in memory:
        direction = np.random.default_rng(0).standard_normal(values.shape)
        direction /= np.linalg.norm(direction) or 1.0
        coarse, fine = (trial.derivative(values, direction, h) for h in (1e-3, 1e-5))
        memory[id(values)] = bool(np.abs(coarse - fine).max(initial=0) > 1e-6 * (np.abs(fine).max(initial=0) + 1e-9))
    return memory[id(values)]


def _sample(shape: tuple[int, ...], limit: int) -> Iterator[tuple]:
    """Whole rows along the last axis where they fit, else single coordinates."""
    rng = np.random.default_rng(0)
    if len(shape) > 1 and shape[-1] <= limit // 4:
        rows = list(np.ndindex(shape[:-1]))
        chosen = rng.choice(len(rows), min(len(rows), limit // shape[-1]), replace=False)
        for row in sorted(chosen):
            for column in range(shape[-1]):
                yield (*rows[row], column)
        return
    for flat in rng.choice(math.prod(shape), limit, replace=False):
        yield tuple(int(i) for i in np.unravel_index(flat, shape))


def named_inputs(trial: Trial) -> list[tuple[str, Any]]:
    """Positional inputs by the forward's names, then options."""
    names = [*trial.subject.input_names, *(f"input {i}" for i in range(len(trial.inputs)))]
    return [*zip(names, trial.inputs, strict=False), *trial.setup.options.items()]


def known_arrays(trial: Trial) -> dict[str, Array]:
    """Inputs, parameters, the output, the upstream gradient, and what is often made of an input."""
    known = {name: value for name, value in named_inputs(trial) if is_float(value) and value.size > 1}
    for name, x in list(known.items()):
        if x.ndim > 1 and x.shape[-1] > 2:
            centred = x - x.mean(-1, keepdims=True)
            std = centred.std(-1, keepdims=True)
            if (std > 1e-12).all():
                known[f"{name} normalised over its last axis"] = centred / std
                known[f"the standard deviation of {name} over its last axis"] = std
    for name, value in cache_arrays(trial).items():
        if not any(value is k or (value.shape == k.shape and np.array_equal(value, k)) for k in known.values()):
            known[name] = value
    known |= {name: parameter.data for name, parameter in trial.subject.parameters if parameter.data.size > 1}
    if np.ndim(trial.out):
        known["the output"] = np.asarray(trial.out, dtype=np.float64)
        known["the upstream gradient"] = np.asarray(trial.dout)
    return known


def cache_arrays(trial: Trial) -> dict[str, Array]:
    """The floating-point arrays in the cache, as the student calls them (or by their place)."""
    cache = trial.cache
    parts = list(cache) if isinstance(cache, (tuple, list)) else [cache]
    if isinstance(cache, dict):
        return {str(name): v for name, v in cache.items() if is_float(v) and v.size > 1}
    names = cache_names(trial.subject._forward)
    if len(names) != len(parts):
        names = [f"cache[{i}]" for i in range(len(parts))]
    return {name: v for name, v in zip(names, parts, strict=True) if is_float(v) and v.size > 1}


LETTERS = {1: ("N",), 2: ("N", "C"), 3: ("B", "T", "C"), 4: ("B", "H", "T", "D")}


def known_sizes(trial: Trial) -> dict[str, float]:
    """Axis lengths, their products, and numbers that the layer or its options hold."""
    sizes: dict[str, float] = {}
    letters: dict[str, int] = {}
    for name, value in [*named_inputs(trial), ("the output", np.asarray(trial.out))]:
        if not isinstance(value, np.ndarray) or value.size < 2:
            continue
        for axis, length in enumerate(value.shape):
            letter = LETTERS.get(value.ndim, ("",) * value.ndim)[axis]
            if letters.setdefault(letter or name + str(axis), length) == length and f"{letter}," in "".join(sizes):
                continue  # the same axis, seen in another array
            sizes[
                f"{letter}, the length of axis {axis} of {name}" if letter else f"the length of axis {axis} of {name}"
            ] = float(length)
        for k in range(2, value.ndim + 1):
            sizes[
                f"{'·'.join(LETTERS.get(value.ndim, '?' * value.ndim)[:k])}, the first {k} axes of {name} together"
            ] = float(math.prod(value.shape[:k]))
        if value.dtype.kind in "iu":
            counted = float((value >= 0).sum())
            if 0 < counted < value.size:
                sizes[f"the number of counted {name}"] = counted
        elif value.ndim == 4:
            sizes["the number of channels, H·D"] = float(value.shape[1] * value.shape[3])
    for name, number in numbers_of(trial.subject.layer, trial.setup.options):
        if 0 < number < 1:
            sizes[f"1 - {name}"] = 1 - number
        elif number not in sizes.values() and number > 1:
            sizes[name] = number
    return sizes


def numbers_of(layer: Any, options: dict) -> Iterator[tuple[str, float]]:
    """Plain numbers among the options and the attributes of a layer and of what it holds."""
    for name, value in options.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield name, float(value)
    for name, value in getattr(layer, "__dict__", {}).items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield name, float(value)
        elif hasattr(value, "__dict__") and hasattr(value, "forward"):
            yield from numbers_of(value, {})


def head_counts(layer: Any, options: dict) -> tuple[int, ...]:
    """Numbers of heads that a layer names itself, first; then other small ones."""
    named = [int(v) for name, v in numbers_of(layer, options) if "head" in name.lower() and v > 1]
    return tuple(dict.fromkeys([*named, 2, 3, 4, 6, 8]))


def name_factor(factor: float, sizes: dict[str, float]) -> list[str]:
    """What a constant may be: a plain number, a size, its root, or its inverse, or such of two sizes."""
    size = abs(factor)
    sizes = {name: value for name, value in sizes.items() if value not in (0, 1)}

    def same(value: float) -> bool:
        return abs(size - value) <= 2e-6 * max(size, value)

    found = [f"{text}" for value, text in ((2, "2"), (0.5, "1/2"), (4, "4"), (0.25, "1/4"), (3, "3")) if same(value)]
    for name, value in sizes.items():
        forms = (
            (value, name),
            (1 / value, f"1 / ({name})"),
            (math.sqrt(value), f"the root of {name}"),
            (1 / math.sqrt(value), f"1 / the root of {name}"),
        )
        found += [text for number, text in forms if same(number)]
    for (name1, value1), (name2, value2) in combinations(sizes.items(), 2):
        if not found:
            pairs = (
                (value1 * value2, f"({name1}) times ({name2})"),
                (value1 / value2, f"({name1}) / ({name2})"),
                (value2 / value1, f"({name2}) / ({name1})"),
            )
            found += [text for number, text in pairs if same(number)]
    return found


def shrunk(setup: Setup) -> Iterator[Setup]:
    """The same check with one axis of the inputs shorter by one: tells a factor of 2 from a batch of 2."""
    arrays = [value for value in (*setup.inputs, *setup.options.values()) if isinstance(value, np.ndarray)]
    if not arrays:
        return
    for axis in range(arrays[0].ndim):
        length = arrays[0].shape[axis]

        def cut(value: Any, axis: int = axis, length: int = length) -> Any:
            fits = isinstance(value, np.ndarray) and value.ndim > axis and value.shape[axis] == length
            return value[(slice(None),) * axis + (slice(length - 1),)] if fits else value

        if length > 1:
            options = {name: cut(value) for name, value in setup.options.items()}
            yield setup.replace(inputs=tuple(map(cut, setup.inputs)), options=options)


def factors_elsewhere(trial: Trial, name: str) -> Iterator[tuple[float, dict[str, float]]]:
    """(factor, sizes) of one array for inputs of other sizes."""
    for setup in shrunk(trial.setup):
        try:
            other = Trial(setup, trial.conditions)
        except CheckError:
            continue
        target = next(target for target in other.targets if target.name == name)
        direction = np.random.default_rng(0).standard_normal(target.values.shape)
        if np.shape(target.analytic) == direction.shape and (slope := other.slope(target.values, direction)):
            yield float(np.vdot(target.analytic, direction)) / slope, known_sizes(other)
