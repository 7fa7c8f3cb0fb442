"""A backward that is not the same twice: it draws random numbers, or what it changes comes back to it."""

import contextlib
import copy
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from numpylm.check.measure.trial import Trial
from numpylm.check.report import Cause, Report
from numpylm.check.subject.paths import walk
from numpylm.check.subject.returned_gradients import same
from numpylm.check.subject.values import RANDOM, state_of


def not_the_same_twice(report: Report, trial: Trial) -> bool:
    """Say it, and nothing else, if backward differs from call to call: all that was found is made of that."""
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
    """Why a second backward gives another gradient than the first; each reason is said only where it was seen."""
    name = trial.subject.name
    drawn, arrays, attributes = _watched_backward(trial)
    again = f"{name}.backward gives another gradient when it is called a second time with the same upstream gradient"
    if drawn:
        text = (
            f"{again} and the same cache: it draws random numbers of its own. The mask (or whatever else the forward "
            "drew) must be in the cache; the generator that drew it gives another one."
        )
        return Cause("random", text, 99, "backward")
    if arrays:
        text = (
            f"{name}.backward writes into its cache: a second backward on the same cache gives another gradient. Make "
            "new arrays (p * d, not p *= d)."
        )
        return Cause("writes-cache", text, 97, "cache")
    if same(*(trial.gradients(trial.dout) for _ in range(2))):
        text = (
            f"{name}.backward uses up or changes something in its cache, although no array: a second backward on the "
            "same cache gives another gradient."
        )
        return Cause("writes-cache", text, 97, "cache")
    kept = f" (self.{', self.'.join(attributes)})" if attributes else ""
    text = f"{again}, even after a forward of its own: what one call leaves behind{kept} changes the next."
    return Cause("state", text, 97, "backward")


def _watched_backward(trial: Trial) -> tuple[bool, bool, list[str]]:
    """Whether a backward draws random numbers and changes arrays in its cache, and attributes that it changes."""
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
    """What is drawn from generators, NumPy's own among them and Python's, or made anew, while this is open."""
    drawn: list[str] = []
    maker = np.random.default_rng

    def states() -> list[str]:
        return [repr(random.getstate()), repr(np.random.get_state()), *(repr(state_of(g)) for g in generators)]  # noqa: NPY002

    def noted(*args: Any, **options: Any) -> Any:
        drawn.extend([] if args or options else ["a new generator"])  # one with a seed draws the same each time
        return maker(*args, **options)

    before = states()
    np.random.default_rng = noted
    try:
        yield drawn
    finally:
        np.random.default_rng = maker
        drawn += ["one that was there"] if states() != before else []
