"""Right optimizers, each in a few lines: what a step subtracts, from the settings, the gradient and the memory.

Most optimizers have several right definitions: ε inside the root or outside, gradients averaged or added up. All methods
in this file count as right.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from numpylm.nn.module import Array

Trajectory = list[list[Array]]  # the parameters after each step
Values = dict[str, float]  # some of lr, momentum, b1, b2, rho, eps, decay


class Memory(dict):
    """What an optimizer remembers about one parameter. Everything is 0 at first."""

    def __missing__(self, name: str) -> float:
        return 0.0

    def mean(self, name: str, share: float, value: Array) -> Array:
        """A running mean, in which the newest value has a share of 1 - ``share``."""
        self[name] = share * self[name] + (1 - share) * value
        return self[name]


Step = Callable[[Values, Array, Memory, int], Any]


@dataclass(frozen=True)
class Method:
    """One right way to step.

    Attributes
    ----------
    family : str
        The word for such a class in names; see `numpylm.check.optimizer.steps`.
    description : str
        Its name in sentences.
    roles : tuple of str
        The settings that it needs.
    step : function
        ``step(values, gradient, memory, t)`` is subtracted from a parameter in step t = 1, 2, ….
    plain : bool
        Whether the rules in `numpylm.check.optimizer.faults` are changes of this method.
    """

    family: str
    description: str
    roles: tuple[str, ...]
    step: Step
    plain: bool = False


@dataclass(frozen=True)
class Way:
    """A method with its settings, and with weight decay: "none", "coupled" (to the gradient) or "decoupled"."""

    method: Method
    values: Values
    decay: str = "none"
    decay_vectors: bool = True
    sign: float = 1.0

    @property
    def description(self) -> str:
        kinds = {"coupled": ", with weight decay added to the gradient (L2)", "decoupled": ", with weight decay"}
        return self.method.description + kinds.get(self.decay, "")

    def path(self, starts: list[Array], gradients: list[list[Array]]) -> Trajectory:
        """The parameters after each step."""
        memories = [Memory() for _ in starts]
        path, now = [], starts
        with np.errstate(all="ignore"):
            for t, grads in enumerate(gradients, 1):
                now = [self._one(x, g, memory, t) for x, g, memory in zip(now, grads, memories, strict=True)]
                path.append(now)
        return path

    def _one(self, x: Array, g: Array, memory: Memory, t: int) -> Array:
        share = self.values.get("decay", 0.0) if self.decay_vectors or x.ndim >= 2 else 0.0
        if self.decay == "coupled":
            g = g + share * x
        kept = 1 - self.values["lr"] * share if self.decay == "decoupled" else 1.0
        return np.asarray(kept * x - self.sign * self.method.step(self.values, g, memory, t))


def distance(path: Trajectory, other: Trajectory) -> Array:
    """Largest relative distance over all steps, for each parameter."""
    with np.errstate(all="ignore"):
        gaps = np.array(
            [
                [np.abs(x - y).max() / np.abs(y).max() for x, y in zip(*step, strict=True)]
                for step in zip(path, other, strict=True)
            ]
        )
    return np.nan_to_num(gaps, nan=np.inf).max(axis=0)


# ------------------------------------------------------------------------------- momentum: steps linear in the gradient


def _sgd(h: Values, g: Array, memory: Memory, t: int) -> Array:
    return h["lr"] * g


def _heavy_ball(h: Values, g: Array, memory: Memory, t: int) -> Array:
    memory["v"] = h["momentum"] * memory["v"] + g
    return np.asarray(h["lr"] * memory["v"])


def _nesterov(h: Values, g: Array, memory: Memory, t: int) -> Array:
    memory["v"] = h["momentum"] * memory["v"] + g
    return np.asarray(h["lr"] * (g + h["momentum"] * memory["v"]))


def _averaged(h: Values, g: Array, memory: Memory, t: int) -> Array:
    return h["lr"] * memory.mean("v", h["momentum"], g)


def _averaged_corrected(h: Values, g: Array, memory: Memory, t: int) -> Array:
    return _averaged(h, g, memory, t) / (1 - h["momentum"] ** t)


def _dampened(h: Values, g: Array, memory: Memory, t: int) -> Array:
    memory["v"] = h["momentum"] * memory["v"] + (g if t == 1 else (1 - h["dampening"]) * g)
    return np.asarray(h["lr"] * memory["v"])


# ------------------------------------------------------------------------- steps divided by the size of past gradients


def _divided(g: Array, v: Array, eps: float, inside: bool) -> Array:
    return np.asarray(g / np.sqrt(v + eps) if inside else g / (np.sqrt(v) + eps))


def _adagrad(inside: bool) -> Step:
    def step(h: Values, g: Array, memory: Memory, t: int) -> Array:
        memory["v"] = memory["v"] + g * g
        return h["lr"] * _divided(g, memory["v"], h["eps"], inside)

    return step


def _rmsprop(inside: bool, centered: bool, momentum: bool) -> Step:
    def step(h: Values, g: Array, memory: Memory, t: int) -> Array:
        v = memory.mean("v", h["rho"], g * g)
        if centered:
            v = v - memory.mean("mean", h["rho"], g) ** 2
        d = _divided(g, v, h["eps"], inside)
        if momentum:
            d = memory["d"] = h["momentum"] * memory["d"] + d
        return h["lr"] * d

    return step


def _adadelta(h: Values, g: Array, memory: Memory, t: int) -> Array:
    v = memory.mean("v", h["rho"], g * g)
    d = np.sqrt(memory["u"] + h["eps"]) / np.sqrt(v + h["eps"]) * g
    memory.mean("u", h["rho"], d * d)
    return np.asarray(h["lr"] * d)


# ------------------------------------------------------------------------------------------------------ Adam and kin


def _adam(h: Values, g: Array, memory: Memory, t: int) -> Array:
    m, v = memory.mean("m", h["b1"], g), memory.mean("v", h["b2"], g * g)
    return h["lr"] * _divided(m / (1 - h["b1"] ** t), v / (1 - h["b2"] ** t), h["eps"], False)


def _adam_uncorrected_eps(h: Values, g: Array, memory: Memory, t: int) -> Array:
    m, v = memory.mean("m", h["b1"], g), memory.mean("v", h["b2"], g * g)
    return h["lr"] * math.sqrt(1 - h["b2"] ** t) / (1 - h["b1"] ** t) * _divided(m, v, h["eps"], False)


def _adam_of_bert(h: Values, g: Array, memory: Memory, t: int) -> Array:
    return h["lr"] * _divided(memory.mean("m", h["b1"], g), memory.mean("v", h["b2"], g * g), h["eps"], False)


def _amsgrad(correct_m: bool, correct_v: str) -> Step:
    def step(h: Values, g: Array, memory: Memory, t: int) -> Array:
        m, v = memory.mean("m", h["b1"], g), memory.mean("v", h["b2"], g * g)
        c1, c2 = 1 - h["b1"] ** t, 1 - h["b2"] ** t
        memory["most"] = np.maximum(memory["most"], v / c2 if correct_v == "before" else v)
        most = memory["most"] / c2 if correct_v == "after" else memory["most"]
        return h["lr"] * _divided(m / c1 if correct_m else m, most, h["eps"], False)

    return step


def _adamax(eps: str) -> Step:
    def step(h: Values, g: Array, memory: Memory, t: int) -> Array:
        m = memory.mean("m", h["b1"], g)
        size = np.abs(g) + (h["eps"] if eps == "inside" else 0.0)
        memory["u"] = np.maximum(h["b2"] * memory["u"], size)
        return np.asarray(h["lr"] / (1 - h["b1"] ** t) * m / (memory["u"] + (h["eps"] if eps == "outside" else 0.0)))

    return step


def _nadam(ahead: bool) -> Step:
    def step(h: Values, g: Array, memory: Memory, t: int) -> Array:
        m, v = memory.mean("m", h["b1"], g), memory.mean("v", h["b2"], g * g)
        mixed = h["b1"] * m / (1 - h["b1"] ** (t + ahead)) + (1 - h["b1"]) * g / (1 - h["b1"] ** t)
        return h["lr"] * _divided(mixed, v / (1 - h["b2"] ** t), h["eps"], False)

    return step


def _nadam_of_torch(h: Values, g: Array, memory: Memory, t: int) -> Array:
    m, v = memory.mean("m", h["b1"], g), memory.mean("v", h["b2"], g * g)
    mu, ahead = (h["b1"] * (1 - 0.5 * 0.96 ** (0.004 * k)) for k in (t, t + 1))
    memory["product"] = (memory["product"] or 1.0) * mu
    mixed = ahead * m / (1 - memory["product"] * ahead) + (1 - mu) * g / (1 - memory["product"])
    return h["lr"] * _divided(mixed, v / (1 - h["b2"] ** t), h["eps"], False)


def _lion(h: Values, g: Array, memory: Memory, t: int) -> Array:
    step = np.sign(h["b1"] * memory["m"] + (1 - h["b1"]) * g)
    memory.mean("m", h["b2"], g)
    return np.asarray(h["lr"] * step)


def _sign(h: Values, g: Array, memory: Memory, t: int) -> Array:
    return np.asarray(h["lr"] * np.sign(g))


def _rmsprops() -> Iterator[Method]:
    """All versions of RMSProp: ε outside the root or inside, the mean subtracted or not, with momentum or without."""
    for momentum, centered, inside in itertools.product((False, True), repeat=3):
        description = ("centered " if centered else "") + "RMSProp" + (" with momentum" if momentum else "")
        description += ", ε inside the root" if inside else ""
        roles = ("lr", "rho", "eps", *(("momentum",) if momentum else ()))
        plain = not (momentum or centered or inside)
        yield Method("rmsprop", description, roles, _rmsprop(inside, centered, momentum), plain)


ADAM = ("lr", "b1", "b2", "eps")
METHODS: tuple[Method, ...] = (
    Method("sgd", "SGD", ("lr",), _sgd, plain=True),
    Method("sgd", "SGD with momentum", ("lr", "momentum"), _heavy_ball, plain=True),
    Method("nesterov", "SGD with Nesterov momentum", ("lr", "momentum"), _nesterov),
    Method("sgd", "SGD with momentum, gradients averaged: v ← μ v + (1 - μ) g", ("lr", "momentum"), _averaged),
    Method("sgd", "SGD with momentum, gradients averaged and the mean corrected for its start at 0", ("lr", "momentum"), _averaged_corrected),
    Method("sgd", "SGD with dampened momentum", ("lr", "momentum", "dampening"), _dampened),
    Method("adam", "Adam", ADAM, _adam, plain=True),
    Method("adam", "Adam, with ε added to √v before the bias correction (the paper's ε̂, also TensorFlow's)", ADAM, _adam_uncorrected_eps),
    Method("bertadam", "BERT's Adam, which leaves out the bias corrections", ADAM, _adam_of_bert),
    Method("amsgrad", "AMSGrad", ADAM, _amsgrad(True, "after")),
    Method("amsgrad", "AMSGrad", ADAM, _amsgrad(True, "before")),
    Method("amsgrad", "AMSGrad, without bias corrections, as in its paper", ADAM, _amsgrad(False, "never")),
    Method("amsgrad", "AMSGrad", ADAM, _amsgrad(True, "never")),
    Method("adamax", "Adamax", ADAM, _adamax("outside")),
    Method("adamax", "Adamax", ADAM, _adamax("inside")),
    Method("adamax", "Adamax, without ε", ("lr", "b1", "b2"), _adamax("none")),
    Method("nadam", "NAdam", ADAM, _nadam(False)),
    Method("nadam", "NAdam", ADAM, _nadam(True)),
    Method("nadam", "NAdam", ADAM, _nadam_of_torch),
    Method("lion", "Lion", ("lr", "b1", "b2"), _lion),
    Method("adagrad", "Adagrad", ("lr", "eps"), _adagrad(False)),
    Method("adagrad", "Adagrad, ε inside the root", ("lr", "eps"), _adagrad(True)),
    *_rmsprops(),
    Method("adadelta", "Adadelta", ("lr", "rho", "eps"), _adadelta),
    Method("signsgd", "sign descent", ("lr",), _sign),
)  # fmt: skip
