"""The line of the student's backward in which a gradient goes wrong, and what should be there."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from numpylm.check.confidence import FORMULA, LINES, MANY_LINES, OVERWRITTEN, PATTERN, TERM_OF_LINE
from numpylm.check.inner import lines, products
from numpylm.check.inner.flow import Cone, Flow, merges, named_after, relaid
from numpylm.check.inner.lines import Value
from numpylm.check.limits import CURED_ENTRIES, FIT, MOST_INNER, MOST_WATCHED
from numpylm.check.measure.evidence import Evidence, cosine
from numpylm.check.measure.trial import Target, Trial
from numpylm.check.numbers.detect import detect
from numpylm.check.report import Cause, listing
from numpylm.check.subject.calls import CheckError
from numpylm.nn.module import Array

# ------------------------------------------------------------------- the first wrong variable, proved by its true value


@dataclass
class Suspect:
    """A variable that should hold a gradient and holds something else."""

    value: Value
    owner: Value  # the variable of the forward whose gradient it should be
    given: Array  # in the shape of `owner`
    true: Array


def first_wrong_variable(flow: Flow, cone: Cone, e: Evidence, index: int) -> Suspect | None:
    """The first variable in a cone that is proved to be wrong."""
    for value in cone.unknown:
        rounds = [v for v in flow.log.values if v.name == value.name and v.line == value.line]
        last = [v for v in flow.log.values if v.name == value.name][-1]
        if value.array.dtype != np.float64 or last.line != value.line:
            continue  # not the last step in which it is made
        for owners in _owners(flow, rounds):
            suspect = _suspect(flow, value, owners[rounds.index(value)])
            if suspect and (_right_elsewhere(flow, rounds, owners) or _cures(flow, rounds, owners, e, index)):
                return suspect
    return None


def _owners(flow: Flow, rounds: list[Value]) -> Iterator[list[Value]]:
    """Variables of the forward whose gradients these may be, one for each round; fitting names first."""
    names = dict.fromkeys(made.name for made in flow.slopes)
    taken = {owner.name for value, owner in flow.truth.items() if value.name != rounds[0].name}
    held = set(flow.truth.values())  # an earlier value of this variable holds their gradient
    for name in sorted(names, key=lambda name: not named_after(rounds[0].name, name)):
        owners = [made for made in flow.slopes if made.name == name and made.array.size == rounds[0].array.size]
        if name in taken or not owners:
            continue
        if len(owners) == len(rounds):
            yield owners[::-1]  # backward goes through the rounds in reverse order
        elif len(owners) == len(rounds) + 1 > 2:
            yield owners[:0:-1]  # without the state before the first round
        elif len(rounds) == 1:
            yield from ([owner] for owner in reversed(owners) if owner not in held)


def _right_elsewhere(flow: Flow, rounds: list[Value], owners: list[Value]) -> bool:
    """Whether the same variable is right in another round of the loop."""
    return any(flow.truth.get(value) is owner for value, owner in zip(rounds, owners, strict=True))


def _suspect(flow: Flow, value: Value, owner: Value) -> Suspect | None:
    if not _affordable(flow, owner):
        return None
    for given in (value.array, *relaid(value.array, owner.array.shape)):
        if given.shape == owner.array.shape:
            return Suspect(value, owner, given, flow.true_gradient(owner))
    return None


def _affordable(flow: Flow, owner: Value) -> bool:
    return owner in flow.measured or owner.array.size + sum(g.size for g in flow.measured.values()) <= MOST_INNER


def _cures(flow: Flow, rounds: list[Value], owners: list[Value], e: Evidence, index: int) -> bool:
    """Whether the gradient becomes right, or right in more entries, if this variable is given its true value."""
    patches = {}
    for value, owner in zip(rounds, owners, strict=True):
        if not _affordable(flow, owner):
            return False
        places = np.arange(value.array.size).reshape(value.array.shape)
        views = (places, *relaid(places, owner.array.shape))
        view = next((view for view in views if view.shape == owner.array.shape), None)
        if view is None:
            return False
        true = np.empty(value.array.size)
        true[view.reshape(-1)] = flow.true_gradient(owner).reshape(-1)
        patches[value.moment] = (value.first_name, true.reshape(value.array.shape))
    try:
        after = np.asarray(lines.patched_gradients(flow.trial, flow.backward_code, patches)[index])
    except CheckError:  # the student's code stops at the new value
        return False
    if after.shape != e.true.shape or not np.isfinite(after).all():
        return False
    healed = Evidence(e.layer, e.name, after, e.true)
    aside = Evidence(e.layer, e.name, after, e.given).wrong & healed.wrong  # neither right now nor unchanged
    return bool(healed.wrong.sum() <= CURED_ENTRIES * e.wrong.sum() and not aside.any())


# ---------------------------------------------------------------------------------------------- the lines that go wrong


def watch_lines(trial: Trial) -> Flow | None:
    """Watch the student's own lines. None if there is no Python code to watch, or too many numbers."""
    forward, backward = (lines.code_of(trial, which) for which in ("forward", "backward"))
    size = np.size(trial.out) + sum(target.values.size for target in trial.targets)
    if forward is None or backward is None or size > MOST_WATCHED:
        return None
    flow = Flow(trial, forward, backward)
    return flow if flow.source else None


def pinpoint(flow: Flow, target: Target, index: int, e: Evidence) -> Cause | None:
    """The cause that names the lines in which a gradient goes wrong."""
    cone = flow.cone_of(target)
    if not cone.lines:
        return None
    suspect = first_wrong_variable(flow, cone, e, index)
    if suspect is None:
        return replace(_explained(flow, e, cone, None), place=e.name)
    if suspect.value not in flow.explained:  # one fault may spoil several gradients
        flow.explained[suspect.value] = _explained(flow, e, flow.cone_of(suspect.value), suspect)
    return replace(flow.explained[suspect.value], place=e.name)


def _explained(flow: Flow, e: Evidence, cone: Cone, suspect: Suspect | None) -> Cause:
    text, numbers = _place(flow, e, cone, suspect), tuple(sorted(cone.lines))
    given, true = (suspect.given, suspect.true) if suspect else (e.given, e.true)
    confidence = LINES if len(numbers) < 4 else MANY_LINES
    if np.isnan(true).any():
        return Cause("lines", text, confidence, lines=numbers, source="lines")
    tiny = np.abs(given - true).max(initial=0) <= FIT * np.abs(true).max(initial=0)  # one formula would fit both
    found = None
    if not tiny:
        found = _overwritten(suspect) or _formula(flow, cone, given, true)
        found = found or _pattern(flow, e, cone, given, true, suspect)
    if found is None:
        return Cause(
            "lines",
            f"{text} (Cosine with the truth {cosine(given, true):.3f}.)",
            confidence,
            lines=numbers,
            source="lines",
        )
    return replace(found, text=f"{text} {found.text}", place="", lines=numbers, source="lines")


def _overwritten(suspect: Suspect | None) -> Cause | None:
    """Parts that overwrite each other although their sum is the true gradient."""
    if suspect is None or len(suspect.value.made) < 2 or suspect.value.written is None:
        return None
    written = suspect.value.written
    if written.shape != suspect.true.shape or not np.allclose(written, suspect.true, rtol=FIT, atol=FIT):
        return None
    text = (
        "Each round overwrites (=) a part of the result of earlier rounds; added up (+=), all values that are written "
        "there give the true gradient (cosine 1.000)."
    )
    return Cause("assigned", text, OVERWRITTEN)


def _place(flow: Flow, e: Evidence, cone: Cone, suspect: Suspect | None) -> str:
    """A sentence with the wrong lines and the values that are still right there."""
    right = list(dict.fromkeys(flow.label(value) for value in cone.right))
    before = f"{listing(right)} {'is' if len(right) == 1 else 'are'} still right, " if right else ""
    if suspect is None:
        after = f": {before}the result is not." if right else "."
        return f"{e.what} goes wrong in backward, {_where(flow, cone)}{after}"
    name, owner = flow.called(suspect.value), flow.called(suspect.owner)
    return f"{e.layer}.backward goes wrong in {_where(flow, cone)}: {before}{name} is not the gradient of {owner}."


def _where(flow: Flow, cone: Cone) -> str:
    numbers = sorted(cone.lines)
    quoted = [f"{n}, `{flow.source[n].text}`" if n in flow.source else str(n) for n in numbers]
    if len(numbers) == 1:
        return f"line {quoted[0]}"
    if len(numbers) == 2:
        return f"lines {quoted[0]} and {quoted[1]}"
    return f"lines {listing(numbers, 8)}"


def _formula(flow: Flow, cone: Cone, given: Array, true: Array) -> Cause | None:
    """The formula of what is there and of what should be there, as products of known arrays."""
    known = _known(flow, cone, given)
    upstream = float(flow.trial.dout) if not np.ndim(flow.trial.dout) else None
    wrong, right = products.find_formula(given, known, upstream), products.find_formula(true, known, upstream)
    if right is not None:
        now = f" Here it is {wrong.text}." if wrong is not None else ""
        more = right.has_terms and not (wrong is not None and wrong.has_terms)
        return Cause("missing-term" if more else "missing-factor", f"Right would be {right.text}.{now}", FORMULA)
    reads = _reads(flow, cone)
    # A term that the lines use already is not missing.
    used = {flow.in_formula(v) for v in flow.unexplained if v.name in reads}
    term = products.find_formula(true - given, {n: k for n, k in known.items() if n not in used}, upstream)
    if term is not None:
        text = f"There is an extra term: {term.opposite}." if term.opposite else f"A term is missing: {term.text}."
        return Cause("missing-term", text, TERM_OF_LINE)
    return None


def _reads(flow: Flow, cone: Cone) -> set[str]:
    """The names that the lines of a cone read."""
    return {
        name
        for number in cone.lines
        if number in flow.source
        for name in flow.source[number].reads | flow.source[number].loops
    }


def _known(flow: Flow, cone: Cone, given: Array) -> products.Known:
    """Arrays by the student's own names, first those that the lines read."""
    reads = _reads(flow, cone)
    held = {flow.in_formula(v): v for v in flow.log.values if v.array.size > 1 and v.named_at <= cone.moment}
    known: products.Known = {}
    for name, value in sorted(held.items(), key=lambda item: (item[1].name not in reads, item[1] in flow.unexplained)):
        same = value in flow.unexplained and value.array.shape == given.shape and np.array_equal(value.array, given)
        if not same:
            known[name] = value.array
    known |= {f"{n}.data": p.data for n, p in flow.trial.subject.parameters if np.size(p.data) > 1 and n not in known}
    for made in (made for made in flow.forward_values if made.array.size > 1):
        name = flow.in_formula(made)
        other = name in known and not np.array_equal(known[name], made.array)
        known[f"(forward's {made.name})" if other else name] = made.array
    known |= _series(flow.forward_values, 1) | _series(flow.log.values, -1) | _merged(known, np.shape(flow.trial.dout))
    return known | _behind_softmax(flow, cone, known)


def _merged(known: products.Known, shape: tuple[int, ...]) -> products.Known:
    """Arrays reshaped to the upstream gradient's shape, if merging neighboring axes gives that shape."""
    return {
        f"{name}.reshape{shape}": k.reshape(shape)
        for name, k in known.items()
        if k.ndim > len(shape) and k.size == np.prod(shape) and merges(k.shape, shape)
    }


def _behind_softmax(flow: Flow, cone: Cone, known: products.Known) -> products.Known:
    """The softmax backward of each right gradient that belongs to probabilities, whose rows sum to 1."""
    found: products.Known = {}
    for value in (v for v in cone.right if v in flow.truth):
        p = flow.truth[value].array
        if p.shape == value.array.shape and p.ndim and p.shape[-1] > 1 and np.allclose(p.sum(-1), 1) and (p >= 0).all():
            name, d = flow.in_formula(value), value.array
            same = [n for n, k in known.items() if k.shape == p.shape and np.array_equal(k, p)]
            own = flow.truth[value].name
            p_name = own if own in same else [*same, flow.in_formula(flow.truth[value])][0]
            found[f"({p_name} * ({name} - ({name} * {p_name}).sum(-1, keepdims=True)))"] = p * (
                d - (d * p).sum(-1, keepdims=True)
            )
    return found


def _series(values: list[Value], direction: int) -> products.Known:
    """The values from the rounds of a loop, stacked along axis 1 in the order of time."""
    rounds: dict[str, list[Array]] = {}
    for value in values:
        rounds.setdefault(value.name, []).append(value.array)
    return {
        f"{name} of all rounds": np.stack(arrays[::direction], axis=1)
        for name, arrays in rounds.items()
        if len(arrays) > 2 and arrays[0].ndim == 2 and len({array.shape for array in arrays}) == 1
    }


def _pattern(flow: Flow, e: Evidence, cone: Cone, given: Array, true: Array, suspect: Suspect | None) -> Cause | None:
    """A usual pattern in the wrong variable."""
    known = {n: k for n, k in _known(flow, cone, given).items() if k.shape == given.shape and k.dtype.kind == "f"}
    name = flow.called(suspect.owner) if suspect else e.name
    inner = Evidence("", name, given, true, known=known, sizes=e.sizes, heads=e.heads)
    best = max(detect(inner), key=lambda cause: cause.confidence, default=None)
    if best is None or given.size < 2 or (best.confidence <= PATTERN and best.kind != "unknown"):
        return None
    kind = "lines" if best.kind == "unknown" else best.kind  # the lines are more than a part that is wrong
    return Cause(kind, best.text[0].upper() + best.text[1:], max(LINES, min(best.confidence, FORMULA)))
