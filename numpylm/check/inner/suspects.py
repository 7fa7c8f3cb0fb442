"""Which variable of the student's backward is the first that is wrong, proved by putting the truth in its place."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from numpylm.check.inner import lines
from numpylm.check.inner.flow import Cone, Flow, named_after, relaid
from numpylm.check.inner.lines import Value
from numpylm.check.measure.evidence import Evidence
from numpylm.check.subject.subject import CheckError
from numpylm.nn.module import Array

AFFORDABLE = 600  # entries of variables whose true gradient is measured in full, for one layer
CURED = 0.8  # what part of the wrong entries may stay wrong


@dataclass
class Suspect:
    """A variable that holds something else than the gradient that it stands for."""

    value: Value
    owner: Value  # whose gradient it should be
    given: Array  # in the shape of the owner
    true: Array


def first_wrong(flow: Flow, cone: Cone, e: Evidence, index: int) -> Suspect | None:
    """The variable in a cone that is made first and surely is wrong."""
    for value in cone.unknown:
        rounds = [v for v in flow.record.values if v.name == value.name and v.line == value.line]
        last = [v for v in flow.record.values if v.name == value.name][-1]
        if value.array.dtype != np.float64 or last.line != value.line:
            continue  # made in several steps, of which this is not the last
        for owners in _owners(flow, rounds):
            suspect = _suspect(flow, value, owners[rounds.index(value)])
            if suspect and (_right_elsewhere(flow, rounds, owners) or _cures(flow, rounds, owners, e, index)):
                return suspect
    return None


def _owners(flow: Flow, rounds: list[Value]) -> Iterator[list[Value]]:
    """Variables of the forward whose gradients these may be, for each round of a loop; namesakes first."""
    names = dict.fromkeys(made.name for made in flow.slopes)
    taken = {owner.name for value, owner in flow.truth.items() if value.name != rounds[0].name}
    held = set(flow.truth.values())  # their gradient stands in an earlier value of this very variable
    for name in sorted(names, key=lambda name: not named_after(rounds[0].name, name)):
        owners = [made for made in flow.slopes if made.name == name and made.array.size == rounds[0].array.size]
        if name in taken or not owners:
            continue
        if len(owners) == len(rounds):
            yield owners[::-1]  # a loop runs back through what it made
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
    measured = flow.trial.__dict__.setdefault("inner", {})
    return owner in measured or owner.array.size + sum(g.size for g in measured.values()) <= AFFORDABLE


def _cures(flow: Flow, rounds: list[Value], owners: list[Value], e: Evidence, index: int) -> bool:
    """Whether backward gives the right gradient, or a larger part of it, with the true values in this variable."""
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
        patches[value.moment] = (value.first, true.reshape(value.array.shape))
    try:
        after = np.asarray(lines.patched_gradients(flow.trial, flow.backward_code, patches)[index])
    except CheckError:  # the student's code refuses what was put there
        return False
    if after.shape != e.n.shape or not np.isfinite(after).all():
        return False
    healed = Evidence(e.layer, e.name, after, e.n)
    aside = Evidence(e.layer, e.name, after, e.a).wrong & healed.wrong  # neither healed nor as it was
    return bool(healed.wrong.sum() <= CURED * e.wrong.sum() and not aside.any())
