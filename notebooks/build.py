"""Build the notebooks from the sources of the lessons. Each lesson has one source, so nothing is edited twice.

    python notebooks/build.py                  build every student's notebook, and build and execute every solution
    python notebooks/build.py 02 03            these lessons
    python notebooks/build.py --keep           after changes of text alone: execute nothing, keep the outputs
    python notebooks/build.py --check          only check that the committed notebooks match the sources
    python notebooks/build.py --run students   run the students' notebooks without solutions; write nothing
    python notebooks/build.py --run solutions  run the solutions; write nothing

A source is a Python file in jupytext's percent format, with four additions:

    # %% exercise="NAME"     an exercise cell: the student's notebook leaves out the lines between
                             the comments ``--- solution`` and ``--- end``
    # %% zoo="ANIMAL" exercise="NAME"
                             a bug to fix: faulty code from the zoo (and the right code in the solution)
    # @hint TITLE            in text: a hint that opens with a click; it ends at the next one or at ``@end``
    # @answer QUESTION       in text: a question whose answer opens with a click
"""

import argparse
import ast
import hashlib
import html
import json
import linecache
import os
import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SOURCES = HERE / "lessons"
BLANK = "raise NotImplementedError  # your code here"
TIMEOUT = 600  # seconds for one cell
CHINESE = r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef“”]"


# --------------------------------------------------------------------------------------------- sources


@dataclass(frozen=True)
class ExerciseCell:
    """An exercise cell: the solution, the student's first version, and the arguments of ``check``."""

    name: str
    code: str
    start: str
    objects: tuple[str, ...]


def sources(wanted: list[str] | None = None) -> list[Path]:
    """The lesson files in order: all of them, or those whose names begin with one of ``wanted``."""
    found = sorted(SOURCES.glob("[0-9][0-9]_*.py"))
    chosen = [path for path in found if not wanted or any(path.name.startswith(w) for w in wanted)]
    if not chosen:
        raise SystemExit(f"no lesson begins with {wanted}; there are: {', '.join(path.stem for path in found)}")
    return chosen


def exercise_cells(path: Path) -> list[ExerciseCell]:
    """The exercises of a lesson. Needs no jupytext, so that tests can use it."""
    text = path.read_text(encoding="utf-8")
    found = []
    cells = r'^# %% (?:zoo="(\w+)" )?exercise="([\w-]+)"\n(.*?)(?=^# %%)'
    for match in re.finditer(cells, text, re.MULTILINE | re.DOTALL):
        animal, name, code = match.groups()
        call = re.search(rf'check\(\s*"{re.escape(name)}",\s*([^)]*)\)', text)
        if not call:
            raise ValueError(f"{path.name}: the exercise {name} is never checked")
        objects = tuple(part.strip() for part in call.group(1).split(",") if part.strip())
        found.append(ExerciseCell(name, fill(code, animal, True), fill(code, animal, False), objects))
    return found


def fill(code: str, animal: str | None, solved: bool) -> str:
    """The code of an exercise cell in the solution or in the student's notebook."""
    if animal:
        return zoo_code(animal, solved)
    return solution(code) if solved else blank(code)


def solution(code: str) -> str:
    """The code with its solution, without the marker comments."""
    return re.sub(r"^[ ]*# --- (solution|end)\n?", "", code, flags=re.MULTILINE).strip("\n") + "\n"


def blank(code: str) -> str:
    """The code with its solutions removed."""
    pattern = r"^([ ]*)# --- solution\n.*?^[ ]*# --- end\n?"
    return re.sub(pattern, rf"\1{BLANK}\n", code, flags=re.MULTILINE | re.DOTALL).strip("\n") + "\n"


def text_cell(text: str) -> str:
    """Markdown with its hints and answers folded.

    Browsers show the end of a line as a space, which does not belong between two Chinese characters. So lines of
    Chinese text are joined.
    """
    text = re.sub(rf"({CHINESE})\n(?={CHINESE})", r"\1", text)
    out, number, fold = [], 0, False
    for line in text.splitlines():
        match = re.match(r"@(hint|answer|end)\s*(.*)", line)
        if not match:
            out.append(line)
            continue
        if fold:
            out += ["", "</details>", ""]
        kind, title = match.groups()
        fold = kind != "end"
        if kind == "hint":
            number += 1
            title = f"Hint {number}: {title[:1].lower() + title[1:]}"
        if fold:
            out += ["", f"<details><summary>{summary(title)}</summary>", ""]
    if fold:
        raise ValueError(f"a hint or answer is not closed with @end: {text[:80]}")
    return "\n".join(out)


def summary(title: str) -> str:
    """The title of a hint or answer as HTML: inside the tag ``summary``, Markdown is not read."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(title, quote=False))


def zoo_code(animal: str, right: bool) -> str:
    """An animal's code, the faulty one or ours, without docstrings, which would help too much.

    It has a student's names (``my_softmax``, ``MyLinear``), so that what the notebook imports stays as it is. A
    class is a child of ours and shows forward and backward alone, and the method with the bug.
    """
    from numpylm.check.mutants import World, without_docstrings
    from numpylm.zoo.catalog import get

    fault = get(animal)
    ours, faulty = World(), World(fault)
    names = dict.fromkeys((fault.owner.removesuffix("_backward"), fault.owner))
    shown = {name: shown_methods(ours.source(name), faulty.source(name)) for name in names}
    sources = {name: (ours if right else faulty).source(name) for name in names}
    codes = [_student_named(without_docstrings(sources[name]), shown[name]) for name in names]
    return "\n\n\n".join(codes) + "\n"


def shown_methods(right: str, wrong: str) -> list[str]:
    """Which methods of a class a riddle shows: forward and backward, and the pair of the one that has the bug."""

    def methods(code: str) -> dict[str, str]:
        (node,) = ast.parse(code).body
        inside = node.body if isinstance(node, ast.ClassDef) else []
        return {m.name: ast.unparse(m) for m in inside if isinstance(m, ast.FunctionDef)}

    ours, theirs = methods(right), methods(wrong)
    changed = [name for name in ours if ours[name] != theirs[name]]
    pairs = [(name.removesuffix("_backward"), name) for name in changed if name.endswith("_backward")]
    return ["forward", "backward", *(name for pair in pairs for name in pair)]


def _student_named(code: str, shown: list[str]) -> str:
    """A function or class of ours as a student's."""
    (node,) = ast.parse(code).body
    if isinstance(node, ast.FunctionDef):
        return code.replace(f"def {node.name}(", f"def my_{node.name}(", 1).rstrip()
    assert isinstance(node, ast.ClassDef)
    lines = code.splitlines()
    methods = [m for m in node.body if isinstance(m, ast.FunctionDef) and m.name in shown]
    parts = ["\n".join(lines[m.lineno - 1 : m.end_lineno]) for m in methods]
    return f"class My{node.name}({node.name}):\n" + "\n\n".join(parts)


def notebook(path: Path, solved: bool) -> Any:
    """The notebook of a lesson, with or without the solutions; not executed."""
    import jupytext
    import nbformat

    book = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    book.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in book.cells:
        exercise, animal = cell.metadata.pop("exercise", None), cell.metadata.pop("zoo", None)
        cell.metadata.clear()
        if cell.cell_type == "markdown":
            cell.source = text_cell(cell.source)
        elif exercise:
            cell.source = fill(cell.source, animal, solved)
        cell.source = cell.source.rstrip("\n")
    book.cells.append(nbformat.v4.new_markdown_cell(footer(path, solved)))
    for number, cell in enumerate(book.cells):
        cell.id = f"{number:03}-{hashlib.sha256(cell.source.encode()).hexdigest()[:8]}"
    book.nbformat, book.nbformat_minor = 4, 5
    return book


def footer(path: Path, solved: bool) -> str:
    """Links to the previous lesson, the solutions, and the next lesson."""
    found = sources()
    at = found.index(path)
    links = []
    if at > 0:
        links.append(f"← [{found[at - 1].stem}]({found[at - 1].stem}.ipynb)")
    links.append(
        f"[without the solutions](../{path.stem}.ipynb)" if solved else f"[solutions](solutions/{path.stem}.ipynb)"
    )
    if at + 1 < len(found):
        links.append(f"[{found[at + 1].stem}]({found[at + 1].stem}.ipynb) →")
    return "---\n" + " · ".join(links) + "\n\n`numpylm course` shows what you have solved, and what comes next."


# ------------------------------------------------------------------------------------------- execution


def run(path: Path, solved: bool) -> tuple[Any, float]:
    """Execute a lesson's notebook in a temporary folder; returns the notebook with outputs, and the seconds."""
    book = notebook(path, solved)
    with tempfile.TemporaryDirectory() as folder:
        progress = Path(folder) / "course.json"
        if solved:
            write_progress(progress, path)
        start = time.perf_counter()
        run_cells(book, folder, progress)
        seconds = time.perf_counter() - start
    tidy(book)
    return book, seconds


def run_cells(book: Any, folder: str | Path, progress: Path) -> None:
    """Execute a notebook's cells in a new kernel, with ``progress`` as the progress file of the course."""
    from nbclient import NotebookClient

    client = NotebookClient(
        book,
        timeout=TIMEOUT,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--log-level=40"],
    )
    client.execute(env=os.environ | {"NUMPYLM_COURSE_FILE": str(progress)})


def write_progress(file: Path, path: Path) -> None:
    """Write a progress file as if a student had solved every earlier lesson."""
    solved = {}
    for earlier in sources()[: sources().index(path)]:
        for cell, source in solved_sources(earlier):
            solved[cell.name] = {"day": "2026-01-01", "source": source, "names": cell.objects}
    file.write_text(json.dumps(solved), encoding="utf-8")


def solved_sources(path: Path) -> list[tuple[ExerciseCell, str]]:
    """Each exercise of a lesson, with the source that `check` would record for its solution."""
    from numpylm.course.student_source import PASSED, source_of

    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    tree.body = [node for node in tree.body if not (getattr(node, "module", None) or "").startswith("IPython")]
    space: dict[str, Any] = {"__name__": f"lesson_{path.stem[:2]}"}
    exec(compile(tree, path.name, "exec"), space)
    found = []
    for cell in exercise_cells(path):
        name = f"{path.stem}/{cell.name}"
        linecache.cache[name] = (len(cell.code), None, cell.code.splitlines(True), name)
        exec(compile(cell.code, name, "exec"), space)
        things = [space[part] for part in cell.objects]
        for part, thing in zip(cell.objects, things, strict=True):
            space[part.removeprefix("my_").removeprefix("My")] = thing
        found.append((cell, source_of(tuple(things), space, name)[0]))
        PASSED.extend(things)
    return found


def tidy(book: Any) -> None:
    """Remove progress bars and times from the outputs, because they differ from run to run."""
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        cell.outputs = [
            o for o in cell.outputs if not (o.output_type == "stream" and o.name == "stderr" and "\r" in o.text)
        ]


def write(book: Any, path: Path) -> None:
    """Write a notebook as UTF-8 with \n as the line ending."""
    import nbformat

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nbformat.writes(book) + "\n", encoding="utf-8", newline="\n")


def same_cells(book: Any, path: Path) -> bool:
    """Whether a notebook on disk has the same cells as the source."""
    import nbformat

    if not path.exists():
        return False
    there = nbformat.read(path, as_version=4)
    return [(c.cell_type, c.source) for c in there.cells] == [(c.cell_type, c.source) for c in book.cells]


def with_outputs_of(book: Any, path: Path) -> Any:
    """The notebook with the outputs of the one on disk, whose code cells must be the same."""
    import nbformat

    def code(cells: list[Any]) -> list[Any]:
        return [cell for cell in cells if cell.cell_type == "code"]

    there = nbformat.read(path, as_version=4)
    new, old = code(book.cells), code(there.cells)
    if [cell.source for cell in new] != [cell.source for cell in old]:
        raise SystemExit(f"{path.name}: its code has changed; execute it: python notebooks/build.py {path.stem[:2]}")
    for cell, before in zip(new, old, strict=True):
        cell.outputs, cell.execution_count = before.outputs, before.execution_count
    book.metadata = there.metadata
    return book


def complaint(path: Path) -> str:
    """A problem with the outputs of a committed solution; "" if it was executed and every check passed."""
    import nbformat

    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    if any(cell.execution_count is None for cell in cells):
        return "was not executed"
    outputs = [output for cell in cells for output in cell.outputs]
    if any(output.output_type == "error" for output in outputs):
        return "stops with an error"
    text = "\n".join(output.text for output in outputs if output.output_type == "stream")
    right = set(re.findall(r"^✓ ([\w-]+): right", text, re.MULTILINE))
    wanted = {cell.name for cell in exercise_cells(SOURCES / f"{path.stem}.py")}
    return "" if right == wanted else f"does not solve {', '.join(sorted(wanted - right))}"


def main() -> int:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lessons", nargs="*", help="numbers of lessons; none: all")
    parser.add_argument("--check", action="store_true", help="compare what is committed with the sources")
    parser.add_argument("--students", action="store_true", help="write the students' notebooks only; run nothing")
    parser.add_argument("--keep", action="store_true", help="keep the solutions' outputs if no code has changed")
    parser.add_argument("--run", choices=("students", "solutions"), help="run notebooks and write nothing")
    parser.add_argument("--jobs", type=int, default=1, help="how many notebooks at a time")
    args = parser.parse_args()
    chosen = sources(args.lessons)
    stale = []
    if args.check or not args.run:
        for path in chosen:
            student = notebook(path, solved=False)
            if not args.check:
                write(student, HERE / f"{path.stem}.ipynb")
                if args.keep:
                    file = HERE / "solutions" / f"{path.stem}.ipynb"
                    write(with_outputs_of(notebook(path, solved=True), file), file)
                continue
            if not same_cells(student, HERE / f"{path.stem}.ipynb"):
                stale.append(f"{path.stem}.ipynb")
            if not same_cells(notebook(path, solved=True), HERE / "solutions" / f"{path.stem}.ipynb"):
                stale.append(f"solutions/{path.stem}.ipynb")
            elif said := complaint(HERE / "solutions" / f"{path.stem}.ipynb"):
                stale.append(f"solutions/{path.stem}.ipynb ({said})")
    if stale:
        print(f"these do not match their sources: {', '.join(stale)}; run python notebooks/build.py [--keep]")
        return 1
    if args.check:
        print(f"{len(chosen)} lessons: every notebook matches its source")
    if args.run or not (args.check or args.students or args.keep):
        execute(chosen, args.run != "students", keep=not args.run, jobs=args.jobs)
    return 0


def execute(chosen: list[Path], solved: bool, keep: bool, jobs: int) -> None:
    """Run notebooks, write them if ``keep`` is true, and print how long each took."""
    from nbclient.exceptions import CellExecutionError

    def one(path: Path) -> tuple[Path, float, str]:
        try:
            book, seconds = run(path, solved)
        except CellExecutionError as error:
            return path, 0.0, str(error)
        if keep:
            write(book, HERE / "solutions" / f"{path.stem}.ipynb")
        return path, seconds, ""

    failed = []
    with ThreadPoolExecutor(jobs) as pool:
        for path, seconds, error in pool.map(one, chosen):
            print(f"{path.stem:30} {'FAILED' if error else f'{seconds:6.1f} s'}", flush=True)
            if error:
                failed.append(path.stem)
                print(error)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    sys.exit(main())
