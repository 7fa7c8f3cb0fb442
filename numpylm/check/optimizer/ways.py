"""Which way of stepping, right or wrong, the path of an optimizer follows to the last digit."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from numpylm.check.optimizer.faults import (
    ADAM_FAULTS,
    COUPLED,
    RMSPROP_FAULTS,
    SGD_FAULTS,
    Fault,
    Rule,
    simulate,
    variants,
)
from numpylm.check.optimizer.methods import METHODS, Method, Path, Values, Way
from numpylm.check.optimizer.steps import Walk
from numpylm.nn.module import Array

CLOSE, ROUGH = 1e-9, 1e-6  # relative distance of two paths that are the same; where the optimizer computes in float32
FEW = 6  # ways in which numbers without names are tried as the settings of a wrong rule
UNDER_THE_NAME = {"adam": ("adam", "amsgrad"), "adamw": ("adam", "amsgrad"), "sgd": ("sgd", "nesterov")}
BASES: dict[str, tuple[list[Fault], Rule]] = {
    "sgd": (SGD_FAULTS, Rule(momentum_only=True)),
    "adam": (ADAM_FAULTS, Rule()),
    "rmsprop": (RMSPROP_FAULTS, Rule(correct_m=False, correct_v=False)),
}


def distance(path: Path, other: Path) -> Array:
    """Largest relative distance over all steps, for each parameter."""
    with np.errstate(all="ignore"):
        gaps = np.array(
            [
                [np.abs(x - y).max() / np.abs(y).max() for x, y in zip(*step, strict=True)]
                for step in zip(path, other, strict=True)
            ]
        )
    return np.nan_to_num(gaps, nan=np.inf).max(axis=0)


@dataclass(frozen=True)
class Wrong:
    """A wrong rule that a path follows, and the path of the right one."""

    right: Path
    kind: str
    said: str


@dataclass
class Search:
    """All ways of stepping, compared with that of one optimizer."""

    walk: Walk
    starts: list[Array]
    gradients: list[list[Array]]

    @property
    def limit(self) -> float:
        return ROUGH if self.walk.rough else CLOSE

    def same(self, path: Path) -> bool:
        """Whether the optimizer took a path."""
        return bool(distance(self.walk.path, path).max() <= self.limit)

    def path(self, way: Way) -> Path:
        return way.path(self.starts, self.gradients)

    # ----------------------------------------------------------------------------------------------------- right ways

    def followed(self) -> Way | None:
        """The right way that the optimizer follows, right under the name that it has."""
        return next((way for way in self._all_ways() if self._fits(way) and self._follows(way)), None)

    def another(self) -> Way | None:
        """The way that it follows, right under another name."""
        ways = (way for method in METHODS for way in self._ways(method))
        return next((way for way in ways if not self._fits(way) and self._follows(way)), None)

    def nearest(self) -> Way | None:
        """The right way under its name whose path is nearest; by the parameters that move at all."""
        meant = self.walk.claim.family.removesuffix("w")
        methods = [method for method in METHODS if method.family == meant] or METHODS
        ways = [way for method in methods for way in self._ways(method) if self._fits(way)]
        moving = [i for i in range(len(self.starts)) if i not in self.idle()] or [0]
        return min(ways, key=lambda way: distance(self.walk.path, self.path(way))[moving].max(), default=None)

    def idle(self) -> list[int]:
        """Parameters that never move."""
        return [i for i, start in enumerate(self.starts) if all(np.array_equal(x[i], start) for x in self.walk.path)]

    def _fits(self, way: Way) -> bool:
        """Whether a way is right under the name of the optimizer; almost every way is, if the name says nothing."""
        family = self.walk.claim.family
        if not family:
            return way.method.family != "bertadam"  # without a name that is Adam with a fault
        return way.method.family in UNDER_THE_NAME.get(family, (family,)) and (family, way.decay) != (
            "adamw",
            "coupled",
        )

    def _all_ways(self) -> Iterator[Way]:
        """Every method with the settings that have names; then with a weight decay that stands in the code."""
        for method in METHODS:
            yield from self._ways(method)
        for method in METHODS if "decay" not in self.walk.settings.values else ():
            yield from self._ways(method, [x for x in self.walk.settings.numbers if 0 < x < 1])

    def _ways(self, method: Method, shares: list[float] | None = None) -> Iterator[Way]:
        for values in self.walk.settings.choices(method):
            decays = [values["decay"]] if "decay" in values else shares
            if decays is None:
                yield Way(method, values)
            for decay, kind, vectors in itertools.product(decays or (), ("decoupled", "coupled"), (True, False)):
                yield Way(method, values | {"decay": decay}, kind, vectors)

    def _follows(self, way: Way) -> bool:
        """Whether the path is that of a way: asked of the first step of one vector first, which is quick."""
        one = way.path(self.starts[1:2], [self.gradients[0][1:2]])
        return bool(distance([self.walk.path[0][1:2]], one).max() <= self.limit) and self.same(self.path(way))

    # ----------------------------------------------------------------------------------------------------- wrong ways

    def fault(self) -> Wrong | None:
        """The wrong rule that it follows: one of the usual ones, or a right way uphill."""
        family = self.walk.claim.family
        if family == "other":
            return None
        for base in BASES if not family else [key for key in BASES if key == family.removesuffix("w")]:
            if (found := self._fault_of(base)) is not None:
                return found
        ways = [Way(way.method, way.values, way.decay, way.decay_vectors, -1.0) for way in self._all_ways()]
        for way in ways:
            if self._fits(way) and self._follows(way):
                right = Way(way.method, way.values, way.decay, way.decay_vectors)
                return Wrong(self.path(right), "sign", f"it is {way.said}, but adds the step where it must subtract it")
        return None

    def _fault_of(self, family: str) -> Wrong | None:
        faults, plain = BASES[family]
        claims = self.walk.claim.family
        if claims == "adamw":
            faults = [*faults, COUPLED]
        for number, values in enumerate(itertools.islice(self._values(family), FEW)):
            decays = "decay" in values
            kinds = ["decoupled", *(["coupled"] if claims != "adamw" else [])] if decays else ["none"]
            bases = [
                Rule(**{**vars(plain), "decay": kind, "decay_vectors": vectors})
                for kind, vectors in itertools.product(kinds, (True, False) if decays else (True,))
            ]
            pairs = number == 0 and family != "rmsprop" and bool(claims)
            for rule, base, kind, said in variants(faults, bases, pairs):
                if self.same(simulate(rule, values, self.starts, self.gradients)):
                    return Wrong(simulate(base, values, self.starts, self.gradients), kind, said)
        return None

    def _values(self, family: str) -> Iterator[Values]:
        """The settings of a wrong rule."""
        for method in METHODS:
            if method.family != family or method.said not in ("SGD", "SGD with momentum", "Adam", "RMSProp"):
                continue
            for values in self.walk.settings.choices(method):
                yield values | ({"b1": 0.0, "b2": values["rho"]} if family == "rmsprop" else {})
