"""Cuts guessed inputs to the sizes that a forward uses: ``b[f]`` accepts any b that is long enough."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from numpylm.check.measure.sizes import with_axis_cut
from numpylm.check.measure.trial import Setup
from numpylm.check.subject.calls import CheckError, is_float
from numpylm.check.subject.subject import Subject
from numpylm.nn.module import Array


def reshaped(subject: Any, inputs: tuple, gradients: dict[str, tuple[int, ...]]) -> tuple:
    """The same inputs with axes of length 1 where the gradient has them: a bias (1, C) for ``keepdims=True``."""
    wanted = [gradients.get(name) for name in Subject(subject).input_names]

    def as_wanted(value: Any, shape: tuple[int, ...] | None) -> Any:
        fits = (
            shape is not None and is_float(value) and [n for n in shape if n > 1] == [n for n in value.shape if n > 1]
        )
        return value.reshape(shape) if fits else value

    return tuple(as_wanted(value, shape) for value, shape in zip(inputs, wanted, strict=False))


def trimmed(subject: Any, inputs: tuple, _: dict[str, tuple[int, ...]]) -> tuple:
    """The same inputs without the ends of arrays that the forward never reads.

    The first array, which is the data, stays. An array also stays if the data decide how much of it is read, as for a
    table of positions or of ids.
    """
    data = next((k for k, value in enumerate(inputs) if isinstance(value, np.ndarray)), 0)
    found = list(inputs)
    for k, value in enumerate(inputs):
        if k <= data or not is_float(value):
            continue
        shape = _read(subject, tuple(found), k)
        others = (_read(subject, other, k) for other in _other_data(tuple(found), data))
        if shape not in (None, value.shape) and all(other in (None, shape) for other in others):
            found[k] = value[tuple(map(slice, shape))].copy()
    return tuple(found)


def _read(subject: Any, inputs: tuple, k: int) -> tuple[int, ...] | None:
    """The shape of the part of array ``k`` that the forward reads. None if the forward stops at these inputs."""
    try:
        out = _out(subject, inputs)
    except CheckError:
        return None

    def reads(axis: int, place: int) -> bool:
        end = (slice(None),) * axis + (place,)
        change = np.random.default_rng([k, axis, place]).standard_normal(inputs[k][end].shape)
        return any(changes(end, sign * change) for sign in (1, -1))

    def changes(end: tuple, change: Array) -> bool:
        other = copy.deepcopy(inputs)
        other[k][end] += change
        try:
            return not np.array_equal(_out(subject, other), out, equal_nan=True)
        except CheckError:
            return True

    shape = []
    for axis, length in enumerate(inputs[k].shape):
        ends = (n for n in range(length, 1, -1) if reads(axis, n - 1))
        shape.append(next(ends, min(length, 1)))
    return tuple(shape)


def _out(subject: Any, inputs: tuple) -> Array:
    return np.asarray(Subject(subject).forward(*copy.deepcopy(inputs))[0])


def _other_data(inputs: tuple, data: int) -> Iterator[tuple]:
    """The same inputs with data that are shorter by one along an axis, or with all ids 0."""
    setup = Setup(None, inputs, {})
    first = inputs[data]
    for axis, length in enumerate(first.shape):
        if length > 1:
            yield with_axis_cut(setup, axis, length - 1).inputs
    if any(isinstance(value, np.ndarray) and value.dtype.kind in "iu" for value in inputs):
        yield tuple(0 * v if isinstance(v, np.ndarray) and v.dtype.kind in "iu" else v for v in inputs)
