"""All lessons and exercises, in order."""

import difflib

from numpylm.course.exercise import Exercise, Lesson
from numpylm.course.lessons import (
    adam,
    attention,
    bert,
    bug_hunt,
    chat,
    checking_gradients,
    generation,
    in_context,
    layernorm_and_residuals,
    linear_and_mlp,
    llama,
    looking_inside,
    privacy,
    softmax_and_loss,
    speech,
    start_here,
    the_whole_model,
    tokens,
    training,
    translation,
    writing_and_code,
    your_own_text,
)

LESSONS: tuple[Lesson, ...] = (
    start_here.LESSON,
    tokens.LESSON,
    softmax_and_loss.LESSON,
    checking_gradients.LESSON,
    linear_and_mlp.LESSON,
    layernorm_and_residuals.LESSON,
    attention.LESSON,
    the_whole_model.LESSON,
    adam.LESSON,
    training.LESSON,
    generation.LESSON,
    looking_inside.LESSON,
    bug_hunt.LESSON,
    your_own_text.LESSON,
    llama.LESSON,
    translation.LESSON,
    bert.LESSON,
    speech.LESSON,
    chat.LESSON,
    in_context.LESSON,
    writing_and_code.LESSON,
    privacy.LESSON,
)


def find(name: str) -> Exercise:
    """The exercise with a name; for an unknown name, a ValueError suggests the nearest one."""
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
