"""Is clipping by the common norm of all gradients what it should be? As for optimizers: known wrong ways are tried."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from numpylm.checker.report import Cause, Report, Row
from numpylm.checker.subject import describe
from numpylm.module import Array, Parameter

VALUES = -4.0  # the parameters are this many times their gradients: whoever takes one for the other is found out


def _clip_right(grads: list[Array], limit: float) -> list[Array]:
    norm = math.sqrt(sum(float((g * g).sum()) for g in grads))
    return [g * min(1.0, limit / norm) for g in grads]


CLIP_FAULTS: list[tuple[Callable[[list[Array], float], list[Array]], str, str]] = [
    (lambda gs, c: [g * min(1.0, c / np.linalg.norm(g)) for g in gs], "partial", "each array is clipped by its own norm, which changes the direction of the step; one norm over all arrays is needed"),
    (lambda gs, c: [np.clip(g, -c, c) for g in gs], "partial", "each number is cut off at ± the limit, which changes the direction of the step; clipping by norm scales all of them together"),
    (lambda gs, c: [g * (c / math.sqrt(sum(float((h * h).sum()) for h in gs))) for g in gs], "factor", "gradients are always scaled to the limit: small ones are blown up, only larger ones should be scaled down"),
    (lambda gs, c: [g * min(1.0, c / sum(float((h * h).sum()) for h in gs)) for g in gs], "factor", "the root is missing: the gradients are divided by their squared norm"),
    (lambda gs, c: [g * min(1.0, c / sum(float(np.abs(h).sum()) for h in gs)) for g in gs], "factor", "the norm is a sum of absolute values (L1) where the root of the sum of squares (L2) is meant"),
    (lambda gs, c: [g * min(1.0, c / sum(float(np.linalg.norm(h)) for h in gs)) for g in gs], "factor", "the norms of the arrays are added; their squares must be added, and the root taken of the sum"),
    (lambda gs, c: [g * min(1.0, c / math.sqrt(sum(float((VALUES * h * VALUES * h).sum()) for h in gs))) for g in gs], "swapped", "the norm is that of something else: of the parameters (p.data). That of the gradients (p.grad) is meant"),
    (lambda gs, c: gs, "never-written", "the gradients are not changed: multiply them in place (p.grad *= …), not a copy"),
]  # fmt: skip


def check_clipping(function: Callable[..., Any], seed: int = 0) -> Report:
    """Compare ``function(parameters, max_norm)`` with clipping by the common L2 norm (Pascanu et al. 2013).

    It must change every ``.grad`` in place; what it returns, if anything, is the norm *before* clipping.
    """
    start = time.perf_counter()
    title = getattr(function, "__name__", "clipping")
    report = Report(title, [])
    rng = np.random.default_rng(seed)
    grads = [rng.standard_normal(shape) for shape in ((4, 3), (5,), (2, 2))]
    norm = math.sqrt(sum(float((g * g).sum()) for g in grads))
    limits = {"above the limit": norm / 3, "below the limit": norm * 2}
    got: dict[str, list[Array]] = {}
    other = False  # whether what it returns is neither the norm before clipping nor that after it
    for name, limit in limits.items():
        parameters = [Parameter(VALUES * g) for g in grads]
        for parameter, g in zip(parameters, grads, strict=True):
            parameter.grad[...] = g
        try:
            returned = function(parameters, limit)
        except Exception as error:
            report.findings = [Cause("error", f"{title} stopped. {describe(error)}", 100, title)]
            return report
        got[name] = [p.grad for p in parameters]
        gap = _gap(got[name], _clip_right(grads, limit))
        report.rows.append(Row(name, (sum(g.size for g in grads),), gap, gap <= 1e-5))
        if isinstance(returned, (float, np.floating)) and abs(float(returned) - norm) > 1e-5 * norm:
            what = "after clipping" if abs(float(returned) - limit) < 1e-4 * norm else "of something else"
            other = what == "of something else"
            text = (
                f"{title} returns the norm {what}, {float(returned):.6g}; the norm before, {norm:.6g}, is what tells "
                "how training goes."
            )
            report.findings = [Cause("factor", text, 60, "returned norm")]
    wrong = [row for row in report.rows if not row.ok]
    for variant, kind, said in CLIP_FAULTS if wrong else []:
        if all(_gap(got[name], variant(grads, limit)) <= 1e-5 for name, limit in limits.items()):
            if kind == "never-written" and other:
                kind, said = "factor", "the norm is that of something else, so the limit is not seen to be passed"
            for row in wrong:
                row.explain([Cause(kind, f"{title}: {said}.", 95, row.name)])
            break
    else:
        for row in wrong:
            size = math.sqrt(sum(float((g * g).sum()) for g in got[row.name]))
            text = f"{title}: {row.name}, a norm of {norm:.6g} with limit {limits[row.name]:.6g} became {size:.6g}."
            row.explain([Cause("unknown", text, 10, row.name)])
    report.seconds = time.perf_counter() - start
    return report


def _gap(got: list[Array], right: list[Array]) -> float:
    gap = max(float(np.abs(x - y).max()) for x, y in zip(got, right, strict=True))
    return gap / max(float(np.abs(y).max()) for y in right)
