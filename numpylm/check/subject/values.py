"""Small things about what students pass and return."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from numpylm.check.subject.paths import same_name

RANDOM = (np.random.Generator, np.random.RandomState)


def state_of(generator: Any) -> Any:
    """A copy of the state of either kind of NumPy's generators."""
    return generator.bit_generator.state if isinstance(generator, np.random.Generator) else generator.get_state()


class Context:
    """What ``ctx`` is in torch.autograd.Function: a place for what backward needs."""

    def __init__(self) -> None:
        self.saved_tensors: tuple = ()
        self.needs_input_grad: tuple = (True,) * 64

    def save_for_backward(self, *values: Any) -> None:
        self.saved_tensors = values

    def mark_non_differentiable(self, *values: Any) -> None:
        """Nothing to do: integers are never differentiated here."""

    def set_materialize_grads(self, value: bool) -> None:
        """Nothing to do: every upstream gradient here is an array."""

    @property
    def saved_values(self) -> tuple:
        return self.saved_tensors


def as_list(grads: Any, names: list[str]) -> list:
    """What backward returned as a list; a dict by the names of the inputs, what is left of it last."""
    if isinstance(grads, dict):
        rest = dict(grads)
        found = [next((rest.pop(key) for key in list(rest) if same_name(key, name)), None) for name in names]
        while found and found[-1] is None:
            found.pop()
        return [*found, rest] if rest else found
    if grads is None:
        return []
    if isinstance(grads, list) and grads and isinstance(grads[0], (list, float)):
        return [grads]  # one gradient, as nested lists of numbers
    return list(grads) if isinstance(grads, (tuple, list)) else [grads]


def kind_of(value: Any) -> str:
    """What a value is, in words."""
    if value is None:
        return "nothing (None)"
    if isinstance(value, np.ndarray):
        return "an array"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    article = "an" if type(value).__name__[0].lower() in "aeiou" else "a"
    return f"{article} {type(value).__name__}"


def is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def positional(function: Callable) -> list[str]:
    """The names of the positional arguments that a function takes; two of them for ``*args``."""
    names: list[str] = []
    for name, p in inspect.signature(function).parameters.items():
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            names.append(name)
        elif p.kind == p.VAR_POSITIONAL:
            names += ["dout", "cache"][len(names) :]
    return names
