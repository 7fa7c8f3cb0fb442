"""The settings of an optimizer: those that a student's class takes, and other numbers that it holds."""

import inspect
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from numpylm.check.optimizer.methods import Method, Values

VALUES: Values = {"lr": 0.02, "momentum": 0.7, "b1": 0.8, "b2": 0.95, "rho": 0.85, "eps": 1e-3, "decay": 0.3}
NAMES = {
    "lr": ("lr", "learning_rate", "learningrate", "step_size", "stepsize", "eta", "lr0", "base_lr"),
    "momentum": ("momentum", "mu"),
    "b1": ("beta1", "beta_1", "b1"),
    "b2": ("beta2", "beta_2", "b2"),
    "rho": ("rho", "decay_rate"),
    "eps": ("eps", "epsilon"),
    "decay": ("weight_decay", "wd", "l2"),
}
ROLES = {name: role for role, names in NAMES.items() for name in names}
UNNAMED = {
    "beta": 0.7,
    "gamma": 0.7,
    "decay": 0.85,
    "dampening": 0.4,
}  # which of the settings it is, the path must tell
FLAGS = ("amsgrad", "nesterov", "centered", "dampening", "bias_correction", "correct_bias", "beta", "gamma")
BETWEEN: dict[str, tuple[float, float]] = {"eps": (0.0, 1e-2), "lr": (0.0, 10.0)}  # all others: 0 to 1
MOST = 300  # ways in which numbers without names are tried in one method's settings
ADAM_LIKE = 0.5  # betas are no smaller, if nobody says what they are


@dataclass(frozen=True)
class Settings:
    """What an optimizer was made with.

    Attributes
    ----------
    given : dict
        The keyword arguments.
    values : dict
        The settings that have a name, by their role.
    numbers : tuple of float
        All other numbers that may be settings: defaults, attributes, constants in the code.
    unknown : list of str
        Arguments that are not known here and are switched on.
    """

    given: dict[str, Any]
    values: Values
    numbers: tuple[float, ...] = ()
    unknown: tuple[str, ...] = ()

    @classmethod
    def offered(cls, factory: Callable[..., Any]) -> "Settings":
        """What to make an optimizer with, by the names of its arguments."""
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
            elif argument.default is argument.empty and name.lower() in UNNAMED:
                given[name] = UNNAMED[name.lower()]
            elif argument.default and argument.default is not argument.empty and name.lower() not in FLAGS:
                unknown.append(name)
        return cls(given, values, unknown=tuple(unknown))

    def choices(self, method: Method) -> Iterator[Values]:
        """The settings that a method may have here: what has a name is not guessed, and all that has one is used."""
        named, unused = dict(self.values), set(self.values) - {*method.roles, "decay", "eps"}
        missing = [role for role in ("momentum", "rho") if role in method.roles and role not in named]
        if len(unused) == len(missing) == 1:
            named[missing[0]] = named[unused.pop()]  # RMSProp's β
        if unused:
            return
        chosen = [[named[role]] if role in named else self._guesses(role, method) for role in method.roles]
        for values in itertools.islice(itertools.product(*chosen), MOST):
            found = dict(zip(method.roles, values, strict=True))
            if "b1" in self.values or found.get("b1", 0.0) <= found.get("b2", 1.0):
                yield found | ({"decay": self.values["decay"]} if "decay" in self.values else {})

    def _guesses(self, role: str, method: Method) -> list[float]:
        low, high = BETWEEN.get(role, (ADAM_LIKE if role in ("b1", "b2") else 0.0, 1.0))
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
