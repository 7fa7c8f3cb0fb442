"""Rules of the code of checker, course and diagnosis: decisions read fields, not sentences; tables hold the numbers."""

import ast
import re
from pathlib import Path

import pytest

from numpylm.check import confidence
from numpylm.check.report import KINDS, Cause

CHECK = Path(confidence.__file__).parent
COURSE = CHECK.parent / "course"


def files(folder):
    """Every Python file below a folder: its path within the folder -> its text."""
    paths = sorted(folder.rglob("*.py"))
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in paths}


FILES = files(CHECK)
COURSE_FILES = files(COURSE)
TRAINING_FILES = files(CHECK.parent / "training")
READS = {"startswith", "endswith", "find", "index", "count", "partition", "split", "removeprefix", "lower"}
TABLES = ("confidence.py", "limits.py")
PRINTS = {"report.py"}  # it prints equal sentences once
ROOMS = ("subject", "measure", "numbers", "jacobian", "rerun", "inner", "optimizer")


def is_text(node):
    return isinstance(node, ast.Attribute) and node.attr in ("text", "hint")


def decisions_on_text(source):
    """Lines that compare a text, look for something in it, or match a pattern with it."""
    for node in ast.walk(ast.parse(source)):
        compared = isinstance(node, ast.Compare) and any(
            is_text(part) for side in (node.left, *node.comparators) for part in ast.walk(side)
        )
        read = (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and ((node.func.attr in READS and is_text(node.func.value)) or ast.unparse(node.func.value) == "re")
            and any(map(is_text, ast.walk(node)))
        )
        gathered = isinstance(node, (ast.SetComp, ast.DictComp)) and any(
            map(is_text, ast.walk(node.elt if isinstance(node, ast.SetComp) else node.key))
        )
        if compared or read or gathered:
            yield node.lineno


def numbers_as_confidence(source):
    """Lines in which a number is a cause's confidence, or is compared with one, added to one, or taken from one."""

    def is_number(node):
        return any(isinstance(part, ast.Constant) and type(part.value) in (int, float) for part in ast.walk(node))

    def is_confidence(node):
        return isinstance(node, ast.Attribute) and node.attr == "confidence"

    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Cause", "replace"):
            given = node.args[2:3] if ast.unparse(node.func) == "Cause" else []
            given = given + [keyword.value for keyword in node.keywords if keyword.arg == "confidence"]
            values = [part for value in given for part in branches(value)]
            if any(map(is_number, values)):
                yield node.lineno
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(map(is_confidence, sides)) and any(map(is_number, sides)):
                yield node.lineno
        elif isinstance(node, ast.BinOp) and is_confidence(node.left) and is_number(node.right):
            yield node.lineno


def branches(value):
    """The values that an expression may have: both of ``A if condition else B``."""
    return [*branches(value.body), *branches(value.orelse)] if isinstance(value, ast.IfExp) else [value]


@pytest.mark.parametrize("file", sorted(set(FILES) - PRINTS))
def test_no_decision_reads_a_sentence(file):
    assert not list(decisions_on_text(FILES[file]))


@pytest.mark.parametrize("file", COURSE_FILES)
def test_no_decision_of_the_course_reads_a_sentence(file):
    assert not list(decisions_on_text(COURSE_FILES[file]))
    assert not list(numbers_as_confidence(COURSE_FILES[file]))


@pytest.mark.parametrize(
    "planted",
    [
        'clear = "Computed" in cause.text',
        'if cause.text.startswith("In "):\n    pass',
        "same = own.text not in {cause.text for cause in nearer}",
        "same = own.text == other.text",
        'kind = re.sub("cosine.*", "", cause.text)',
        "unique = len({cause.text for cause in causes})",
    ],
)
def test_a_decision_that_reads_a_sentence_is_noticed(planted):
    assert list(decisions_on_text(planted))


@pytest.mark.parametrize("file", sorted(set(FILES) - set(TABLES)))
def test_every_confidence_has_a_name(file):
    assert not list(numbers_as_confidence(FILES[file]))


@pytest.mark.parametrize("file", [file for file in TRAINING_FILES if file.startswith(("checks_", "diagnos"))])
def test_every_confidence_of_a_diagnosis_has_a_name(file):
    assert not list(numbers_as_confidence(TRAINING_FILES[file]))


@pytest.mark.parametrize(
    "planted",
    [
        'Cause("sign", text, 95, name)',
        'Cause("sign", text, 95 if sure else LOW, name)',
        'Cause("sign", text, place=name, confidence=95)',
        "replace(cause, confidence=cause.confidence - 10)",
        "clear = cause.confidence > 75",
        "clear = max(c.confidence for c in found), cause.confidence - 4",
    ],
)
def test_a_confidence_without_a_name_is_noticed(planted):
    assert list(numbers_as_confidence(planted))


@pytest.mark.parametrize("table", TABLES)
def test_every_number_of_the_tables_has_a_reason_and_is_used(table):
    code = "\n".join(text for file, text in FILES.items() if file not in TABLES)
    for line in FILES[table].splitlines():
        if match := re.match(r"([A-Z_]+) = ", line):
            assert "  # " in line, f"{match[1]} has no reason"
            assert re.search(rf"\b{match[1]}\b", code), f"nothing uses {match[1]}"


def test_no_other_file_gives_a_name_of_the_tables_another_value():
    given = [name for table in TABLES for name in re.findall(r"^([A-Z_]+) = ", FILES[table], re.MULTILINE)]
    names = set(given)
    assert len(names) == len(given)
    for file in sorted(set(FILES) - set(TABLES)):
        assigned = {
            node.id
            for node in ast.walk(ast.parse(FILES[file]))
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        assert not assigned & names, file


def test_the_seven_rooms_have_few_files_of_a_size_that_one_can_know():
    files = [file for file in FILES if file.split("/")[0] in ROOMS and not file.endswith("__init__.py")]
    assert len(files) <= 27, files
    assert not [file for file in files if FILES[file].count("\n") > 350]


def written_kinds(source):
    """The kinds of all causes that are written as words."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Cause" and node.args:
            yield from (kind.value for kind in branches(node.args[0]) if isinstance(kind, ast.Constant))


def test_every_kind_of_cause_is_one_of_the_kinds_also_in_diagnose():
    sources = [*FILES.values(), *TRAINING_FILES.values()]
    found = {kind for source in sources for kind in written_kinds(source)}
    assert {"sign", "learning-rate"} <= found <= set(KINDS)


def test_two_causes_are_the_same_by_their_lines_and_not_by_their_words():
    cause = Cause("lines", "one sentence", confidence.LINES, "x", (3, 4))
    assert cause.same_lines(Cause("lines", "another sentence", confidence.LINES, "W", (3, 4)))
    assert not cause.same_lines(Cause("lines", "one sentence", confidence.LINES, "W", (3,)))
    assert not Cause("lines", "no lines").same_lines(Cause("lines", "no lines"))
