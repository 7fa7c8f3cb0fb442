"""Which inner layer is wrong, or what is wrong between inner layers: a gradient, a cache, the order of backwards."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np

from numpylm.check.confidence import (
    CACHE_OF_ANOTHER,
    CALL_COUNT,
    INNER_LAYER,
    OTHER_BRANCH,
    PASSED_UNCHANGED,
    PATTERN,
    SHAPE_INSIDE,
    SOMEWHERE_BEFORE,
    WRONG_ORDER,
)
from numpylm.check.inner.sublayers import Call, CallLog, passed_on, record, returned, suspects, which_call
from numpylm.check.limits import FIT
from numpylm.check.measure.evidence import Evidence, cosine, known_arrays, measure
from numpylm.check.measure.sizes import head_counts, known_sizes, named_inputs
from numpylm.check.measure.trial import Trial
from numpylm.check.numbers.detect import detect, shape_hint
from numpylm.check.report import Cause, Causes, Report, listing
from numpylm.nn.module import Array

CheckFunction = Callable[..., Report]  # `gradcheck`, which cannot be imported here


def inner_causes(
    trial: Trial, check: CheckFunction, wrong: list[str], causes: Causes
) -> tuple[Cause | None, dict[str, Array]]:
    """Search the inner layers for the cause.

    Returns the cause for all arrays without a cause of their own, and the gradients between inner layers.
    """
    # `record` changes the layer, so it gets a new trial, whose own backward finds the targets that `measure` counts.
    log = record(trial.again()) if wrong else None
    if log is None or not log.calls:
        return None, {}
    broken = misused_calls(log)
    mixed_up = bool(broken) and broken[0].kind == "cache-mixup"
    root = None if mixed_up else _suspects(log, check, causes)
    return root or _wiring(log, broken), passed_on(log)


def _suspects(log: CallLog, check: CheckFunction, causes: Causes) -> Cause | None:
    """Inner layers that fail alone explain their own arrays, and the first of them explains all other arrays."""
    root = None
    for path, report in suspects(log, check):
        for row in report.rows:
            if f"{path}.{row.name}" in causes:
                causes[f"{path}.{row.name}"] += [_in_outer_layer(cause, path, log) for cause in row.causes]
        worst = report.causes[0] if report.causes else Cause("inner", f"{path} is wrong.", INNER_LAYER)
        root = root or _in_outer_layer(worst, path, log)
    return root


def _in_outer_layer(cause: Cause, path: str, log: CallLog) -> Cause:
    """A cause in an inner layer, in words and with a place for the outer layer."""
    before = "" if cause.inner else f"In {log.trial.subject.name}, {path} fails when it is checked alone. "
    place = f"{path}.{cause.place}" if cause.place else path
    return replace(cause, text=before + cause.text, place=place, lines=(), inner=True)


def _wiring(log: CallLog, broken: list[Cause]) -> Cause | None:
    """All inner layers are right: the cause is at the first place where one of them gets a wrong gradient."""
    found = None if broken else first_wrong(log)
    if found is None:
        return broken[0] if broken else None
    call, right, true = found
    e = place_evidence(log, call, true)
    still_right = "this is the first gradient of all"
    if right is not None:
        still_right = f"the gradient at the output of {right.path}{which_call(log, right)} is still right"
    backward = f"{log.trial.subject.name}.backward"
    where = (
        f"Each inner layer passes alone, and {still_right}: look at what {backward} does before it calls "
        f"{call.path}.backward."
    )
    if e.given.shape != e.true.shape:
        hint = shape_hint(e.true.shape, e.given.shape)
        text = f"{e.what} has shape {e.given.shape}, should have {e.true.shape}{hint} {where}"
        return Cause("shape", text, SHAPE_INSIDE, call.path)
    mistaken = _should_be(e, call)
    if mistaken is not None:
        return out_of_order(log, call) or mistaken
    best = max(detect(e), key=lambda cause: cause.confidence, default=None)
    if best is not None and best.confidence > PATTERN:
        return replace(best, text=f"{best.text} {where}", place=f"the output of {call.path}")
    return (
        out_of_order(log, call)
        or _exchanged(e, call, where)
        or _passed_unchanged(log, e, call)
        or _somewhere(e, call, where)
    )


def _should_be(e: Evidence, call: Call) -> Cause | None:
    """An inner layer gets a known gradient and should get another known gradient."""
    right = _right_one(e)
    given = next((name for name, k in e.known.items() if k.shape == e.given.shape and np.array_equal(k, e.given)), None)
    if right is None or given is None:
        return None
    text = (
        f"{e.layer}: {call.path}.backward is given {given}, and should be given {right} (cosine with it 1.000): each "
        "branch gets the gradient of what it added to, not that of another branch."
    )
    return Cause("wiring", text, OTHER_BRANCH, call.path)


def _right_one(e: Evidence) -> str | None:
    """The name of a known gradient that would be right."""
    return next((name for name, k in e.known.items() if k.shape == e.true.shape and e.equal(k, e.true)), None)


def _exchanged(e: Evidence, call: Call, where: str) -> Cause | None:
    """An inner layer should get a gradient that another one got."""
    right = _right_one(e)
    if right is None:
        return None
    text = (
        f"{e.layer}: {call.path}.backward should be given {right} (cosine with it 1.000), and is given something else: "
        f"are two gradients exchanged? {where}"
    )
    return Cause("wiring", text, OTHER_BRANCH, call.path)


def _passed_unchanged(log: CallLog, e: Evidence, call: Call) -> Cause | None:
    """An inner layer gets what another one returned, but the forward does something between the two."""
    for name, value in returned(log, call).items():
        if np.array_equal(value, e.given):
            text = (
                f"{e.layer}: {call.path}.backward is given {name}, unchanged, and that is wrong there (cosine "
                f"with the truth {cosine(e.given, e.true):.3f}). If the forward does something between the two (an "
                "activation, a product), its own backward is missing."
            )
            return Cause("wiring", text, PASSED_UNCHANGED, call.path)
    return None


def _somewhere(e: Evidence, call: Call, where: str) -> Cause:
    text = (
        f"{e.layer}: the gradient that reaches the output of {call.path} is wrong (cosine with the truth "
        f"{cosine(e.given, e.true):.3f}). {where}"
    )
    return Cause("wiring", text, SOMEWHERE_BEFORE, call.path)


# ------------------------------------------------------------------------- calls, caches and the order of the backwards


def misused_calls(log: CallLog) -> list[Cause]:
    """Caches that went to the wrong backward, and backwards that never ran or ran too often."""
    name = log.trial.subject.name
    causes = []
    for path, whose in log.mixups[:1]:
        text = (
            f"{name}.backward gives {path}.backward the cache of {whose}: "
            "each backward needs the cache of its own forward."
        )
        causes.append(Cause("cache-mixup", text, CACHE_OF_ANOTHER, path))
    forwards = Counter(call.path for call in log.calls if not _does_nothing(call))
    odd = [path for path, count in forwards.items() if log.backward_counts[path] != count]
    for path in odd[-1:]:  # the last one in the forward goes wrong first in the backward
        ran, also = log.backward_counts[path], listing(odd[:-1]) if odd[:-1] else ""
        text = (
            f"{name}: {path}.forward runs {_times(forwards[path])}, {path}.backward {_times(ran)}"
            + (f" (the same for {also})" if also else "")
            + ". Every forward needs its own backward, once, or a part of the gradient is lost or doubled."
        )
        causes.append(Cause("call-count", text, CALL_COUNT, listing([*odd[:-1], path], 99)))
    return causes


def out_of_order(log: CallLog, place: Call) -> Cause | None:
    """The backward runs two neighboring layers in the forward's order, and the gradient is wrong from there on."""
    went = {id(call): k for k, call in enumerate(log.returned)}
    for first, second in pairwise(log.calls):
        if place not in (first, second) or id(first) not in went or id(second) not in went:
            continue
        if went[id(first)] < went[id(second)] and _uses(log, second, first):
            name = log.trial.subject.name
            text = (
                f"{name}: forward runs {first.path} and then {second.path}, and so does backward. It must take them "
                f"in the opposite order, {second.path} first: the chain rule starts at the loss."
            )
            return Cause("order", text, WRONG_ORDER, second.path)
    return None


def _uses(log: CallLog, second: Call, first: Call) -> bool:
    """Whether a call depends on the output of another one. Queries and keys do not: their order does not matter."""
    outs = []
    for size in (0.0, 1e-3):
        first.nudge[...] = size
        log.trial.value()
        outs.append(second.again)
    first.nudge[...] = 0
    return not np.array_equal(*outs)


def first_wrong(log: CallLog) -> tuple[Call, Call | None, Array] | None:
    """The first place in the order of the backward where an inner layer gets a wrong gradient.

    Returns the call, the next call in the forward (whose gradient is right), and the true gradient.
    """
    right: Call | None = None
    for call in reversed(log.calls):
        if call.dout is None:
            continue
        if np.shape(call.dout) != call.nudge.shape:
            return call, right, np.full(call.nudge.shape, np.nan)
        if _differs(log.trial, call):
            return call, right, measure(log.trial, call.nudge, log.trial.dout)[0]
        right = call
    return None


def _does_nothing(call: Call) -> bool:
    """Whether a call returned its input unchanged (dropout at p = 0) and so needs no backward."""
    return not call.backwards and len(call.inputs) == 1 and np.array_equal(call.inputs[0], call.out)


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _differs(trial: Trial, call: Call) -> bool:
    rng = np.random.default_rng(5)
    for _ in range(2):
        direction = rng.standard_normal(call.nudge.shape)
        direction /= np.linalg.norm(direction)
        given, true = float(np.vdot(np.asarray(call.dout), direction)), trial.slope(call.nudge, direction)
        size = float(np.linalg.norm(np.asarray(call.dout)))
        if abs(given - true) > 10 * FIT * max(abs(given), abs(true), 1e-3 * size, 1e-12):
            return True
    return False


def place_evidence(log: CallLog, call: Call, true: Array) -> Evidence:
    """The evidence about a gradient that an inner layer got."""
    trial = log.trial
    known = {name: k for name, k in known_arrays(trial).items() if _stretches(k.shape, call.out.shape)}
    known |= passed_on(log, call)
    indices = {name: v for name, v in named_inputs(trial) if isinstance(v, np.ndarray) and v.dtype.kind in "iu"}
    return Evidence(
        trial.subject.name,
        f"the output of {call.path}{which_call(log, call)}",
        np.asarray(call.dout, dtype=np.float64),
        true,
        None,
        known,
        known_sizes(trial),
        {},
        head_counts(trial.subject.layer, {}),
        indices,
    )


def _stretches(shape: tuple[int, ...], full: tuple[int, ...]) -> bool:
    """Whether an array of the first shape (a gain) can multiply one of the second shape without making it larger."""
    last = full[len(full) - len(shape) :]
    return len(shape) <= len(full) and all(a in (1, b) for a, b in zip(shape, last, strict=True))
