"""The student's own module, built from the parts that have passed."""

import builtins
import contextlib
import io
import sys
import textwrap
from pathlib import Path
from types import CodeType
from typing import Any

import numpylm
from numpylm.course.cells import Statement, needed_names, statements
from numpylm.course.exercise import Exercise
from numpylm.course.judge import judge
from numpylm.course.lessons import LESSONS
from numpylm.course.progress import Solved
from numpylm.course.student_source import ALWAYS, ours

HEAD = '''"""My own GPT. {mine} of its {total} parts are my own. The others, and the loss, come from numpylm.

Made by `numpylm course --collect`; `numpylm gradcheck --file` checks it.
"""

import math

import numpy as np

{imports}
'''

EXAMPLE = '''

def {name}_example(rng):
    """The model and the input for gradcheck."""
    return {name}(GPTConfig(vocab_size=11, block_size=7, n_layer=2, n_head=3, n_embd=12)), rng.integers(0, 11, (2, 5))
'''

REASON_LENGTH = 300  # characters


class OwnModule:
    """The parts of a student's module. Each part is run and checked again before it is added.

    Parameters
    ----------
    folder : Path
        The folder of the module, from which it can import other files.

    Attributes
    ----------
    parts : dict of str
        The source of each part that was added, by the name of its exercise.
    space : dict
        The names of the module so far, with our objects for the parts that are not the student's own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts: dict[str, str] = {}
        self.space: dict[str, Any] = {"__name__": "my_gpt", **ours()}
        self.defined: dict[str, list[str]] = {name: [] for name in ours()}  # the statements that define each name

    def add(self, exercise: Exercise, found: Solved) -> str:
        """Add a solved exercise. If it is not right in the module, leave it out and return the reason."""
        if "" in found.names:
            return "what was checked had no name"
        mine = statements(found.source, "my_gpt.py")
        defined = _definitions(mine)
        clash = any(
            texts != self.defined.get(name, texts) for name, texts in defined.items() if name not in exercise.exports
        )
        text = _apart(exercise, found) if clash else self._together(exercise, found, mine)
        before = dict(self.space)
        if problem := self._problem(exercise, text):
            self.space.clear()
            self.space.update(before)
            return problem
        if not clash:
            self.defined |= defined
        example = EXAMPLE.format(name="GPT" if clash else found.names[0]) if exercise.exports == ("GPT",) else ""
        self.parts[exercise.name] = f"\n\n# {exercise.name}, {found.day}\n\n\n{text}{example}"
        return ""

    def _together(self, exercise: Exercise, found: Solved, mine: list[Statement]) -> str:
        """The new statements of a part, and assignments to the names that the lessons use."""
        there = {text for texts in self.defined.values() for text in texts}
        new = [statement.code for statement in mine if statement.code not in there]
        names = zip(exercise.exports, found.names, strict=False)
        aliases = [f"{name} = {theirs}" for name, theirs in names if name != theirs]
        return "\n\n\n".join([*new, "\n".join(aliases)]).strip() + "\n"

    def _problem(self, exercise: Exercise, text: str) -> str:
        """Run a part in the module; return why it cannot run, or what is wrong with it, or "" if it is right."""
        sys.path.insert(0, str(self.folder))
        try:
            code = compiled(text)
            with contextlib.redirect_stdout(io.StringIO()):
                exec(code, self.space)
            missing = [name for name in needed_names(code) if name not in self.space and not hasattr(builtins, name)]
            if missing:
                return f"it uses {', '.join(missing)}"
            with contextlib.redirect_stdout(io.StringIO()):
                verdict = judge(exercise, *(self.space[name] for name in exercise.exports))
        except (Exception, SystemExit) as error:
            return f"{type(error).__name__}: {error}"
        finally:
            sys.path.pop(0)
        if verdict.state == "right":
            return ""
        return textwrap.shorten(f"it is not right there: {verdict.text}", REASON_LENGTH)  # on one line

    def text(self) -> str:
        """The whole module."""
        imports = {_origin(thing, thing.__name__) for thing in ALWAYS}
        total, bound = 0, set[str]()
        for exercise in (exercise for lesson in LESSONS for exercise in lesson.exercises if exercise.exports):
            total += 1
            own = self.parts.get(exercise.name)
            needed = exercise.exports if own is None else needed_names(compiled(own))
            imports |= {_origin(ours()[name], name) for name in needed if name in _exports() and name not in bound}
            bound |= set(exercise.exports if own else ())
        head = HEAD.format(mine=len(self.parts), total=total, imports=_import_lines(imports))
        return head + "".join(self.parts.values())


def compiled(text: str) -> CodeType:
    """The compiled code of a part."""
    return compile(text, "my_gpt.py", "exec", dont_inherit=True)


def _definitions(found: list[Statement]) -> dict[str, list[str]]:
    """The source of the statements that define each name."""
    names = sorted({name for statement in found for name in statement.defines})
    return {name: [statement.code for statement in found if name in statement.defines] for name in names}


def _apart(exercise: Exercise, found: Solved) -> str:
    """The source of a part whose helpers would clash with other names in the module; a function hides them."""
    maker = f"_{exercise.name}"
    inside = textwrap.indent(found.source.strip(), "    ")
    names, theirs = ", ".join(exercise.exports), ", ".join(found.names)
    return f"def {maker}():\n{inside}\n\n    return {theirs}\n\n\n{names} = {maker}()\n"


def _exports() -> set[str]:
    return {name for lesson in LESSONS for exercise in lesson.exercises for name in exercise.exports}


def _origin(thing: Any, name: str) -> tuple[str, str]:
    """(module, name to import) for one of our objects that the module needs under a given name."""
    module = "numpylm" if getattr(numpylm, thing.__name__, None) is thing else thing.__module__
    return module, thing.__name__ + ("" if thing.__name__ == name else f" as {name}")


def _import_lines(imports: set[tuple[str, str]]) -> str:
    """One import statement for each module, with one name per line."""
    modules: dict[str, list[str]] = {}
    for module, name in sorted(imports):
        modules.setdefault(module, []).append(name)
    return "\n".join(
        f"from {module} import (\n" + "".join(f"    {name},\n" for name in names) + ")"
        for module, names in modules.items()
    )
