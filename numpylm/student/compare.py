"""``--as``: a student's layer beside ours, with the same parameters on the same inputs."""

import copy
import difflib
from collections.abc import Callable
from typing import Any

import numpy as np

from numpylm.checker.calls import CheckError, describe
from numpylm.checker.evidence import Evidence, cosine
from numpylm.checker.explain import detect
from numpylm.checker.report import Cause, Report, Row
from numpylm.checker.subject import Subject
from numpylm.checker.trial import Setup
from numpylm.gradcheck import gradcheck
from numpylm.module import Array
from numpylm.student.check import stopped
from numpylm.student.feed import build
from numpylm.student.find import Found
from numpylm.student.guess import OUT, B, C, D, H, S, T, V
from numpylm.student.masks import dropout_row
from numpylm.student.match import Pair, grad_part, match_arguments, match_parameters
from numpylm.student.variants import worlds
from numpylm.zoo.fault import World

CLOSE = 1e-9  # two forwards are the same if they differ by no more than this share of the largest value
P = 0.3  # dropout
Builder = Callable[[Any], Any]  # from our modules (or changed ones) to a layer or pair
Inputs = Callable[[np.random.Generator], tuple]


def _x(*shape: int) -> Inputs:
    return lambda rng: (rng.standard_normal(shape),)


def _ids(rng: np.random.Generator) -> tuple:
    ids = rng.integers(0, V, (B, T))
    ids[:, 1:3] = ids[0, 0]
    return (ids,)


def _loss(rng: np.random.Generator) -> tuple:
    return rng.standard_normal((B, T, V)), rng.integers(0, V, (B, T))


def _qkv(rng: np.random.Generator) -> tuple:
    return rng.standard_normal((B, H, T, D)), *rng.standard_normal((2, B, H, S, D))


def _pair(name: str) -> Builder:
    return lambda world: (getattr(world, name), getattr(world, f"{name}_backward"))


# name -> (how ours is made, the arguments that a student's class is made with if its names say nothing, inputs)
REFERENCES: dict[str, tuple[Builder, tuple, Inputs]] = {
    "Linear": (lambda w: w.Linear(C, OUT), (C, OUT), _x(B, T, C)),
    "Embedding": (lambda w: w.Embedding(V, C), (V, C), _ids),
    "LayerNorm": (lambda w: w.LayerNorm(C), (C,), _x(B, T, C)),
    "Dropout": (lambda w: w.Dropout(P), (P,), _x(B, 50 * T, C)),
    "CausalSelfAttention": (lambda w: w.CausalSelfAttention(C, H), (C, H), _x(B, T, C)),
    "MLP": (lambda w: w.MLP(C), (C, 4 * C), _x(B, T, C)),
    "Block": (lambda w: w.Block(C, H), (C, H, 4 * C), _x(B, T, C)),
    "softmax": (_pair("softmax"), (), _x(B, T, V)),
    "relu": (_pair("relu"), (), _x(B, T, C)),
    "gelu": (_pair("gelu"), (), _x(B, T, C)),
    "cross_entropy": (_pair("cross_entropy"), (), _loss),
    "attention": (_pair("scaled_dot_product_attention"), (), _qkv),
}
# what a student's arguments must be to fit ours; without dropout, whose masks everybody draws in another way
SIZES: dict[str, dict[str, int | float]] = {
    "Linear": {"hidden": OUT, "vocab_size": OUT, "dropout": 0.0},
    "Dropout": {"dropout": P},
    "MLP": {"hidden": 4 * C, "out_features": C, "dropout": 0.0},
    "Block": {"hidden": 4 * C, "dropout": 0.0},
}
PLAIN = {"hidden": C, "out_features": C, "dropout": 0.0}


def reference(name: str) -> str:
    """The name of one of ours, however it is written.

    Raises
    ------
    ValueError
        If there is no reference of that name.
    """
    known = {key.lower().replace("_", ""): key for key in REFERENCES}
    plain = name.lower().replace("_", "")
    if plain in known:
        return known[plain]
    near = difflib.get_close_matches(plain, known, 1)
    meant = f" Did you mean {known[near[0]]}?" if near else ""
    raise ValueError(f"--as {name}: there is no such layer here; known are {', '.join(REFERENCES)}.{meant}")


def compare(item: Found, name: str, seed: int = 0, rows_too: bool = True) -> Report:
    """Gradient check of a student's layer, with our layer's forward and gradients beside it.

    A layer that stops at inputs (B, T, C) is given rows (N, C), unless ``rows_too`` says that it must take both.

    Raises
    ------
    ValueError
        If there is no reference of that name.
    """
    name = reference(name)
    if item.kind in ("optimizer", "clipping"):
        raise ValueError(f"--as {name}: {item.name} is no layer; check it without --as")
    _, args, make_inputs = REFERENCES[name]
    rng = np.random.default_rng(seed)
    inputs = make_inputs(rng)
    title = f"{item.name}, held against {name}"
    try:
        target = item.target
        if item.kind == "layer":
            target = build(item, rng, args, **SIZES.get(name, PLAIN))
        try:
            return _beside(item, target, name, inputs, seed)
        except CheckError as error:
            if not rows_too or inputs[0].ndim != 3 or inputs[0].dtype.kind != "f" or len(inputs) > 1:
                raise
            flat = (inputs[0].reshape(-1, inputs[0].shape[-1]),)  # some layers take rows only
            try:
                return _beside(item, target, name, flat, seed)
            except CheckError:
                raise error from None  # what it says of (B, T, C) is nearer to the fault
    except CheckError as error:
        return stopped(title, error)
    except Exception as error:
        return stopped(title, CheckError(f"{item.name}: the checker stopped, not your code. {describe(error)}"))


def _beside(item: Found, target: Any, name: str, inputs: tuple, seed: int) -> Report:
    """Both on the same inputs, with the same parameters."""
    build_ours = REFERENCES[name][0]
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
        report.rows.insert(0, dropout_row(item.name, inputs[0], _run(theirs, their_inputs), P))
        return report
    _forward_row(report, theirs, their_inputs, ours, inputs, name, build_ours)
    if report.rows[0].ok:
        _gradients(report, theirs, their_inputs, ours, inputs, pairs, name)
    return report


def _match(item: Found, target: Any, ours: Subject, inputs: tuple) -> tuple[Subject, list[Pair], list[str]]:
    """Give the student's parameters the values of ours."""
    if item.kind != "layer":
        theirs = Subject(target)

        def works(pairs: list[Pair]) -> bool:
            try:
                got, want = _run(theirs, (*inputs, *(pair.given for pair in pairs))), _run(ours, inputs)
            except CheckError:
                return False
            return got.shape == want.shape and bool(np.allclose(got, want))

        names = theirs.input_names[len(inputs) :] if ours.parameters else []
        pairs = match_arguments(names, ours, works)
        left: list[tuple[str, Array]] = []
    else:
        theirs = Subject(Setup.make(target, inputs, {}, 0).target)
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
        value[...] = 0  # a layer without biases is compared with ours at biases of zero
    if left:
        notes.append("not found in yours: " + ", ".join(f"{our_name} {np.shape(value)}" for our_name, value in left))
    return theirs, pairs, notes


def _run(subject: Subject, inputs: tuple) -> Array:
    options = {"rng": np.random.default_rng(7)} if "rng" in subject.signature.parameters else {}
    out, _ = subject.forward(*copy.deepcopy(inputs), **options)
    return np.asarray(out, dtype=np.float64)


def _forward_row(
    report: Report, theirs: Subject, their_inputs: tuple, ours: Subject, inputs: tuple, name: str, build: Builder
) -> None:
    """The first row of the table: do the two forwards give the same?"""
    got, want = _run(theirs, their_inputs), _run(ours, inputs)
    if got.shape != want.shape:
        text = f"{report.title.split(',')[0]}: the output has shape {got.shape}, ours {want.shape}."
        report.rows.insert(0, Row("forward", got.shape, np.inf, False, text, [Cause("shape", text, 100, "forward")]))
        return
    if not np.isfinite(got).all():
        text = f"{report.title.split(',')[0]}: the output holds NaN or infinity, ours does not."
        report.rows.insert(
            0, Row("forward", got.shape, np.inf, False, text, [Cause("not-finite", text, 100, "forward")])
        )
        return
    gap = float(np.abs(got - want).max() / max(np.abs(want).max(), 1e-300))
    row = Row("forward", got.shape, gap, gap <= CLOSE)
    if not row.ok:
        row.explain(_forward_causes(report.title.split(",")[0], got, want, ours, inputs, name, build))
    report.rows.insert(0, row)


def _forward_causes(
    title: str, got: Array, want: Array, ours: Subject, inputs: tuple, name: str, build: Builder
) -> list[Cause]:
    """Why a forward differs from ours: a known variant, or a pattern in the numbers."""
    causes = []
    for said, world in worlds():
        other = Subject(build(world))
        if len(other.parameters) != len(ours.parameters):
            continue
        for (_, parameter), (_, value) in zip(other.parameters, ours.parameters, strict=True):
            parameter.data = value.data
        try:
            same = _run(other, inputs)
        except CheckError:
            continue
        if (
            same.shape == got.shape
            and np.abs(same - got).max() <= CLOSE * np.abs(want).max()
            and not np.array_equal(same, want)
        ):
            causes.append(Cause("forward", f"{title}: the forward is that of {name} with {said}.", 95, "forward"))
            break
    e = Evidence(title, "…", got, want, None, {}, {}, {}, (H,))
    for cause in detect(e) if not causes else []:
        text = (
            cause.text.replace("the gradient of …", "the output").replace("the true one", "ours").replace("true", "our")
        )
        causes.append(Cause("forward", text, cause.weight, "forward"))
    if not causes:
        worst = tuple(int(i) for i in np.unravel_index(int(np.abs(got - want).argmax()), got.shape))
        text = (
            f"{title}: the output differs (cosine {cosine(got, want):.4f}). Worst at {list(worst)}: yours "
            f"{got[worst]:.6g}, ours {want[worst]:.6g}. Gradients below belong to your forward, whatever it is."
        )
        causes.append(Cause("forward", text, 10, "forward"))
    return causes


def _gradients(
    report: Report, theirs: Subject, their_inputs: tuple, ours: Subject, inputs: tuple, pairs: list[Pair], name: str
) -> None:
    """The two backwards side by side, for the same upstream gradient."""
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
    if gaps and report.ok:
        worst = max(gaps, key=lambda key: gaps[key])
        report.notes.append(
            f"gradients beside those of our {name}: largest relative difference {gaps[worst]:.1e}, in {worst}."
        )


def _gap(given: Any, want: Array) -> float:
    if given is None or np.shape(given) != want.shape:
        return np.inf
    return float(np.abs(np.asarray(given) - want).max() / max(np.abs(want).max(), 1e-300))
