"""The line of the student's backward in which a gradient goes wrong, and what should stand there."""

import numpy as np

from numpylm.checker import lines, products
from numpylm.checker.evidence import Evidence, cosine
from numpylm.checker.flow import Cone, Flow
from numpylm.checker.parts import detect
from numpylm.checker.report import Cause, listing
from numpylm.checker.suspects import AFFORDABLE, Suspect, first_wrong
from numpylm.checker.trial import Target, Trial
from numpylm.module import Array


def follow(trial: Trial) -> Flow | None:
    """Watch the student's own lines; None where there is no Python code to watch."""
    forward, backward = (lines.code_of(trial, which) for which in ("forward", "backward"))
    if forward is None or backward is None:
        return None
    flow = Flow(trial, forward, backward)
    return flow if flow.source else None


def pinpoint(flow: Flow, target: Target, index: int, e: Evidence) -> Cause | None:
    """Where one wrong gradient goes wrong."""
    cone = flow.cone_of(target)
    if not cone.lines:
        return None
    suspect = first_wrong(flow, cone, e, index)
    if suspect is not None:
        cone = flow.cone_of(suspect.value)
    text = _place(flow, e, cone, suspect)
    given, true = (suspect.given, suspect.true) if suspect else (e.a, e.n if e.full else None)
    found = None
    if true is not None:
        found = _formula(flow, cone, given, true) or _pattern(flow, e, given, true, suspect)
    if found is None:
        gap = "" if true is None else f" (Cosine with the truth {cosine(given, true):.3f}.)"
        return Cause("wiring", text + gap, 74 if len(cone.lines) < 4 else 65, e.name)
    return Cause(found.kind, f"{text} {found.text}", found.weight, e.name)


def _place(flow: Flow, e: Evidence, cone: Cone, suspect: Suspect | None) -> str:
    """Which line, and what is still right there."""
    right = [f"{name} (the true gradient of {flow.truth[value].name})" for name, value in cone.right.items()]
    before = f"{listing(right)} {'is' if len(right) == 1 else 'are'} still right, " if right else ""
    if suspect is None:
        return f"{e.what} goes wrong in backward, {_where(flow, cone)}: {before}what comes out is not."
    name, owner = suspect.value.name, suspect.owner.name
    return f"{e.layer}.backward goes wrong in {_where(flow, cone)}: {before}{name} is not the gradient of {owner}."


def _where(flow: Flow, cone: Cone) -> str:
    numbers = sorted(cone.lines)
    said = [f"{n}, `{flow.source[n].text}`" if n in flow.source else str(n) for n in numbers]
    if len(numbers) == 1:
        return f"line {said[0]}"
    if len(numbers) == 2:
        return f"lines {said[0]} and {said[1]}"
    return f"lines {listing(numbers, 8)}"


def _formula(flow: Flow, cone: Cone, given: Array, true: Array) -> Cause | None:
    """What stands there, and what should stand there, as products of what is known."""
    known = _known(flow, cone, true)
    wrong, right = products.explain(given, known), products.explain(true, known)
    if right:
        now = f" Here it is {wrong}." if wrong else ""
        return Cause("missing-factor", f"Right would be {right}.{now}", 84 if wrong else 82)
    for sign, said in ((1, "A term is missing: {}."), (-1, "There is a term too much: {}.")):
        term = products.explain(sign * (true - given), known)
        if term:
            return Cause("missing-term", said.format(term), 83)
    if wrong:
        return Cause("missing-factor", f"It is {wrong}, and that is not the gradient.", 79)
    return None


def _known(flow: Flow, cone: Cone, true: Array) -> dict[str, Array]:
    """Arrays by the student's own names: first those that the lines read, then all others, then true gradients."""
    reads = {name for number in cone.lines if number in flow.source for name in flow.source[number].reads}
    usable = [v for v in flow.record.values if v.array.size > 1]
    usable.sort(key=lambda v: (v.name not in reads, v in flow.rest))
    known = {v.name: v.array.astype(np.float64) for v in usable if v.array.dtype.kind in "fb"}
    known |= {f"{n}.data": p.data for n, p in flow.trial.subject.parameters if np.size(p.data) > 1 and n not in known}
    for made in flow.made:
        if made.array.size > 1 and made.array.dtype.kind in "fb":
            known.setdefault(made.name, made.array.astype(np.float64))
    measured: dict = flow.trial.__dict__.setdefault("inner", {})
    for owner in flow.slopes:
        total = sum(gradient.size for gradient in measured.values())
        if owner not in flow.truth.values() and (owner in measured or owner.array.size + total <= AFFORDABLE):
            known[f"(the gradient of {owner.name})"] = flow.true_gradient(owner)
    own = {name for name, k in known.items() if name.startswith("(") and k.shape == true.shape and np.allclose(k, true)}
    return {name: k for name, k in known.items() if name not in own}


def _pattern(flow: Flow, e: Evidence, given: Array, true: Array, suspect: Suspect | None) -> Cause | None:
    """One of the usual patterns, in a variable of the student's."""
    known = {n: k for n, k in _known(flow, Cone(), true).items() if k.shape == given.shape and not n.startswith("(")}
    name = suspect.owner.name if suspect else e.name
    inner = Evidence(e.layer, name, given, true, known=known, sizes=e.sizes, heads=e.heads)
    best = max(detect(inner), key=lambda cause: cause.weight, default=None)
    if best is None or best.weight < 70:
        return None
    text = best.text.removeprefix(f"{e.layer}: ")
    return Cause(best.kind, text[0].upper() + text[1:], min(best.weight, 84))
