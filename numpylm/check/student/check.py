"""Checks everything in a student's file, one report for each layer, pair, optimizer or clipping."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.check.confidence import UNUSABLE
from numpylm.check.gradcheck import gradcheck
from numpylm.check.optimizer.clipping import check_clipping
from numpylm.check.optimizer.optimizers import check_optimizer
from numpylm.check.report import Cause, Report
from numpylm.check.student import handed
from numpylm.check.student.feed import build, prepare
from numpylm.check.student.find import Found, items_to_check, neighbors
from numpylm.check.student.search import others, search, shapes
from numpylm.check.student.updates import as_optimizer
from numpylm.check.subject.calls import CheckError, UncheckedError, call, describe


def check_file(path: Path, seed: int = 0) -> Iterator[Report]:
    """Check everything in a file."""
    for item in items_to_check(path):
        yield check_found(item, seed)


def check_found(item: Found, seed: int = 0) -> Report:
    """Check one item of a file. There is always a report, also if the check itself fails."""
    with neighbors(item.path):
        return _check(item, seed)


def _check(item: Found, seed: int) -> Report:
    try:
        if item.kind in ("optimizer", "clipping"):
            optimizer = item.kind == "optimizer"
            check, target = (check_optimizer, as_optimizer(item.target)) if optimizer else (check_clipping, item.target)
            report: Report = call(item.name, check, target, seed)
            return report
        if item.kind == "schedule":
            raise UncheckedError(f"{item.name}: it seems to be a schedule, and there is no single right schedule.")
        subject, inputs, notes = prepare(item, seed)
        report = gradcheck(subject, *inputs, rng=np.random.default_rng(seed))
        if not report.ok and item.example is None:
            report = _right_elsewhere(item, subject, inputs, seed) or _right_with_numbers(item, report, seed) or report
    except CheckError as error:
        return stopped(item.name, error)
    except Exception as error:
        return stopped(item.name, checker_stopped(item.name, error))
    report.title = item.name
    report.notes += notes
    return report


def _right_elsewhere(item: Found, subject: Any, inputs: tuple, seed: int) -> Report | None:
    """A report on other guessed inputs for which all gradients are right; None if there are none."""
    for other in others(item, subject, inputs, np.random.default_rng(seed)):
        report = gradcheck(subject, *other, rng=np.random.default_rng(seed), diagnose=False)
        if report.ok:
            report.notes.append(f"the inputs had {shapes(other)}; with {shapes(inputs)}, the gradients would be wrong.")
            return report
    return None


def _right_with_numbers(item: Found, report: Report, seed: int) -> Report | None:
    """A report on a layer made with numbers, if only gradients of arrays with a mere name are missing; else None."""
    missing = all(row.ok or any(cause.kind == "never-written" for cause in row.causes) for row in report.rows)
    if item.kind != "layer" or not (report.rows and missing) or not handed.only_by_name(item.target):
        return None
    rng = np.random.default_rng(seed)
    try:
        subject = build(item, rng)
        inputs, notes = search(item, subject, rng)
    except CheckError:
        return None
    report = gradcheck(subject, *inputs, rng=np.random.default_rng(seed), diagnose=False)
    report.notes += [
        *notes,
        "it was made with numbers; with arrays in their place, a gradient would be missing.",
    ]
    return report if report.ok else None


def checker_stopped(name: str, error: Exception) -> UncheckedError:
    """The error to report if the checker itself failed: the student's code may be right."""
    return UncheckedError(f"{name}: the checker stopped, not your code. {describe(error)}")


def stopped(title: str, error: CheckError) -> Report:
    """A report that holds only an error."""
    if isinstance(error, UncheckedError):
        return Report(title, [], unchecked=str(error))
    return Report(title, [], [Cause("error", str(error), UNUSABLE, title, detail=error.raised)])
