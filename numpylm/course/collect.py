"""Write a student's layers into one module, ``my_gpt.py``, and put them into our model."""

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
    """Write a student's layers and functions into one Python module, and return the number of parts that are theirs.

    The parts have the names that the lessons use (``Linear``, ``attention``, ``GPT``). A part is the student's own if
    it has passed its check, and ours otherwise. So ``from my_gpt import GPT`` always works. If a part has passed but
    cannot be used in the module, a message gives the reason. If the file exists with other contents, they are kept
    under a new name.
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
    """A copy of a model in which some kinds of layers have another class and the same parameters.

    ``swap(gpt, LayerNorm=MyLayerNorm)``: the new layers get the attributes of the old ones (``weight``, ``bias``,
    ``eps``), so the new class must use the same attributes. The parameters are shared with ``model``.
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
