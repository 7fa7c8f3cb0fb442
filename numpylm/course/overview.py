"""The output of ``numpylm course``: the lessons, their exercises, which have passed, and what comes next."""

from numpylm.course.exercise import Exercise, Lesson
from numpylm.course.lessons import LESSONS, find, lesson_of
from numpylm.course.progress import Solved


def overview(solved: dict[str, Solved]) -> str:
    """One line for each lesson, with its exercises, and the next exercise to do."""
    exercises = [exercise for lesson in LESSONS for exercise in lesson.exercises]
    done = sum(exercise.name in solved for exercise in exercises)
    lines = [f"{done} of {len(exercises)} exercises have passed on this machine.", ""]
    for lesson in LESSONS:
        passed = sum(exercise.name in solved for exercise in lesson.exercises)
        lines.append(f"{lesson.number}  {lesson.title}  ({passed} of {len(lesson.exercises)})")
        lines += _wrapped([f"{_mark(exercise, solved)} {exercise.name}" for exercise in lesson.exercises])
    lines.append("")
    following = next((exercise for exercise in exercises if exercise.name not in solved), None)
    if following is None:
        lines.append("All done. Your own GPT: numpylm course --collect my_gpt.py")
    else:
        lesson = lesson_of(following.name)
        lines.append(f"Next: {following.name} ({following.task})")
        lines.append(f"    jupyter lab notebooks/{lesson.name}.ipynb")
    return "\n".join(lines)


def details(name: str, solved: dict[str, Solved]) -> str:
    """Details of a lesson ("04") or of an exercise ("Linear"): its tasks, or the code that passed."""
    for lesson in LESSONS:
        if name.zfill(2) in (lesson.number, lesson.name):
            return _lesson_details(lesson, solved)
    exercise = find(name)
    found = solved.get(name)
    head = f"{exercise.name}: {exercise.task}, in notebooks/{lesson_of(name).name}.ipynb"
    return f"{head}\nnot solved yet" if found is None else f"{head}\npassed on {found.day}:\n\n{found.source}"


def _lesson_details(lesson: Lesson, solved: dict[str, Solved]) -> str:
    width = max((len(exercise.name) for exercise in lesson.exercises), default=0)
    lines = [f"{lesson.number}  {lesson.title}, notebooks/{lesson.name}.ipynb"]
    lines += [f"    {_mark(e, solved)} {e.name:{width}}  {e.task}" for e in lesson.exercises]
    return "\n".join(lines)


def _mark(exercise: Exercise, solved: dict[str, Solved]) -> str:
    return "✓" if exercise.name in solved else "○"


def _wrapped(items: list[str], width: int = 96) -> list[str]:
    """Join items into lines of a given width, with three spaces between them."""
    lines = [""]
    for item in items:
        longer = f"{lines[-1]}   {item}" if lines[-1] else item
        lines[-1:] = [longer] if len(longer) <= width else [lines[-1], item]
    return ["    " + line for line in lines if line]
