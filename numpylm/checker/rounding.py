"""float32 and float16 inside a layer: errors of the size of rounding are no faults, a constant factor is one."""

from dataclasses import dataclass

import numpy as np

from numpylm.checker.places import walk
from numpylm.checker.trial import Trial
from numpylm.module import Array

LOW = (np.float16, np.float32)  # the roughest first
ROUGH = 2e-3  # share of the largest gradient that passes where the forward itself, and so its differences, are float32
FEW = 80  # so many roundings add up in a gradient: 1e-5 in float32


@dataclass(frozen=True)
class Precision:
    """How exactly a layer computes.

    Attributes
    ----------
    dtype : type
        The roughest that was found.
    where : str
        "forward" (differences are rough, too), "cache", "layer", or "" if it is float64 throughout.
    steps : tuple of float
        Steps for differences over which rounding does not matter so much.
    """

    dtype: type = np.float64
    where: str = ""

    @property
    def eps(self) -> float:
        return float(np.finfo(self.dtype).eps)

    @property
    def steps(self) -> tuple[float, ...]:
        return (0.1, 0.3) if self.dtype is np.float16 else (1e-2, 3e-2)

    def excuses(self, a: Array, n: Array, analytic: Array) -> str:
        """Where rounding happens, if it explains all of the difference between gradient and quotient; else ""."""
        where, eps = self.where, self.eps
        if not where and np.array_equal(analytic, analytic.astype(np.float32)):
            where, eps = "backward", float(np.finfo(np.float32).eps)
        scale = float(np.abs(n).max(initial=0))
        limit = max(FEW * eps, ROUGH if where == "forward" else 0.0) * scale
        return where if where and np.abs(a - n).max(initial=0) <= limit and not systematic(a, n, eps) else ""


def systematic(a: Array, n: Array, eps: float) -> bool:
    """Whether a is a multiple of n rather than n with noise: over many places rounding averages out, a factor stays."""
    square = float(n @ n)
    if not square:
        return False
    factor = float(a @ n) / square
    noise = float(np.linalg.norm(a - factor * n)) / np.sqrt(square * len(n))
    return bool(abs(factor - 1) > 8 * eps + 5 * noise)


def precision(trial: Trial, rng: np.random.Generator) -> Precision:
    """How exactly the layer of a trial computes, from the arrays that it makes and from its differences."""
    held = {"cache": trial.cache, "layer": trial.subject.layer}
    found = {
        where: {value.dtype.type for _, value in walk(thing) if isinstance(value, (np.ndarray, np.floating))}
        for where, thing in held.items()
    }
    forward = np.asarray(trial.out).dtype.type
    for dtype in LOW:
        if forward is dtype:
            return Precision(dtype, "forward")
    low = [(dtype, where) for dtype in LOW for where in held if dtype in found[where]]
    if _erratic(trial, rng):
        return Precision(low[0][0] if low else np.float32, "forward")
    return Precision(*low[0]) if low else Precision()


def _erratic(trial: Trial, rng: np.random.Generator) -> bool:
    """Whether differences over a tiny step are grossly wrong, as they are if the forward rounds on its way."""
    floats = [target for target in trial.targets if target.values.size]
    if not floats:
        return False
    target = max(floats, key=lambda t: t.values.size)
    direction = rng.standard_normal(target.values.shape)
    direction /= np.linalg.norm(direction)
    rough, coarse, fine = (trial.derivative(target.values, direction, h) for h in (1e-2, 1e-3, 1e-9))
    scale = float(np.linalg.norm(coarse))
    return bool(np.linalg.norm(coarse - fine) > 0.05 * scale and np.linalg.norm(rough - coarse) < 1e-2 * scale)
