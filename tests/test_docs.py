"""README and docs/ stay correct: their Python code runs, their commands exist, and their links work."""

import inspect
import re
import shlex
from pathlib import Path

import pytest

from numpylm import RMSNorm
from numpylm.cli.main import build_parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in PAGES}
FETCHED = 'GPT.from_pretrained("gpt2")'  # the network is needed for these


def snippets():
    """The Python code of all pages, except copies of our source and code that needs a download."""
    for name, text in TEXTS.items():
        for number, code in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL)):
            if not code.startswith("class RMSNorm") and FETCHED not in code:
                yield pytest.param(code, id=f"{name}-{number}")


def commands():
    """Every line that begins with the command, with the lines that continue it, split into words."""
    for name, text in TEXTS.items():
        text = re.sub(r" \\\n +", " ", text)
        for line in re.findall(r"^    (?:pip .* && )?(numpylm .*)$", text, re.MULTILINE):
            words = shlex.split(line.partition("  #")[0].partition(" < ")[0])
            yield pytest.param(words[1:], id=f"{name}: {line[:50]}")


def test_the_layer_that_is_shown_stands_so_in_the_code():
    assert f"```python\n{inspect.getsource(RMSNorm)}```" in TEXTS["README.md"]


def test_the_readme_is_short_and_says_early_how_to_run_the_tests():
    text = TEXTS["README.md"]
    assert len(text.encode("utf-8")) <= 9000
    assert any("python -m pytest" in line for line in text.splitlines()[:60])


def test_the_chinese_readme_names_the_same_commands():
    def named(file):
        text = (ROOT / file).read_text(encoding="utf-8")
        lines = set(re.findall(r"^    ((?:pip|numpylm) .*)$", text, re.MULTILINE))
        return lines, set(re.findall(r"`(numpylm \w+|--task [\w-]+)", text))

    assert named("README.zh.md") == named("README.md")


@pytest.mark.parametrize("code", list(snippets()))
def test_python_code_runs(code, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    exec(compile(code, "<docs>", "exec"), {"__name__": "docs"})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("words", list(commands()))
def test_commands_are_understood(words):
    assert callable(build_parser().parse_args(words).command)


@pytest.mark.parametrize("path", [*PAGES, *ROOT.glob("*/README.md")], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_row_of_a_table_has_as_many_cells_as_its_head(path):
    """An unescaped | in a cell, as in |x|, moves all cells after it, and the last ones are not shown."""
    for rows in re.findall(r"(?:^\|.*\n)+", path.read_text(encoding="utf-8"), re.MULTILINE):
        counts = [len(re.findall(r"(?<!\\)\|", row)) for row in rows.splitlines()]
        assert set(counts) == {counts[0]}, rows.splitlines()[counts.index(max(counts))]


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name):
    page = next(path for path in PAGES if path.name == name)
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", TEXTS[name]):
        assert (page.parent / target).exists(), f"{name}: {target}"
