"""``check``: the cell below each exercise."""

import sys
import textwrap
from typing import Any

from numpylm.course import progress
from numpylm.course.exercise import Verdict
from numpylm.course.judge import judge
from numpylm.course.lessons import find, lesson_of
from numpylm.course.student_source import PASSED, source_of


def check(name: str, *theirs: Any) -> Any:
    """Check an exercise, say in plain words what is wrong, and return what the lesson continues with.

    Parameters
    ----------
    name : str
        The exercise.
    *theirs : functions or classes
        What the student wrote.

    Returns
    -------
    The student's objects if they are right, otherwise numpylm's own, so that the lesson can continue in both cases. A
    single object, or a tuple of several.
    """
    exercise = find(name)
    if len(theirs) != len(exercise.ours):
        raise ValueError(f"check({name!r}, …) expects {len(exercise.ours)} things, got {len(theirs)}")
    verdict = judge(exercise, *theirs)
    if verdict.state == "right":
        cell = sys._getframe(1)
        progress.record(name, *source_of(theirs, cell.f_globals, cell.f_code.co_filename))
        PASSED.extend(theirs)
    print(sentence(name, verdict))
    goes_on = theirs if verdict.state == "right" else exercise.ours
    return goes_on[0] if len(goes_on) == 1 else tuple(goes_on)


def sentence(name: str, verdict: Verdict) -> str:
    """What `check` prints."""
    if verdict.state == "unwritten":
        return _wrapped(f"○ {name}: {verdict.text}. The cells below go on with numpylm's own.")
    if verdict.state == "wrong":
        text = textwrap.indent(_wrapped(verdict.text), "    ")
        return f"✗ {name}: not right yet.\n{text}\n  Until it is, the cells below go on with numpylm's own."
    lesson = lesson_of(name)
    try:
        solved = progress.load()
    except ValueError:
        solved = {}
    done = sum(exercise.name in {*solved, name} for exercise in lesson.exercises)
    remark = f" ({verdict.text})" if verdict.text else ""
    return f"✓ {name}: right{remark}. {done} of {len(lesson.exercises)} in this lesson."


def _wrapped(text: str) -> str:
    lines = []
    for line in text.splitlines():
        keep = line.startswith(" ") or len(line) <= 100
        lines += [line] if keep else textwrap.wrap(line, 100)
    return "\n".join(lines)
