"""Puts optimizers that are handed the gradients, ``update(params, grads)``, behind the interface of ``step()``."""

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from numpylm.check.optimizer.steps import NotChecked
from numpylm.check.subject.calls import CheckError, describe
from numpylm.nn.module import Parameter

METHODS = ("update", "step")
COUNTERS = ("step", "it", "t", "iter", "iteration", "epoch", "global_step", "step_num", "current_step")
SCHEDULES = ("lr", "schedule", "scheduler", "warmup", "decay", "annealing", "cosine", "noam")
FORMS = (dict, list)


def updating(kind: type) -> str:
    """The method of a class that takes parameters and gradients; empty if there is none."""
    return next((name for name in METHODS if _takes_gradients(getattr(kind, name, None), skip=1, count=2)), "")


def with_config(function: Callable) -> bool:
    """Whether a function is an optimizer in the way of cs231n: ``next_w, config = sgd(w, dw, config=None)``."""
    names = list(inspect.signature(function).parameters)
    return names[2:] == ["config"] and _takes_gradients(function, skip=0, count=3)


def _takes_gradients(function: Any, skip: int, count: int) -> bool:
    if not inspect.isfunction(function):
        return False
    names = list(inspect.signature(function).parameters)[skip:]
    return len(names) == count and names[1].lower().strip("_").startswith(("grad", "dw", "dp", "dtheta"))


def schedule(name: str, thing: Any) -> bool:
    """Whether a function, or a class whose objects are called, is a schedule of the learning rate."""
    function = vars(thing).get("__call__") if inspect.isclass(thing) else thing
    words = name.replace("LR", "_lr_").replace("Schedule", "_schedule").replace("Warmup", "_warmup_").lower().split("_")
    if not inspect.isfunction(function) or not set(words) & set(SCHEDULES):
        return False
    names = list(inspect.signature(function).parameters)[inspect.isclass(thing) :]
    return bool(names) and names[0].lower() in COUNTERS


def as_optimizer(target: Any) -> Any:
    """A factory whose optimizers have ``step()``, for a class or function that takes the gradients itself."""
    if inspect.isfunction(target):
        return _for_function(target)
    return _for_class(target, method) if (method := updating(target)) else target


def _for_class(kind: type, method: str) -> type:
    """A subclass that hands the parameters over in a dict, or in a list if a dict does not work."""

    class Stepping(kind):
        """The student's optimizer with the parameters that it will be handed, and with ``step()``."""

        def __init__(self, handed: list[Parameter], **settings: Any) -> None:
            super().__init__(**settings)
            form = _form(lambda: kind(**settings), method, kind.__name__)
            self._handed, self._form = handed, form

        def step(self) -> None:
            _update(getattr(super(), method), self._handed, self._form)

    settings = [
        p for p in inspect.signature(kind).parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    first = inspect.Parameter("handed", inspect.Parameter.POSITIONAL_ONLY)
    after = [p.replace(kind=p.KEYWORD_ONLY) for p in settings]
    Stepping.__name__ = kind.__name__
    Stepping.__signature__ = inspect.Signature([first, *after])
    return Stepping


def _form(make: Callable[[], Any], method: str, title: str) -> type:
    """Whether a method takes its parameters in a dict or in a list.

    Raises
    ------
    NotChecked
        If it takes neither.
    CheckError
        If it stops for a reason that has nothing to do with that.
    """
    errors = []
    for form in FORMS:
        trial = Parameter(np.ones((1, 2)))
        trial.grad[...] = 1.0
        try:
            _update(getattr(make(), method), [trial], form)
        except Exception as error:
            if type(error) is NameError or isinstance(getattr(error, "obj", None), ModuleType):  # no form would help
                raise CheckError(f"{title}.{method} stopped. {describe(error)}") from error
            errors.append(f"With a {form.__name__}: {describe(error)}")
        else:
            return form
    raise NotChecked(
        "\n".join([f"{title}.{method} takes its arguments neither as two dicts nor as two lists of arrays.", *errors])
    )


def _update(update: Callable, handed: list[Parameter], form: type) -> None:
    """One step: both lists in the form that the method takes, and the new values back into the parameters."""
    names = [f"W{i}" for i in range(len(handed))]
    values, grads = ([getattr(p, part) for p in handed] for part in ("data", "grad"))
    if form is dict:
        params = dict(zip(names, values, strict=True))
        made = update(params, dict(zip(names, grads, strict=True)))
        after = [(made if isinstance(made, dict) and set(made) == set(names) else params)[name] for name in names]
    else:
        made = update(values, grads)
        after = made if isinstance(made, list) and len(made) == len(handed) else values
    for parameter, value in zip(handed, after, strict=True):
        parameter.data = value


def _for_function(function: Callable) -> type:
    """A class with one configuration for each parameter."""

    class Stepping:
        """An optimizer around a function: each parameter has a config, in which the function keeps its memory."""

        def __init__(self, handed: list[Parameter], lr: float) -> None:
            self.handed = handed
            self.configs: list[dict[str, Any]] = [{"learning_rate": lr} for _ in handed]
            self.numbers = function.__code__.co_consts  # its other settings

        def step(self) -> None:
            for i, parameter in enumerate(self.handed):
                parameter.data, self.configs[i] = function(parameter.data, parameter.grad, self.configs[i])

    Stepping.__name__ = function.__name__
    return Stepping
