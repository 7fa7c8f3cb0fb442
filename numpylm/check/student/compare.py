"""``--as``: a student's layer beside ours, with the same parameters on the same inputs."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from numpylm.check.gradcheck import gradcheck
from numpylm.check.limits import TINY
from numpylm.check.measure.trial import Setup
from numpylm.check.mutants import World
from numpylm.check.report import Report
from numpylm.check.student.check import checker_stopped, stopped
from numpylm.check.student.feed import build, from_example
from numpylm.check.student.find import Found, neighbors
from numpylm.check.student.forwards import forward_row, run
from numpylm.check.student.masks import dropout_row
from numpylm.check.student.match import Pair, grad_part, match_arguments, match_parameters
from numpylm.check.student.references import PLAIN, REFERENCES, SIZES, Builder, P, as_large_as, in_rows, reference
from numpylm.check.subject.calls import CheckError
from numpylm.check.subject.subject import Subject
from numpylm.nn.module import Array

SAME = 1e-7  # the largest relative difference between gradients that are the same, up to rounding


def compare(item: Found, name: str, seed: int = 0, rows_too: bool = True) -> Report:
    """Gradient check of a student's layer, with our layer's forward and gradients beside it.

    A layer that stops at inputs (B, T, C) gets rows (N, C) instead, unless ``rows_too`` is False.

    Raises
    ------
    ValueError
        If there is no reference of that name.
    """
    name = reference(name)
    if item.kind in ("optimizer", "clipping"):
        raise ValueError(f"--as {name}: {item.name} is no layer; check it without --as")
    title = f"{item.name}, held against {name}"
    try:
        with neighbors(item.path):
            return _first_that_fits(item, name, seed, rows_too)
    except CheckError as error:
        return stopped(title, error)
    except Exception as error:
        return stopped(title, checker_stopped(item.name, error))


def same_as_ours(item: Found, name: str, seed: int = 0) -> tuple[bool, bool]:
    """Whether a student's forward and gradients equal ours: `compare` without its reports, so much faster.

    The gradients are False if the forward differs, or if the backward stops.
    """
    name = reference(name)
    attempt = next(_attempts(item, name, seed, rows_too=False))
    rng = np.random.default_rng(seed)
    ours = Subject(attempt.build(World()))
    for _, parameter in ours.parameters:
        parameter.data = rng.standard_normal(parameter.shape)
        parameter.grad = np.zeros(parameter.shape)
    theirs, pairs, _ = _match(item, attempt.target, ours, attempt.inputs)
    inputs = (*attempt.inputs, *(pair.given for pair in pairs if pair.parameter is None))
    got, want = run(theirs, inputs), run(ours, attempt.inputs)
    if got.shape != want.shape or not np.allclose(got, want):
        return False, False
    try:
        gaps = _gaps(theirs, inputs, ours, attempt.inputs, pairs)
    except Exception:
        return True, False
    return True, max(gaps.values(), default=np.inf) < SAME


@dataclass(frozen=True)
class Attempt:
    """A student's object, the inputs for both layers, and a function that makes ours in the same size."""

    target: Any
    inputs: tuple
    build: Builder


def _first_that_fits(item: Found, name: str, seed: int, rows_too: bool) -> Report:
    """The report on the first inputs that run and give gradients of the right shape; else on the first that run."""
    error: CheckError | None = None
    best: Report | None = None
    for attempt in _attempts(item, name, seed, rows_too):
        try:
            report = _beside(item, name, attempt, seed)
        except CheckError as stop:
            error = error or stop  # the error for (B, T, C) says more than the one for rows
            continue
        misfit = [*report.findings, *(cause for row in report.rows for cause in row.causes)]
        if not any(cause.kind in ("shape", "error") for cause in misfit):
            if best is not None:
                report.notes.append(
                    f"the inputs had shape {attempt.inputs[0].shape}; with more axes: {best.causes[0].text}"
                )
            return report
        best = best or report
    if best is not None:
        return best
    raise error or CheckError(f"{item.name}: no inputs were found for it")


def _attempts(item: Found, name: str, seed: int, rows_too: bool) -> Iterator[Attempt]:
    """The inputs to try: those of the student's example, then (B, T, C), then the same as rows (N, C)."""
    rng = np.random.default_rng(seed)
    build_ours, args, make_inputs = REFERENCES[name]
    if item.example is not None:
        target, given = from_example(item, rng)
        ours = as_large_as(name, target, given)
        if ours is not None:
            yield Attempt(target, ours[1], ours[0])
    rng = np.random.default_rng(seed)
    inputs = make_inputs(rng)
    target = build(item, rng, args, **SIZES.get(name, PLAIN)) if item.kind == "layer" else item.target
    yield Attempt(target, inputs, build_ours)
    rows = in_rows(inputs) if rows_too else None
    if rows is not None:
        yield Attempt(target, rows, build_ours)


def _beside(item: Found, name: str, attempt: Attempt, seed: int) -> Report:
    """Check the student's layer, and compare it with ours on the same inputs with the same parameters."""
    target, inputs, build_ours = attempt.target, attempt.inputs, attempt.build
    rng = np.random.default_rng(seed)
    ours = Subject(build_ours(World()))
    for _, parameter in ours.parameters:
        scale = 1.0 if len(parameter.shape) < 2 else parameter.shape[0] ** -0.5
        parameter.data = scale * rng.standard_normal(parameter.shape)
        parameter.grad = np.zeros(parameter.shape)
    theirs, pairs, notes = _match(item, target, ours, inputs)
    their_inputs = (*inputs, *(pair.given for pair in pairs if pair.parameter is None))
    report = gradcheck(target, *their_inputs, rng=np.random.default_rng(seed))
    report.title = f"{item.name}, held against {name}"
    report.notes += notes
    if name == "Dropout":
        report.rows.insert(0, dropout_row(item.name, inputs[0], run(theirs, their_inputs), P))
        return report
    called = {pair.ours: pair.theirs for pair in pairs}
    report.rows.insert(0, forward_row(item.name, run(theirs, their_inputs), ours, inputs, name, build_ours, called))
    if report.rows[0].ok:
        _gradients(report, theirs, their_inputs, ours, inputs, pairs, name)
    return report


def _match(item: Found, target: Any, ours: Subject, inputs: tuple) -> tuple[Subject, list[Pair], list[str]]:
    """Give the student's parameters the values of ours."""
    if item.kind != "layer":
        theirs = Subject(target)

        def works(pairs: list[Pair]) -> bool:
            try:
                got, want = run(theirs, (*inputs, *(pair.given for pair in pairs))), run(ours, inputs)
            except CheckError:
                return False
            return got.shape == want.shape and bool(np.allclose(got, want))

        names = theirs.input_names[len(inputs) :] if ours.parameters else []
        pairs = match_arguments(names, ours, works)
        left: list[tuple[str, Array]] = []
    else:
        theirs = Subject(Setup.make(target, inputs, {}, 0).layer_or_pair)
        pairs, left = match_parameters(theirs, ours, item.name)
    for pair in pairs:
        if pair.parameter is not None:
            pair.parameter.data = pair.given
            pair.parameter.grad = np.zeros(np.shape(pair.given))
    notes = [
        f"{pair.theirs} is the transpose of our {pair.ours}: (out, in) as in torch, where ours is (in, out)."
        for pair in pairs
        if pair.turned
    ]
    for _, value in [entry for entry in left if "bias" in entry[0]]:
        value[...] = 0  # a student's layer without biases equals ours with biases of zero
    if left:
        notes.append("not found in yours: " + ", ".join(f"{our_name} {np.shape(value)}" for our_name, value in left))
    return theirs, pairs, notes


def _gradients(
    report: Report, theirs: Subject, their_inputs: tuple, ours: Subject, inputs: tuple, pairs: list[Pair], name: str
) -> None:
    """Compare the gradients of both layers for the same upstream gradient."""
    gaps = _gaps(theirs, their_inputs, ours, inputs, pairs)
    if gaps and report.ok:
        worst = max(gaps, key=lambda key: gaps[key])
        report.notes.append(
            f"gradients compared with those of our {name}: largest relative difference {gaps[worst]:.1e}, in {worst}."
        )


def _gaps(theirs: Subject, their_inputs: tuple, ours: Subject, inputs: tuple, pairs: list[Pair]) -> dict[str, float]:
    """The relative difference of each gradient from ours, by the student's name."""
    rng = np.random.default_rng(11)

    def forward(subject: Subject, arrays: tuple) -> tuple[Any, Any]:
        options = {"rng": np.random.default_rng(7)} if "rng" in subject.signature.parameters else {}
        return subject.forward(*copy.deepcopy(arrays), **options)

    out, our_cache = forward(ours, inputs)
    dout = rng.standard_normal(np.shape(out)) if np.ndim(out) else 1.0
    our_dx = ours.backward(dout, our_cache)
    _, their_cache = forward(theirs, their_inputs)
    their_dx = theirs.take_returned(theirs.backward(copy.copy(dout), their_cache))
    gaps: dict[str, float] = {}
    for k, dx in enumerate(our_dx):
        if dx is not None and k < len(their_dx):
            gaps[theirs.input_names[k]] = _gap(their_dx[k], dx)
    for k, pair in enumerate(pairs):
        place = len(inputs) + k
        given = their_dx[place] if pair.parameter is None and place < len(their_dx) else None
        given = given if pair.parameter is None else pair.parameter.grad
        gaps[pair.theirs] = _gap(None if given is None else pair.view(given), grad_part(ours, pair.ours))
    return gaps


def _gap(given: Any, want: Array) -> float:
    if given is None or np.shape(given) != want.shape:
        return np.inf
    return float(np.abs(np.asarray(given) - want).max() / max(np.abs(want).max(), TINY))
