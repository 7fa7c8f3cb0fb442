"""Exercises of lesson 12: ten layers from the zoo, each with one bug to find, explain and fix."""

import inspect
from dataclasses import replace
from types import CodeType
from typing import Any

import numpy as np

from numpylm.check.gradcheck import gradcheck
from numpylm.check.measure.trial import Conditions, Setup, Trial
from numpylm.check.mutants import World, without_docstrings
from numpylm.check.subject.calls import CheckError
from numpylm.course.exercise import Exercise, Lesson, Result, Test
from numpylm.course.judge import Rng, differ, equal, from_report, gradients
from numpylm.zoo.catalog import get
from numpylm.zoo.fault import Fault

HUNTED = (
    ("otter", "softmax"),
    ("gecko", "Linear"),
    ("shrew", "cross-entropy"),
    ("kiwi", "Embedding"),
    ("kea", "LayerNorm"),
    ("ocelot", "Dropout"),
    ("serval", "attention"),
    ("tamarin", "attention in several heads"),
    ("kudu", "Block"),
    ("takin", "GPT"),
)


def names(fault: Fault) -> tuple[str, ...]:
    """The code of a fault that a student sees: a layer, a function, or a backward with its forward."""
    return tuple(dict.fromkeys((fault.owner.removesuffix("_backward"), fault.owner)))


def is_fixed(animal: str) -> Test:
    """A test that a bug is fixed: the gradients are right, and the forward still equals ours.

    Unchanged code is not tested.
    """

    def test(*theirs: Any) -> Result:
        fault = get(animal)
        if untouched(fault, theirs):
            raise NotImplementedError("still has its bug")
        case = _case(fault, World(**dict(zip(names(fault), theirs, strict=True))))
        try:
            got = _values(case)
        except CheckError:
            got = []
        if got and equal(got, _values(_case(fault, World(fault)))):
            return Result(["The same bug is still there."])
        if animal in EXCHANGED and got and equal(got, _values(_case(fault, World(_worse(fault))))):
            return Result([EXCHANGED[animal][2]])
        subject, inputs, options = case
        report = gradcheck(subject, *inputs, **options)
        if not report.ok:
            return from_report(report)
        if problem := differ(got[0], _values(_case(fault, World()))[0], (), theirs[0]):
            return Result(
                [
                    "The gradients fit the forward, but the forward is no longer ours: "
                    f"{problem}\nThe bug is in one line; restore the others."
                ]
            )
        also = ALSO[animal](*theirs) if animal in ALSO else Result()
        return also if also.problems else Result([], f"it was {fault.name}")

    return test


def untouched(fault: Fault, theirs: tuple) -> bool:
    """Whether a student's code is unchanged, apart from comments and empty lines."""
    for name, thing in zip(names(fault), theirs, strict=True):
        begun = _inner(compile(without_docstrings(World(fault).source(name)), "", "exec"), name)
        if inspect.isclass(thing):
            given = {part.co_name: part for part in begun.co_consts if isinstance(part, CodeType)}
            pairs: list[tuple[CodeType, Any]] = [
                (given[part], now) for part, now in vars(thing).items() if part in given
            ]
        else:
            pairs = [(begun, thing)]
        if any(not hasattr(now, "__code__") or _steps(then) != _steps(now.__code__) for then, now in pairs):
            return False
    return True


def _inner(code: CodeType, name: str) -> CodeType:
    """The code of a function or class that is defined in other code."""
    return next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == name)


def _steps(code: CodeType) -> tuple:
    """The instructions of code, without line numbers."""
    constants = [_steps(c) if isinstance(c, CodeType) else c for c in code.co_consts]
    return code.co_code, code.co_names, code.co_varnames, constants


# Wrong fixes that the numbers alone do not explain.
EXCHANGED = {
    "kudu": (
        "dmlp_out = self.drop.backward(dx, drop_2_cache)",
        "dmlp_out = self.drop.backward(dx, drop_1_cache)",
        "Now the two caches are swapped: drop_1_cache comes from the dropout after the attention, drop_2_cache from "
        "the one after the MLP.",
    )
}


def _worse(fault: Fault) -> Fault:
    old, new, _ = EXCHANGED[fault.animal]
    return replace(fault, old=f"{fault.old}\n...\n{old}", new=f"{fault.new}\n...\n{new}")


def _under(condition: str, test: Test) -> Test:
    """A test whose problems begin with the condition under which they appear."""

    def under(*theirs: Any) -> Result:
        return Result([f"{condition}\n{problem}" for problem in test(*theirs).problems])

    return under


def _softmax_inputs(rng: Rng) -> tuple:
    return (rng.standard_normal((2, 5, 11)),)


def _attention_inputs(rng: Rng) -> tuple:
    return tuple(rng.standard_normal((2, 3, length, 4)) for length in (5, 7, 7))


def _nothing_left_from_before(dropout: Any) -> Result:
    """A forward with dropout, then one without: the backward of the second must pass everything."""
    layer, rng = dropout(0.3), np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 3, 12)), rng.standard_normal((3, 12))
    layer.forward(x[0], rng)
    _, cache = layer.forward(x[1])
    if np.array_equal(layer.backward(dy, cache), dy):
        return Result()
    return Result(
        [
            "A forward with rng, then one without, then the backward of the second: it must pass everything, but it "
            "still multiplies by the mask of the first. What a call needs belongs in its cache, and nowhere else."
        ]
    )


# A fix may be incomplete where the inputs of the zoo do not show it.
ALSO: dict[str, Test] = {
    "otter": _under("Right for axis=-1, but not for axis=1.", gradients(_softmax_inputs, axis=1)),
    "serval": _under("Right with dropout, but not without (dropout_p=0).", gradients(_attention_inputs)),
    "ocelot": _nothing_left_from_before,
}


def _case(fault: Fault, world: World) -> tuple[Any, tuple, dict]:
    return fault.build(world, np.random.default_rng(0))


def _values(case: tuple[Any, tuple, dict]) -> list:
    """The output and all gradients, after another forward, and from gradients that are not zero."""
    subject, inputs, options = case
    trial = Trial(Setup.make(subject, inputs, options, 0), Conditions(disturb=True, dirty=True))
    return [np.asarray(trial.out), *(target.analytic for target in trial.targets)]


def _exercise(animal: str, what: str) -> Exercise:
    ours = tuple(getattr(World(), name) for name in names(get(animal)))
    return Exercise(f"hunt_{animal}", f"{what}: find the bug and fix it", is_fixed(animal), ours, search=False)


LESSON = Lesson("12_bug_hunt", "Bug hunt", tuple(_exercise(*hunted) for hunted in HUNTED))
