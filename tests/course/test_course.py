"""The course: every solution passes, an unwritten exercise is reported as such, and typical mistakes are explained."""

import ast
import importlib.util
import linecache
import math
import re
from pathlib import Path

import numpy as np
import pytest

import numpylm
from numpylm import zoo
from numpylm.cli.main import main
from numpylm.course.checking import sentence
from numpylm.course.judge import judge
from numpylm.course.lessons import LESSONS, find, lesson_of
from numpylm.nn import attention
from numpylm.nn.module import normal

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def _load(path):
    spec = importlib.util.spec_from_file_location(f"loaded_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = _load(NOTEBOOKS / "build.py")
SOURCES = {path.stem: path for path in build.sources()}
CELLS = {cell.name: cell for path in build.sources() for cell in build.exercise_cells(path)}
EXERCISES = [exercise for lesson in LESSONS for exercise in lesson.exercises]
WRONG = {}
for file in sorted(Path(__file__).parent.glob("wrong_*.py")):
    WRONG |= _load(file).WRONG
PAIRS = [(name, *wrong) for name, all_wrong in WRONG.items() for wrong in all_wrong]


def imports(path):
    """The import statements of a lesson, except those of IPython, which no exercise needs."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    tree.body = [node for node in tree.body if not (getattr(node, "module", None) or "").startswith("IPython")]
    return compile(tree, path.name, "exec")


def answers(name, change=lambda code: code, blank=False):
    """The objects that a student's cell defines, run with the names that the lesson has at that point."""
    space = {"np": np, "math": math, "normal": normal} | {n: getattr(numpylm, n) for n in numpylm.__all__}
    space |= {n: getattr(attention, n) for n in ("causal_mask", "split_heads", "merge_heads")}
    lesson = None
    for exercise in EXERCISES:  # what the earlier exercises' checks returned
        if lesson is not lesson_of(exercise.name):
            lesson = lesson_of(exercise.name)
            exec(imports(SOURCES[lesson.name]), space)
        if exercise.name == name:
            break
        for part, ours in zip(CELLS[exercise.name].objects, exercise.ours, strict=True):
            space |= {part: ours, part.removeprefix("my_").removeprefix("My"): ours}
    cell = CELLS[name]
    code = change(cell.start if blank else cell.code)
    file = f"<{name}>"
    linecache.cache[file] = len(code), None, code.splitlines(keepends=True), file  # as Jupyter does with its cells
    exec(compile(code, file, "exec"), space)
    return [space[part] for part in cell.objects]


def test_lessons_sources_and_registry_belong_together():
    assert [lesson.name for lesson in LESSONS] == [path.stem for path in build.sources()]
    names = [exercise.name for exercise in EXERCISES]
    assert len(names) == len(set(names))
    assert len(names) >= 25


@pytest.mark.slow
def test_a_lesson_has_the_exercises_of_its_source_in_their_order():
    for lesson, path in zip(LESSONS, build.sources(), strict=True):
        assert [e.name for e in lesson.exercises] == [cell.name for cell in build.exercise_cells(path)]


def first_fast():
    """All exercises; the first one of each lesson is in the fast suite, the others are slow."""
    first = {lesson.exercises[0].name for lesson in LESSONS if lesson.exercises}
    return [pytest.param(e, marks=() if e.name in first else pytest.mark.slow, id=e.name) for e in EXERCISES]


@pytest.mark.parametrize("exercise", first_fast())
def test_the_solution_passes(exercise):
    verdict = judge(exercise, *answers(exercise.name))
    assert verdict.state == "right", verdict.text


@pytest.mark.slow
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_what_a_lesson_goes_on_with_passes_too(exercise):
    verdict = judge(exercise, *exercise.ours)
    assert verdict.state == "right", verdict.text


@pytest.mark.slow
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)
def test_a_blank_is_not_called_wrong(exercise):
    verdict = judge(exercise, *answers(exercise.name, blank=True))
    assert verdict.state == "unwritten", verdict.text


HUNTED = [exercise.name for exercise in EXERCISES if exercise.name.startswith("hunt_")]


@pytest.mark.slow
@pytest.mark.parametrize("name", HUNTED)
def test_an_untouched_bug_is_not_explained_unasked(name):
    said = sentence(name, judge(find(name), *answers(name, blank=True)))
    assert f"{name}: still has its bug. The cells" in said


@pytest.mark.slow
@pytest.mark.parametrize("name", HUNTED)
def test_comments_are_no_change_and_a_change_without_effect_is_said(name):
    def commented(code):
        return "# mine\n" + code.replace("\n\n", "\n\n\n").replace("\n    def ", "\n    # mine\n    def ")

    def renamed(code):
        return re.sub(r"\b(cache|nll)\b", "kept", code)

    assert judge(find(name), *answers(name, commented, blank=True)).state == "unwritten"
    verdict = judge(find(name), *answers(name, renamed, blank=True))
    assert (verdict.state, verdict.text) == ("wrong", "The same bug is still there.")


@pytest.mark.slow
@pytest.mark.parametrize("name", HUNTED)
def test_what_a_hunt_says_is_what_the_zoo_and_the_checker_say(name):
    fault = zoo.get(name.removeprefix("hunt_"))
    lines = SOURCES[lesson_of(name).name].read_text(encoding="utf-8").splitlines()
    text = " ".join(" ".join(line.removeprefix("#").split()) for line in lines)
    said = zoo.check(fault).causes[0].text.split(". ")[0].split(": ", 1)[1]
    for words in (fault.wrong, fault.hides, said):
        assert words in text.replace("`", ""), words


def test_every_exercise_has_at_least_two_wrong_answers():
    assert {e.name for e in EXERCISES} == WRONG.keys()
    assert [name for name, wrong in WRONG.items() if len(wrong) < 2] == []


@pytest.mark.parametrize("path", build.sources(), ids=lambda path: path.stem)
def test_every_lesson_ends_with_a_summary_in_chinese(path):
    summary = re.search(r"^# ## 小结\n(.*?)^# ## ", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert summary
    assert len(re.findall("[\u4e00-\u9fff]", summary[1])) >= 60


def test_code_in_the_title_of_an_answer_is_shown_as_code():
    """Jupyter and GitHub read no Markdown inside the tag ``summary``."""
    made = build.text_cell("@answer Is `a < b` if $p < q$?\nYes.\n@end")
    assert "<summary>Is <code>a &lt; b</code> if $p &lt; q$?</summary>" in made


def test_lines_of_chinese_are_joined_and_lines_of_english_are_not():
    """A browser shows the end of a line as a space, which is wrong between Chinese characters."""
    assert (
        build.text_cell("## 小结\n\n梯度，\n损失\nLoRA 。\nnext\nline") == "## 小结\n\n梯度，损失\nLoRA 。\nnext\nline"
    )


def test_keep_copies_outputs_and_refuses_code_that_has_changed(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("jupytext")
    path, file = SOURCES["00_start_here"], tmp_path / "00_start_here.ipynb"
    executed = build.notebook(path, solved=True)
    (cell, *_) = [cell for cell in executed.cells if cell.cell_type == "code"]
    cell.outputs, cell.execution_count = [nbformat.v4.new_output("stream", text="seen")], 7
    build.write(executed, file)
    kept = build.with_outputs_of(build.notebook(path, solved=True), file)
    (first, *_) = [cell for cell in kept.cells if cell.cell_type == "code"]
    assert (first.outputs[0].text, first.execution_count) == ("seen", 7)
    cell.source += "\n1 + 1"
    build.write(executed, file)
    with pytest.raises(SystemExit, match=r"00_start_here.ipynb: its code has changed; execute it: .* 00$"):
        build.with_outputs_of(build.notebook(path, solved=True), file)


@pytest.mark.parametrize("path", build.sources(), ids=lambda path: path.stem)
def test_no_line_of_text_turns_into_a_list_by_accident(path):
    """A wrapped line that begins with "1) " or "- " would be shown as a list item, one with "> " as a quotation."""
    item, before = re.compile(r"# +(\d+[.)]|[-+*>]) "), "#"
    for line in path.read_text(encoding="utf-8").splitlines():
        inside = before.startswith("# ") and not before.startswith(("# #", "# @", "# %%", "# |", "# ```"))
        in_list = item.match(before) or before.startswith("#   ")
        assert not (item.match(line) and inside and not in_list), line
        before = line


@pytest.mark.slow
@pytest.mark.parametrize(("name", "old", "new", "said"), PAIRS)
def test_a_typical_mistake_is_named(name, old, new, said):
    def change(code):
        assert old in code, f"the solution of {name} has no {old!r}"
        return code.replace(old, new)

    verdict = judge(find(name), *answers(name, change))
    assert verdict.state == "wrong", "this mistake passes"
    assert said in " ".join(verdict.text.split()), verdict.text


@pytest.mark.slow
def test_the_solutions_make_a_gpt_that_passes_every_check(tmp_path, monkeypatch, capsys):
    """The module of a student who has run every cell up to the end of lesson 08: all parts of the GPT are right.

    Only 10 of 15 parts were taken at first, because the cells between the exercises define names, too.
    """
    for package in ("jupytext", "nbclient", "ipykernel", "matplotlib"):
        pytest.importorskip(package, reason='needs the notebooks extra: pip install -e ".[notebooks]"')
    progress, mine = tmp_path / "course.json", tmp_path / "my_gpt.py"
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    for number in ("00", "02", "03", "04", "05", "06", "07", "08"):
        (path,) = build.sources([number])
        build.run_cells(build.notebook(path, solved=True), tmp_path, progress)
    monkeypatch.setenv("NUMPYLM_COURSE_FILE", str(progress))
    mine.unlink()  # lesson 07 has collected already
    assert main(["course", "--collect", str(mine)]) == 0
    parts = sum(bool(exercise.exports) for exercise in EXERCISES)
    assert capsys.readouterr().out.startswith(f"{mine}: {parts} parts are your own;")
    top = [type(node) for node in ast.parse(mine.read_text(encoding="utf-8")).body]
    stray = [
        kind for kind in top if kind not in (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign)
    ]
    assert stray == [ast.Expr]  # its docstring
    assert top.count(ast.Assign) == sum(len(exercise.exports) for exercise in EXERCISES) + len(HELPERS)
    assert main(["gradcheck", "--file", str(mine)]) == 0
    assert "14 checked, all right." in capsys.readouterr().out


HELPERS = (
    "normalize",
    "normalize_backward",
    "weighted_sum_backward",
    "scores_backward",
)  # earlier exercises that LayerNorm's solution uses
