"""Exercises of lesson 12: ten layers from the zoo, each with one bug to find, to explain and to mend."""

from typing import Any

import numpy as np

import numpylm
from numpylm.checker.subject import CheckError
from numpylm.checker.trial import Conditions, Setup, Trial
from numpylm.course.exercise import Exercise, Lesson, Result, Test
from numpylm.course.judge import differ, equal, from_report
from numpylm.gradcheck import gradcheck
from numpylm.zoo.fault import Fault, World
from numpylm.zoo.keeper import get

# animal, what it is, and where to look for those who have not changed anything yet
HUNTED = (
    ("otter", "softmax", "change one input of a softmax and see which of its outputs change"),
    ("gecko", "Linear", "run its backward twice, without clearing the gradients in between"),
    ("shrew", "cross-entropy", "look at the gradient of a position whose target is -100"),
    ("kiwi", "Embedding", "take the ids [2, 0, 1] and follow each of the three gradients, line by line"),
    ("kea", "LayerNorm", "check it with a gain that is not 1"),
    ("ocelot", "Dropout", "run the forward twice before the first backward"),
    ("serval", "attention", "check it with dropout and without, and see which gradient changes its mind"),
    ("tamarin", "self-attention", "check it with one head, then with three"),
    ("kudu", "Block", "check it with dropout, and ask of each cache which forward made it"),
    ("takin", "GPT", "check it with one block, then with two"),
)


class Mended(World):
    """Our modules, with what a student mended in place of ours."""

    def __init__(self, theirs: dict[str, Any]) -> None:
        super().__init__()
        self.theirs = theirs

    def __getattr__(self, name: str) -> Any:
        return self.__dict__["theirs"].get(name) or super().__getattr__(name)


def names(fault: Fault) -> tuple[str, ...]:
    """What a student gets to see of a fault: a layer or a function, or a backward with its forward."""
    return tuple(dict.fromkeys((fault.owner.removesuffix("_backward"), fault.owner)))


def mended(animal: str, nudge: str) -> Test:
    """A test that a bug is gone: the gradients are right, and the forward is still ours.

    Code that still does what the faulty one does is not judged; ``nudge`` says where to look.
    """

    def test(*theirs: Any) -> Result:
        fault = get(animal)
        case = _case(fault, Mended(dict(zip(names(fault), theirs, strict=True))))
        try:
            got = _values(case)
        except CheckError:
            got = []
        if got and equal(got, _values(_case(fault, World(fault)))):
            raise NotImplementedError(f"still has its bug; {nudge}")
        subject, inputs, options = case
        report = gradcheck(subject, *inputs, **options)
        if not report.ok:
            return from_report(report)
        if problem := differ(got[0], _values(_case(fault, World()))[0], (), theirs[0]):
            return Result(
                [
                    "The gradients fit the forward, but the forward is no longer ours: "
                    f"{problem}\nThe bug is in one line; put the others back as they were."
                ]
            )
        return Result([], f"it was {fault.name}")

    return test


def _case(fault: Fault, world: World) -> tuple[Any, tuple, dict]:
    return fault.build(world, np.random.default_rng(0))


def _values(case: tuple[Any, tuple, dict]) -> list:
    """The output and all gradients, after another forward, and from gradients that are not zero."""
    subject, inputs, options = case
    trial = Trial(Setup.make(subject, inputs, options, 0), Conditions(disturb=True, dirty=True))
    return [np.asarray(trial.out), *(target.analytic for target in trial.targets)]


def _exercise(animal: str, what: str, nudge: str) -> Exercise:
    ours = tuple(getattr(numpylm, name) for name in names(get(animal)))
    return Exercise(f"hunt_{animal}", f"{what}: find the bug and mend it", mended(animal, nudge), ours)


LESSON = Lesson("12_bug_hunt", "Bug hunt", tuple(_exercise(*hunted) for hunted in HUNTED))
