"""What the inner layers of a layer, and what connects them, have to do with a wrong gradient."""

from collections.abc import Callable

import numpy as np

from numpylm.check.inner import sublayers as inside
from numpylm.check.measure.evidence import Evidence, cosine
from numpylm.check.measure.trial import Trial
from numpylm.check.numbers.parts import detect
from numpylm.check.numbers.shapes import shape_hint
from numpylm.check.report import Cause, Report
from numpylm.nn.module import Array

Check = Callable[..., Report]
Causes = dict[str, list[Cause]]  # array -> what explains it
CLEAR = 60  # a pattern that weighs less is no explanation


def inner_causes(trial: Trial, check: Check, wrong: list[str], causes: Causes) -> tuple[Cause | None, dict[str, Array]]:
    """Look into the inner layers.

    Returns the cause that explains all arrays without one of their own, and the gradients that were passed on.
    """
    log = inside.record(_copy(trial)) if wrong else None
    if log is None or not log.calls:
        return None, {}
    protocol = inside.protocol(log)
    mixed_up = bool(protocol) and protocol[0].kind == "cache-mixup"
    root = None if mixed_up else _suspects(log, check, causes)
    return root or _wiring(log, protocol), inside.passed_on(log)


def _copy(trial: Trial) -> Trial:
    """Another trial of the same kind, whose layer may be tampered with."""
    again = Trial(trial.setup, trial.conditions)
    again.seeded = trial.seeded
    return again


def _suspects(log: inside.Record, check: Check, causes: Causes) -> Cause | None:
    """Inner layers that fail alone explain their own arrays; the first of them, everything else."""
    root = None
    for path, report in inside.suspects(log, check):
        for row in report.rows:
            if f"{path}.{row.name}" in causes:
                causes[f"{path}.{row.name}"] += [_moved(cause, path, log) for cause in row.causes]
        worst = report.causes[0] if report.causes else Cause("inner", f"{path} is wrong.", CLEAR)
        root = root or _moved(worst, path, log)
    return root


def _moved(cause: Cause, path: str, log: inside.Record) -> Cause:
    """A cause inside an inner layer, as said of the outer one."""
    before = (
        "" if cause.text.startswith("In ") else f"In {log.trial.subject.name}, {path} fails when it is checked alone. "
    )
    return Cause(cause.kind, before + cause.text, cause.weight, f"{path}.{cause.place}" if cause.place else path)


def _wiring(log: inside.Record, protocol: list[Cause]) -> Cause | None:
    """All inner layers are right: the first place where a wrong gradient is handed on."""
    found = None if protocol else inside.first_wrong(log)
    if found is None:
        return protocol[0] if protocol else None
    call, right, true = found
    e = inside.place_evidence(log, call, true)
    behind = "this is the first of all"
    if right is not None:
        behind = f"the gradient at the output of {right.path}{inside.which(log, right)} is still right"
    backward = f"{log.trial.subject.name}.backward"
    where = (
        f"Each inner layer passes alone, and {behind}: look at what {backward} does before it calls "
        f"{call.path}.backward."
    )
    if e.a.shape != e.n.shape:
        hint = shape_hint(e.n.shape, e.a.shape)
        return Cause("shape", f"{e.what} has shape {e.a.shape}, should have {e.n.shape}{hint} {where}", 98, call.path)
    mistaken = _should_be(e, call)
    if mistaken is not None:
        return inside.out_of_order(log, call) or mistaken
    best = max(detect(e), key=lambda cause: cause.weight, default=None)
    if best is not None and best.weight >= CLEAR:
        return Cause(best.kind, f"{best.text} {where}", best.weight, f"the output of {call.path}")
    return inside.out_of_order(log, call) or _passed_unchanged(e, call) or _somewhere(e, call, where)


def _should_be(e: Evidence, call: inside.Call) -> Cause | None:
    """One known gradient is handed over where another belongs."""
    right = next((name for name, k in e.known.items() if k.shape == e.n.shape and e.equal(k, e.n)), None)
    given = next((name for name, k in e.known.items() if k.shape == e.a.shape and np.array_equal(k, e.a)), None)
    if right is None or given is None:
        return None
    text = (
        f"{e.layer}: {call.path}.backward is given {given}, and should be given {right} (cosine with it 1.000): each "
        "branch gets the gradient of what it added to, not that of another branch."
    )
    return Cause("wiring", text, 85, call.path)


def _passed_unchanged(e: Evidence, call: inside.Call) -> Cause | None:
    """What one inner layer returned is handed to the next, but the forward does something between them."""
    for name, value in e.known.items():
        if name.startswith("what") and np.array_equal(value, e.a):
            text = (
                f"{e.layer}: {call.path}.backward is given {name}, unchanged, and that is wrong there (cosine "
                f"with the truth {cosine(e.a, e.n):.3f}). If in the forward something stands between the two (an "
                "activation, a product), its own backward is missing."
            )
            return Cause("wiring", text, 72, call.path)
    return None


def _somewhere(e: Evidence, call: inside.Call, where: str) -> Cause:
    text = (
        f"{e.layer}: the gradient that reaches the output of {call.path} is wrong (cosine with the truth "
        f"{cosine(e.a, e.n):.3f}). {where}"
    )
    return Cause("wiring", text, 70, call.path)
