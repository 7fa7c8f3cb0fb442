"""``my_gpt.py``: everything that a student has written, as one module; and putting it into our model."""

import copy
from pathlib import Path
from typing import Any

import numpylm
from numpylm.attention import causal_mask
from numpylm.course import progress
from numpylm.course.lessons import LESSONS
from numpylm.files import write_text
from numpylm.functional import cross_entropy, cross_entropy_backward
from numpylm.gpt import GPTConfig
from numpylm.module import Module, Parameter

HEAD = '''"""My own GPT. {mine} of its {total} parts are my own, the others are numpylm's.

Made by `numpylm course --collect`; check it with `numpylm gradcheck --file {file}`.
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
    exercises = [exercise for lesson in LESSONS for exercise in lesson.exercises if exercise.exports]
    for exercise in exercises:
        found = solved.get(exercise.name)
        if found is None or not found.source or len(found.names) != len(exercise.exports):
            imports |= {_origin(ours, name) for ours, name in zip(exercise.ours, exercise.exports, strict=True)}
            continue
        names = [f"{name} = {theirs}" for name, theirs in zip(exercise.exports, found.names, strict=True)]
        parts.append(f"\n\n# {exercise.name}, {found.day}\n\n\n{found.source.strip()}\n\n\n" + "\n".join(names) + "\n")
        if exercise.exports == ("GPT",):
            parts.append(EXAMPLE.format(name=found.names[0]))
    head = HEAD.format(mine=_count(parts), total=len(exercises), file=path.name, imports=_import_lines(imports))
    write_text(path, head + "".join(parts))
    return _count(parts)


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
