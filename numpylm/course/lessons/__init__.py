"""All lessons and exercises, in order."""

import difflib

from numpylm.course.exercise import Exercise, Lesson
from numpylm.course.lessons import (
    adam,
    attention,
    checking,
    generation,
    hunt,
    inside,
    linear,
    loss,
    model,
    norm,
    own_text,
    start,
    tokens,
    training,
)

LESSONS: tuple[Lesson, ...] = (
    start.LESSON,
    tokens.LESSON,
    loss.LESSON,
    checking.LESSON,
    linear.LESSON,
    norm.LESSON,
    attention.LESSON,
    model.LESSON,
    adam.LESSON,
    training.LESSON,
    generation.LESSON,
    inside.LESSON,
    hunt.LESSON,
    own_text.LESSON,
)


def find(name: str) -> Exercise:
    """The exercise of that name; a ValueError names the nearest one."""
    exercises = {exercise.name: exercise for lesson in LESSONS for exercise in lesson.exercises}
    if name not in exercises:
        near = difflib.get_close_matches(name, exercises, 1, 0.4)
        raise ValueError(
            f"no lesson or exercise {name!r} in the course" + (f"; did you mean {near[0]!r}?" if near else "")
        )
    return exercises[name]


def lesson_of(name: str) -> Lesson:
    """The lesson that an exercise belongs to."""
    return next(lesson for lesson in LESSONS if any(exercise.name == name for exercise in lesson.exercises))
