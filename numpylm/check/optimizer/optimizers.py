"""Checks an optimizer: its path over a few steps is compared with known right and wrong methods.

An optimizer has no gradient that differences could check. But few ways to step are right, few mistakes are usual, and
each can be simulated. The optimizer takes some steps on random gradients, and the simulated path that equals its own
says what it is. If no path fits, it is wrong only if its name says exactly what it should be. Else there is no verdict.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from numpylm.check.confidence import (
    KNOWN_PATH,
    KNOWN_VARIANT,
    NOT_MOVED,
    SIDE_EFFECT,
    STOPS_BEING_NUMBERS,
    UNKNOWN,
    UNUSABLE,
)
from numpylm.check.limits import FEW_SETTINGS, OPTIMIZER_STEPS, SAME_DIGITS, SAME_ROUGHLY
from numpylm.check.optimizer.faults import (
    ADAM_FAULTS,
    COUPLED,
    RMSPROP_FAULTS,
    SGD_FAULTS,
    Rule,
    Slip,
    simulate,
    variants,
)
from numpylm.check.optimizer.methods import METHODS, Method, Trajectory, Values, Way, distance
from numpylm.check.optimizer.steps import HOW, NotChecked, OptimizerRun, run_optimizer
from numpylm.check.report import Cause, Report, Row, listing
from numpylm.check.subject.calls import CheckError
from numpylm.nn.module import Array

UNDER_THE_NAME = {"adam": ("adam", "amsgrad"), "adamw": ("adam", "amsgrad"), "sgd": ("sgd", "nesterov")}
BASES: dict[str, tuple[list[Slip], Rule]] = {
    "sgd": (SGD_FAULTS, Rule(momentum_only=True)),
    "adam": (ADAM_FAULTS, Rule()),
    "rmsprop": (RMSPROP_FAULTS, Rule(correct_m=False, correct_v=False)),
}


@dataclass(frozen=True)
class WrongRule:
    """The wrong rule of an optimizer, and the path of the right rule."""

    right: Trajectory
    kind: str
    description: str


@dataclass
class Search:
    """Compares one optimizer's path with all known ways to step."""

    run: OptimizerRun
    starts: list[Array]
    gradients: list[list[Array]]

    @property
    def limit(self) -> float:
        return SAME_ROUGHLY if self.run.rough else SAME_DIGITS

    def same(self, path: Trajectory) -> bool:
        """Whether the optimizer's path is this one."""
        return bool(distance(self.run.path, path).max() <= self.limit)

    def path(self, way: Way) -> Trajectory:
        return way.path(self.starts, self.gradients)

    # ----------------------------------------------------------------------------------------------------- right ways

    def followed(self) -> Way | None:
        """The way that the optimizer follows, if that is right for its name."""
        return next((way for way in self._all_ways() if self._fits(way) and self._follows(way)), None)

    def another_optimizer(self) -> Way | None:
        """The way that the optimizer follows, if that is right for another name only."""
        ways = (way for method in METHODS for way in self._ways(method))
        return next((way for way in ways if not self._fits(way) and self._follows(way)), None)

    def nearest(self) -> Way | None:
        """The nearest way that is right for its name, measured by the parameters that move."""
        meant = self.run.claim.family.removesuffix("w")
        methods = [method for method in METHODS if method.family == meant] or METHODS
        ways = [way for method in methods for way in self._ways(method) if self._fits(way)]
        moving = [i for i in range(len(self.starts)) if i not in self.idle()] or [0]
        return min(ways, key=lambda way: distance(self.run.path, self.path(way))[moving].max(), default=None)

    def idle(self) -> list[int]:
        """Parameters that never move."""
        return [i for i, start in enumerate(self.starts) if all(np.array_equal(x[i], start) for x in self.run.path)]

    def _fits(self, way: Way) -> bool:
        """Whether a way is right for the optimizer's name. If the name says nothing, almost every way is."""
        family = self.run.claim.family
        if not family:
            return way.method.family != "bertadam"  # without such a name it is a faulty Adam
        return way.method.family in UNDER_THE_NAME.get(family, (family,)) and (family, way.decay) != (
            "adamw",
            "coupled",
        )

    def _all_ways(self) -> Iterator[Way]:
        """Every method with the named settings; then with a weight decay that is a number in the code."""
        for method in METHODS:
            yield from self._ways(method)
        for method in METHODS if "decay" not in self.run.settings.values else ():
            yield from self._ways(method, [x for x in self.run.settings.numbers if 0 < x < 1])

    def _ways(self, method: Method, shares: list[float] | None = None) -> Iterator[Way]:
        for values in self.run.settings.choices(method):
            decays = [values["decay"]] if "decay" in values else shares
            if decays is None:
                yield Way(method, values)
            for decay, kind, vectors in itertools.product(decays or (), ("decoupled", "coupled"), (True, False)):
                yield Way(method, values | {"decay": decay}, kind, vectors)

    def _follows(self, way: Way) -> bool:
        """Whether the path is that of a way. The first step of one vector is compared first, which is quick."""
        one = way.path(self.starts[1:2], [self.gradients[0][1:2]])
        return bool(distance([self.run.path[0][1:2]], one).max() <= self.limit) and self.same(self.path(way))

    # ----------------------------------------------------------------------------------------------------- wrong ways

    def fault(self) -> WrongRule | None:
        """The wrong rule that the optimizer follows: a usual one, or a right way with the wrong sign."""
        family = self.run.claim.family
        if family == "other":
            return None
        for base in BASES if not family else [key for key in BASES if key == family.removesuffix("w")]:
            if (found := self._fault_of(base)) is not None:
                return found
        ways = [Way(way.method, way.values, way.decay, way.decay_vectors, -1.0) for way in self._all_ways()]
        for way in ways:
            if self._fits(way) and self._follows(way):
                right = Way(way.method, way.values, way.decay, way.decay_vectors)
                text = f"it is {way.description}, but adds the step where it must subtract it"
                return WrongRule(self.path(right), "sign", text)
        return None

    def _fault_of(self, family: str) -> WrongRule | None:
        faults, plain = BASES[family]
        claims = self.run.claim.family
        if claims == "adamw":
            faults = [*faults, COUPLED]
        for number, values in enumerate(itertools.islice(self._values(family), FEW_SETTINGS)):
            decays = "decay" in values
            kinds = ["decoupled", *(["coupled"] if claims != "adamw" else [])] if decays else ["none"]
            bases = [
                Rule(**{**vars(plain), "decay": kind, "decay_vectors": vectors})
                for kind, vectors in itertools.product(kinds, (True, False) if decays else (True,))
            ]
            pairs = number == 0 and family != "rmsprop" and bool(claims)
            for rule, base, kind, description in variants(faults, bases, pairs):
                if self.same(simulate(rule, values, self.starts, self.gradients)):
                    return WrongRule(simulate(base, values, self.starts, self.gradients), kind, description)
        return None

    def _values(self, family: str) -> Iterator[Values]:
        """The settings of a wrong rule."""
        for method in METHODS:
            if method.family != family or not method.plain:
                continue
            for values in self.run.settings.choices(method):
                yield values | ({"b1": 0.0, "b2": values["rho"]} if family == "rmsprop" else {})


# ---------------------------------------------------------------------------------------------------------- the verdict

SHAPES = {"matrix": (3, 4), "vector": (5,)}
INDICES = {"matrix": [0], "vector": [1, 2]}  # indices of the parameters of each shape
CERTAIN = ("sgd", "adam", "adamw")  # with these names an unknown path is wrong
KNOWN = (
    "Known are SGD (also with momentum, Nesterov's or dampened), Adagrad, RMSProp, Adadelta, Adam, AdamW, AMSGrad, "
    "Adamax, NAdam and Lion. With the plain name SGD, Momentum, Adam or AdamW it gets a verdict in any case."
)


def check_optimizer(factory: Callable[..., Any], seed: int = 0) -> Report:
    """Compare an optimizer with known right ones, and name the difference.

    Parameters
    ----------
    factory : class or function
        ``factory(parameters, lr=…, betas=…, eps=…, weight_decay=…)`` (also ``beta1=``, ``beta2=``, ``epsilon=``,
        ``wd=``, ``momentum=``, ``mu=``, ``rho=``) makes an optimizer whose ``step()`` moves every ``parameter.data``
        along ``parameter.grad``. Settings with other names, or written into the code, are found by trying.
        Weight decay on vectors (biases, gains) is a choice, and both are accepted.

    Returns
    -------
    report : Report
        A row for a matrix and one for a vector: the largest relative distance from the nearest right path. If the
        algorithm is not known for certain, there are no rows, and ``report.unchecked`` says why.
    """
    start = time.perf_counter()
    title = getattr(factory, "__name__", "optimizer")
    report = Report(title, [])
    rng = np.random.default_rng(seed)
    shapes = [SHAPES["matrix"], SHAPES["vector"], SHAPES["vector"]]
    starts = [1 + rng.random(shape) for shape in shapes]
    gradients = [
        [rng.standard_normal(shape) * 0.1 ** rng.random(shape) for shape in shapes] for _ in range(OPTIMIZER_STEPS)
    ]
    try:
        fill_in(report, Search(run_optimizer(factory, title, starts, gradients), starts, gradients))
    except CheckError as error:
        report.findings.append(Cause("error", str(error), UNUSABLE, title, detail=error.raised))
    except NotChecked as why:
        report.unchecked = str(why)
    report.seconds = time.perf_counter() - start
    return report


def fill_in(report: Report, search: Search) -> None:
    """Fill in the rows of an optimizer and their causes.

    Raises
    ------
    NotChecked
        If the path shows neither a right nor a known wrong optimizer.
    """
    run, title = search.run, report.title
    claim = run.claim
    if run.writes:
        text = (
            f"{title}.step changes the gradients: "
            "code that uses them later (a norm, another optimizer) gets wrong numbers."
        )
        report.findings = [Cause("writes-upstream", text, SIDE_EFFECT, "grad")]
    if text := not_finite(search, known=claim.family in ("adam", "adamw")):
        blame(report, search, Cause("not-finite", f"{title}: {text}", STOPS_BEING_NUMBERS))
    elif (way := search.followed()) is not None:
        add_rows(report, search, search.path(way))
        report.notes += notes_on(search, way, title)
    elif unmoved := [name for name, places in INDICES.items() if set(places) & set(search.idle())]:
        if not run.likely and len(search.idle()) == len(search.starts):
            raise NotChecked(f"{title} has a step, but moves no parameter: it does not seem to be an optimizer. {HOW}")
        what = f"the {unmoved[0]} does" if len(unmoved) == 1 else f"the {unmoved[0]} and the {unmoved[1]} do"
        blame(report, search, Cause("step", f"{title}: {what} not move at all.", NOT_MOVED))
    elif (wrong := search.fault()) is not None:
        text = f"{title}: {wrong.description}. Its path over {OPTIMIZER_STEPS} steps is exactly that of this variant."
        add_rows(report, search, wrong.right, Cause(wrong.kind, text, KNOWN_PATH))
    elif (way := search.another_optimizer()) is not None:
        text = f"{title}: over {OPTIMIZER_STEPS} steps its path is exactly that of {way.description}"
        if not claim.plain or claim.family == "other":
            raise NotChecked(f"{text}. Its name does not say for certain whether it should be. {KNOWN}")
        blame(report, search, Cause("moments", f"{text}, which is another optimizer.", KNOWN_VARIANT))
    elif claim.plain and claim.family in CERTAIN and not run.settings.unknown and (near := search.nearest()):
        add_rows(report, search, search.path(near), near=near)
    else:
        raise NotChecked(unknown_path(search, title))


def blame(report: Report, search: Search, cause: Cause) -> None:
    """Add rows with the distance from the nearest right path and one cause, or only the cause without such a path."""
    near = search.nearest()
    if near is None:
        report.findings.append(cause)
    else:
        add_rows(report, search, search.path(near), cause)


def notes_on(search: Search, way: Way, title: str) -> list[str]:
    """Notes on a right optimizer."""
    notes = [f"over {OPTIMIZER_STEPS} steps its path is exactly that of {way.description}."]
    notes = notes if way.description.lower() != title.lower() else []
    return notes + (["it computes in float32, so it was checked only roughly."] if search.run.rough else [])


def unknown_path(search: Search, title: str) -> str:
    """Why there is no verdict, and how to get one."""
    unknown = search.run.settings.unknown
    note = f"over {OPTIMIZER_STEPS} steps {title} follows no known path, so it may be right or wrong."
    if unknown:
        note += f" It takes {listing(unknown)}, which should be off by default (None, 0 or False) for this check."
    return f"{note} {KNOWN}"


def add_rows(
    report: Report, search: Search, right: Trajectory, cause: Cause | None = None, near: Way | None = None
) -> None:
    """Add a row for the matrix and one for the vectors: distance from a right path, and cause or first difference."""
    for name, places in INDICES.items():
        gap = float(distance(search.run.path, right)[places].max())
        row = Row(name, SHAPES[name], gap, gap <= search.limit)
        report.rows.append(row)
        if not row.ok and cause is not None:
            row.explain([Cause(cause.kind, cause.text, cause.confidence, name)])
        elif not row.ok and near is not None:
            row.explain([first_difference(report.title, search, near, name)])


def first_difference(title: str, search: Search, near: Way, name: str) -> Cause:
    """A cause that names the first number that differs from the nearest right path."""
    path, right = search.run.path, search.path(near)
    i = max(INDICES[name], key=lambda i: distance(path, right)[i])
    far = [np.abs(x[i] - y[i]).max() > search.limit * np.abs(y[i]).max() for x, y in zip(path, right, strict=True)]
    step = far.index(True)
    place = tuple(int(k) for k in np.argwhere(np.abs(path[step][i] - right[step][i]) > 0)[0])
    before = search.starts[i][place] if not step else path[step - 1][i][place]
    text = (
        f"{title}: the {name} takes no known path; the nearest right one is that of {near.description}. It "
        f"first differs in step {step + 1}, at {list(place)}: from {before:.6g} it goes to "
        f"{path[step][i][place]:.6g}, the right step leads to {right[step][i][place]:.6g}."
    )
    return Cause("unknown", text, UNKNOWN, name)


def not_finite(search: Search, known: bool) -> str:
    """In which step parameters become NaN or infinite, for an Adam (``known``) with the usual reasons. "" if never."""
    for step, (values, grads) in enumerate(zip(search.run.path, search.gradients, strict=True), 1):
        bad = [~np.isfinite(x) for x in values]
        if not any(b.any() for b in bad):
            continue
        what = "nan" if any(np.isnan(x).any() for x in values) else "infinite"
        became = f"the parameters become {what} in step {step}"
        return became + (_why_not_finite(step, bad, grads) if known else ".")
    return ""


def _why_not_finite(step: int, bad: list[Array], grads: list[Array]) -> str:
    """The usual reasons for NaN and infinity in Adam."""
    if step == 1 and all(np.array_equal(b, g < 0) for b, g in zip(bad, grads, strict=True)):
        return ", exactly where the gradient is negative: a root of a negative number. v must be fed with g²."
    if step == 1 and all(b.all() for b in bad):
        return (
            ", all of them: 0/0, or a root of a negative number. Is t counted before it is used? "
            "(For t = 0, 1 - βᵗ is 0.) Is v fed with g²?"
        )
    return (
        ": a root of a negative number (is v fed with g²?), or a division by 0 (is t counted before it is used?). And "
        "is it βᵗ, a power (beta**t)? 1 - β t soon becomes negative."
    )
