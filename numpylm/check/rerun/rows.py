"""A diagnosis needs few rows, and with few it can measure all: long inputs are cut where the fault stays the same."""

import numpy as np

from numpylm.check.measure.trial import Setup, Trial
from numpylm.check.numbers.sizes import first_array, shortened
from numpylm.check.rerun.experiments import CLOSE, errors
from numpylm.check.subject.subject import CheckError

ENOUGH = 16  # rows: up to so many nothing is cut
FEW: dict[int, dict[int, int]] = {2: {0: 7}, 3: {0: 2, 1: 5}, 4: {0: 2, 2: 5}}  # axes of an input: length that is left
IDS = {0: 2, 1: 5}


def fewer_rows(trial: Trial, wrong: list[str]) -> tuple[Trial, str]:
    """A smaller trial with the same wrong arrays and a note that says so; the trial itself if there is none."""
    first = first_array(trial.setup)
    if first is None or first.ndim < 2:
        return trial, ""
    is_ids = first.dtype.kind in "iu"
    if (first.size if is_ids else first.size // first.shape[-1]) <= ENOUGH:
        return trial, ""
    setup = trial.setup
    for axis, length in (IDS if is_ids and first.ndim == 2 else FEW.get(first.ndim, {})).items():
        setup = _cut(setup, axis, length)
    try:
        small = Trial(setup, trial.conditions)
        still = errors(small, wrong)
    except CheckError:
        return trial, ""
    if any(still.get(name, 0) < CLOSE for name in wrong) or not np.isfinite(np.asarray(small.out)).all():
        return trial, ""
    left = first_array(setup).shape
    if left == first.shape:
        return trial, ""  # it was as short already
    return small, (
        f"the diagnosis looked at the first {'×'.join(map(str, left))} of {'×'.join(map(str, first.shape))}: numbers "
        "and sizes in its sentences are those."
    )


def _cut(setup: Setup, axis: int, length: int) -> Setup:
    return shortened(setup, axis, length) if first_array(setup).shape[axis] > length else setup
