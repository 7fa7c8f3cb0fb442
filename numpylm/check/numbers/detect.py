"""Causes from the numbers alone: not comparable, almost right, or a pattern that fits the whole gradient or a part."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np

from numpylm.check.confidence import EPSILON, PART, PATTERN, SMALL_ERROR, UNUSABLE, WRONG_PART
from numpylm.check.limits import GROWS, SHRINK, SMALL
from numpylm.check.measure.evidence import Evidence, cosine, errors
from numpylm.check.measure.trial import Target, Trial
from numpylm.check.numbers.patterns import PATTERNS, Detective
from numpylm.check.numbers.terms import TERMS
from numpylm.check.report import Cause, Causes
from numpylm.check.subject.calls import CheckError, NotNumbers, is_float, kind_of

# -------------------------------------------------------------------------- patterns of the whole gradient or of a part


def detect(e: Evidence, looks: tuple[Detective, ...] = (*PATTERNS, *TERMS)) -> list[Cause]:
    """Try all patterns on a gradient. If none fits the whole array, try them on its wrong part."""
    found = [cause for detective in looks if (cause := detective(e))]
    if not any(cause.confidence > PATTERN for cause in found):
        found += in_each_third(e, [detective for detective in PATTERNS if detective in looks])
    if not any(cause.confidence > PATTERN for cause in found):
        part = wrong_part(e)
        if part is not None:
            inner = [cause for detective in looks if (cause := detective(part))]
            rest = "all else is right" if e.fully_measured else "no fault was found elsewhere, but not all was measured"
            found += [replace(c, text=f"{c.text} {rest.capitalize()}.", confidence=c.confidence - PART) for c in inner]
            if not inner:
                text = f"{part.what} is wrong ({e.words.cosine} {cosine(part.given, part.true):.3f}), {rest}."
                found.append(Cause("unknown", text, WRONG_PART, e.name))
    return found


def in_each_third(e: Evidence, looks: list[Detective]) -> list[Cause]:
    """The same fault in each third of the last axis, where queries, keys and values often lie side by side."""
    if e.given.ndim < 2 or e.given.shape[-1] % 3:
        return []
    size, best = e.given.shape[-1] // 3, []
    for k in range(3):
        third = cut_down(e, e.given.ndim - 1, k * size, (k + 1) * size)
        third.part = ", in each third of its last axis,"
        found = [cause for detective in looks if (cause := detective(third))]
        if not found and third.wrong.any():
            return []
        best.append(max(found, key=lambda cause: cause.confidence, default=None))
    known = [cause for cause in best if cause]
    same = len({(cause.kind, cause.detail) for cause in known}) == 1
    return known[:1] if len(known) == 3 and same else []


def cut_down(e: Evidence, axis: int, low: int, high: int) -> Evidence:
    """The evidence about a part of an array."""
    cut = (slice(None),) * axis + (slice(low, high),)
    part = copy.copy(e)
    part.given, part.true, part.jacobian, part.elsewhere = e.given[cut], e.true[cut], None, None
    part.known = {name: k[cut] for name, k in e.known.items() if k.shape == e.given.shape}
    part.others = {name: k[cut] for name, k in e.others.items() if k.shape == e.given.shape and name != e.name}
    return part


def wrong_part(e: Evidence) -> Evidence | None:
    """The evidence about the block along one axis that holds all wrong entries."""
    for axis in range(e.given.ndim - 1, -1, -1):
        bad = np.flatnonzero(e.wrong.any(axis=tuple(i for i in range(e.given.ndim) if i != axis)))
        length = e.given.shape[axis]
        if not len(bad) or len(bad) > 0.7 * length:
            continue
        low, high = int(bad[0]), int(bad[-1]) + 1
        # The smallest block that holds all wrong entries.
        for pieces in sorted({2, 3, 4, 6, 8, *e.heads}, reverse=True):
            size = length // pieces
            if length % pieces == 0 and low // size == (high - 1) // size:
                low, high = low // size * size, (low // size + 1) * size
                break
        if high - low > 0.7 * length:
            continue
        part = cut_down(e, axis, low, high)
        block = f", block {low // (high - low) + 1} of {length // (high - low)}" if length % (high - low) == 0 else ""
        part.part = f", at {low}:{high} of axis {axis}{block},"
        return part
    return None


# ------------------------------------------------------------------------------------ gradients that cannot be compared


def unusable(layer: str, target: Target) -> list[Cause]:
    """Why a gradient cannot be compared; empty if it can."""
    what, analytic, shape = f"{layer}: the gradient of {target.name}", target.analytic, target.values.shape
    if analytic is None:
        return [Cause("never-written", _missing(layer, target), UNUSABLE, target.name)]
    if isinstance(analytic, NotNumbers):
        text = f"{what} is {_strange(analytic.value)}; it must be an array of real numbers."
        return [Cause("error", text, UNUSABLE, target.name)]
    got = np.shape(analytic)
    if got != shape:
        text = f"{what} has the wrong shape: expected {shape}, got {got}{shape_hint(shape, got)}"
        return [Cause("shape", text, UNUSABLE, target.name)]
    if not np.isfinite(analytic).all():
        bad = tuple(int(i) for i in np.argwhere(~np.isfinite(analytic))[0])
        text = f"{what} holds NaN or infinity, first at {list(bad)}: look for a division by zero, log(0), or inf - inf."
        return [Cause("not-finite", text, UNUSABLE, target.name)]
    return []


def _missing(layer: str, target: Target) -> str:
    """The sentence for a missing gradient."""
    name = target.name
    if target.parameter is None:
        return (
            f"{layer}: backward returned no gradient for this input, {name}. Return one for each floating-point input, "
            f"in the order of the forward's arguments; if {name} is a constant, return None in its place."
        )
    return (
        f"{layer}: the gradient of {name} is never written: the output depends on {name}, but backward leaves no "
        f"gradient for it, neither beside it (d{name.split('.')[-1]}, a dict grads, .grad) nor among what it returns. "
        f'If {name} is not trained, say so on the class: constants = ("{name}",).'
    )


def _strange(value: Any) -> str:
    """A description of what was returned instead of an array of real numbers."""
    if isinstance(value, (tuple, list)):
        return f"{kind_of(value)} inside what backward returned (a comma or a bracket too many?)"
    if isinstance(value, dict):
        return f"a dict with {', '.join(map(str, list(value)[:4])) or 'nothing in it'}"
    if np.iscomplexobj(value):
        return "complex"
    dtype = getattr(value, "dtype", None)
    return f"an array of dtype {dtype}" if dtype is not None else kind_of(value)


def shape_hint(expected: tuple[int, ...], got: tuple[int, ...]) -> str:
    if sorted(expected) == sorted(got):
        return ": transposed?"
    if len(got) > len(expected) and tuple(n for n in got if n != 1) == tuple(n for n in expected if n != 1):
        return ": an axis of length 1 too many (keepdims=True?)."
    if len(got) > len(expected) and (not expected or got[-len(expected) :] == expected):
        extra = len(got) - len(expected)
        axes = "first axis" if extra == 1 else f"first {extra} axes"
        return f": not summed over the {axes}? What is broadcast in forward is summed in backward."
    if np.prod(expected) == np.prod(got):
        return ": reshaped?"
    if len(got) < len(expected):
        return ": summed over too many axes?"
    return "."


# -------------------------------------------------------------------------------------- gradients that are almost right


def almost_right(trial: Trial, e: Evidence) -> Cause | None:
    """The cause of a small error: its size, and whether it grows with smaller inputs. None for a large error."""
    gap = float(np.nanmax(np.abs(e.given - e.true), initial=0)) / e.scale
    if gap > SMALL:
        return None
    text = (
        f"{e.what} is almost right: wrong by {gap:.1e} of its largest entry (cosine {cosine(e.given, e.true):.6f}), "
        "too little for a missing term or factor."
    )
    grown = _on_smaller_inputs(trial, e.name)
    if grown > GROWS * max(gap, 1e-9):
        text += (
            f" With inputs 1000 times smaller it is wrong by {grown:.1e}: an ε stands elsewhere in backward than in "
            "forward. If forward divides by σ + ε or by √(σ² + ε), backward must use the same number, with its ε."
        )
        return Cause("epsilon", text, EPSILON, e.name)
    text += " Look at small constants (ε), and at numbers that forward and backward do not compute in the same way."
    return Cause("unknown", text, SMALL_ERROR, e.name)


def size_first(causes: Causes) -> None:
    """Put the size of a small error before the lines to which it was traced, if no formula was found."""
    for name, found in causes.items():
        size = next((cause for cause in found if cause.kind == "unknown" and cause.confidence == SMALL_ERROR), None)
        for i, cause in enumerate(found):
            if size is not None and cause.kind == "lines":
                causes[name][i] = replace(cause, text=f"{size.text} {cause.text}")


def _on_smaller_inputs(trial: Trial, name: str) -> float:
    """The error of one array when all floating-point inputs are 1000 times smaller. 0 if it cannot be measured."""
    setup = trial.setup
    inputs = tuple(SHRINK * value if is_float(value) and np.size(value) > 1 else value for value in setup.inputs)
    try:
        error = errors(trial.again(setup.replace(inputs=inputs)), [name])[name]
    except CheckError:
        return 0.0
    return error if np.isfinite(error) else 0.0
