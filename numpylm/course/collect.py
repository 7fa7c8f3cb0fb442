"""``my_gpt.py``: everything that a student has written, as one module; and putting it into our model."""

import copy
import shutil
from pathlib import Path
from typing import Any

from numpylm.course import progress
from numpylm.course.lessons import LESSONS
from numpylm.course.own_module import OwnModule
from numpylm.nn.module import Module
from numpylm.system.shell import shown
from numpylm.system.whole_files import write_text


def collect(path: str | Path = "my_gpt.py") -> int:
    """Write all of a student's layers and functions into one Python module; return how many parts are their own.

    Under the names that the lessons give them (``Linear``, ``attention``, ``GPT``): the student's own where they
    have passed, ours where not. So ``from my_gpt import GPT`` always works. What has passed and cannot stand in the
    module is named with the reason. If the file holds something else, that is kept under a new name.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give the name of a Python file, such as my_gpt.py")
    solved = progress.load()
    own = OwnModule(path.resolve().parent)
    for exercise in (exercise for lesson in LESSONS for exercise in lesson.exercises if exercise.exports):
        found = solved.get(exercise.name)
        if found is not None and (problem := own.add(exercise, found)):
            print(
                f"{exercise.name} has passed, but not as a part of the module: {problem}. numpylm's own is used. "
                "Put all that it uses into its own cell, and check it again."
            )
    text = own.text()
    if path.exists() and path.read_bytes() != text.encode("utf-8"):
        kept = progress.free_name(path)
        shutil.copy2(path, kept)
        print(f"what {shown(path)} held before is kept in {shown(kept)}")
    write_text(path, text)
    return len(own.parts)


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
