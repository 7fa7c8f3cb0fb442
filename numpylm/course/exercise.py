"""Exercises: what a student writes, how it is tested, and what the lesson goes on with meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Result:
    """What a test found: plain sentences about what is wrong (none: right), and a remark for a right answer."""

    problems: list[str] = field(default_factory=list)
    remark: str = ""


Test = Callable[..., Result]  # of what the student wrote; NotImplementedError: not written yet


@dataclass(frozen=True)
class Exercise:
    """One thing to write.

    Attributes
    ----------
    name : str
        What `check` is called with; no two in the course are alike.
    task : str
        One line for the list of `numpylm course`.
    test : callable
        Gets what the student wrote (one object or several) and returns a `Result`.
    ours : tuple
        What the lesson's later cells use until the student's own passes; as many objects as are tested.
    exports : tuple of str
        Under which names the objects belong into the student's own module, ``my_gpt.py``; empty: they do not.
    """

    name: str
    task: str
    test: Test
    ours: tuple
    exports: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lesson:
    """A notebook and its exercises; ``name`` is that of the file, ``02_softmax_and_loss``."""

    name: str
    title: str
    exercises: tuple[Exercise, ...] = ()

    @property
    def number(self) -> str:
        return self.name[:2]


@dataclass(frozen=True)
class Verdict:
    """``state`` is "right", "wrong" or "unwritten"; ``text`` says the rest."""

    state: str
    text: str
