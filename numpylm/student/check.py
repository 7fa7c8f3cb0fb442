"""Checking what a student's file holds, one thing after the other."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from numpylm.checker.calls import CheckError, UncheckedError, call, describe
from numpylm.checker.clipping import check_clipping
from numpylm.checker.optimizers import check_optimizer
from numpylm.checker.report import Cause, Report
from numpylm.gradcheck import gradcheck
from numpylm.student.feed import prepare
from numpylm.student.find import Found, choose, neighbours


def check_file(path: Path, seed: int = 0) -> Iterator[Report]:
    """Check everything in a file."""
    for item in choose(path):
        yield check_found(item, seed)


def check_found(item: Found, seed: int = 0) -> Report:
    """Check one thing from a file; whatever happens, there is a report, and the next thing's turn comes."""
    with neighbours(item.path):
        return _check(item, seed)


def _check(item: Found, seed: int) -> Report:
    try:
        if item.kind in ("optimizer", "clipping"):
            check = check_optimizer if item.kind == "optimizer" else check_clipping
            report: Report = call(item.name, check, item.target, seed)
            return report
        subject, inputs, notes = prepare(item, seed)
        report = gradcheck(subject, *inputs, rng=np.random.default_rng(seed))
    except CheckError as error:
        return stopped(item.name, error)
    except Exception as error:
        return stopped(item.name, CheckError(f"{item.name}: the checker stopped, not your code. {describe(error)}"))
    report.title = item.name
    report.notes += notes
    return report


def stopped(title: str, error: CheckError) -> Report:
    """A report that holds nothing but an error."""
    kind = "not-checked" if isinstance(error, UncheckedError) else "error"
    return Report(title, [], [Cause(kind, str(error), 100, title)])
