"""Matches a student's parameters with ours, so that both layers can get the same values."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from numpylm.check.subject.calls import CheckError
from numpylm.check.subject.subject import Subject
from numpylm.nn.module import Array, Parameter

BIAS = re.compile(r"^_?(b|beta|bias|biases|shift|offset)([_\d]|$)|bias|^b[qkvo12]$", re.IGNORECASE)


@dataclass(frozen=True)
class Pair:
    """A student's parameter and its counterpart in our layer."""

    theirs: str
    parameter: Parameter | None  # None: an argument of the forward
    ours: str
    value: Array  # our value, which both layers get
    turned: bool = False  # theirs is our transpose, (out, in) as in torch

    @property
    def given(self) -> Array:
        """The value in their shape."""
        return np.array(self.value.T if self.turned else self.value)

    def view(self, gradient: Any) -> Array:
        """A gradient of theirs in our shape."""
        return np.transpose(gradient) if self.turned else np.asarray(gradient)


def our_parameters(ours: Subject, shapes: list[tuple]) -> list[tuple[str, Array]]:
    """Our parameters. Queries, keys and values are separate if the student's are."""
    found: list[tuple[str, Array]] = []
    for name, parameter in ours.parameters:
        third = parameter.shape[-1] // 3
        if "c_attn" in name and parameter.shape not in shapes:
            for k, letter in enumerate("qkv"):
                found.append((f"{name}, part {letter}", parameter.data[..., k * third : (k + 1) * third]))
        else:
            found.append((name, parameter.data))
    return found


def grad_part(ours: Subject, name: str) -> Array:
    """The gradient of one of `our_parameters`."""
    whole, _, part = name.partition(", part ")
    grad = dict(ours.parameters)[whole].grad
    if not part:
        return grad
    third, k = grad.shape[-1] // 3, "qkv".index(part)
    return grad[..., k * third : (k + 1) * third]


def match_parameters(theirs: Subject, ours: Subject, title: str) -> tuple[list[Pair], list[tuple[str, Array]]]:
    """Pairs of parameters, and those of ours without a counterpart. Raises CheckError if one of theirs has none."""
    left = our_parameters(ours, [np.shape(p.data) for _, p in theirs.parameters])
    everything = ", ".join(f"{name} {np.shape(value)}" for name, value in left)
    pairs = []
    for name, parameter in theirs.parameters:
        shape = np.shape(parameter.data)
        best = nearest(name, shape, left)
        if best is None:
            raise CheckError(
                f"{title} has a parameter {name} of shape {shape} that has no counterpart in ours: {everything}"
            )
        left = [entry for entry in left if entry is not best]
        pairs.append(Pair(name, parameter, best[0], best[1], np.shape(best[1]) != shape))
    return pairs, left


def match_arguments(names: list[str], ours: Subject, works: Callable[[list[Pair]], bool]) -> list[Pair]:
    """Pairs for parameters that are arguments, ``f(x, gamma, beta)``: by name, then by order.

    ``works`` tells whether a forward with these pairs agrees with ours. Matrices are transposed if that helps.
    """
    left = our_parameters(ours, [])
    chosen = []
    for name in names[: len(left)]:
        alike = [entry for entry in left if role(entry[0]) == role(name)] or left
        chosen.append((name, alike[0]))
        left = [entry for entry in left if entry is not alike[0]]
    straight = [Pair(name, None, entry[0], entry[1]) for name, entry in chosen]
    turned = [Pair(name, None, entry[0], entry[1], np.ndim(entry[1]) == 2) for name, entry in chosen]
    return turned if not works(straight) and any(pair.turned for pair in turned) and works(turned) else straight


def role(name: str) -> str:
    """Whether a name is that of a bias or of a weight."""
    return "bias" if BIAS.search(name.partition(",")[0].split(".")[-1]) else "weight"


def _plain(name: str) -> str:
    """A name without case and underscores: ln1.weight is ln_1.weight."""
    return name.lower().replace("_", "")


def nearest(name: str, shape: tuple, left: list) -> Any:
    """Among our parameters of that shape (or its transpose): the same name, letter or role, or the first."""
    same = [entry for entry in left if np.shape(entry[1]) == shape]
    same = same or [entry for entry in left if np.shape(entry[1]) == shape[::-1]]
    same = [entry for entry in same if role(entry[0]) == role(name)] or same
    lower = name.lower()
    letter = next(
        (c for c in "qkv" if any(form in lower for form in (f"w{c}", f"w_{c}", f"b_{c}", f"{c}_", f"b{c}"))), ""
    )
    by_name = [entry for entry in same if _plain(entry[0]) == _plain(name)]
    by_letter = [entry for entry in same if letter and entry[0].endswith(f"part {letter}")]
    output = [entry for entry in same if "part" not in entry[0]] if not letter else []
    by_end = [entry for entry in same if entry[0].split(".")[-1] == name.split(".")[-1]]
    for choice in (by_name, by_letter, output, by_end, same):
        if choice:
            return choice[0]
    return None
