"""Right or wrong: each gradient from backward against differences of the forward, with an allowance for float32."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from numpylm.check.limits import FULL_CHECK, ROUGH_ERROR, ROUNDING, ROUNDINGS, SAMPLED, STEPS, TINY, UNSEEN
from numpylm.check.measure.conduct import Conduct
from numpylm.check.measure.trial import Conditions, Place, Setup, Target, Trial, scale_of
from numpylm.check.report import Row, listing
from numpylm.check.subject.calls import LOW, CheckError, comparable
from numpylm.check.subject.paths import walk
from numpylm.check.subject.subject import Subject
from numpylm.nn.module import Array

# ----------------------------------------------------------------------------------- float32 and float16 inside a layer


@dataclass(frozen=True)
class Precision:
    """The precision of a layer.

    Attributes
    ----------
    dtype : type
        The lowest precision that was found.
    where : str
        Where it was found: "forward" (then differences are rough, too), "cache", "layer", or "" for float64 throughout.
    steps : tuple of float
        Steps for differences, long enough for this precision.
    """

    dtype: type = np.float64
    where: str = ""

    @property
    def eps(self) -> float:
        return float(np.finfo(self.dtype).eps)

    @property
    def steps(self) -> tuple[float, ...]:
        return (0.3, 0.1, 0.03) if self.dtype is np.float16 else (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4)

    def excuses(self, a: Array, n: Array, noise: float, analytic: Array) -> str:
        """Where rounding happens, if it explains the whole difference between both gradients, else "".

        ``noise`` is the rounding of a difference in float64 with a step of 1e-3. In float32, a step of 0.1 has as much.
        """
        where, eps = self.where, self.eps
        if not where and np.array_equal(analytic, analytic.astype(np.float32)):
            where, eps = "backward", float(np.finfo(np.float32).eps)
        scale = float(np.abs(n).max(initial=0))
        limit = max(ROUNDINGS * eps * scale, ROUGH_ERROR * scale + noise if where == "forward" else 0.0)
        return where if where and np.abs(a - n).max(initial=0) <= limit and not systematic(a, n, eps) else ""


def systematic(a: Array, n: Array, eps: float) -> bool:
    """Whether a is a multiple of n and not n with noise: over many places noise averages out, and a factor does not.

    By Student's t distribution, chance reaches 5 to 10 standard errors for 10 places or more.
    """
    square = float(n @ n)
    if not square or len(n) < 10:
        return False
    factor = float(a @ n) / square
    noise = float(np.linalg.norm(a - factor * n)) / np.sqrt(square * len(n))
    return bool(abs(factor - 1) > 8 * eps + (5 + 50 / len(n)) * noise)


def trial_in_float64(trial: Trial, before: Precision) -> tuple[Trial, Precision] | None:
    """The same trial in float64 even where the code says float32, and its precision. None if that does not help."""
    try:
        other = trial.again(trial.setup.replace(lift=True))
    except CheckError:
        return None
    after = precision_of(other)
    return None if after.where in ("forward", before.where) else (other, after)


def precision_of(trial: Trial) -> Precision:
    """The precision of a layer, from the arrays that it makes and from its differences."""
    held = {"cache": trial.cache, "layer": trial.subject.layer}
    found = {
        where: {value.dtype.type for _, value in walk(thing) if isinstance(value, (np.ndarray, np.floating))}
        for where, thing in held.items()
    }
    out = np.asarray(trial.out)
    for dtype in LOW:
        if out.dtype.type is dtype:
            return Precision(dtype, "forward")
    low = [(dtype, where) for dtype in LOW for where in held if dtype in found[where]]
    floats = [target.values for target in trial.targets if target.values.size]
    if holds_float32(out) or (floats and erratic(trial, max(floats, key=np.size))):
        return Precision(low[0][0] if low else np.float32, "forward")
    return Precision(*low[0]) if low else Precision()


def holds_float32(array: Array) -> bool:
    """Whether numbers were rounded to float32 before they became float64. Whole numbers do not count."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.array_equal(array, array.astype(np.float32)) and (array != np.rint(array)).any())


def erratic(trial: Trial, values: Array) -> bool:
    """Whether differences over a tiny step are far off, as they are if the forward rounds inside."""
    direction = np.random.default_rng([trial.setup.seed, 5]).standard_normal(values.shape)
    direction /= np.linalg.norm(direction)
    fine = trial.derivative(values, direction, UNSEEN)
    noise = 1e-14 * float(np.linalg.norm(trial.out)) / trial.step(values, direction, UNSEEN)  # of float64
    for steps in ((1e-2, 1e-3), (1e-1, 1e-2)):
        rough, coarse = (trial.derivative(values, direction, h) for h in steps)
        scale = float(np.linalg.norm(coarse))
        if np.linalg.norm(rough - coarse) < 1e-2 * scale:  # two steps agree, so the longer one is right
            return bool(np.linalg.norm(coarse - fine) > 0.05 * scale + noise)
    return False


# -------------------------------------------------------------------------------------------- the verdict on each array


class Verdicts:
    """The verdict on each array of one setup."""

    def __init__(self, setup: Setup, rng: np.random.Generator, tolerance: float) -> None:
        self.rng = rng
        self.tolerance = tolerance
        self.on_kink = False  # whether a note says that inputs lie on a kink
        self.rounded: dict[str, dict[str, str]] = {}  # place of the rounding -> arrays whose errors it explains
        self.trial = Trial(setup, Conditions(disturb=not Subject(setup.layer_or_pair).keeps_cache, dirty=True))
        conduct = Conduct(self.trial)
        self.notes, self.findings = conduct.notes, conduct.findings
        self.precision = precision_of(self.trial)
        if self.precision.where in ("forward", "cache") and not any(f.kind == "not-finite" for f in self.findings):
            self._lift()

    def _lift(self) -> None:
        """Switch a float32 layer to float64 if possible, because rounding hides small faults."""
        found = trial_in_float64(self.trial, self.precision)
        if found is None:
            return
        low = self.precision.dtype.__name__
        self.trial, self.precision = found
        self.notes.append(
            f"{self.trial.subject.name} computes in {low} although its inputs are float64. It was checked with float64 "
            f"in place of {low}, without rounding."
        )

    def row(self, target: Target) -> Row:
        """Check one array."""
        name, values = target.name, target.values
        if not comparable(target.analytic, values.shape):
            return Row(name, values.shape, np.inf, False)
        places, n = self._measured(target)
        a = np.array([component_at(target.analytic, place) for place in places])
        floor, noise = self._floors(values, n)
        error, precision = relative_error(a, n, floor), self.precision
        if precision.where != "forward":
            self._measure_finer(values, places, a, n, error, floor, noise)
            if (error > self.tolerance).any() and erratic(self.trial, values):
                precision = Precision(np.float32, "forward")
        if precision.where == "forward" and (error > self.tolerance).any():
            n = np.array([self._steady_slope(values, place, noise, precision) for place in places])
            error = relative_error(a, n, floor)
        if not self._rounding(target, a, n, noise, error, precision):
            for i in np.flatnonzero(error > self.tolerance):
                if self._kink(values, places[i], a[i], floor, precision):
                    error[i], n[i] = 0.0, a[i]
        worst = float(error.max(initial=0)) if len(error) or not values.size else np.inf
        ok = worst <= self.tolerance or self._rounding(target, a, n, noise, error, precision)
        return Row(name, values.shape, worst, ok)

    def _measure_finer(
        self, values: Array, places: list[Place], a: Array, n: Array, error: Array, floor: float, noise: float
    ) -> None:
        """Measure with finer steps where the gradients disagree; ``n`` and ``error`` are changed in place."""
        for i in np.flatnonzero(error > self.tolerance):
            for step in finer_steps(values, places[i]):
                least = max(floor, noise * STEPS[0] / step)  # rounding grows as the step shrinks
                slope = self.trial.slope(values, places[i], step)
                closer = relative_error(a[i], slope, least)
                if closer < error[i]:
                    error[i], n[i] = closer, slope

    def _steady_slope(self, values: Array, place: Place, noise: float, precision: Precision) -> float:
        """The slope over the step that agrees best with the next longer one. Kinks and rounding make slopes differ."""
        steps = np.array(precision.steps)
        slopes = np.array([self.trial.slope(values, place, step) for step in steps])
        rounding = noise * precision.eps / ROUNDING * STEPS[0] / steps[1:]  # it grows as the step shrinks
        return float(slopes[1 + np.argmin(np.abs(np.diff(slopes)) + rounding)])

    def _measured(self, target: Target) -> tuple[list[Place], Array]:
        """Places within the domain of the forward, and the true derivative there."""
        places = self._places(target.values)
        n = np.array([self._slope(target.values, place) for place in places])
        inside = np.isfinite(n)
        if not all(ok or isinstance(place, np.ndarray) for ok, place in zip(inside, places, strict=True)):
            self.notes.append(f"{target.name} was not checked where forward gives NaN for the slightest change of it.")
        return [place for place, ok in zip(places, inside, strict=True) if ok], n[inside]

    def _slope(self, values: Array, place: Place) -> float:
        """The true derivative. NaN if there is none, and along a direction that leaves the domain."""
        slope = self.trial.slope(values, place)
        return np.nan if self.trial.shrunk and isinstance(place, np.ndarray) else slope

    def _floors(self, values: Array, n: Array) -> tuple[float, float]:
        """The size below which a gradient counts as zero, and the rounding in the differences."""
        size = float(np.linalg.norm(self.trial.value() * self.trial.dout))
        noise = ROUNDING * size / (STEPS[0] * scale_of(values))
        return max(1e-4 * np.abs(n).max(initial=0), noise, TINY), noise

    def _rounding(self, target: Target, a: Array, n: Array, noise: float, error: Array, precision: Precision) -> bool:
        """Whether float32 inside the layer explains all errors. If so, it is kept for a note."""
        worst = float(error.max(initial=0))
        if worst <= self.tolerance:
            return False
        where = precision.excuses(a, n, noise, np.asarray(target.analytic))
        if not where:
            return False
        self.rounded.setdefault(where, {})[target.name] = f"{target.name} (to {worst:.0e})"
        return True

    def all_notes(self) -> list[str]:
        """Notes that are no faults. Complete after all rows were checked."""
        name, dtype = self.trial.subject.name, self.precision.dtype if self.precision.where else np.float32
        where_rounded = {
            "forward": f"{name}.forward computes in {dtype.__name__} although its inputs are float64",
            "cache": f"{name}.forward keeps {dtype.__name__} arrays in its cache although its inputs are float64",
            "layer": f"{name} holds {dtype.__name__} arrays",
            "backward": f"{name}.backward computes in float32 although its inputs are float64",
        }
        advice = (
            "That is rounding, not a fault. Keep the dtype of the input (Python floats and math.sqrt do; arrays made "
            "with dtype=np.float32 and astype do not)."
        )
        rounding = [
            f"{where_rounded[where]}, so it could be checked only roughly: {listing(names.values(), 8)}. {advice}"
            for where, names in self.rounded.items()
        ]
        prints = [f"{name} prints while it runs; that was not shown."] if self.trial.subject.muted.used else []
        return [*self.notes, *self._padding(), *rounding, *prints]

    def _padding(self) -> list[str]:
        """Notes on padding rows that get no gradient although the output depends on them."""
        found, rows = [], self.trial.constant_rows
        self.trial.constant_rows = {}
        for target, row in ((t, row) for t in self.trial.targets for row in rows.get(id(t.values), [])):
            along = np.zeros(target.values.shape)
            along[row] = 1.0
            if self.trial.slope(target.values, along):
                found.append(
                    f"row {row} of {target.name} is padding and gets no gradient, although the output depends on it: "
                    "it was treated as a constant, as in torch.nn.Embedding."
                )
        self.trial.constant_rows = rows
        return found

    def _kink(self, values: Array, place: Place, a: float, floor: float, precision: Precision) -> bool:
        """Whether the point lies on a kink and backward's slope lies between those on both sides."""
        trial, exact = self.trial, precision.where != "forward"
        if not exact and precision.dtype is np.float16:
            return False  # too rough to see a kink
        h, least, slack = (1e-7, 1e-2, 1e-5) if exact else (1e-3, 5e-2, 1e-3)  # rounding forbids shorter steps
        original = values.copy()
        outs = []
        for step in (-h, 0, h):
            if isinstance(place, np.ndarray):
                values[...] = original + step * place
            else:
                values[place] = original[place] + step
            outs.append(trial.value())
        values[...] = original
        left, right = ((outs[i + 1] - outs[i]) * trial.dout / h for i in (0, 1))
        jump = np.abs(right - left)
        if float(jump.max(initial=0)) < least * max(floor, float(np.abs(right).max(initial=0))):
            return False
        slack *= float(np.abs(left).sum() + np.abs(right).sum()) + floor
        inside = np.minimum(left, right).sum() - slack <= a <= np.maximum(left, right).sum() + slack
        if inside and exact and not self.on_kink:
            self.on_kink = True
            self.notes.append(
                f"some inputs lie exactly on a kink of {trial.subject.name} (as 0 does for ReLU), where the slope on "
                "the left differs from that on the right. "
                "Every slope between them is valid, and backward has one of them."
            )
        return bool(inside)

    def _places(self, values: Array) -> list[Place]:
        """Coordinates, and for larger arrays one random direction of length 1."""
        if values.size <= FULL_CHECK:
            return list(np.ndindex(values.shape))
        flat = self.rng.choice(values.size, SAMPLED, replace=False)
        coordinates = list(zip(*(axis.tolist() for axis in np.unravel_index(flat, values.shape)), strict=True))
        direction = self.rng.standard_normal(values.shape)
        return [direction / np.linalg.norm(direction), *coordinates]


def component_at(gradient: Array, place: Place) -> float:
    """A gradient's component at a coordinate or along a direction."""
    return float(np.vdot(gradient, place)) if isinstance(place, np.ndarray) else float(gradient[place])


def finer_steps(values: Array, place: Place) -> list[float]:
    """Finer steps for a place where the first step fails. For a number near 0, also one that is small beside it."""
    size = 0.0 if isinstance(place, np.ndarray) else abs(float(values[place])) / scale_of(values)
    return [*STEPS[1:], *([STEPS[0] * size] if 0 < size < 1e-2 else [])]


def relative_error(a: Any, n: Any, floor: float) -> Any:
    return np.abs(a - n) / np.maximum(np.maximum(np.abs(a), np.abs(n)), floor)
