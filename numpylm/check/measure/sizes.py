"""Numbers that may be a wrong factor: lengths, counts, shares, scalars. Runs at other sizes rule out chance."""

import math
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np

from numpylm.check.measure.trial import Setup, Trial
from numpylm.check.subject.calls import CheckError, cache_names

LETTERS = {1: ("N",), 2: ("N", "C"), 3: ("B", "T", "C"), 4: ("B", "H", "T", "D")}


def named_inputs(trial: Trial) -> list[tuple[str, Any]]:
    """Positional inputs by the forward's names, then options."""
    names = [*trial.subject.input_names, *(f"input {i}" for i in range(len(trial.inputs)))]
    return [*zip(names, trial.inputs, strict=False), *trial.setup.options.items()]


def known_sizes(trial: Trial) -> dict[str, float]:
    """Axis lengths, their products, and numbers that the layer or its options hold."""
    sizes: dict[str, float] = {}
    length_of: dict[str, int] = {}  # by the letter of an axis
    for name, value in [*named_inputs(trial), ("the output", np.asarray(trial.out))]:
        if not isinstance(value, np.ndarray) or value.size < 2:
            continue
        axis_letters = "BT" if value.dtype.kind in "iu" and value.ndim == 2 else LETTERS.get(value.ndim, "")
        for axis, length in enumerate(value.shape):
            letter = axis_letters[axis] if axis_letters else ""
            if letter and length_of.get(letter) == length:
                continue  # the same axis, seen in another array
            length_of.setdefault(letter, length)
            sizes[
                f"{letter}, the length of axis {axis} of {name}" if letter else f"the length of axis {axis} of {name}"
            ] = float(length)
        for k in range(2, value.ndim + 1):
            sizes[f"{'·'.join((axis_letters or '?' * value.ndim)[:k])}, the first {k} axes of {name} together"] = float(
                math.prod(value.shape[:k])
            )
        if value.dtype.kind in "iu":
            counted = float((value >= 0).sum())
            if 0 < counted < value.size:
                sizes[f"the number of counted {name}"] = counted
        elif value.ndim == 4:
            sizes["the number of channels, H·D"] = float(value.shape[1] * value.shape[3])
    for name, number in [*numbers_of(trial.subject.layer, trial.setup.options), *_given_numbers(trial)]:
        if 0 < number < 1:
            sizes |= {name: number, f"1 - {name}": 1 - number}
        elif number > 1:
            sizes[name] = number
            sizes |= head_size(trial, name, number)
    return sizes | scalars(trial)


def _given_numbers(trial: Trial) -> Iterator[tuple[str, float]]:
    """Plain numbers that the forward is given: by default, as an input, or in a dict."""
    given: dict[str, Any] = {name: p.default for name, p in trial.subject.signature.parameters.items()}
    for name, value in (given | dict(named_inputs(trial))).items():
        yield from numbers_of(None, value if isinstance(value, dict) else {name: value})


def head_size(trial: Trial, name: str, number: float) -> dict[str, float]:
    """C / n_head, if a layer has a number of heads that divides the last axis of its input."""
    x = next((v for _, v in named_inputs(trial) if isinstance(v, np.ndarray) and v.dtype.kind == "f" and v.ndim), None)
    if x is None or "h" not in name.lower() or number != int(number) or x.shape[-1] % number:
        return {}
    return {f"D, the size of a head, C / {name}": x.shape[-1] / number}


def scalars(trial: Trial) -> dict[str, float]:
    """Parameters and parts of the cache that are single numbers."""
    found = {name: float(p.data.reshape(-1)[0]) for name, p in trial.subject.parameters if np.size(p.data) == 1}
    cache = trial.cache if isinstance(trial.cache, (tuple, list)) else (trial.cache,)
    parts = list(trial.cache.items()) if isinstance(trial.cache, dict) else list(enumerate(cache))
    names = cache_names(trial.subject.forward_function, trial.cache)
    for key, value in parts:
        if isinstance(value, (float, np.floating)) or (isinstance(value, np.ndarray) and value.shape == ()):
            name = names[key] if isinstance(key, int) and len(names) == len(parts) else f"cache[{key!r}]"
            if np.isfinite(value) and float(value) not in found.values():
                found[str(name)] = float(value)
    return found


def numbers_of(layer: Any, options: dict, holders: tuple = ()) -> Iterator[tuple[str, float]]:
    """Plain numbers among the options and the attributes of a layer and its inner layers, not of its ``holders``."""
    for name, value in options.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield name, float(value)
    for name, value in getattr(layer, "__dict__", {}).items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield name, float(value)
        elif hasattr(value, "forward") and not any(value is holder for holder in (layer, *holders)):
            yield from numbers_of(value, {}, (layer, *holders))


def head_counts(layer: Any, options: dict) -> tuple[int, ...]:
    """Possible numbers of heads: first those that the layer names, then other small numbers."""
    named = [int(v) for name, v in numbers_of(layer, options) if "head" in name.lower() and v > 1]
    return tuple(dict.fromkeys([*named, 2, 3, 4, 6, 8]))


def name_factor(factor: float, sizes: dict[str, float], ones: bool = False) -> list[str]:
    """Names for a constant: a size (with ``ones`` also of length 1), its root, its inverse, a product of two."""
    sizes = {name: value for name, value in sizes.items() if value and (ones or abs(value) != 1)}

    def same(value: float) -> bool:
        return abs(abs(factor) - abs(value)) <= 2e-6 * max(abs(factor), abs(value))

    def names_among(forms: Any) -> list[str]:
        return [("minus " if number * factor < 0 else "") + text for number, text in forms if same(number)]

    found = names_among((value, text) for value, text in ((2, "2"), (0.5, "1/2"), (4, "4"), (0.25, "1/4"), (3, "3")))
    for name, value in sizes.items():
        root = math.copysign(math.sqrt(abs(value)), value)
        forms = ((value, name), (1 / value, f"1 / ({name})"))
        found += names_among((*forms, (root, f"the root of {name}"), (1 / root, f"1 / the root of {name}")))
    if not found or ones:
        for (name1, value1), (name2, value2) in combinations(sizes.items(), 2):
            pairs = (
                (value1 * value2, f"({name1}) times ({name2})"),
                (value1 / value2, f"({name1}) / ({name2})"),
                (value2 / value1, f"({name2}) / ({name1})"),
            )
            found += names_among(pairs)
    return found


def shrunk(setup: Setup) -> Iterator[Setup]:
    """The same check with other parameters, and with each axis shorter by one: a batch of 2 is no factor of 2 there."""
    yield setup.replace(seed=setup.seed + 1)
    first = first_array(setup)
    for axis in range(first.ndim) if first is not None else ():
        if first.shape[axis] > 1:
            yield with_axis_cut(setup, axis, first.shape[axis] - 1)


def first_array(setup: Setup) -> Any:
    """The first array among inputs and options. The sizes of the others follow from it."""
    arrays = (value for value in (*setup.inputs, *setup.options.values()) if isinstance(value, np.ndarray))
    return next(arrays, None)


def with_axis_cut(setup: Setup, axis: int, length: int) -> Setup:
    """The setup with one axis cut in all arrays that have the same length there as the first one."""
    full = first_array(setup).shape[axis]

    def cut(value: Any) -> Any:
        fits = isinstance(value, np.ndarray) and value.ndim > axis and value.shape[axis] == full
        return value[(slice(None),) * axis + (slice(length),)] if fits else value

    options = {name: cut(value) for name, value in setup.options.items()}
    return setup.replace(inputs=tuple(map(cut, setup.inputs)), options=options)


def factors_elsewhere(trial: Trial, name: str) -> Iterator[tuple[float, dict[str, float]]]:
    """(factor, sizes) of one array for inputs of other sizes."""
    for setup in shrunk(trial.setup):
        try:
            other = trial.again(setup)
        except CheckError:
            continue
        target = next(target for target in other.targets if target.name == name)
        if target.analytic is None:
            continue
        direction = np.asarray(np.random.default_rng(0).standard_normal(target.values.shape))
        if np.shape(target.analytic) == direction.shape and (slope := other.slope(target.values, direction)):
            yield float(np.vdot(target.analytic, direction)) / slope, known_sizes(other)
