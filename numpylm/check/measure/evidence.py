"""The numbers that a diagnosis starts from: one wrong gradient beside the true one, and everything known around it."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from numpylm.check.limits import FIT, MOST_MEASURED, MOST_ROWS, PLACES, RIGHT_ERROR
from numpylm.check.measure.sizes import (
    factors_elsewhere,
    first_array,
    head_counts,
    known_sizes,
    named_inputs,
    with_axis_cut,
)
from numpylm.check.measure.trial import Setup, Target, Trial
from numpylm.check.subject.calls import CheckError, cache_names, is_float
from numpylm.nn.module import Array

# number of axes of an input -> the length to which some axes are cut
SHORTER: dict[int, dict[int, int]] = {2: {0: 7}, 3: {0: 2, 1: 5}, 4: {0: 2, 2: 5}}
SHORTER_IDS = {0: 2, 1: 5}

UPSTREAM = "the upstream gradient"  # its name in `Evidence.known`


@dataclass(frozen=True)
class Words:
    """The words of sentences that compare a gradient with the true one, or an output with ours."""

    what: str = "the gradient of {}"
    truth: str = "the true one"
    truth_minus: str = "True minus given"
    minus_truth: str = "given minus true"
    maker: str = "backward"
    cosine: str = "cosine with the truth"
    reshaped: str = "with the reshaped truth"


@dataclass
class Evidence:
    """One wrong gradient and what is known about it; with other ``words``, one wrong output.

    Attributes
    ----------
    layer, name : str
        The layer, and the input or parameter whose gradient is wrong.
    given : array
        The gradient that backward gives.
    true : array, same shape
        The true one, from differences. NaN where it was not measured.
    jacobian : array (out.size, given.size) or None
        ∂out/∂array from differences, if all of it was measured.
    known : dict
        Arrays that may explain the error, by their names in sentences.
    sizes : dict
        Numbers that may be a wrong factor, by name.
    others : dict
        The true gradients of the other arrays.
    heads : tuple of int
        Possible numbers of heads in the last axis.
    """

    layer: str
    name: str
    given: Array
    true: Array
    jacobian: Array | None = None
    known: dict[str, Array] = field(default_factory=dict)
    sizes: dict[str, float] = field(default_factory=dict)
    others: dict[str, Array] = field(default_factory=dict)
    heads: tuple[int, ...] = ()
    indices: dict[str, Array] = field(default_factory=dict)  # integer inputs
    elsewhere: Callable[[], Iterator[tuple[float, dict[str, float]]]] | None = None  # factors at other sizes
    part: str = ""  # which part of the array is meant, if not all of it
    words: Words = Words()

    @property
    def what(self) -> str:
        """The subject of a sentence."""
        layer = f"{self.layer}: " if self.layer else ""
        return f"{layer}{self.words.what.format(self.name)}{self.part}"

    @property
    def measured(self) -> Array:
        """Where the true gradient was measured."""
        return ~np.isnan(self.true)

    @property
    def fully_measured(self) -> bool:
        return bool(self.measured.all())

    @property
    def scale(self) -> float:
        both = max(np.nanmax(np.abs(self.true), initial=0), np.abs(self.given).max(initial=0))
        return float(both) or 1.0

    @property
    def wrong(self) -> Array:
        """Where the two gradients differ (False where not measured)."""
        return np.asarray(np.nan_to_num(np.abs(self.given - self.true)) > FIT * self.scale)

    def equal(self, x: Array, y: Array) -> bool:
        """Whether two arrays of this shape agree wherever the true gradient was measured, and are not all zero."""
        gap = np.abs(x - y)[self.measured]
        size = max(float(np.abs(x[self.measured]).max(initial=0)), float(np.abs(y[self.measured]).max(initial=0)))
        return bool(size > 1e-9 * self.scale and gap.max(initial=0) <= FIT * size)


def cosine(a: Array, b: Array) -> float:
    """cos of the angle between two arrays, over the entries that both have."""
    seen = ~(np.isnan(a) | np.isnan(b))
    x, y = a[seen], b[seen]
    norm = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / norm if norm else 0.0


def gather(trial: Trial, target: Target, others: dict[str, Array]) -> Evidence:
    """Measure the true gradient of one array within a limit of time, and collect what is known around it."""
    if target.name not in trial.measured:
        trial.measured[target.name] = measure(trial, target.values, trial.dout)
    n, jacobian = trial.measured[target.name]
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
    """How many coordinates may be measured: fewer for larger subjects. It does not depend on the clock."""
    work = sum(target.values.size for target in trial.targets)
    return int(np.clip(6e5 / work, 128, MOST_MEASURED)) if work < 1e5 else max(8, int(1.28e7 / work))


def derivative(trial: Trial, values: Array, place: tuple) -> Array:
    """As `Trial.derivative`, with a finer step if a kink is near."""
    return trial.derivative(values, place, 1e-5) if _kinked(trial, values) else trial.derivative(values, place)


def _kinked(trial: Trial, values: Array) -> bool:
    """Whether differences with a coarse and a fine step disagree anywhere along one direction (asked once)."""
    if id(values) not in trial.kinked:
        direction = np.random.default_rng(0).standard_normal(values.shape)
        direction /= np.linalg.norm(direction) or 1.0
        coarse, fine = (trial.derivative(values, direction, h) for h in (1e-3, 1e-5))
        trial.kinked[id(values)] = bool(
            np.abs(coarse - fine).max(initial=0) > 1e-6 * (np.abs(fine).max(initial=0) + 1e-9)
        )
    return trial.kinked[id(values)]


def _sample(shape: tuple[int, ...], limit: int) -> Iterator[tuple]:
    """Random rows along the last axis if they fit the limit, else single coordinates."""
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


def known_arrays(trial: Trial) -> dict[str, Array]:
    """Inputs, parameters, the output, the upstream gradient, and what layers often compute from an input."""
    known = {name: value for name, value in named_inputs(trial) if is_float(value) and value.size > 1}
    for name, x in list(known.items()):
        if x.ndim > 1 and x.shape[-1] > 2:
            centered = x - x.mean(-1, keepdims=True)
            std = centered.std(-1, keepdims=True)
            if (std > 1e-12).all():
                known[f"{name} normalized over its last axis"] = centered / std
                known[f"the standard deviation of {name} over its last axis"] = std
    for name, value in cache_arrays(trial).items():
        if not any(value is k or (value.shape == k.shape and np.array_equal(value, k)) for k in known.values()):
            known[name] = value
    known |= {name: parameter.data for name, parameter in trial.subject.parameters if parameter.data.size > 1}
    if np.ndim(trial.out):
        known["the output"] = np.asarray(trial.out, dtype=np.float64)
        known[UPSTREAM] = np.asarray(trial.dout)
    return known


def cache_arrays(trial: Trial) -> dict[str, Array]:
    """The floating-point arrays in the cache, by the student's names for them (or by their index)."""
    cache = trial.cache
    parts = list(cache) if isinstance(cache, (tuple, list)) else [cache]
    if isinstance(cache, dict):
        return {str(name): v for name, v in cache.items() if is_float(v) and v.size > 1}
    names = cache_names(trial.subject.forward_function, cache)
    if len(names) != len(parts):
        names = [f"cache[{i}]" for i in range(len(parts))]
    return {name: v for name, v in zip(names, parts, strict=True) if is_float(v) and v.size > 1}


# ------------------------------------------------------------------------------- errors at a few places, and fewer rows


def errors(trial: Trial, names: list[str]) -> dict[str, float]:
    """The worst relative error of some arrays at a few places. NaN if both gradients are zero."""
    places = PLACES if len(names) <= 6 else 1
    return {target.name: _error(trial, target, places) for target in trial.targets if target.name in names}


def _error(trial: Trial, target: Target, count: int) -> float:
    a, values = target.analytic, target.values
    if a is None or np.shape(a) != values.shape or not np.isfinite(a).all() or not values.size:
        return np.inf
    rng = np.random.default_rng([trial.setup.seed, 3])
    direction = rng.standard_normal(values.shape)
    direction /= np.linalg.norm(direction)
    worst = tuple(int(i) for i in np.unravel_index(int(np.argmax(np.abs(a))), values.shape))
    flat = rng.choice(values.size, min(values.size, count), replace=False)
    places: list[Any] = [worst, *(tuple(int(i) for i in np.unravel_index(k, values.shape)) for k in flat), direction]
    given = np.array([np.vdot(a, p) if isinstance(p, np.ndarray) else a[p] for p in places])
    true = np.array([trial.slope(values, p) for p in places])
    scale = float(np.abs(true).max(initial=0))
    loss = float(np.linalg.norm(np.asarray(trial.value()) * trial.dout))
    if scale < 1e-9 * (loss + 1e-12):
        return np.nan if float(np.abs(given).max(initial=0)) < 1e-6 * (loss + 1e-12) else np.inf
    return float(np.abs(given - true).max() / scale)


def fewer_rows(trial: Trial, wrong: list[str]) -> tuple[Trial, str]:
    """A trial on fewer rows with the same wrong arrays, and a note about it; the trial itself if none is found."""
    first = first_array(trial.setup)
    if first is None or first.ndim < 2:
        return trial, ""
    is_ids = first.dtype.kind in "iu"
    if (first.size if is_ids else first.size // first.shape[-1]) <= MOST_ROWS:
        return trial, ""
    setup = trial.setup
    for axis, length in (SHORTER_IDS if is_ids and first.ndim == 2 else SHORTER.get(first.ndim, {})).items():
        setup = _cut(setup, axis, length)
    try:
        small = trial.again(setup)
        still = errors(small, wrong)
    except CheckError:
        return trial, ""
    if any(still.get(name, 0) < RIGHT_ERROR for name in wrong) or not np.isfinite(np.asarray(small.out)).all():
        return trial, ""
    left = first_array(setup).shape
    if left == first.shape:
        return trial, ""  # nothing was cut
    return small, (
        f"the diagnosis looked at the first {'×'.join(map(str, left))} of {'×'.join(map(str, first.shape))}: numbers "
        "and sizes in its sentences are of this part."
    )


def _cut(setup: Setup, axis: int, length: int) -> Setup:
    return with_axis_cut(setup, axis, length) if first_array(setup).shape[axis] > length else setup
