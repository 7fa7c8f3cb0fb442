"""``--as``: a student's layer beside ours, with the same parameters on the same inputs."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from numpylm.checker.evidence import Evidence, cosine
from numpylm.checker.explain import detect
from numpylm.checker.report import Cause, Report, Row
from numpylm.checker.subject import CheckError, Subject, describe
from numpylm.gradcheck import gradcheck
from numpylm.module import Array, Parameter
from numpylm.student.find import Found
from numpylm.student.guess import OUT, B, C, D, H, S, T, V, arguments
from numpylm.student.variants import worlds
from numpylm.zoo.fault import World

CLOSE = 1e-9  # two forwards are the same if they differ by no more than this share of the largest value
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


# name -> (how ours is made, the same arguments for a student's class, inputs)
REFERENCES: dict[str, tuple[Builder, tuple, Inputs]] = {
    "Linear": (lambda w: w.Linear(C, OUT), (C, OUT), _x(B, T, C)),
    "Embedding": (lambda w: w.Embedding(V, C), (V, C), _ids),
    "LayerNorm": (lambda w: w.LayerNorm(C), (C,), _x(B, T, C)),
    "Dropout": (lambda w: w.Dropout(0.3), (0.3,), _x(B, T, C)),
    "CausalSelfAttention": (lambda w: w.CausalSelfAttention(C, H), (C, H), _x(B, T, C)),
    "MLP": (lambda w: w.MLP(C), (C,), _x(B, T, C)),
    "Block": (lambda w: w.Block(C, H), (C, H), _x(B, T, C)),
    "softmax": (_pair("softmax"), (), _x(B, T, V)),
    "relu": (_pair("relu"), (), _x(B, T, C)),
    "gelu": (_pair("gelu"), (), _x(B, T, C)),
    "cross_entropy": (_pair("cross_entropy"), (), _loss),
    "attention": (_pair("scaled_dot_product_attention"), (), _qkv),
}


def compare(item: Found, name: str, seed: int = 0) -> Report:
    """Gradient check of a student's layer, with our layer's forward and gradients beside it.

    Raises
    ------
    ValueError
        If there is no reference of that name.
    """
    if name not in REFERENCES:
        raise ValueError(f"--as {name}: there is no such layer here; known are {', '.join(REFERENCES)}")
    if item.kind in ("optimizer", "clipping"):
        raise ValueError(f"--as {name}: {item.name} is no layer; check it without --as")
    _, args, make_inputs = REFERENCES[name]
    rng = np.random.default_rng(seed)
    inputs = make_inputs(rng)
    title = f"{item.name}, held against {name}"
    try:
        target = _make(item, args, rng)
        try:
            return _beside(item, target, name, inputs, seed)
        except CheckError:
            if inputs[0].ndim != 3 or inputs[0].dtype.kind != "f" or len(inputs) > 1:
                raise
            flat = (inputs[0].reshape(-1, inputs[0].shape[-1]),)  # some layers take rows only
            return _beside(item, target, name, flat, seed)
    except CheckError as error:
        return Report(title, [], [Cause("error", str(error), 100, item.name)])


def _beside(item: Found, target: Any, name: str, inputs: tuple, seed: int) -> Report:
    """Both on the same inputs, with the same parameters."""
    build = REFERENCES[name][0]
    rng = np.random.default_rng(seed)
    ours = Subject(build(World()))
    for _, parameter in ours.parameters:
        scale = 1.0 if len(parameter.shape) < 2 else parameter.shape[0] ** -0.5
        parameter.data = scale * rng.standard_normal(parameter.shape)
        parameter.grad = np.zeros(parameter.shape)
    theirs, their_inputs, pairs, notes = _match(item, target, ours, inputs)
    report = gradcheck(theirs_target(item, target), *their_inputs, rng=np.random.default_rng(seed))
    report.title = f"{item.name}, held against {name}"
    report.notes += notes
    _forward_row(report, theirs, their_inputs, ours, inputs, name, build)
    if report.rows and report.rows[0].ok:
        _gradients(report, theirs, their_inputs, ours, inputs, pairs, name)
    return report


def theirs_target(item: Found, target: Any) -> Any:
    """What `gradcheck` is to be given."""
    return item.target if item.kind in ("context", "pair") else target


def _make(item: Found, args: tuple, rng: np.random.Generator) -> Any:
    """The student's object, made with the arguments that ours has, or else with guessed ones."""
    if item.kind != "layer":
        return item.target
    try:
        required = [p for p in inspect.signature(item.target).parameters.values() if p.default is p.empty]
        return item.target(*args) if len(required) <= len(args) else item.target(**arguments(item.target, rng))
    except Exception as error:
        raise CheckError(f"{item.name}{args} could not be made, and ours can. {describe(error)}") from error


Pairs = list[
    tuple[str, Any, Callable[[Array], Array], str]
]  # their name, their Parameter or input, how it looks to us, our name


def _match(item: Found, target: Any, ours: Subject, inputs: tuple) -> tuple[Subject, tuple, Pairs, list[str]]:
    """Give the student's parameters the values of ours."""
    theirs = Subject(target)
    values = _split(ours, [np.shape(p.data) for _, p in theirs.parameters])
    notes: list[str] = []
    pairs: Pairs = []
    if item.kind != "layer" and values:  # parameters are arguments: f(x, gamma, beta)
        extra = []
        names = theirs.input_names[len(inputs) :]
        for their_name, (our_name, value, _) in zip(names, values, strict=False):
            extra.append(value)
            pairs.append((their_name, None, np.asarray, our_name))
        return theirs, (*inputs, *extra), pairs, notes
    left = list(values)
    for their_name, parameter in theirs.parameters:
        shape = np.shape(parameter.data)
        best = _nearest(their_name, shape, left)
        if best is None:
            raise CheckError(
                f"{item.name} has a parameter {their_name} of shape {shape} that has no counterpart in ours: "
                + ", ".join(f"{our_name} {np.shape(value)}" for our_name, value, _ in values)
            )
        left.remove(best)
        our_name, value, _ = best
        turned = np.shape(value) != shape
        if turned:
            notes.append(
                f"{their_name} is the transpose of our {our_name}: (out, in) as in torch, where ours is (in, out)."
            )
        parameter.data = np.array(value.T if turned else value)
        parameter.grad = np.zeros(shape)
        pairs.append((their_name, parameter, np.transpose if turned else np.asarray, our_name))
    for _, value, _ in [entry for entry in left if "bias" in entry[0]]:
        value[...] = 0  # a layer without biases is compared with ours at biases of zero
    if left:
        notes.append("not found in yours: " + ", ".join(f"{our_name} {np.shape(value)}" for our_name, value, _ in left))
    return theirs, inputs, pairs, notes


def _split(ours: Subject, shapes: list[tuple]) -> list[tuple[str, Array, Parameter]]:
    """Our parameters; queries, keys and values apart if the student keeps them apart."""
    found: list[tuple[str, Array, Parameter]] = []
    for name, parameter in ours.parameters:
        third = parameter.shape[-1] // 3
        if "c_attn" in name and parameter.shape not in shapes:
            for k, letter in enumerate("qkv"):
                found.append((f"{name}, part {letter}", parameter.data[..., k * third : (k + 1) * third], parameter))
        else:
            found.append((name, parameter.data, parameter))
    return found


def _nearest(name: str, shape: tuple, left: list) -> Any:
    """Among our parameters of that shape (or its transpose): the same name, the same letter, or the first."""
    same = [entry for entry in left if np.shape(entry[1]) == shape] or [
        e for e in left if np.shape(e[1]) == shape[::-1]
    ]
    lower = name.lower()
    letter = next(
        (
            c
            for c in "qkv"
            if f"w{c}" in lower or f"w_{c}" in lower or f"b_{c}" in lower or f"{c}_" in lower or f"b{c}" in lower
        ),
        "",
    )
    by_letter = [entry for entry in same if letter and entry[0].endswith(f"part {letter}")]
    output = [entry for entry in same if "part" not in entry[0]] if not letter else []
    by_name = [entry for entry in same if entry[0] == name]
    by_end = [entry for entry in same if entry[0].split(".")[-1] == name.split(".")[-1]]
    for choice in (by_name, by_letter, output, by_end, same):
        if choice:
            return choice[0]
    return None


def _run(subject: Subject, inputs: tuple) -> Array:
    options = {"rng": np.random.default_rng(7)} if "rng" in subject.signature.parameters else {}
    out, _ = subject.forward(*inputs, **options)
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
    report: Report, theirs: Subject, their_inputs: tuple, ours: Subject, inputs: tuple, pairs: Pairs, name: str
) -> None:
    """The two backwards side by side, for the same upstream gradient."""
    rng = np.random.default_rng(11)

    def grads(subject: Subject, arrays: tuple) -> tuple[list, Any]:
        options = {"rng": np.random.default_rng(7)} if "rng" in subject.signature.parameters else {}
        out, cache = subject.forward(*[np.copy(a) if isinstance(a, np.ndarray) else a for a in arrays], **options)
        return [out, cache], subject

    (out, our_cache), _ = grads(ours, inputs)
    dout = rng.standard_normal(np.shape(out)) if np.ndim(out) else 1.0
    our_dx = ours.backward(dout, our_cache)
    (_, their_cache), _ = grads(theirs, their_inputs)
    their_dx = theirs.backward(np.copy(dout) if np.ndim(out) else 1.0, their_cache)
    our_grads = {entry_name: _grad_part(ours, entry_name) for _, _, _, entry_name in pairs}
    gaps: dict[str, float] = {}
    for k, dx in enumerate(our_dx):
        if dx is not None and k < len(their_dx):
            gaps[theirs.input_names[k]] = _gap(their_dx[k], dx)
    for k, (their_name, parameter, view, our_name) in enumerate(pairs):
        given = (
            parameter.grad
            if parameter is not None
            else (their_dx[len(inputs) + k] if len(inputs) + k < len(their_dx) else None)
        )
        gaps[their_name] = _gap(view(np.asarray(given)) if given is not None else None, our_grads[our_name])
    if gaps:
        worst = max(gaps, key=lambda key: gaps[key])
        report.notes.append(
            f"gradients beside those of our {name}: largest relative difference {gaps[worst]:.1e}, in {worst}."
        )


def _grad_part(ours: Subject, name: str) -> Array:
    whole, _, part = name.partition(", part ")
    grad = dict(ours.parameters)[whole].grad
    if not part:
        return grad
    third, k = grad.shape[-1] // 3, "qkv".index(part)
    return grad[..., k * third : (k + 1) * third]


def _gap(given: Any, want: Array) -> float:
    if given is None or np.shape(given) != want.shape:
        return np.inf
    return float(np.abs(np.asarray(given) - want).max() / max(np.abs(want).max(), 1e-300))
