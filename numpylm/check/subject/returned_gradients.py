"""What backward returned: which of it belongs to which input, and what is no gradient at all."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from numpylm.check.report import plural
from numpylm.check.subject.calls import CheckError, is_float, kind_of
from numpylm.check.subject.paths import same_name
from numpylm.check.subject.survey import constant_name, mask_values
from numpylm.nn.module import Array

TARGETS = ("y", "t", "truth", "expected", "desired", "gt")  # of a loss


@dataclass(frozen=True)
class Odd:
    """Something in the place of a gradient that is no array of real numbers; to NumPy, a thing without axes."""

    value: Any


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


def as_gradient(value: Any) -> Any:
    """A gradient as an array of its own where it is one of real numbers (or a list or number); None; else it is odd.

    It is a copy, since a layer may write its next gradient into the same array.
    """
    if value is None:
        return None
    try:
        array = np.array(value)
    except ValueError:  # a ragged list
        return Odd(value)
    return array if array.dtype.kind in "fiub" else Odd(value)


def comparable(gradient: Any, shape: tuple[int, ...]) -> bool:
    """Whether a gradient is an array of finite real numbers of the right shape."""
    return isinstance(gradient, np.ndarray) and gradient.shape == shape and bool(np.isfinite(gradient).all())


def difference(after: Any, before: Array) -> Any:
    """What was added to a gradient; the gradient itself if its shape changed."""
    same = isinstance(after, np.ndarray) and after.shape == np.shape(before)
    return np.asarray(after - before) if same else after


def name_inputs(
    layer: str, names: list[str], inputs: list, grads: list, loss: bool
) -> tuple[list[tuple[str, Array, Any]], dict[str, str]]:
    """(name, values, gradient) of each floating-point input, and those that are constants, with the reason.

    ``loss`` tells that the output is one number: then ``y`` is a target.

    Raises
    ------
    CheckError
        If there are more gradients than inputs.
    """
    floats = [i for i, value in enumerate(inputs) if is_float(value)]
    if len(grads) == len(inputs) != len(floats):
        grads = [grads[i] for i in floats]  # backward also returned something for ids or masks
    while len(grads) > len(floats) and grads[-1] is None:
        grads = grads[:-1]  # as torch wants it: one for each argument, None for options
    if len(grads) > len(floats):
        raise CheckError(_surplus(layer, grads, len(floats)))
    names = names + [f"input {i}" for i in range(len(names), len(inputs))]
    targets, constants = [], {}
    for k, i in enumerate(floats):
        why = _undifferentiated(names[i], inputs[i], grads, k, loss)
        if why:
            constants[names[i]] = why
        else:
            targets.append((names[i], inputs[i], as_gradient(grads[k]) if k < len(grads) else None))
    return targets, constants


def _surplus(layer: str, grads: list, n_floats: int) -> str:
    """The sentence for more gradients than there are inputs."""
    inputs = plural(n_floats, "floating-point input") if n_floats else "no floating-point input"
    extra = f" One of them is {kind_of(grads[-1])}." if not isinstance(grads[-1], np.ndarray) else ""
    return (
        f"{layer}: backward returned {plural(len(grads), 'gradient')}, forward has {inputs}. Return one for each, in "
        f"the order of the forward's arguments.{extra}"
    )


def _undifferentiated(name: str, values: Array, grads: list, k: int, loss: bool) -> str:
    """Why an input without a gradient is a constant; "" if it is none.

    None in its place says so. Fewer gradients than inputs may be forgetfulness, unless it is called a mask or a table
    of cosines, or its numbers look like it: one-hot targets, an additive mask of 0 and -1e9.
    """
    if k == 0 or all(grad is None for grad in grads):
        return ""
    if k < len(grads):
        return "Backward returns None there, which says that it is a constant" if grads[k] is None else ""
    named = constant_name(name) or (loss and name.lower() in TARGETS)
    if named:
        return "Backward returns nothing there, and the name is that of a constant"
    return (
        "Backward returns nothing there, and so few different numbers look like a mask" if mask_values(values) else ""
    )


def same(a: Any, b: Any) -> bool:
    """Whether two values, or lists of them, are the same to the last bit; what is no array of numbers always is."""
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if a is None or b is None or isinstance(a, (dict, str)):
        return a is b or isinstance(a, (dict, str))
    if isinstance(a, Odd):
        return True  # the row says what it is
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape:
        return False
    if x.dtype.kind == y.dtype.kind == "f":
        return bool(np.array_equal(x, y, equal_nan=True))
    return bool(np.array_equal(x, y))
