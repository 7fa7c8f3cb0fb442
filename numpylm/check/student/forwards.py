"""Compares a student's forward with ours, and names a known variant or a pattern if they differ."""

import copy
from collections.abc import Iterator

import numpy as np

from numpylm.check.confidence import ALL_ZERO, KNOWN_VARIANT, UNKNOWN, UNUSABLE, ZEROS_LET_THROUGH
from numpylm.check.limits import SAME_DIGITS, TINY
from numpylm.check.measure.evidence import Evidence, Words, cosine
from numpylm.check.numbers.detect import detect
from numpylm.check.numbers.patterns import factor, permuted, reshaped, transposed
from numpylm.check.numbers.terms import misplaced, missing_term, partly_zero
from numpylm.check.report import Cause, Row, plural
from numpylm.check.student.guess import H
from numpylm.check.student.references import Builder
from numpylm.check.student.variants import worlds
from numpylm.check.subject.calls import CheckError
from numpylm.check.subject.subject import Subject
from numpylm.nn.module import Array

OUTPUT = Words(
    "the output",
    "ours",
    "Ours minus yours",
    "yours minus ours",
    "your forward",
    "cosine with ours",
    "with ours reshaped",
)


def _zero(e: Evidence) -> Cause | None:
    """All of an output is zero."""
    return None if np.any(e.given) else Cause("forward", f"{e.what} is zero everywhere, ours is not.", ALL_ZERO)


def _lets_through(e: Evidence) -> Cause | None:
    """An output is right but for places where ours is zero."""
    if not e.wrong.any() or (e.wrong & (e.true != 0)).any():
        return None
    where = tuple(int(i) for i in np.argwhere(e.wrong)[0])
    text = (
        f"{e.what} is not zero at {plural(int(e.wrong.sum()), 'place')} where ours is (first at {list(where)}: "
        f"{e.given[where]:.4g}), and the same everywhere else."
    )
    return Cause("forward", text, ZEROS_LET_THROUGH)


LOOKS = (_zero, factor, transposed, reshaped, permuted, missing_term, partly_zero, misplaced, _lets_through)


def run(subject: Subject, inputs: tuple) -> Array:
    """The output, in float64."""
    options = {"rng": np.random.default_rng(7)} if "rng" in subject.signature.parameters else {}
    out, _ = subject.forward(*copy.deepcopy(inputs), **options)
    return np.asarray(out, dtype=np.float64)


def forward_row(
    title: str, got: Array, ours: Subject, inputs: tuple, name: str, build: Builder, called: dict[str, str]
) -> Row:
    """The first row of the table. ``called`` maps the names of our parameters to the student's names."""
    want = run(ours, inputs)
    if got.shape != want.shape:
        text = f"{title}: the output has shape {got.shape}, ours {want.shape}."
        return Row("forward", got.shape, np.inf, False, text, [Cause("shape", text, UNUSABLE, "forward")])
    if not np.isfinite(got).all():
        text = f"{title}: the output holds NaN or infinity, ours does not."
        return Row("forward", got.shape, np.inf, False, text, [Cause("not-finite", text, UNUSABLE, "forward")])
    gap = float(np.abs(got - want).max() / max(np.abs(want).max(), TINY))
    row = Row("forward", got.shape, gap, gap <= SAME_DIGITS)
    if not row.ok:
        known = next((said for said, other in _others(ours, inputs, build, called) if _same(other, got, want)), "")
        text = f"{title}: the forward is that of {name} with {known}."
        row.explain([Cause("forward", text, KNOWN_VARIANT, "forward")] if known else _from_numbers(title, got, want))
    return row


def _same(other: Array, got: Array, want: Array) -> bool:
    """Whether another forward equals the student's and not ours."""
    near = other.shape == got.shape and bool(np.abs(other - got).max() <= SAME_DIGITS * np.abs(want).max())
    return near and not np.array_equal(other, want)


def _others(ours: Subject, inputs: tuple, build: Builder, called: dict[str, str]) -> Iterator[tuple[str, Array]]:
    """Outputs of other forwards: known variants, and ours with the opposite sign of one parameter."""
    for said, world in worlds():
        other = Subject(build(world))
        if len(other.parameters) != len(ours.parameters):
            continue
        for (_, parameter), (_, value) in zip(other.parameters, ours.parameters, strict=True):
            parameter.data = value.data
        try:
            yield said, run(other, inputs)
        except CheckError:
            continue
    for name, mine in ours.parameters:
        kept = mine.data
        try:
            mine.data = -kept
            yield f"the sign of {called.get(name, name)} turned: -{name} where ours has +{name}", run(ours, inputs)
        finally:
            mine.data = kept


def _from_numbers(title: str, got: Array, want: Array) -> list[Cause]:
    """Causes from the two outputs: a pattern, or the place where they differ most."""
    e = Evidence(title, "", got, want, heads=(H,), words=OUTPUT)
    found = detect(e, LOOKS) if got.size > 1 else []  # a single number is a multiple of any other
    causes = [Cause("forward", cause.text, cause.confidence, "forward") for cause in found]
    if not causes:
        worst = tuple(int(i) for i in np.unravel_index(int(np.abs(got - want).argmax()), got.shape))
        where = f" (cosine {cosine(got, want):.4f}). Worst at {list(worst)}" if got.size > 1 else ""
        text = (
            f"{title}: the output differs{where}: yours {got[worst]:.6g}, ours {want[worst]:.6g}. Gradients below "
            "belong to your forward."
        )
        causes.append(Cause("forward", text, UNKNOWN, "forward"))
    return causes
