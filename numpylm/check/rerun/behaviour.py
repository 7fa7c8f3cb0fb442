"""Gradients whose formula is right, but which depend on what happened before: = for +=, state on the layer."""

from numpylm.check.inner.wiring import Causes
from numpylm.check.measure.trial import Trial
from numpylm.check.report import Cause
from numpylm.check.rerun.experiments import CLOSE, CURED, Laboratory, errors


def behaviour(trial: Trial, strict: Trial, names: list[str], causes: Causes) -> None:
    """Arrays that are right if gradients start at zero and backward follows its own forward directly.

    Only conditions under which the check itself failed can be to blame; and without them an error must all but
    vanish, not only be small: it may have been small before.
    """
    kind, harsh = errors(trial, names), errors(strict, names)
    gentle = [name for name in names if kind[name] < CLOSE and not kind[name] > CURED * harsh[name]]
    laboratory = Laboratory(trial, gentle)
    for condition, cause in (("dirty", _assigned), ("disturb", _state)):
        if not gentle or not getattr(strict.conditions, condition):
            continue
        still = laboratory.right(dirty=condition == "dirty", disturb=condition == "disturb")
        for name in gentle:
            if name not in still:
                causes[name].append(cause(trial.subject.name, name))


def _assigned(layer: str, name: str) -> Cause:
    text = (
        f"{layer}: the gradient of {name} is assigned (=) where it must be added (+=): what was there before, from "
        "another use of the parameter or another part of the batch, is lost. Right from zero, wrong otherwise."
    )
    return Cause("assigned", text, 99, name)


def _state(layer: str, name: str) -> Cause:
    text = (
        f"{layer}: the gradient of {name} is right if backward follows its forward directly, and wrong if another "
        "forward runs in between: something is kept on the layer (self.…) that belongs into the cache."
    )
    return Cause("state", text, 99, name)
