"""Exercises: what a student writes, how it is tested, and what the lesson uses until it passes."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Result:
    """The result of a test: sentences about what is wrong (none if it is right), and a remark for a right answer."""

    problems: list[str] = field(default_factory=list)
    remark: str = ""


Test = Callable[..., Result]  # takes what the student wrote; NotImplementedError means that it is not written yet


@dataclass(frozen=True)
class Exercise:
    """One exercise of a lesson.

    Attributes
    ----------
    name : str
        The name for `check`; unique in the course.
    task : str
        One line for the list that `numpylm course` prints.
    test : callable
        Takes what the student wrote (one object or several), and returns a `Result`.
    ours : tuple
        Our own objects, which later cells use until the student's pass; as many as are tested.
    exports : tuple of str
        The names of the objects in the student's module, ``my_gpt.py``; empty if they are not part of it.
    search : bool
        Whether `judge` searches for the place of a mistake. In a bug hunt the student has to find it.
    """

    name: str
    task: str
    test: Test
    ours: tuple
    exports: tuple[str, ...] = ()
    search: bool = True


@dataclass(frozen=True)
class Lesson:
    """A notebook and its exercises; ``name`` is the name of the file, such as ``02_softmax_and_loss``."""

    name: str
    title: str
    exercises: tuple[Exercise, ...] = ()

    @property
    def number(self) -> str:
        return self.name[:2]


@dataclass(frozen=True)
class Verdict:
    """The result of `check`: ``state`` is "right", "wrong" or "unwritten"; ``text`` gives the details."""

    state: str
    text: str
