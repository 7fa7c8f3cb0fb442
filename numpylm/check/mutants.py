"""A change of our own code: which lines are replaced, and how the changed modules are run."""

import ast
import builtins
import difflib
import importlib
import inspect
import linecache
import re
import textwrap
import types
from dataclasses import dataclass
from typing import Any

# in reading order
MODULES = (
    "nn.functional",
    "nn.ctc",
    "nn.preference",
    "nn.layers",
    "nn.conv",
    "nn.positions",
    "nn.packing",
    "nn.attention",
    "nn.fast_attention",
    "nn.kv_cache",
    "nn.blocks",
    "nn.self_and_cross_attention",
    "nn.encoder_decoder",
    "nn.gated_mlp",
    "nn.mixture_of_experts",
    "nn.grouped_query_attention",
    "nn.llama_block",
    "nn.heads",
    "models.gpt",
    "models.llama",
    "models.bert",
    "models.transformer",
    "models.whisper",
    "nn.optim",
)


@dataclass(frozen=True)
class Change:
    """A change of a few lines of our code.

    Attributes
    ----------
    name : str
    module : str
        Which of our modules is changed: the last part of its name, such as "layers".
    owner : str
        The class or function that holds the change.
    old, new : str
        Our lines and the lines in their place, without indentation. A line of three dots separates two changes.
    """

    name: str
    module: str
    owner: str
    old: str
    new: str


class World:
    """A copy of our modules with some changes in them. A module that imports a changed one gets the changed one.

    Attribute access finds a name in any of the modules: ``World(change).Block``. Functions and classes that are given
    by name take the place of ours: ``World(softmax=my_softmax)``.
    """

    def __init__(self, *changes: Change, **theirs: Any) -> None:
        self.modules: dict[str, types.ModuleType] = {}
        self.sources: dict[str, str] = {}
        label = "-".join([*(change.name for change in changes), *theirs])
        changed = False
        for path in MODULES:
            name = path.rpartition(".")[2]
            real = importlib.import_module(f"numpylm.{path}")
            self.sources[name] = inspect.getsource(real)
            for change in changes:
                if change.module == name:
                    self.sources[name] = changed_source(self.sources[name], change)
                    changed = True
            placed = {key: thing for key, thing in theirs.items() if definition(self.sources[name], key)}
            changed = changed or bool(placed)
            self.modules[path] = self._run(path, self.sources[name], label) if changed else real
            vars(self.modules[path]).update(placed)

    def _run(self, path: str, source: str, label: str) -> types.ModuleType:
        """Execute a module's source; its imports of our modules find those of this world."""
        filename = f"<changed: {label}: {path.rpartition('.')[2]}.py>"
        linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
        module = types.ModuleType(f"numpylm.{path}")
        module.__dict__["__builtins__"] = vars(builtins) | {"__import__": self._import}
        exec(compile(source, filename, "exec"), module.__dict__)
        return module

    def _import(self, name: str, *args: Any) -> Any:
        own = self.modules.get(name.removeprefix("numpylm."))
        return own if own is not None and name.startswith("numpylm.") else builtins.__import__(name, *args)

    def __getattr__(self, name: str) -> Any:
        for module in self.modules.values():
            if name in vars(module):
                return vars(module)[name]
        raise AttributeError(f"no module of this world defines {name}")

    def source(self, owner: str) -> str:
        """The source of one class or function of this world."""
        for text in self.sources.values():
            if found := definition(text, owner):
                return found
        raise KeyError(owner)


def changed_source(source: str, change: Change) -> str:
    """A module's source with a change in it."""
    for old, new in zip(change.old.split("\n...\n"), change.new.split("\n...\n"), strict=True):
        source = _replaced(source, change, old, new)
    return source


def _replaced(source: str, change: Change, old: str, new: str) -> str:
    start, end = span(source, change.owner)
    inside = source[start:end]
    pattern = r"\n".join(r"[ ]*" + re.escape(line) for line in old.splitlines())
    places = list(re.finditer(rf"^{pattern}$", inside, re.MULTILINE)) or list(re.finditer(re.escape(old), inside))
    if len(places) != 1:
        raise ValueError(
            f"the change {change.name!r} expects its old lines exactly once in {change.owner} of {change.module}.py, "
            f"found them {len(places)} times: {old!r}"
        )
    place = places[0]
    there = place.group()
    indent = there[: len(there) - len(there.lstrip())]
    if indent:
        new = textwrap.indent(new, indent)
    return source[: start + place.start()] + new + source[start + place.end() :]


def span(source: str, owner: str) -> tuple[int, int]:
    """Where a top-level class or function begins and ends."""
    lines = source.splitlines(keepends=True)
    for node in ast.parse(source).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == owner:
            start, end = node.lineno - 1, node.end_lineno or len(lines)
            return sum(map(len, lines[:start])), sum(map(len, lines[:end]))
    raise KeyError(f"no class or function {owner} in this module")


def definition(source: str, owner: str) -> str | None:
    """The text of a class or function, or None."""
    try:
        start, end = span(source, owner)
    except KeyError:
        return None
    return source[start:end].rstrip() + "\n"


def without_docstrings(code: str) -> str:
    """Code without its docstrings, which would give the answer away."""
    return re.sub(r'^([ ]+)(?:r?""").*?"""\n', "", code, flags=re.MULTILINE | re.DOTALL)


def difference(right: str, wrong: str) -> str:
    """The changed lines, with - and +."""
    lines = difflib.unified_diff(right.splitlines(), wrong.splitlines(), lineterm="", n=2)
    return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))
