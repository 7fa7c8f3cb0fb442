"""From a failing check to plain sentences: every detective is asked, the most convincing answer is said first."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from numpylm.checker import inside
from numpylm.checker.evidence import cosine, gather
from numpylm.checker.experiments import CLOSE, Laboratory, errors
from numpylm.checker.parts import detect
from numpylm.checker.recovered import recover
from numpylm.checker.report import Cause, Report, Row, listing
from numpylm.checker.structure import dependence, linear
from numpylm.checker.subject import CheckError
from numpylm.checker.trial import Conditions, Target, Trial

Check = Callable[..., Report]


def explain(report: Report, strict: Trial, check: Check) -> None:
    """Fill in the hints of all failing rows of a report."""
    trial = Trial(strict.setup, Conditions(initial=strict.conditions.initial))
    if strict.seeded:
        trial.seeded = True
        trial._backward_once()
    failing = [row for row in report.rows if not row.ok]
    broken = next((finding for finding in report.findings if finding.kind == "not-finite"), None)
    if broken is not None:
        for row in failing:
            row.explain([broken])
        return
    targets = {target.name: (i, target) for i, target in enumerate(trial.targets)}
    causes: dict[str, list[Cause]] = {row.name: [] for row in failing}
    for row in failing:
        causes[row.name] += unusable(trial.subject.name, targets[row.name][1])
    behaviour(trial, strict, [name for name, found in causes.items() if not found], causes)
    wrong = [name for name, found in causes.items() if not found]
    root, passed = inner_causes(trial, check, wrong, causes)
    if root is None or root.kind == "wiring":
        own = [name for name in wrong if root is None or "." not in name]  # not what belongs to an inner layer
        formula(trial, {name: targets[name] for name in own}, causes, passed)
    if root is not None and root.kind == "wiring":
        best = max((c for found in causes.values() for c in found), key=lambda c: c.weight, default=root)
        root = (
            root
            if best.weight <= root.weight
            else Cause(best.kind, f"{best.text} {root.text}", best.weight, root.place)
        )
        causes = {name: [] for name in causes}
    follows(causes, trial)
    right = [row.name for row in report.rows if row.ok]
    clear = next((name for name, found in causes.items() if any(c.weight > 75 for c in found)), "")
    for row in failing:
        if not causes[row.name] and root is not None:
            causes[row.name] = [root]
        row.explain(causes[row.name] or [unknown(trial, row, targets[row.name][1], right, clear)])


def follows(causes: dict[str, list[Cause]], trial: Trial) -> None:
    """An input's gradient is made of everything behind it: a clear fault in a parameter explains it best."""
    sure = [
        max(found, key=lambda c: c.weight)
        for name, found in causes.items()
        if found and name not in trial.subject.input_names
    ]
    sure = [cause for cause in sure if "Recovered" in cause.text]
    for name, found in causes.items():
        if sure and name in trial.subject.input_names and max((c.weight for c in found), default=0) < 90:
            text = (
                f"{trial.subject.name}: the gradient of {name} is wrong as well. It is made of everything behind it, "
                f"so mend {sure[0].place} first and look again."
            )
            causes[name] = [Cause(sure[0].kind, text, 60, name)]


def unusable(layer: str, target: Target) -> list[Cause]:
    """Gradients that cannot be compared: none at all, of another shape, or not finite."""
    what, analytic, shape = f"{layer}: the gradient of {target.name}", target.analytic, target.values.shape
    if analytic is None:
        text = f"{layer}: backward returned no gradient for this input, {target.name}."
        return [Cause("never-written", text, 100, target.name)]
    got = np.shape(analytic)
    if got != shape:
        return [
            Cause(
                "shape",
                f"{what} has the wrong shape: expected {shape}, got {got}{_shape_hint(shape, got)}",
                100,
                target.name,
            )
        ]
    if not np.isfinite(analytic).all():
        bad = tuple(int(i) for i in np.argwhere(~np.isfinite(analytic))[0])
        text = f"{what} holds NaN or infinity, first at {list(bad)}: look for a division by zero, log(0), or inf - inf."
        return [Cause("not-finite", text, 100, target.name)]
    return []


def _shape_hint(expected: tuple[int, ...], got: tuple[int, ...]) -> str:
    if sorted(expected) == sorted(got):
        return ": transposed?"
    if len(got) > len(expected) and (not expected or got[-len(expected) :] == expected):
        return (
            f": not summed over the first {len(got) - len(expected)} axes? What is broadcast in forward is summed in "
            "backward."
        )
    if np.prod(expected) == np.prod(got):
        return ": reshaped?"
    if len(got) < len(expected):
        return ": summed over too many axes?"
    return "."


def behaviour(trial: Trial, strict: Trial, names: list[str], causes: dict[str, list[Cause]]) -> None:
    """Arrays that are right if gradients start at zero and backward follows its own forward directly."""
    error = errors(trial, names)
    gentle = [name for name in names if error.get(name, np.inf) < CLOSE]
    if not gentle:
        return
    layer = trial.subject.name
    laboratory = Laboratory(trial, gentle)
    for condition in ("dirty", "disturb"):
        spoilt = set(gentle) - set(laboratory.cured(dirty=condition == "dirty", disturb=condition == "disturb"))
        for name in spoilt:
            if condition == "dirty":
                text = (
                    f"{layer}: the gradient of {name} is assigned (=) where it must be added (+=): what was there "
                    "before, from another use of the parameter or another part of the batch, is lost. Right from "
                    "zero, wrong otherwise."
                )
                causes[name].append(Cause("assigned", text, 99, name))
            else:
                text = (
                    f"{layer}: the gradient of {name} is right if backward follows its forward directly, and wrong "
                    "if another forward runs in between: something is kept on the layer (self.…) that belongs into "
                    "the cache."
                )
                causes[name].append(Cause("state", text, 99, name))


def inner_causes(
    trial: Trial, check: Check, wrong: list[str], causes: dict[str, list[Cause]]
) -> tuple[Cause | None, dict[str, np.ndarray]]:
    """Look into the inner layers.

    Returns the cause that explains all rows without one of their own, and the gradients that were passed on.
    """
    log = inside.record(copy_of(trial)) if wrong else None
    if log is None or not log.calls:
        return None, {}
    return _inner_cause(log, check, causes), inside.passed_on(log)


def _inner_cause(log: inside.Record, check: Check, causes: dict[str, list[Cause]]) -> Cause | None:
    name = log.trial.subject.name
    failing = inside.suspects(log, check)
    protocol = inside.protocol(log)
    if failing and not any(cause.kind == "cache-mixup" for cause in protocol):
        path, inner = failing[0]
        for row in inner.rows:
            full = f"{path}.{row.name}"
            if full in causes:
                causes[full] += [_moved(cause, path, name) for cause in row.causes]
        worst = inner.causes[0] if inner.causes else Cause("inner", f"{path} fails when it is checked alone.", 60)
        return _moved(worst, path, name)
    if protocol and protocol[0].kind == "cache-mixup":
        return protocol[0]
    found = inside.first_wrong(log)
    if found is None:
        return protocol[0] if protocol else None
    call, right, true = found
    e = inside.place_evidence(log, call, true)
    behind = (
        f"the gradient at the output of {right.path} is still right"
        if right
        else "it is the first one that backward makes"
    )
    where = (
        f"Each inner layer passes alone, and {behind}: look at what {name}.backward does before it calls "
        f"{call.path}.backward."
    )
    if e.a.shape != e.n.shape:
        text = (
            f"{e.what} has the wrong shape: expected {e.n.shape}, got {e.a.shape}{_shape_hint(e.n.shape, e.a.shape)} "
            f"{where}"
        )
        return Cause("shape", text, 98, call.path)
    if protocol:
        return protocol[0]
    best = max(detect(e), key=lambda cause: cause.weight, default=None)
    if (best is None or best.weight < 60) and (order := inside.out_of_order(log, call)):
        return order
    vague = best is None or best.weight < 60
    returned = {k: value for k, value in e.known.items() if k.startswith("what")}
    same = next((k for k, value in returned.items() if np.array_equal(value, e.a)), "")
    if vague and same:
        text = (
            f"{name}: {call.path}.backward is given {same}, unchanged, but in the forward something stands between "
            "the two (an activation, a product): its own backward is missing. (Cosine with the truth "
            f"{cosine(e.a, e.n):.3f}.)"
        )
        return Cause("wiring", text, 72, call.path)
    if best is None or best.weight < 60:
        text = (
            f"{name}: the gradient that reaches the output of {call.path} is wrong (cosine with the truth "
            f"{cosine(e.a, e.n):.3f}). {where}"
        )
        return Cause("wiring", text, 70, call.path)
    return Cause(best.kind, f"{best.text} {where}", best.weight, f"the output of {call.path}")


def copy_of(trial: Trial) -> Trial:
    """Another trial of the same kind, whose layer may be tampered with."""
    again = Trial(trial.setup, trial.conditions)
    again.seeded = trial.seeded
    return again


def _moved(cause: Cause, path: str, layer: str) -> Cause:
    text = (
        cause.text
        if cause.text.startswith("In ")
        else f"In {layer}, {path} fails when it is checked alone. {cause.text}"
    )
    return Cause(cause.kind, text, cause.weight, f"{path}.{cause.place}" if cause.place else path)


def formula(
    trial: Trial, wrong: dict[str, tuple[int, Target]], causes: dict[str, list[Cause]], passed: dict[str, np.ndarray]
) -> None:
    """The formula itself is wrong: look at the numbers, at the Jacobians, and at kinder conditions."""
    gathered = {name: gather(trial, target, {}) for name, (_, target) in wrong.items()}
    others = {name: e.n for name, e in gathered.items() if e.full}
    for target in trial.targets:
        if (
            target.name not in others
            and target.analytic is not None
            and np.shape(target.analytic) == target.values.shape
        ):
            others[target.name] = np.asarray(target.analytic)  # it passed, so it is the true one
    for name, e in gathered.items():
        e.others = others
        e.known |= passed
        causes[name] += detect(e)
        try:
            index = wrong[name][0]
            found = linear(e, trial, index)
            causes[name] += [found] if found else dependence(e, trial, index)
        except CheckError:
            pass
    for cause in recover(trial, gathered):
        causes[cause.place].append(cause)
    for names, cause in Laboratory(trial, list(wrong)).causes():
        for name in names:
            if (
                cause.kind == "initial-values"
            ):  # the rarer coincidence: a transposed Jacobian may be a symmetric one, scaled
                causes[name] = [replace(c, weight=c.weight - 10) if c.kind == "transposed" else c for c in causes[name]]
            what = gathered[name].what
            causes[name].append(Cause(cause.kind, cause.text.replace("{what}", what), cause.weight, name))


def unknown(trial: Trial, row: Row, target: Target, right: list[str], clear: str) -> Cause:
    """No pattern: what is right nevertheless, and the worst places with both numbers."""
    a, values = np.asarray(target.analytic), target.values
    e = gather(trial, target, {})
    gap = np.nan_to_num(np.abs(a - e.n))
    flat = np.argsort(gap, axis=None)[::-1][:2]
    places = [tuple(int(i) for i in np.unravel_index(k, values.shape)) for k in flat if gap.flat[k] > 0]
    said = "; ".join(f"at {list(p)} backward says {a[p]:.6g}, the difference quotient {e.n[p]:.6g}" for p in places)
    fine = f" Right: {listing(right)}, and so all that these need." if right else ""
    first = f" It may follow from what is said of {clear}: mend that first." if clear else ""
    text = (
        f"{e.what} is wrong, and fits no pattern that is known here (cosine with the truth "
        f"{cosine(a, e.n):.3f}).{first}{fine} Worst: {said}."
    )
    return Cause("unknown", text, 10, row.name)
