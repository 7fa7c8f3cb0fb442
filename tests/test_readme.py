"""What the README says of the source stays true."""

import ast
import inspect
import re
from pathlib import Path

from numpylm import LayerNorm

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_layer_that_is_shown_stands_so_in_the_code():
    assert f"```python\n{inspect.getsource(LayerNorm)}```" in README


def imports(path):
    """What a file imports of numpylm when it is imported itself."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "numpylm":
            names = [node.module] if node.module != "numpylm" else [f"numpylm.{alias.name}" for alias in node.names]
            yield from (name.split(".")[1] for name in names)


def test_files_in_reading_order_need_only_files_above_them():
    table = README.partition("## How to read the source")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| [")]
    row = {name: n for n, line in enumerate(rows) for name in re.findall(r"\(numpylm/(\w+?)(?:\.py)?\)", line)}
    package = ROOT / "numpylm"
    files = {path.stem for path in package.glob("*.py") if not path.stem.startswith("_")}
    assert set(row) == files | {path.parent.name for path in package.glob("*/__init__.py")}
    for name, place in row.items():
        file = package / f"{name}.py"
        for path in [file] if file.exists() else (package / name).glob("*.py"):
            late = [other for other in imports(path) if row[other] > place]
            assert not late, f"{name} comes before {late}, which it needs"
