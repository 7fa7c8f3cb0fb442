"""A backward that is not the same twice: a dropout mask that is drawn anew, or a cache that was written into?"""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from numpylm.checker.conduct import same
from numpylm.checker.report import Cause, Report
from numpylm.checker.trial import Trial
from numpylm.module import Array


def not_the_same_twice(report: Report, trial: Trial) -> bool:
    """Say it, and nothing else, if backward differs from call to call: all that was found is made of that."""
    name = trial.subject.name
    written = [finding for finding in report.findings if finding.kind == "writes-cache"]
    anew = not same(*(trial.gradients(trial.dout) for _ in range(2)))
    if not anew and (not written or _cache_changes(trial)):
        return False
    text = (
        f"{name}.backward gives another gradient when it is called a second time with the same upstream gradient and "
        "the same cache, and changes no array: it draws random numbers of its own. The mask (or whatever else the "
        "forward drew) must be in the cache; the generator that drew it gives another one."
    )
    cause = Cause("random", text, 99, "backward")
    report.findings = [cause if finding in written else finding for finding in report.findings]
    for row in report.rows:
        if anew and not row.ok:
            row.explain([cause])
    return anew


def _cache_changes(trial: Trial) -> bool:
    """Whether a backward changes an array in its cache."""
    cache = trial.run([copy.deepcopy(value) for value in trial.inputs])[1]
    before = [array.copy() for array in arrays_in(cache)]
    trial.gradients(trial.dout, cache, reuse=True)
    return not same(before, list(arrays_in(cache)))


def arrays_in(cache: Any) -> Iterator[Array]:
    """All arrays in a cache, also in lists, dicts and objects such as ``ctx``."""
    if isinstance(cache, np.ndarray):
        yield cache
    elif isinstance(cache, dict):
        yield from arrays_in(list(cache.values()))
    elif isinstance(cache, (list, tuple)):
        for part in cache:
            yield from arrays_in(part)
    elif hasattr(cache, "__dict__"):
        yield from arrays_in(vars(cache))
