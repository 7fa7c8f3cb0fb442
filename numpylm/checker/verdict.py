"""Right or wrong: each array's analytic gradient against differences, and what a layer does that it must not."""

import copy
from typing import Any

import numpy as np

from numpylm.checker.gradients import Odd, comparable
from numpylm.checker.report import Cause, Row, listing
from numpylm.checker.rounding import precision
from numpylm.checker.subject import CheckError, Subject, is_float
from numpylm.checker.survey import PlainParameter, Surveyed
from numpylm.checker.trial import STEPS, Conditions, Place, Setup, Target, Trial, scale_of
from numpylm.module import Array

TOLERANCE = 1e-6  # worst relative error that passes; a right backward is typically below 1e-9
FULL_CHECK = 40  # arrays up to this size are checked element by element
SAMPLED = 12  # larger ones at so many random coordinates, and along one random direction
TINY = 1e-250  # where output and gradient are zero: 0 / TINY is 0, 0 / 0 is not
_REASONS = (
    ", for inputs that are finite: there is no gradient to check. Usual reasons: exp of a large number (subtract the "
    "maximum first), a row in which everything is masked (-inf - -inf), a division by zero, the log of zero."
)


class Check:
    """The verdict on each array."""

    def __init__(self, setup: Setup, rng: np.random.Generator, tolerance: float) -> None:
        self.rng = rng
        self.tolerance = tolerance
        self.notes: list[str] = []
        self.rounded: dict[str, list[str]] = {}  # where rounding happens -> arrays with errors that it explains
        self.findings: list[Cause] = []
        self.trial = Trial(setup, Conditions(disturb=not Subject(setup.target).keeps_cache, dirty=True))
        for why in dict.fromkeys(self.trial.constants.values()):
            names = [name for name, reason in self.trial.constants.items() if reason == why]
            self.notes.append(f"not checked: {listing(names)}. {why}.")
        if isinstance(setup.target, Surveyed):
            self.notes += setup.target.notes
        self._habits()
        self._writes_outside()
        self._finite()
        self._repeatable()
        self._writes_cache()
        self.precision = precision(self.trial, rng)

    def _habits(self) -> None:
        """What the check did not ask of a layer that is written in another way than ours."""
        subject = self.trial.subject
        parts = []
        if subject.keeps_cache:
            parts.append(
                "keeps its cache on itself (a second forward before the backward destroys the first one's gradient)"
            )
        if subject.rate:
            parts.append(f"takes the optimizer's step itself (what it changes at {subject.rate} = 1 was checked)")
        if self._overwrites():
            parts.append("overwrites its gradients (a layer that is used twice loses one of them)")
        if parts:
            self.notes.append(
                f"{subject.name} {listing(parts)}. That was not counted as a fault here; numpylm.module says how "
                "ours avoid it."
            )

    def _overwrites(self) -> bool:
        """Whether a second backward replaces the gradient of an array instead of adding to it."""
        beside = [p for _, p in self.trial.subject.parameters if isinstance(p, PlainParameter) and p.accumulates]
        if not beside:
            return False
        self.trial.gradients(self.trial.dout)
        once = [np.copy(parameter.grad) for parameter in beside]
        self.trial.subject.backward(copy.deepcopy(self.trial.dout), self.trial.run(self.trial.inputs)[1])
        return any(_same(parameter.grad, first) and first.any() for parameter, first in zip(beside, once, strict=True))

    def _finite(self) -> None:
        """A forward that gives no numbers has no derivative."""
        out = np.asarray(self.trial.out)
        if not np.isfinite(out).all():
            where = [int(i) for i in np.argwhere(~np.isfinite(out))[0]]
            text = (
                f"{self.trial.subject.name}.forward gives NaN or infinity, first at {where} of its output"
                f"{self._bad_input() or _REASONS}"
            )
            self.findings.append(Cause("not-finite", text, 100, "forward"))

    def _bad_input(self) -> str:
        """The end of the sentence if the inputs are to blame."""
        trial = self.trial
        names = [*trial.subject.input_names, *(f"input {i}" for i in range(len(trial.given)))]
        bad = [n for n, v in zip(names, trial.given, strict=False) if is_float(v) and np.isnan(v).any()]
        return f", because its input {listing(bad)} holds NaN: check it with finite numbers." if bad else ""

    def _repeatable(self) -> None:
        """Without this, differences mean nothing: the same call must give the same output."""
        trial = self.trial
        if _same(trial.value(), np.asarray(trial.out)):
            return
        trial.seeded = True
        if not _same(trial.value(), trial.value()):
            raise CheckError(
                f"{trial.subject.name}.forward gives another result each time it is called, with the same inputs: it "
                "draws random numbers that nobody can repeat, or changes something on itself. Take the generator as "
                "an argument, forward(x, rng=None), and draw from it."
            )
        trial._backward_once()
        self.notes.append(
            "forward draws from NumPy's global generator, which was reset before each call here; take the generator "
            "as an argument, forward(x, rng=None), so that others can repeat what happens."
        )

    def _writes_outside(self) -> None:
        """Whether forward or backward change what is not theirs; undoes it."""
        trial, name = self.trial, self.trial.subject.name
        names = [*trial.subject.input_names, *(f"input {i}" for i in range(len(trial.inputs)))]
        changed = [n for n, a, b in zip(names, trial.given, trial.inputs, strict=False) if not _same(a, b)]
        if changed:
            for live, original in zip(trial.inputs, trial.given, strict=True):
                if isinstance(live, np.ndarray):
                    live[...] = original
            text = (
                f"{name} writes into its input {changed[0]}: whoever holds that array finds it changed. Make a new "
                "array."
            )
            self.findings.append(Cause("writes-input", text, 98, changed[0]))
        if not _same(trial.given_dout, trial.dout):
            trial.dout = trial.given_dout
            text = (
                f"{name}.backward writes into its upstream gradient: where a residual passes the same array on, the "
                "other branch gets a changed one. Make a new array (g = dout * w, not dout *= w)."
            )
            self.findings.append(Cause("writes-upstream", text, 98, "dout"))
        for (parameter_name, parameter), before in zip(trial.subject.parameters, trial.weights, strict=True):
            if not _same(parameter.data, before):
                parameter.data[...] = before
                text = (
                    f"{name} changes the values of {parameter_name} in its forward or backward. Gradients of all "
                    "sequences of a batch must belong to the same weights: leave updates to the optimizer."
                )
                self.findings.append(Cause("writes-weight", text, 99, parameter_name))

    def _writes_cache(self) -> None:
        """Whether a second backward on one cache gives another gradient than the first."""
        trial = self.trial
        if trial.subject.keeps_cache or any(finding.kind.startswith("writes") for finding in self.findings):
            return
        cache = trial.run([copy.deepcopy(value) for value in trial.inputs])[1]
        first, second = (trial.gradients(trial.dout, cache, reuse=True) for _ in range(2))
        if not _same(first, second):
            text = (
                f"{trial.subject.name}.backward writes into its cache: a second backward on the same cache gives "
                "another gradient. Make new arrays (p * d, not p *= d)."
            )
            self.findings.append(Cause("writes-cache", text, 97, "cache"))

    def row(self, target: Target) -> Row:
        """Check one array."""
        name, values = target.name, target.values
        if not comparable(target.analytic, values.shape):
            return Row(name, values.shape, np.inf, False)
        places = self._places(values)
        a = np.array([at(target.analytic, place) for place in places])
        n = np.array([self._slope(values, place) for place in places])
        inside = np.isfinite(n)
        if not all(ok or isinstance(place, np.ndarray) for ok, place in zip(inside, places, strict=True)):
            self.notes.append(f"{name} was not checked where forward gives NaN for the slightest change of it.")
        if not inside.all():
            places, a, n = [p for p, ok in zip(places, inside, strict=True) if ok], a[inside], n[inside]
        floor, noise = self._floors(values, n)
        error = relative_error(a, n, floor)
        forward = self.precision.where == "forward"
        for i in np.flatnonzero(error > self.tolerance):
            for step in self.precision.steps if forward else finer_steps(values, places[i]):
                least = max(floor, noise * STEPS[0] / step)  # rounding grows as the step shrinks
                error[i] = min(error[i], relative_error(a[i], self.trial.slope(values, places[i], step), least))
        worst = float(error.max(initial=0)) if len(error) or not values.size else np.inf
        if worst <= self.tolerance or self._rounding(target, places, a, n, worst):
            return Row(name, values.shape, worst, True)
        for i in np.flatnonzero(error > self.tolerance):
            if not forward and self._kink(values, places[i], a[i], floor):
                error[i], n[i] = 0.0, a[i]
        worst = float(error.max(initial=0)) if len(error) else np.inf
        return Row(name, values.shape, worst, worst <= self.tolerance or self._rounding(target, places, a, n, worst))

    def _slope(self, values: Array, place: Place) -> float:
        """The true derivative; NaN where there is none, and along a direction that leaves the domain."""
        slope = self.trial.slope(values, place)
        return np.nan if self.trial.shrunk and isinstance(place, np.ndarray) else slope

    def _floors(self, values: Array, n: Array) -> tuple[float, float]:
        """Below which size a gradient counts as zero, and what of that is rounding in the differences."""
        size = float(np.linalg.norm(self.trial.value() * self.trial.dout))
        noise = 1e7 * 1e-16 * size / (STEPS[0] * scale_of(values))
        return max(1e-4 * np.abs(n).max(initial=0), noise, TINY), noise

    def _rounding(self, target: Target, places: list[Place], a: Array, n: Array, worst: float) -> bool:
        """Whether float32 inside the layer, and nothing else, explains the difference; says so in a note."""
        if not len(places):
            return False
        if self.precision.where == "forward":
            n = np.array([self.trial.slope(target.values, place, self.precision.steps[-1]) for place in places])
        where = self.precision.excuses(a, n, np.asarray(target.analytic))
        if not where:
            return False
        self.rounded.setdefault(where, []).append(f"{target.name} (to {worst:.0e})")
        return True

    def all_notes(self) -> list[str]:
        """What is worth knowing, but no fault; complete once all rows were checked."""
        name, dtype = self.trial.subject.name, self.precision.dtype if self.precision.where else np.float32
        said = {
            "forward": f"{name}.forward computes in {dtype.__name__} although its inputs are float64",
            "cache": f"{name}.forward keeps {dtype.__name__} arrays in its cache although its inputs are float64",
            "layer": f"{name} holds {dtype.__name__} arrays",
            "backward": f"{name}.backward computes in float32 although its inputs are float64",
        }
        rounding = [
            f"{said[where]}, so it could be checked only roughly: {listing(names, 8)}. That is rounding, not a fault. "
            "Keep the dtype of the input (Python floats and math.sqrt do; arrays made with dtype=np.float32 and astype "
            "do not)."
            for where, names in self.rounded.items()
        ]
        prints = [f"{name} prints while it runs; that was not shown."] if self.trial.subject.muted.used else []
        return [*self.notes, *rounding, *prints]

    def _kink(self, values: Array, place: Place, a: float, floor: float) -> bool:
        """Whether the point lies on a kink and backward chose a slope between those on either side."""
        trial, h = self.trial, 1e-7
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
        if float(jump.max(initial=0)) < 1e-2 * max(floor, float(np.abs(right).max(initial=0))):
            return False
        slack = 1e-5 * (float(np.abs(left).sum() + np.abs(right).sum()) + floor)
        inside = np.minimum(left, right).sum() - slack <= a <= np.maximum(left, right).sum() + slack
        if inside and not any("kink" in note for note in self.notes):
            self.notes.append(
                f"some inputs lie exactly on a kink of {trial.subject.name} (as 0 does for ReLU), where the slope on "
                "the left differs from that on the right. Anything between them is a valid choice, and backward "
                "chose so."
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


def at(gradient: Array, place: Place) -> float:
    """A gradient's component at a coordinate or along a direction."""
    return float(np.vdot(gradient, place)) if isinstance(place, np.ndarray) else float(gradient[place])


def finer_steps(values: Array, place: Place) -> list[float]:
    """Steps for a place where the first one fails: finer, and for a number near 0, small beside that number."""
    size = 0.0 if isinstance(place, np.ndarray) else abs(float(values[place])) / scale_of(values)
    return [*STEPS[1:], *([STEPS[0] * size] if 0 < size < 1e-2 else [])]


def relative_error(a: Any, n: Any, floor: float) -> Any:
    return np.abs(a - n) / np.maximum(np.maximum(np.abs(a), np.abs(n)), floor)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if a is None or b is None or isinstance(a, (dict, str)):
        return a is b or isinstance(a, (dict, str))
    if isinstance(a, Odd):
        return True  # the row says what it is
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape:
        return False
    if x.dtype.kind == y.dtype.kind == "f":
        return bool(np.array_equal(x, y, equal_nan=True))
    return bool(np.array_equal(x, y))
