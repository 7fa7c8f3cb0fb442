"""Checks gradient clipping: right ways are tried first, then known wrong ones.

There are several right ways: by the common norm of all gradients, by the norm of each array, or number by number. The
name of the function says which is meant. If it does not, all are right.
"""

import inspect
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from numpylm.check.confidence import KNOWN_VARIANT, SIDE_EFFECT, UNKNOWN, UNUSABLE
from numpylm.check.limits import SAME_NORM
from numpylm.check.optimizer.steps import Handed, NotChecked
from numpylm.check.report import Cause, Report, Row, listing
from numpylm.check.subject.calls import CheckError, describe
from numpylm.nn.module import Array, Parameter

# ----------------------------------------------------------------------------------------------- handing over gradients

PARAMETERS = -4.0  # parameter / gradient: shows which of the two a function clips by
Grads = list[Array]


@dataclass(frozen=True)
class Clipped:
    """The gradients before and after one call."""

    before: Grads
    after: Grads
    returned: Any


def clipped(function: Callable[..., Any], title: str, grads: Grads, limits: dict[str, float]) -> dict[str, Clipped]:
    """The results of a function for each limit. The gradients come in the first form that it accepts.

    Raises
    ------
    CheckError
        If it stops.
    NotChecked
        If it accepts none of the forms.
    """
    arguments = inspect.signature(function).parameters
    needed = [name for name, argument in arguments.items() if argument.default is argument.empty]
    if len(needed) > 2:
        raise NotChecked(f"{title} needs {listing(needed)}; only gradients and one limit can be given here.")
    forms: list[Callable[[Grads], Any]] = [_parameters, list, _by_name, _first_only]
    if next(iter(arguments), "").lower().startswith(("g", "d")):
        forms = [*forms[1:], _parameters]
    errors: list[Exception] = []
    for form in forms:
        try:
            return {name: _call(function, form, grads, limit) for name, limit in limits.items()}
        except (AttributeError, TypeError, ValueError) as error:  # it needs the gradients in another form
            errors.append(error)
        except Exception as error:
            raise CheckError(f"{title} stopped. {describe(error)}") from error
    if any(word in str(errors[0]) for word in ("Parameter'", "Handed'", "'list'", "'dict'")):
        raise NotChecked(f"{title} takes gradients in no known form. {describe(errors[0])}")
    raise CheckError(f"{title} stopped. {describe(errors[0])}") from errors[0]


def _parameters(grads: Grads) -> Handed:
    handed = Handed(Parameter(PARAMETERS * g) for g in grads)
    for parameter, g in zip(handed, grads, strict=True):
        parameter.grad = g
    return handed


def _by_name(grads: Grads) -> dict[str, Array]:
    return {f"W{i}": g for i, g in enumerate(grads)}


def _first_only(grads: Grads) -> Array:
    return grads[0]


def _call(function: Callable[..., Any], form: Callable[[Grads], Any], grads: Grads, limit: float) -> Clipped:
    argument = form([g.copy() for g in grads])
    before = [g.copy() for g in _arrays(argument) or []]
    with np.errstate(all="ignore"):
        returned = function(argument, limit)
    after = _arrays(argument) or []
    if all(np.array_equal(x, y) for x, y in zip(before, after, strict=True)):  # nothing was changed in place
        parts = returned if isinstance(returned, tuple) else ()
        made = (_arrays(value) for value in (returned, *parts))
        after = next((m for m in made if m is not None and [x.shape for x in m] == [x.shape for x in before]), after)
    return Clipped(before, after, returned)


def _arrays(value: Any) -> Grads | None:
    """The gradients in any of the forms; None for other values."""
    parts = (
        list(value.values())
        if isinstance(value, dict)
        else list(value)
        if isinstance(value, (list, tuple))
        else [value]
    )
    parts = [part.grad if isinstance(part, Parameter) else part for part in parts]
    return parts if parts and all(isinstance(part, np.ndarray) for part in parts) else None


# ---------------------------------------------------------------------------------------------------------- the verdict

Clip = Callable[[Grads, float], Grads]
# Words in a name that mean: each array by its own norm.
EACH_ARRAY = ("each", "per_", "layer", "tensor", "local", "individual", "separate")


def _norm(grads: Grads) -> float:
    return math.sqrt(sum(float((g * g).sum()) for g in grads))


WAYS: dict[str, tuple[Clip, str]] = {
    "common": (lambda gs, c: [g * min(1.0, c / _norm(gs)) for g in gs], ""),
    "own": (lambda gs, c: [g * min(1.0, c / np.linalg.norm(g)) for g in gs], "each array is clipped by its own norm, which changes the direction of the step; one norm over all arrays keeps it"),
    "value": (lambda gs, c: [np.clip(g, -c, c) for g in gs], "each number is cut off at ± the limit, which changes the direction of the step; clipping by norm scales all of them together"),
}  # fmt: skip
UNCHANGED = (lambda gs, c: gs, "never-written", "the gradients are not changed: multiply them in place (p.grad *= …), not a copy of them")  # fmt: skip
NORM_FAULTS: list[tuple[Clip, str, str]] = [
    (lambda gs, c: [g * (c / _norm(gs)) for g in gs], "factor", "gradients are always scaled to the limit: small ones are blown up, only larger ones should be scaled down"),
    (lambda gs, c: [g * min(1.0, c / _norm(gs) ** 2) for g in gs], "factor", "the root is missing: the gradients are divided by their squared norm"),
    (lambda gs, c: [g * min(1.0, c / sum(float(np.abs(h).sum()) for h in gs)) for g in gs], "factor", "the norm is a sum of absolute values (L1) where the root of the sum of squares (L2) is meant"),
    (lambda gs, c: [g * min(1.0, c / sum(float(np.linalg.norm(h)) for h in gs)) for g in gs], "factor", "the norms of the arrays are added; their squares must be added, and the root taken of the sum"),
    (lambda gs, c: [g * min(1.0, c / (abs(PARAMETERS) * _norm(gs))) for g in gs], "swapped", "the norm is that of something else: of the parameters (p.data). That of the gradients (p.grad) is meant"),
]  # fmt: skip


def meant_by(name: str, limit: str) -> tuple[str, ...]:
    """Which ways are right for a function with this name and this name of its limit."""
    name, limit = name.lower(), limit.lower()
    if any(word in name for word in EACH_ARRAY):
        return ("own", "value")
    if re.search(r"grad\w{0,6}_?norm|global|total", name):
        return ("common",)
    if "value" in name or "value" in limit:
        return ("value",)
    return ("common", "own") if "norm" in name or "norm" in limit else ("common", "own", "value")


def check_clipping(function: Callable[..., Any], seed: int = 0) -> Report:
    """Compare ``function(parameters, max_norm)`` with clipping by the common L2 norm (Pascanu et al. 2013), or by value.

    The function changes every ``.grad`` in place, or takes arrays and returns new ones. It may also return the norm
    *before* clipping. The name says what is meant: ``clip_grad_norm`` clips by the common norm, ``clip_grad_value`` by
    value. If the name does not say it, every known way is right, and an unknown way gets no verdict.
    """
    start = time.perf_counter()
    title = getattr(function, "__name__", "clipping")
    report = Report(title, [])
    rng = np.random.default_rng(seed)
    grads = [rng.standard_normal(shape) for shape in ((4, 3), (5,), (2, 2))]
    limits = {"above the limit": 1 / 3, "below the limit": 2.0}  # as shares of the norm
    try:
        _fill_in(report, function, grads, {name: share * _norm(grads) for name, share in limits.items()})
    except CheckError as error:
        report.findings = [Cause("error", str(error), UNUSABLE, title, detail=error.raised)]
    except NotChecked as why:
        report.unchecked = str(why)
    report.seconds = time.perf_counter() - start
    return report


def _fill_in(report: Report, function: Callable[..., Any], grads: Grads, limits: dict[str, float]) -> None:
    """Fill in the rows, their causes and notes on the returned norm. Raises NotChecked if there is no verdict."""
    title = report.title
    got = clipped(function, title, grads, limits)
    meant = meant_by(title, [*inspect.signature(function).parameters, "", ""][1])

    def equals(way: Clip) -> bool:
        return all(_gap(call.after, way(call.before, limits[name])) <= SAME_NORM for name, call in got.items())

    way = next((name for name in meant if equals(WAYS[name][0])), "")
    for name, call in got.items():
        gap = _gap(call.after, WAYS[way or meant[0]][0](call.before, limits[name]))
        report.rows.append(Row(name, (sum(g.size for g in call.before),), gap, gap <= SAME_NORM))
    about, other = _returned(title, got, limits)
    if way:
        report.notes += [f"{WAYS[way][1]}."] if way != "common" else []
        report.findings += (
            [Cause("factor", about, SIDE_EFFECT, "returned norm")] if about and meant == ("common",) else []
        )
        report.notes += [about] if about and meant != ("common",) else []
        return
    kind, fault = _fault(title, meant, equals, other)
    if kind == "never-written" and len(meant) > 1:
        tiny = clipped(function, title, grads, {"": 1e-6 * _norm(grads)})[""]
        fault = fault if _gap(tiny.after, tiny.before) <= SAME_NORM else ""  # the limit may count something else
    if not fault and len(meant) > 1:
        report.rows = []
        raise NotChecked(
            f"{title} clips in no known way (by the common norm, by the norm of each array, by value), so it may be "
            "right or wrong. Under the name clip_grad_norm or clip_grad_value it gets a verdict in any case."
        )
    for row in (row for row in report.rows if not row.ok):
        call, limit = got[row.name], limits[row.name]
        became = f"{row.name}, a norm of {_norm(call.before):.6g} with limit {limit:.6g} became {_norm(call.after):.6g}"
        confidence = KNOWN_VARIANT if fault else UNKNOWN
        row.explain([Cause(kind or "unknown", f"{title}: {fault or became}.", confidence, row.name)])


def _fault(title: str, meant: tuple[str, ...], equals: Callable[[Clip], bool], other: bool) -> tuple[str, str]:
    """The kind and the sentence of a usual fault; empty for none. ``other``: the returned norm is a wrong one."""
    unchanged, kind, fault = UNCHANGED
    if equals(unchanged):
        other_norm = "the norm is that of something else, so it is not noticed when the limit is exceeded"
        return ("factor", other_norm) if other else (kind, fault)
    for name, (way, fault) in WAYS.items():
        if name not in meant and fault and equals(way):
            return "partial", fault
    for way, kind, fault in NORM_FAULTS if "common" in meant and "l1" not in title.lower() else []:
        if equals(way):
            return kind, fault
    return "", ""


def _returned(title: str, got: dict[str, Clipped], limits: dict[str, float]) -> tuple[str, bool]:
    """A sentence about a returned number that is not the norm before clipping, and whether it is no norm of the gradients."""
    for name, call in got.items():
        norm, value = _norm(call.before), call.returned
        if not isinstance(value, (float, np.floating)) or abs(float(value) - norm) <= SAME_NORM * norm:
            continue
        after = abs(float(value) - limits[name]) < 1e-4 * norm
        if not after and abs(float(value) - min(1.0, limits[name] / norm)) < 1e-4:
            continue  # it is the factor by which gradients were scaled
        text = (
            f"{title} returns the norm {'after clipping' if after else 'of something else'}, {float(value):.6g}; the norm "
            f"before clipping, {norm:.6g}, shows how training goes."
        )
        return text, not after
    return "", False


def _gap(got: Grads, right: Grads) -> float:
    if [np.shape(x) for x in got] != [np.shape(y) for y in right]:
        return math.inf
    gap = max(float(np.abs(x - y).max()) for x, y in zip(got, right, strict=True))
    return gap / max(float(np.abs(y).max()) for y in right)
