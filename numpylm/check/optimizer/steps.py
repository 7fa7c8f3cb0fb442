"""A student's optimizer at work: what its name claims, which settings it gets, and which steps it takes."""

import inspect
import itertools
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from numpylm.check.limits import LEAST_BETA, MOST_SETTINGS
from numpylm.check.optimizer.methods import Method, Trajectory, Values
from numpylm.check.report import listing
from numpylm.check.subject.calls import CheckError, describe
from numpylm.check.subject.paths import walk
from numpylm.check.subject.subject import LEARNING_RATES
from numpylm.nn.module import Array, Parameter

# ---------------------------------------------------------------------------------------------- what its name claims

FAMILIES = {
    "gradientdescent": "sgd", "heavyball": "sgd", "momentum": "sgd", "sgd": "sgd", "gd": "sgd", "nesterov": "nesterov",
    "nag": "nesterov", "signsgd": "signsgd", "adagrad": "adagrad", "adadelta": "adadelta", "rmsprop": "rmsprop",
    "adamw": "adamw", "amsgrad": "amsgrad", "adamax": "adamax", "nadam": "nadam", "bertadam": "bertadam",
    "adam": "adam", "lion": "lion",
}  # fmt: skip
OTHERS = (
    "adabelief", "adabound", "adafactor", "adahessian", "adamod", "adamp", "adan", "adopt", "asgd", "clip", "diffgrad",
    "ftrl", "lamb", "lars", "lbfgs", "lookahead", "madgrad", "muon", "noam", "novograd", "prodigy", "qhm", "radam",
    "ranger", "rprop", "sam", "sgdr", "shampoo", "sophia", "swats", "warmup", "yogi",
)  # fmt: skip
NEUTRAL = (
    "and", "another", "bad", "basic", "batch", "bias", "broken", "bug", "buggy", "correct", "corrected", "correction",
    "custom", "decay", "decoupled", "exercise", "faulty", "for", "from", "good", "implementation", "keras", "l2",
    "like", "mini", "missing", "my", "naive", "no", "np", "numpy", "old", "opt", "optim", "optimiser", "optimizer",
    "our", "own", "plain", "pytorch", "right", "scratch", "simple", "small", "step", "stochastic", "student", "test",
    "the", "tiny", "torch", "vanilla", "version", "weight", "with", "without", "wrong",
)  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """What the name of an optimizer says.

    Attributes
    ----------
    family : str
        One of the values of `FAMILIES`, "other" for an unknown algorithm, or "" if the name says nothing.
    plain : bool
        Whether the name has no other words that could mean something else.
    """

    family: str = ""
    plain: bool = False


def claim_of(factory: Any, optimizer: Any) -> Claim:
    """What an optimizer claims to be. A name that only a base class has is not plain."""
    kinds = [kind.__name__ for kind in type(optimizer).__mro__[:-1]]
    own = {getattr(factory, "__name__", ""), kinds[0]}
    for name in (*own, *kinds[1:]):
        claim = claim_in(name)
        if claim.family:
            return Claim(claim.family, claim.plain and name in own)
    return Claim()


def claim_in(name: str) -> Claim:
    """What one name says: the longest algorithm names in it, and whether its other words are neutral."""
    parts = [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    rest, found = re.sub(r"[^a-z0-9]", "", name.lower()), []
    for word in sorted([*FAMILIES, *OTHERS], key=len, reverse=True):
        # "manager" holds "nag" and is no Nesterov.
        if word in rest and (len(word) > 3 or word == "sgd" or word in parts):
            found.append(FAMILIES.get(word, "other"))
            rest = rest.replace(word, "|")
    if not found:
        return Claim()
    family = "other" if "other" in found else found[0]
    words = "|".join(sorted(NEUTRAL, key=len, reverse=True))
    says_nothing = re.fullmatch(rf"(?:{words}|\d|\||w$)*", rest) is not None
    return Claim(family, says_nothing and len(set(found)) == 1)


# ------------------------------------------------------------------------------------ the settings that it is made with

VALUES: Values = {"lr": 0.02, "momentum": 0.7, "b1": 0.8, "b2": 0.95, "rho": 0.85, "eps": 1e-3, "decay": 0.3}
NAMES = {
    "lr": LEARNING_RATES,
    "momentum": ("momentum", "mu"),
    "b1": ("beta1", "beta_1", "b1"),
    "b2": ("beta2", "beta_2", "b2"),
    "rho": ("rho", "decay_rate"),
    "eps": ("eps", "epsilon"),
    "decay": ("weight_decay", "wd", "l2"),
}
ROLES = {name: role for role, names in NAMES.items() for name in names}
# Arguments that may be one of several settings.
AMBIGUOUS = {"beta": 0.7, "gamma": 0.7, "decay": 0.85, "dampening": 0.4}
FLAGS = ("amsgrad", "nesterov", "centered", "dampening", "bias_correction", "correct_bias", "beta", "gamma")
RANGES: dict[str, tuple[float, float]] = {"eps": (0.0, 1e-2), "lr": (0.0, 10.0)}  # all other settings: 0 to 1


@dataclass(frozen=True)
class Settings:
    """The settings of an optimizer.

    Attributes
    ----------
    given : dict
        The keyword arguments.
    values : dict
        The named settings, by their role.
    numbers : tuple of float
        All other numbers that may be settings: defaults, attributes, constants in the code.
    unknown : tuple of str
        Unknown arguments whose default switches something on.
    """

    given: dict[str, Any]
    values: Values
    numbers: tuple[float, ...] = ()
    unknown: tuple[str, ...] = ()

    @classmethod
    def offered(cls, factory: Callable[..., Any]) -> "Settings":
        """The arguments for making an optimizer, chosen by their names."""
        given: dict[str, Any] = {}
        values: Values = {}
        arguments = dict(itertools.islice(inspect.signature(factory).parameters.items(), 1, None))
        has_rate = any(ROLES.get(name.lower()) == "lr" for name in arguments)
        unknown = []
        for name, argument in arguments.items():
            role = ROLES.get(name.lower()) or {"alpha": "rho" if has_rate else "lr"}.get(name.lower(), "")
            if role:
                given[name] = values[role] = VALUES[role]
            elif name.lower() == "betas":
                given[name] = (VALUES["b1"], VALUES["b2"])
                values |= {role: VALUES[role] for role in ("b1", "b2")}
            elif argument.default is argument.empty and name.lower() in AMBIGUOUS:
                given[name] = AMBIGUOUS[name.lower()]
            elif argument.default and argument.default is not argument.empty and name.lower() not in FLAGS:
                unknown.append(name)
        return cls(given, values, unknown=tuple(unknown))

    def choices(self, method: Method) -> Iterator[Values]:
        """The settings that a method may have. Named settings are not guessed, and every named setting must be used."""
        named, unused = dict(self.values), set(self.values) - {*method.roles, "decay", "eps"}
        missing = [role for role in ("momentum", "rho") if role in method.roles and role not in named]
        if len(unused) == len(missing) == 1:
            named[missing[0]] = named[unused.pop()]  # as the β of RMSProp
        if unused:
            return
        chosen = [[named[role]] if role in named else self._guesses(role, method) for role in method.roles]
        for values in itertools.islice(itertools.product(*chosen), MOST_SETTINGS):
            found = dict(zip(method.roles, values, strict=True))
            if "b1" in self.values or found.get("b1", 0.0) <= found.get("b2", 1.0):
                yield found | ({"decay": self.values["decay"]} if "decay" in self.values else {})

    def _guesses(self, role: str, method: Method) -> list[float]:
        low, high = RANGES.get(role, (LEAST_BETA if role in ("b1", "b2") else 0.0, 1.0))
        found = [number for number in self.numbers if low < number <= high and (high > 1 or number < 1 or role == "lr")]
        return [*found, 1.0] if role == "lr" and method.family == "adadelta" else found


def held_numbers(factory: Callable[..., Any], optimizer: Any) -> tuple[float, ...]:
    """Numbers that an optimizer holds: defaults of its arguments, attributes, constants in its code."""
    found: list[float] = []

    def add(value: Any) -> None:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            found.append(float(value))
        elif isinstance(value, (tuple, list, dict)):
            for part in value.values() if isinstance(value, dict) else value:
                add(part)

    add([argument.default for argument in inspect.signature(factory).parameters.values()])
    add(getattr(optimizer, "__dict__", {}))
    for kind in type(optimizer).__mro__[:-1]:
        for part in vars(kind).values():
            add(getattr(getattr(part, "__code__", None), "co_consts", ()))
    return tuple(dict.fromkeys(found))


# ---------------------------------------------------------------------------------------------- the steps that it takes

INNER_OPTIMIZERS = ("optimizer", "optimiser", "optim", "opt", "base_optimizer", "inner_optimizer")
# Beginnings of an optimizer's first argument.
FIRST_ARGUMENTS = ("param", "weight", "model", "net", "layer", "variable", "theta")
HOW = (
    "The check makes an optimizer as NAME(parameters, lr=…), with a list of parameters, and step() must move every "
    "parameter.data along parameter.grad. In Python, numpylm.check_optimizer takes any function that makes one in this "
    "way."
)


class NotChecked(Exception):
    """There is no verdict; the message says why, and what to do."""


class Handed(list):
    """A list of parameters that also has a method ``parameters()``, as a model does."""

    def parameters(self) -> list[Parameter]:
        return list(self)


@dataclass
class OptimizerRun:
    """An optimizer's path over a few steps, and what else was seen of it."""

    path: Trajectory
    claim: Claim
    settings: Settings
    rough: bool  # it computes in float32
    writes: bool  # it changes the gradients
    likely: bool  # its name or its first argument is that of an optimizer


def run_optimizer(
    factory: Callable[..., Any], title: str, starts: list[Array], gradients: list[list[Array]]
) -> OptimizerRun:
    """Run an optimizer for a few steps, from ``starts`` with the ``gradients`` of each step.

    Raises
    ------
    CheckError
        If it stops.
    NotChecked
        If it is no optimizer, or cannot be made and called in the known way.
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
    return OptimizerRun(path, claim, settings, rough, writes, bool(claim.family) or _takes_parameters(factory))


def _refuse_schedules(factory: Callable[..., Any], title: str) -> None:
    """Refuse schedules: they have a step, but no gradients, and there is no single right schedule."""
    another = next((name for name in inspect.signature(factory).parameters if name.lower() in INNER_OPTIMIZERS), "")
    if another:
        raise NotChecked(
            f"{title} takes another optimizer ({another}): it is a schedule or another wrapper of an optimizer. "
            "There is no single right form to compare it with."
        )


def _rates(title: str, step: Callable[..., Any]) -> dict[str, float]:
    """What ``step`` must be given: a learning rate, if it asks for one."""
    needed = [
        a.name
        for a in inspect.signature(step).parameters.values()
        if a.default is a.empty and a.kind in (a.POSITIONAL_OR_KEYWORD, a.KEYWORD_ONLY)
    ]
    if unknown := [name for name in needed if ROLES.get(name.lower()) != "lr"]:
        raise NotChecked(f"{title}.step needs {listing(unknown)}, which the check does not give. {HOW}")
    return dict.fromkeys(needed, VALUES["lr"])


def _hand(parameter: Parameter, grad: Array) -> None:
    """Set a gradient in place, since the optimizer may hold the array. Make a new array if it is gone."""
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
    return first.lower().strip("_").startswith(FIRST_ARGUMENTS)


def _written(after: Any, grad: Array) -> bool:
    """Whether a gradient was changed and not only cleared."""
    return after is not None and not np.array_equal(after, grad) and bool(np.any(after))


def _stopped(factory: Callable[..., Any], title: str, error: Exception) -> Exception:
    """The error to raise: the student's optimizer is wrong, or it only needs other arguments."""
    described = describe(error)
    ours = isinstance(getattr(error, "obj", None), (Parameter, Handed))
    ours |= isinstance(error, TypeError) and any(word in str(error) for word in ("Parameter'", "Handed'", "__init__()"))
    known = bool(claim_in(title).family)
    if ours or not (known or _takes_parameters(factory)) or (isinstance(error, NotImplementedError) and not known):
        return NotChecked(f"{title} could not be run. {described}\n{HOW}")
    return CheckError(f"{title} stopped. {described}")
