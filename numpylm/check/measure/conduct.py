"""What a layer must not do, such as changing its inputs or its cache, and habits that are worth a note."""

import contextlib
import copy
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from numpylm.check.confidence import (
    CHANGES_INPUTS,
    CHANGES_WEIGHTS,
    DRAWS_NUMBERS,
    NOT_REPEATABLE,
    REUSES_OUTPUT,
    UNUSABLE,
)
from numpylm.check.measure.trial import Trial
from numpylm.check.report import Cause, Report, listing
from numpylm.check.subject.calls import RANDOM, CheckError, is_float, same, state_of
from numpylm.check.subject.paths import walk
from numpylm.check.subject.survey import PlainParameter, Surveyed, constant_name

# -------------------------------------------------------------------------------- a backward that is not the same twice


def not_the_same_twice(report: Report, trial: Trial) -> bool:
    """Report only this fault if backward differs from call to call: all other findings would follow from it."""
    if same(*(trial.gradients(trial.dout) for _ in range(2))):
        return False
    cause = why_not_the_same(trial)
    report.findings = [
        cause if finding.kind in ("writes-cache", "random", "state") else finding for finding in report.findings
    ]
    for row in report.rows:
        if not row.ok:
            row.explain([cause])
    return True


def why_not_the_same(trial: Trial) -> Cause:
    """Why a second backward gives another gradient than the first. A reason is given only if it was observed."""
    name = trial.subject.name
    drawn, arrays, attributes = _watched_backward(trial)
    differs = f"{name}.backward gives another gradient when it is called a second time with the same upstream gradient"
    if drawn:
        text = (
            f"{differs} and the same cache: it draws random numbers of its own. The mask (or what else the forward "
            "drew) must be in the cache: a generator does not give the same numbers twice."
        )
        return Cause("random", text, DRAWS_NUMBERS, "backward")
    if arrays:
        text = (
            f"{name}.backward writes into its cache: a second backward on the same cache gives another gradient. Make "
            "new arrays (p * d, not p *= d)."
        )
        return Cause("writes-cache", text, NOT_REPEATABLE, "cache")
    if same(*(trial.gradients(trial.dout) for _ in range(2))):
        text = (
            f"{name}.backward removes or changes something in its cache other than an array: a second backward on the "
            "same cache gives another gradient."
        )
        return Cause("writes-cache", text, NOT_REPEATABLE, "cache")
    kept = f" (self.{', self.'.join(attributes)})" if attributes else ""
    text = f"{differs}, even after a forward of its own: one call leaves something behind{kept} that changes the next."
    return Cause("state", text, NOT_REPEATABLE, "backward")


def _watched_backward(trial: Trial) -> tuple[bool, bool, list[str]]:
    """Whether a backward draws random numbers and changes arrays in its cache, and which attributes it changes."""
    cache = trial.run([copy.deepcopy(value) for value in trial.inputs])[1]
    layer = getattr(trial.subject.layer, "__dict__", {})
    before = [value.copy() for _, value in walk(cache) if isinstance(value, np.ndarray)]
    plain = {name: value for name, value in layer.items() if isinstance(value, (int, float, str))}
    with _watched_randomness([value for _, value in walk([cache, layer]) if isinstance(value, RANDOM)]) as drawn:
        trial.gradients(trial.dout, cache, reuse=True)
    after = [value for _, value in walk(cache) if isinstance(value, np.ndarray)]
    return bool(drawn), not all(map(same, before, after)), [name for name in plain if layer.get(name) != plain[name]]


@contextlib.contextmanager
def _watched_randomness(generators: list[Any]) -> Iterator[list[str]]:
    """A list that tells after the block which generators were used: these, NumPy's, Python's, or new ones."""
    drawn: list[str] = []
    maker = np.random.default_rng

    def states() -> list[str]:
        return [repr(random.getstate()), repr(np.random.get_state()), *(repr(state_of(g)) for g in generators)]  # noqa: NPY002

    def noted(*args: Any, **options: Any) -> Any:
        # A generator with a seed draws the same numbers each time.
        drawn.extend([] if args or options else ["a new generator"])
        return maker(*args, **options)

    before = states()
    np.random.default_rng = noted
    try:
        yield drawn
    finally:
        np.random.default_rng = maker
        drawn += ["one that was there"] if states() != before else []


# --------------------------------------------------------------------------------------------------- conduct and habits

_REASONS = (
    ", for inputs that are finite: there is no gradient to check. Usual reasons: exp of a large number (subtract the "
    "maximum first), a row in which everything is masked (-inf - -inf), a division by zero, the log of zero."
)


class Conduct:
    """The behavior of a layer: ``findings`` are faults, ``notes`` are not.

    Changes that the layer made are undone. If it draws from NumPy's global generator, the trial is seeded.
    """

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.notes: list[str] = []
        self.findings: list[Cause] = []
        for why in dict.fromkeys(trial.constants.values()):
            names = [name for name, reason in trial.constants.items() if reason == why]
            self.notes.append(f"not checked: {listing(names)}. {why}.")
        if isinstance(trial.setup.layer_or_pair, Surveyed):
            self.notes += trial.setup.layer_or_pair.notes
        self._writes_outside()
        self._finite()
        self._repeatable()
        self._writes_cache()
        self._reuses_output()
        self._habits()

    def _habits(self) -> None:
        """Note how the layer is written differently from ours, which the check accepts."""
        subject = self.trial.subject
        parts = []
        if subject.keeps_cache:
            parts.append("keeps its cache on itself")
        if subject.rate:
            parts.append(f"takes the optimizer's step itself (what it changes at {subject.rate} = 1 was checked)")
        if self._overwrites():
            parts.append("overwrites its gradients")
        if parts:
            self.notes.append(f"{subject.name} {listing(parts)}: no fault here; see numpylm.nn.module.")

    def _overwrites(self) -> bool:
        """Whether a second backward replaces the gradient of an array instead of adding to it."""
        beside = [p for _, p in self.trial.subject.parameters if isinstance(p, PlainParameter) and p.accumulates]
        if not beside:
            return False
        self.trial.gradients(self.trial.dout)
        once = [np.copy(parameter.grad) for parameter in beside]
        cache = self.trial.run(copy.deepcopy(self.trial.inputs))[1]
        self.trial.subject.backward(copy.deepcopy(self.trial.dout), cache)
        return any(same(parameter.grad, first) and first.any() for parameter, first in zip(beside, once, strict=True))

    def _finite(self) -> None:
        """Find NaN and infinity in the output: such a forward has no derivative."""
        out = np.asarray(self.trial.out)
        if not np.isfinite(out).all():
            where = [int(i) for i in np.argwhere(~np.isfinite(out))[0]]
            text = (
                f"{self.trial.subject.name}.forward gives NaN or infinity, first at {where} of its output"
                f"{self._bad_input() or _REASONS}"
            )
            self.findings.append(Cause("not-finite", text, UNUSABLE, "forward"))

    def _bad_input(self) -> str:
        """The end of the sentence if an input holds NaN."""
        trial = self.trial
        names = [*trial.subject.input_names, *(f"input {i}" for i in range(len(trial.given)))]
        bad = [n for n, v in zip(names, trial.given, strict=False) if is_float(v) and np.isnan(v).any()]
        return f", because its input {listing(bad)} holds NaN: check it with finite numbers." if bad else ""

    def _repeatable(self) -> None:
        """Require the same output from the same call, since differences mean nothing otherwise."""
        trial = self.trial
        if same(trial.value(), np.asarray(trial.out)):
            return
        trial.setup = trial.setup.replace(seeded=draws_globally(trial))
        if not same(trial.value(), trial.value()):
            raise CheckError(
                f"{trial.subject.name}.forward gives another result each time it is called, with the same inputs: it "
                "draws random numbers that cannot be repeated, or changes something on itself. Take the generator as "
                "an argument, forward(x, rng=None), and draw from it."
            )
        trial.backward_once()
        self.notes.append(
            "forward draws from NumPy's global generator, which was reset before each call here; take the generator "
            "as an argument, forward(x, rng=None), so that a run can be repeated."
            if trial.setup.seeded
            else "forward gives another result the first time it is called than later, with the same inputs: it "
            "changes something on itself. What it gives later was checked."
        )

    def _reuses_output(self) -> None:
        """Find a forward that writes into the array that it returned before."""
        trial, name = self.trial, self.trial.subject.name
        out = trial.run(copy.deepcopy(trial.inputs))[0]
        before = copy.copy(out)
        trial.other_forward()
        if same(out, before):
            return
        text = f"{name}.forward returns the same array each time, so a second forward changes the output of the first"
        if trial.subject.keeps_cache:
            self.notes.append(f"{text}. Copy what you keep of it.")
        else:
            text += ", which the next layer may have in its cache. Make a new array in each forward."
            self.findings.append(Cause("reused-output", text, REUSES_OUTPUT, "forward"))

    def _writes_outside(self) -> None:
        """Find changes of inputs, upstream gradient and weights by forward or backward, and undo them."""
        trial, name = self.trial, self.trial.subject.name
        names = [*trial.subject.input_names, *(f"input {i}" for i in range(len(trial.inputs)))]
        changed = [n for n, a, b in zip(names, trial.given, trial.inputs, strict=False) if not same(a, b)]
        changed = [name for name in changed if not constant_name(name)]  # running means are meant to be changed
        if changed:
            for live, original in zip(trial.inputs, trial.given, strict=True):
                if isinstance(live, np.ndarray):
                    live[...] = original
            text = f"{name} writes into its input {changed[0]}, which other code may still use. Make a new array."
            self.findings.append(Cause("writes-input", text, CHANGES_INPUTS, changed[0]))
        if not same(trial.given_dout, trial.dout):
            trial.dout = trial.given_dout
            text = (
                f"{name}.backward writes into its upstream gradient: if a residual connection uses the same array, the "
                "other branch gets a changed one. Make a new array (g = dout * w, not dout *= w)."
            )
            self.findings.append(Cause("writes-upstream", text, CHANGES_INPUTS, "dout"))
        for (parameter_name, parameter), before in zip(trial.subject.parameters, trial.weights, strict=True):
            if not same(parameter.data, before):
                parameter.data[...] = before
                text = (
                    f"{name} changes the values of {parameter_name} in its forward or backward. Gradients of all "
                    "sequences of a batch must belong to the same weights: leave updates to the optimizer."
                )
                self.findings.append(Cause("writes-weight", text, CHANGES_WEIGHTS, parameter_name))

    def _writes_cache(self) -> None:
        """Find a second backward on one cache that gives another gradient than the first."""
        trial = self.trial
        if trial.subject.keeps_cache or any(finding.kind.startswith("writes") for finding in self.findings):
            return
        cache = trial.run([copy.deepcopy(value) for value in trial.inputs])[1]
        first = trial.gradients(trial.dout, cache, reuse=True)
        try:
            second = trial.gradients(trial.dout, cache, reuse=True)
        except CheckError:
            self.notes.append(
                f"{trial.subject.name}.backward empties its cache (as pop does): "
                "a second backward on the same cache stops."
            )
            return
        if not same(first, second):
            self.findings.append(why_not_the_same(trial))


def draws_globally(trial: Trial) -> bool:
    """Whether a forward draws from NumPy's global generator."""
    before = np.random.get_state()  # noqa: NPY002
    trial.value()
    return not same(list(before), list(np.random.get_state()))  # noqa: NPY002
