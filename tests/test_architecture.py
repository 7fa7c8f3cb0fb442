"""The map in docs/architecture.md is the order of imports: each file needs only files above it."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "numpylm"


def the_map():
    """The modules in the order of the map: ``nn.module``, ``nn.elementwise_chunks``, ..."""
    block = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## The map")[2].split("```")[1]
    found, folder = [], ""
    for line in block.splitlines():
        if match := re.match(r"numpylm/(\w+)/$", line):
            folder = match[1]
        elif match := re.match(r"  (\S+)\.py( |$)", line):
            found.append(".".join([folder, *match[1].split("/")]))
        elif match := re.match(r"numpylm/(\w+)\.py( |$)", line):
            found.append(match[1])
    return found


def modules(package=PACKAGE):
    """Every module except the packages' own files, by its name without ``numpylm.``."""
    paths = {".".join(path.relative_to(package).with_suffix("").parts): path for path in package.rglob("*.py")}
    return {name: path for name, path in paths.items() if name == "__init__" or not name.endswith("__init__")}


@functools.cache
def nodes(source):
    """All nodes of a file's syntax tree. Several tests need those of the whole package."""
    return list(ast.walk(ast.parse(source)))


def imports(source, known):
    """All imports of numpylm in a file, including those inside functions: ``(module, line)``."""
    for node in nodes(source):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "numpylm":
            for alias in node.names:
                inside = f"{node.module}.{alias.name}".partition(".")[2]
                yield inside if inside in known else node.module.partition(".")[2] or "__init__", node.lineno
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "numpylm":
                    yield alias.name.partition(".")[2] or "__init__", node.lineno


def late(name, source, order):
    """Imports of files further down the map; a package counts as its last file."""
    place = {module: n for n, module in enumerate(order)}
    for target, line in imports(source, place):
        last = max((n for module, n in place.items() if f"{module}.".startswith(f"{target}.")), default=None)
        if last is None or last > place[name]:
            yield f"numpylm/{name.replace('.', '/')}.py, line {line}: imports {target}"


def attached_methods(source):
    """The names that ``numpylm/__init__.py`` turns into methods: ``GPT.generate = generate`` gives ``generate``."""
    assigned = [node.targets[0] for node in nodes(source) if isinstance(node, ast.Assign)]
    return {target.attr for target in assigned if isinstance(target, ast.Attribute)}


def method_calls(source, names):
    """The lines that call a method with one of these names."""
    for node in nodes(source):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names:
            yield node.lineno


def test_the_map_has_every_file_once():
    assert sorted(the_map()) == sorted(modules())


def test_each_file_needs_only_files_above_it():
    order = the_map()
    found = [text for name, path in modules().items() for text in late(name, path.read_text(encoding="utf-8"), order)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "planted",
    [
        "from numpylm.training.train import train",
        "def f():\n    from numpylm.training import train",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpylm.training.train",
        "def f():\n    import numpylm",
    ],
)
def test_an_import_that_runs_up_the_map_is_found(planted):
    assert list(late("models.gpt", planted, the_map()))
    assert not list(
        late("models.gpt", "from numpylm.nn import layers\nfrom numpylm.nn.layers import Linear", the_map())
    )


def test_no_file_above_the_public_names_calls_a_method_that_they_attach():
    """Such a call is a hidden import: it works only after ``numpylm/__init__.py`` has run."""
    order, paths = the_map(), modules()
    names = attached_methods(paths["__init__"].read_text(encoding="utf-8")) - set(dir(str))  # strings have translate
    assert {"generate", "from_pretrained"} <= names
    above = order[: order.index("__init__")]
    found = [
        f"numpylm/{name.replace('.', '/')}.py, line {line}"
        for name in above
        for line in method_calls(paths[name].read_text(encoding="utf-8"), names)
    ]
    assert not found, "\n".join(found)
    assert list(method_calls("def f(gpt):\n    return gpt.generate([0], 5)", names)) == [2]


@pytest.mark.parametrize(
    "package", sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)
)
def test_a_package_imports_only_what_is_in_it_or_above(package):
    """A package's own file only collects names from the package; it must not import anything further down."""
    order, name = the_map(), ".".join(package.relative_to(PACKAGE).parts)
    inside = [n for n, module in enumerate(order) if module.startswith(f"{name}.")]
    source = (package / "__init__.py").read_text(encoding="utf-8")
    for target, _ in imports(source, set(order)):
        assert order.index(target) <= max(inside), f"numpylm/{name}/__init__.py imports {target}"
