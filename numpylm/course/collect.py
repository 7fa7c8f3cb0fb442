"""``my_gpt.py``: everything that a student has written, as one module; and putting it into our model."""

import copy
from pathlib import Path
from typing import Any

from numpylm.course import progress
from numpylm.course.lessons import LESSONS
from numpylm.files import write_text
from numpylm.module import Module

HEAD = '''"""My own GPT. {mine} of its {total} parts are my own, the others are numpylm's.

Made by `numpylm course --collect`; check it with `numpylm gradcheck --file {file}`.
"""

import math

import numpy as np

from numpylm import {imports}
from numpylm.module import normal
'''

TAIL = '''

def {name}_example(rng):
    """What gradcheck checks the model with."""
    return {name}(GPTConfig(vocab_size=11, block_size=7, n_layer=2, n_head=3, n_embd=12)), rng.integers(0, 11, (2, 5))
'''


def collect(path: str | Path = "my_gpt.py") -> int:
    """Write all of a student's layers and functions into one Python module; return how many they are.

    Under the names of the library (``Linear``, ``softmax_backward``, ``GPT``): the student's own where they
    have passed, ours where not. So ``from my_gpt import GPT`` always works.
    """
    path = Path(path)
    solved = progress.load()
    parts: list[str] = []
    imports = {"GPTConfig", "Module", "Parameter", "causal_mask", "split_heads", "merge_heads"}
    mine = total = 0
    model = "GPT"
    for exercise in (exercise for lesson in LESSONS for exercise in lesson.exercises if exercise.exports):
        total += 1
        found = solved.get(exercise.name)
        if found is None or not found.source or len(found.names) != len(exercise.exports):
            imports |= set(exercise.exports)
            continue
        mine += 1
        names = [f"{ours} = {theirs}" for ours, theirs in zip(exercise.exports, found.names, strict=True)]
        parts.append(f"\n\n# {exercise.name}, {found.day}\n\n\n{found.source}\n\n\n" + "\n".join(names))
        if exercise.exports == ("GPT",):
            model = found.names[0]
    public = sorted(imports - {"causal_mask", "split_heads", "merge_heads"})
    helpers = sorted(imports & {"causal_mask", "split_heads", "merge_heads"})
    text = HEAD.format(mine=mine, total=total, file=path.name, imports=", ".join(public))
    text += f"from numpylm.attention import {', '.join(helpers)}\n"
    text += "".join(parts)
    if model != "GPT":
        text += "\n" + TAIL.format(name=model)
    write_text(path, text + "\n" if not text.endswith("\n") else text)
    return mine


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
