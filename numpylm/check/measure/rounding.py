"""float32 and float16 inside a layer: errors of the size of rounding are no faults, a constant factor is one."""

from dataclasses import dataclass

import numpy as np

from numpylm.check.measure.trial import Trial
from numpylm.check.subject.calls import LOW, CheckError
from numpylm.check.subject.paths import walk
from numpylm.nn.module import Array

ROUGH = 2e-3  # share of the largest gradient that passes where the forward itself, and so its differences, are float32
TINY = 1e-9  # a step that float32 cannot see
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
        return (0.3, 0.1, 0.03) if self.dtype is np.float16 else (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4)

    def excuses(self, a: Array, n: Array, noise: float, analytic: Array) -> str:
        """Where rounding happens, if it explains all of the difference between gradient and quotient; else "".

        ``noise`` is that of a quotient in float64 with a step of 1e-3; in float32, a step of 0.1 has about as much.
        """
        where, eps = self.where, self.eps
        if not where and np.array_equal(analytic, analytic.astype(np.float32)):
            where, eps = "backward", float(np.finfo(np.float32).eps)
        scale = float(np.abs(n).max(initial=0))
        limit = max(FEW * eps * scale, ROUGH * scale + noise if where == "forward" else 0.0)
        return where if where and np.abs(a - n).max(initial=0) <= limit and not systematic(a, n, eps) else ""


def systematic(a: Array, n: Array, eps: float) -> bool:
    """Whether a is a multiple of n rather than n with noise: over many places rounding averages out, a factor stays.

    How much chance can do is Student's t distribution: 5 to 10 standard errors for 10 places or more.
    """
    square = float(n @ n)
    if not square or len(n) < 10:
        return False
    factor = float(a @ n) / square
    noise = float(np.linalg.norm(a - factor * n)) / np.sqrt(square * len(n))
    return bool(abs(factor - 1) > 8 * eps + (5 + 50 / len(n)) * noise)


def lifted(trial: Trial, before: Precision) -> tuple[Trial, Precision] | None:
    """The same trial in float64, also where the code says float32, and how exact it is; None if that does not help."""
    try:
        other = Trial(trial.setup.replace(lift=True), trial.conditions)
        if trial.seeded:
            other.seeded = True
            other.backward_once()
    except CheckError:
        return None
    after = precision_of(other)
    return None if after.where in ("forward", before.where) else (other, after)


def precision_of(trial: Trial) -> Precision:
    """How exactly the layer of a trial computes, from the arrays that it makes and from its differences."""
    held = {"cache": trial.cache, "layer": trial.subject.layer}
    found = {
        where: {value.dtype.type for _, value in walk(thing) if isinstance(value, (np.ndarray, np.floating))}
        for where, thing in held.items()
    }
    out = np.asarray(trial.out)
    for dtype in LOW:
        if out.dtype.type is dtype:
            return Precision(dtype, "forward")
    low = [(dtype, where) for dtype in LOW for where in held if dtype in found[where]]
    floats = [target.values for target in trial.targets if target.values.size]
    if holds_float32(out) or (floats and erratic(trial, max(floats, key=np.size))):
        return Precision(low[0][0] if low else np.float32, "forward")
    return Precision(*low[0]) if low else Precision()


def holds_float32(array: Array) -> bool:
    """Whether numbers were rounded to float32 before they became float64; whole numbers do not tell."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.array_equal(array, array.astype(np.float32)) and (array != np.rint(array)).any())


def erratic(trial: Trial, values: Array) -> bool:
    """Whether differences over a tiny step are grossly wrong, as they are if the forward rounds on its way."""
    direction = np.random.default_rng([trial.setup.seed, 5]).standard_normal(values.shape)
    direction /= np.linalg.norm(direction)
    fine = trial.derivative(values, direction, TINY)
    noise = 1e-14 * float(np.linalg.norm(trial.out)) / trial.step(values, direction, TINY)  # of float64
    for steps in ((1e-2, 1e-3), (1e-1, 1e-2)):
        rough, coarse = (trial.derivative(values, direction, h) for h in steps)
        scale = float(np.linalg.norm(coarse))
        if np.linalg.norm(rough - coarse) < 1e-2 * scale:  # so the coarse one is right
            return bool(np.linalg.norm(coarse - fine) > 0.05 * scale + noise)
    return False
