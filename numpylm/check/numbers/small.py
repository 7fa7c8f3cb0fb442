"""Gradients that are almost right: no term is missing there, but an ε, or something as small, differs."""

from dataclasses import replace

import numpy as np

from numpylm.check.inner.wiring import Causes
from numpylm.check.measure.evidence import Evidence, cosine
from numpylm.check.measure.trial import Trial
from numpylm.check.report import Cause
from numpylm.check.rerun.experiments import errors
from numpylm.check.subject.subject import CheckError, is_float

SMALL = 1e-3  # share of the largest entry: what is wrong by less is almost right
UNKNOWN, HINT = "unknown", 60  # how a small error of unknown origin is filed
SHRINK = 1e-3  # inputs are made so much smaller,
GROWS = 100.0  # and an error that grows so much by it is that of a constant beside them: an ε


def explain(trial: Trial, e: Evidence) -> Cause | None:
    """How large a small error is, and whether it grows where inputs are smaller."""
    gap = float(np.nanmax(np.abs(e.a - e.n), initial=0)) / e.scale
    if gap > SMALL:
        return None
    text = (
        f"{e.what} is almost right: wrong by {gap:.1e} of its largest entry (cosine {cosine(e.a, e.n):.6f}), too "
        "little for a term or a factor that is missing."
    )
    grown = _on_smaller_inputs(trial, e.name)
    if grown > GROWS * max(gap, 1e-9):
        text += (
            f" With inputs 1000 times smaller it is wrong by {grown:.1e}: an ε stands elsewhere in backward than in "
            "forward. If forward divides by σ + ε or by √(σ² + ε), backward must use that very number, ε and all."
        )
        return Cause("epsilon", text, 92, e.name)
    text += " Look at small constants (ε), and at numbers that forward and backward do not compute in the same way."
    return Cause(UNKNOWN, text, HINT, e.name)


def said_first(causes: Causes) -> None:
    """Where a small error was traced to some lines and to no more, its size is said before them."""
    for name, found in causes.items():
        size = next((cause for cause in found if cause.kind == UNKNOWN and cause.weight == HINT), None)
        for i, cause in enumerate(found):
            if size is not None and cause.kind == "wiring" and cause.lines:
                causes[name][i] = replace(cause, text=f"{size.text} {cause.text}")


def _on_smaller_inputs(trial: Trial, name: str) -> float:
    """The error of one array when all floating-point inputs are 1000 times smaller; 0 where that cannot be told."""
    setup = trial.setup
    inputs = tuple(SHRINK * value if is_float(value) and np.size(value) > 1 else value for value in setup.inputs)
    try:
        error = errors(Trial(setup.replace(inputs=inputs), trial.conditions), [name])[name]
    except CheckError:
        return 0.0
    return error if np.isfinite(error) else 0.0
