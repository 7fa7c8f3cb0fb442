"""Taking a few steps with a student's optimizer: how it is made, what it is handed, and why that may fail."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from numpylm.check.optimizer.claims import Claim, claim_of, read
from numpylm.check.optimizer.methods import Path
from numpylm.check.optimizer.settings import ROLES, VALUES, Settings, held_numbers
from numpylm.check.report import listing
from numpylm.check.subject.calls import CheckError, describe
from numpylm.check.subject.paths import walk
from numpylm.nn.module import Array, Parameter

ANOTHER = ("optimizer", "optimiser", "optim", "opt", "base_optimizer", "inner_optimizer")
HANDED = ("param", "weight", "model", "net", "layer", "variable", "theta")  # so the first arguments of optimizers begin
HOW = (
    "Here an optimizer is made as NAME(parameters, lr=…), with a list of parameters, and step() moves every "
    "parameter.data along parameter.grad. In Python, numpylm.check_optimizer takes any function that makes one so."
)


class NotChecked(Exception):
    """There is no verdict; the message says why, and what to do."""


class Handed(list):
    """The parameters; also as something that has parameters, as a model does."""

    def parameters(self) -> list[Parameter]:
        return list(self)


@dataclass
class Walk:
    """The steps that an optimizer took."""

    path: Path
    claim: Claim
    settings: Settings
    rough: bool  # it computes in float32
    writes: bool  # it changes the gradients
    likely: bool  # its name, or that of its first argument, is that of an optimizer


def walk_with(factory: Callable[..., Any], title: str, starts: list[Array], gradients: list[list[Array]]) -> Walk:
    """The path of an optimizer.

    Raises
    ------
    CheckError
        If it stops.
    NotChecked
        If it is no optimizer, or none that can be made and called in the way that is known here.
    """
    _refuse_schedules(factory, title)
    parameters = Handed(Parameter(start.copy()) for start in starts)
    settings = Settings.offered(factory)
    try:
        optimizer = factory(parameters, **settings.given)
        claim = claim_of(factory, optimizer)
        settings = replace(settings, numbers=held_numbers(factory, optimizer))
        rates = _rates(title, optimizer.step)
        path, writes = [], False
        for grads in gradients:
            for parameter, grad in zip(parameters, grads, strict=True):
                _hand(parameter, grad)
            optimizer.step(**rates)
            path.append(_values(parameters, starts, title))
            writes |= any(_written(p.grad, grad) for p, grad in zip(parameters, grads, strict=True))
    except (NotChecked, CheckError):
        raise
    except Exception as error:
        raise _stopped(factory, title, error) from error
    rough = any(isinstance(v, np.ndarray) and v.dtype in (np.float32, np.float16) for _, v in walk(optimizer))
    rough |= any(parameter.data.dtype != np.float64 for parameter in parameters)
    return Walk(path, claim, settings, rough, writes, bool(claim.family) or _takes_parameters(factory))


def _refuse_schedules(factory: Callable[..., Any], title: str) -> None:
    """A schedule steps, too, but has no gradients, and there is no one right schedule."""
    another = next((name for name in inspect.signature(factory).parameters if name.lower() in ANOTHER), "")
    if another:
        raise NotChecked(
            f"{title} takes another optimizer ({another}): it is a schedule, or something else around an optimizer. "
            "Such things have no one right form to compare with."
        )


def _rates(title: str, step: Callable[..., Any]) -> dict[str, float]:
    """What ``step`` must be given: a learning rate, if it asks for one."""
    needed = [
        a.name
        for a in inspect.signature(step).parameters.values()
        if a.default is a.empty and a.kind in (a.POSITIONAL_OR_KEYWORD, a.KEYWORD_ONLY)
    ]
    if unknown := [name for name in needed if ROLES.get(name.lower()) != "lr"]:
        raise NotChecked(f"{title}.step needs {listing(unknown)}, which it is not given here. {HOW}")
    return dict.fromkeys(needed, VALUES["lr"])


def _hand(parameter: Parameter, grad: Array) -> None:
    """The gradient in place, where somebody may hold the array; a new one where it is gone."""
    if isinstance(parameter.grad, np.ndarray) and parameter.grad.shape == grad.shape:
        parameter.grad[...] = grad
    else:
        parameter.grad = grad.copy()


def _values(parameters: Handed, starts: list[Array], title: str) -> list[Array]:
    """The parameters after a step; CheckError if one has another shape than before."""
    for parameter, start in zip(parameters, starts, strict=True):
        if np.shape(parameter.data) != start.shape:
            raise CheckError(
                f"{title}.step gives a parameter of shape {start.shape} the shape {np.shape(parameter.data)}."
            )
    return [np.array(parameter.data, dtype=np.float64) for parameter in parameters]


def _takes_parameters(factory: Callable[..., Any]) -> bool:
    first = next(iter(inspect.signature(factory).parameters), "")
    return first.lower().strip("_").startswith(HANDED)


def _written(after: Any, grad: Array) -> bool:
    """Whether a gradient was changed, and not merely cleared."""
    return after is not None and not np.array_equal(after, grad) and bool(np.any(after))


def _stopped(factory: Callable[..., Any], title: str, error: Exception) -> Exception:
    """Whether the student's optimizer is wrong, or only wants to be handed something else."""
    said = describe(error)
    ours = isinstance(getattr(error, "obj", None), (Parameter, Handed))
    ours |= isinstance(error, TypeError) and any(word in str(error) for word in ("Parameter'", "Handed'", "__init__()"))
    known = bool(read(title).family)
    if ours or not (known or _takes_parameters(factory)) or (isinstance(error, NotImplementedError) and not known):
        return NotChecked(f"{title} could not be run. {said}\n{HOW}")
    return CheckError(f"{title} stopped. {said}")
