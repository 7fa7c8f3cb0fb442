"""``my_gpt.py``: everything that a student has written, as one module; and putting it into our model."""

import builtins
import copy
import dis
import math
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np

import numpylm
from numpylm.attention import causal_mask
from numpylm.course import progress
from numpylm.course.exercise import Exercise
from numpylm.course.lessons import LESSONS
from numpylm.files import write_text
from numpylm.functional import cross_entropy, cross_entropy_backward
from numpylm.gpt import GPTConfig
from numpylm.module import Module, Parameter

HEAD = '''"""My own GPT. {mine} of its {total} parts are my own, the others, and the loss, are numpylm's.

Made by `numpylm course --collect`; `numpylm gradcheck --file` checks it.
"""

import math

import numpy as np

{imports}
'''

EXAMPLE = '''


def {name}_example(rng):
    """What gradcheck checks the model with."""
    return {name}(GPTConfig(vocab_size=11, block_size=7, n_layer=2, n_head=3, n_embd=12)), rng.integers(0, 11, (2, 5))
'''

ALWAYS = (GPTConfig, Module, Parameter, cross_entropy, cross_entropy_backward, causal_mask)  # what lessons use besides


def collect(path: str | Path = "my_gpt.py") -> int:
    """Write all of a student's layers and functions into one Python module; return how many parts are their own.

    Under the names that the lessons give them (``Linear``, ``attention``, ``GPT``): the student's own where they
    have passed, ours where not. So ``from my_gpt import GPT`` always works.
    """
    path = Path(path)
    solved = progress.load()
    imports = {_origin(thing, thing.__name__) for thing in ALWAYS}
    parts: list[str] = []
    space = _everything_ours()
    exercises = [exercise for lesson in LESSONS for exercise in lesson.exercises if exercise.exports]
    for exercise in exercises:
        found = solved.get(exercise.name)
        text = "" if found is None else _part(exercise, found)
        if found is not None and (problem := _problem(text, space)):
            print(
                f"{exercise.name} has passed, but cannot stand in a module ({problem}); numpylm's own is used. Put all "
                "that it uses into its own cell, and check it again."
            )
            text = ""
        if found is None or not text:
            imports |= {_origin(ours, name) for ours, name in zip(exercise.ours, exercise.exports, strict=True)}
            continue
        parts.append(text)
        if exercise.exports == ("GPT",):
            parts.append(EXAMPLE.format(name=found.names[0]))
    head = HEAD.format(mine=_count(parts), total=len(exercises), imports=_import_lines(imports))
    write_text(path, head + "".join(parts))
    return _count(parts)


def _part(exercise: Exercise, found: progress.Solved) -> str:
    """A solved exercise as it stands in the module: its code, and the names that the lessons give it."""
    names = [f"{name} = {theirs}" for name, theirs in zip(exercise.exports, found.names, strict=False)]
    return f"\n\n# {exercise.name}, {found.day}\n\n\n{found.source.strip()}\n\n\n" + "\n".join(names) + "\n"


def _everything_ours() -> dict[str, Any]:
    """The names that any part finds in the module, all of them ours."""
    space: dict[str, Any] = {"__name__": "my_gpt", "np": np, "math": math}
    space |= {thing.__name__: thing for thing in ALWAYS}
    for exercise in (exercise for lesson in LESSONS for exercise in lesson.exercises):
        space |= dict(zip(exercise.exports, exercise.ours, strict=False))
    return space


def _problem(text: str, space: dict[str, Any]) -> str:
    """Run a part in ``space``; why it cannot run there, or which names it would miss when it is called."""
    mine = dict(space)
    try:
        code = compile(text, "<my_gpt>", "exec")
        exec(code, mine)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    missing = sorted(name for name in _globals_of(code) if name not in mine and not hasattr(builtins, name))
    return f"it uses {', '.join(missing)}" if missing else ""


def _globals_of(code: CodeType) -> set[str]:
    """The global names that code and the functions in it look up."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    names -= {i.argval for i in dis.get_instructions(code) if i.opname == "STORE_NAME"} | {"__name__"}
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return names.union(*map(_globals_of, inner))


def _count(parts: list[str]) -> int:
    return sum(part.startswith("\n\n# ") for part in parts)


def _origin(thing: Any, name: str) -> tuple[str, str]:
    """(module, what to import from it) for one of our things that is to have a name."""
    module = "numpylm" if getattr(numpylm, thing.__name__, None) is thing else thing.__module__
    return module, thing.__name__ + ("" if thing.__name__ == name else f" as {name}")


def _import_lines(imports: set[tuple[str, str]]) -> str:
    """One import for each module, one name on a line."""
    modules: dict[str, list[str]] = {}
    for module, name in sorted(imports):
        modules.setdefault(module, []).append(name)
    return "\n".join(
        f"from {module} import (\n" + "".join(f"    {name},\n" for name in names) + ")"
        for module, names in modules.items()
    )


def swap(model: Module, **layers: type) -> Module:
    """A copy of a model in which every layer of some kinds is of another class, with the same parameters.

    ``swap(gpt, LayerNorm=MyLayerNorm)``: the new layers take over the attributes of the old ones (``weight``,
    ``bias``, ``eps``), so a class that has the same attributes fits in. Parameters are shared with ``model``.
    """
    memo: dict[int, Any] = {id(p): p for p in model.parameters()}
    changed = copy.deepcopy(model, memo)

    def visit(value: Any) -> Any:
        if isinstance(value, list):
            return [visit(item) for item in value]
        if isinstance(value, Module) and type(value).__name__ in layers:
            new: Any = object.__new__(layers[type(value).__name__])
            new.__dict__ = value.__dict__
            value = new
        if hasattr(value, "forward") and hasattr(value, "__dict__"):
            for name, item in vars(value).items():
                setattr(value, name, visit(item))
        return value

    return visit(changed)
