"""From a failing check to plain sentences: all searches for a cause run, and the most convincing cause comes first."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from numpylm.check.confidence import CLEAR, COINCIDENCE, EXPLAINS, FIX_FIRST, FOLLOWS, NEAREST, UNKNOWN
from numpylm.check.inner.connections import CheckFunction, inner_causes
from numpylm.check.inner.pinpoint import pinpoint, watch_lines
from numpylm.check.inner.recovered import recover
from numpylm.check.jacobian.dependence import dependence, linear
from numpylm.check.measure.conduct import not_the_same_twice
from numpylm.check.measure.evidence import Evidence, cosine, fewer_rows, gather
from numpylm.check.measure.trial import Target, Trial
from numpylm.check.numbers.detect import almost_right, detect, size_first, unusable
from numpylm.check.report import Cause, Causes, Report, Row, listing
from numpylm.check.rerun.experiments import Laboratory, behavior
from numpylm.check.subject.calls import CheckError

PLACES_ONLY = ("wiring", "lines")  # kinds that say where it goes wrong, and not what is wrong there


def explain(report: Report, strict: Trial, check: CheckFunction) -> None:
    """Fill in the hints of all failing rows of a report."""
    failing = [row for row in report.rows if not row.ok]
    broken = next((finding for finding in report.findings if finding.kind == "not-finite"), None)
    if broken is not None:
        for row in failing:
            row.explain([broken])
        return
    trial = plain_trial(strict)
    if not_the_same_twice(report, trial):
        return
    right = [row.name for row in report.rows if row.ok]
    trial, note = fewer_rows(trial, [row.name for row in failing])
    report.notes += [note] if note else []
    targets = {target.name: (i, target) for i, target in enumerate(trial.targets)}
    causes: Causes = {row.name: unusable(trial.subject.name, targets[row.name][1]) for row in failing}
    with guarded(report):
        behavior(trial, strict, [name for name, found in causes.items() if not found], causes)
    wrong = [name for name, found in causes.items() if not found]
    root: Cause | None = None
    passed: dict[str, np.ndarray] = {}
    with guarded(report):
        root, passed = inner_causes(trial, check, wrong, causes)
    if root is None or root.kind in PLACES_ONLY:
        # The parameters of inner layers have causes of their own.
        own = [name for name in wrong if root is None or "." not in name]
        with guarded(report):
            formula(trial, {name: targets[name] for name in own}, causes, passed, right)
    if root is not None and root.kind in PLACES_ONLY:
        root = sharper(root, causes)
        causes = {name: [] for name in causes}
    together(causes, trial)
    for row in failing:
        if not causes[row.name] and root is not None:
            causes[row.name] = [root]
        row.explain(causes[row.name])
        if not causes[row.name]:
            with guarded(report):
                row.explain([unknown(trial, row, targets[row.name][1], right, fix_first(trial, row, causes))])


@contextlib.contextmanager
def guarded(report: Report) -> Iterator[None]:
    """Keep the verdict if a search for causes fails: the row stays wrong, with its error."""
    try:
        yield
    except CheckError:  # the student's code stops under the conditions of an experiment, so it tells nothing
        pass
    except Exception as error:
        note = (
            f"the search for the cause stopped with {type(error).__name__}: {error}. That is a fault of the checker, "
            "not yours; the verdicts stand."
        )
        if note not in report.notes:
            report.notes.append(note)


def plain_trial(strict: Trial) -> Trial:
    """The same subject under plain conditions: if a gradient is still wrong, its formula is wrong."""
    return strict.again(disturb=False, dirty=False)


def sharper(root: Cause, causes: Causes) -> Cause:
    """The root cause, preceded by a more convincing one if there is any."""
    best = max(
        (cause for found in causes.values() for cause in found), key=lambda cause: cause.confidence, default=root
    )
    return (
        root if best.confidence <= root.confidence else replace(best, text=f"{best.text} {root.text}", place=root.place)
    )


def formula(
    trial: Trial,
    wrong: dict[str, tuple[int, Target]],
    causes: Causes,
    passed: dict[str, np.ndarray],
    right: list[str],
) -> None:
    """Find causes in the numbers, in the Jacobians, in the student's lines and under other conditions.

    ``passed`` holds gradients between inner layers, and ``right`` the names of the gradients that passed the check.
    """
    gathered = {name: gather(trial, target, {}) for name, (_, target) in wrong.items()}
    others = {name: e.true for name, e in gathered.items() if e.fully_measured}
    for target in trial.targets:
        if target.name in right and np.shape(target.analytic) == target.values.shape:
            others[target.name] = np.asarray(target.analytic)  # it passed the check, so it is the true gradient
    for name, e in gathered.items():
        e.others = others
        e.known |= passed
        near_miss = almost_right(trial, e)
        if near_miss is not None:
            causes[name].append(near_miss)
            if near_miss.confidence >= EXPLAINS:
                continue  # the patterns assume large errors and find false matches in small ones
        causes[name] += detect(e)
        try:
            index = wrong[name][0]
            found = linear(e, trial, index)
            causes[name] += [found] if found else dependence(e, trial, index)
        except CheckError:
            pass
    for cause in recover(trial, gathered):
        causes[cause.place].append(cause)
    point_out(trial, wrong, gathered, causes, right)
    size_first(causes)
    for names, cause in Laboratory(trial, list(wrong)).causes():
        for name in names:
            if cause.kind == "initial-values":  # a scaled symmetric matrix equals its own transpose
                causes[name] = [
                    replace(c, confidence=c.confidence - COINCIDENCE) if c.kind == "transposed" else c
                    for c in causes[name]
                ]
            what = gathered[name].what
            causes[name].append(replace(cause, text=cause.text.replace("{what}", what), place=name))


def point_out(
    trial: Trial, wrong: dict[str, tuple[int, Target]], gathered: dict[str, Evidence], causes: Causes, right: list[str]
) -> None:
    """Find the line that goes wrong for each gradient without an explanation."""
    vague = [name for name in wrong if max((c.confidence for c in causes[name]), default=0) < EXPLAINS]
    flow = watch_lines(trial) if vague else None
    if flow is None:
        return
    flow.trust([target for target in trial.targets if target.name in right and target.parameter is not None])
    for name in vague:
        with contextlib.suppress(CheckError):
            found = pinpoint(flow, wrong[name][1], wrong[name][0], gathered[name])
            causes[name] += [found] if found is not None else []


def fix_first(trial: Trial, row: Row, causes: Causes) -> str:
    """A parameter with a clear fault that may also explain this row. Never an input: no parameter depends on it."""
    return next(
        (
            name
            for name, found in causes.items()
            if name not in trial.subject.input_names
            and name != row.name
            and any(c.confidence > FIX_FIRST for c in found)
        ),
        "",
    )


def unknown(trial: Trial, row: Row, target: Target, right: list[str], fix_first_name: str) -> Cause:
    """The cause of a gradient that fits no pattern: what is right, and the worst places with both numbers."""
    a, values = np.asarray(target.analytic), target.values
    e = gather(trial, target, {})
    gap = np.nan_to_num(np.abs(a - e.true))
    flat = np.argsort(gap, axis=None)[::-1][:2]
    places = [tuple(int(i) for i in np.unravel_index(k, values.shape)) for k in flat if gap.flat[k] > 0]
    worst = "; ".join(f"at {list(p)} backward says {a[p]:.6g}, the difference quotient {e.true[p]:.6g}" for p in places)
    right_note = f" These gradients are right, with everything that they need: {listing(right)}." if right else ""
    fix_first_note = f" It may follow from the fault in {fix_first_name}: fix that first." if fix_first_name else ""
    text = (
        f"{e.what} is wrong and fits no known pattern (cosine with the truth {cosine(a, e.true):.3f})."
        f"{fix_first_note}{right_note} Worst: {worst}."
    )
    return Cause("unknown", text, UNKNOWN, row.name)


# ----------------------------------------------------------------------------------------- one fault, several gradients


def together(causes: Causes, trial: Trial) -> None:
    """Say a fault that spoils several gradients once, where it is found most exactly."""
    _share_texts(causes)
    _in_common(causes)
    _follows(causes, trial)


def _best(found: list[Cause]) -> Cause | None:
    return max(found, key=lambda cause: cause.confidence, default=None)


def _placed(causes: Causes) -> dict[str, Cause]:
    """The gradients for which only the wrong lines are known, and no formula."""
    best = {name: _best(found) for name, found in causes.items()}
    return {name: cause for name, cause in best.items() if cause and cause.kind == "lines"}


def _share_texts(causes: Causes) -> None:
    """Give rows with the same lines the same text, so that the report prints it once."""
    first: dict[tuple[int, ...], Cause] = {}
    for name, cause in _placed(causes).items():
        same = first.setdefault(cause.lines, cause)
        if same is not cause:
            causes[name] = [replace(same, place=name)]


def _in_common(causes: Causes) -> None:
    """Name the lines that all these gradients depend on: one fault that spoils all of them is there."""
    placed = _placed(causes)
    sets = {cause.lines for cause in placed.values()}
    common = set.intersection(*map(set, sets)) if len(sets) > 1 else set()
    if not common or len(common) >= min(map(len, sets)):
        return
    lines, them = ("lines", "them") if len(common) > 1 else ("line", "it")
    advice = f" Look at {lines} {listing(sorted(common), 8)} first: {listing(placed, 8)} have {them} in common."
    for name, cause in placed.items():
        causes[name] = [replace(c, text=c.text + advice) if c is cause else c for c in causes[name]]


def _follows(causes: Causes, trial: Trial) -> None:
    """Replace an input's vague cause by a clear fault in a parameter: the input's gradient depends on it."""
    inputs = trial.subject.input_names
    of_parameters = [cause for name, found in causes.items() if name not in inputs and (cause := _best(found))]
    for name in [name for name in inputs if causes.get(name) is not None]:
        own = _best(causes[name])
        nearer = [cause for cause in of_parameters if _clear(cause) or _narrower(cause, own)]
        if nearer and (own is None or (own.confidence < CLEAR and not any(map(own.same_lines, nearer)))):
            nearest = min(nearer, key=lambda cause: (not _clear(cause), len(cause.lines)))
            text = (
                f"{trial.subject.name}: the gradient of {name} is wrong as well. It is computed from the "
                f"gradients of later steps, so fix {nearest.place} first and look again."
            )
            causes[name] = [Cause(nearest.kind, text, FOLLOWS, name)]


def _clear(cause: Cause) -> bool:
    """Whether a cause names a place inside the layer and what is wrong there."""
    return cause.source == "recovered" or (cause.source == "lines" and cause.confidence > NEAREST)


def _narrower(cause: Cause, own: Cause | None) -> bool:
    """Whether a cause names fewer lines than the input's own cause, which names more than two or none."""
    vague = own is None or (own.kind == "lines" and len(own.lines) > 2)
    return vague and bool(cause.lines) and (own is None or len(cause.lines) < len(own.lines))
