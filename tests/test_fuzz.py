"""A small part of the fuzzing of all files and options, and tests that the fuzzer detects failures."""

import sys
import warnings
from collections import Counter
from pathlib import Path

import pytest

from tests.fuzz import execute, sandbox
from tests.fuzz.cases import Case
from tests.fuzz.run import run


@pytest.mark.slow
def test_two_thousand_mutated_files_and_odd_options():
    """The full run has 100,000 inputs: ``python -m tests.fuzz --count 100000``."""
    codes = Counter()
    failures = list(run(seed=0, first=0, count=2000, jobs=2, codes=codes))
    assert not failures, "\n".join(map(str, failures[:5]))
    assert min(codes[0], codes[1], codes[2]) > 50  # it comes far enough to succeed, and to be refused, in many ways


@pytest.fixture
def box(tmp_path, monkeypatch):
    """A working folder with two files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "b.txt").write_text("b", encoding="utf-8")
    return sandbox.Sandbox()


def say(line, code=1):
    print(line, file=sys.stderr)
    return code


def leave(code):
    raise SystemExit(code)


def warn():
    warnings.warn("overflow", RuntimeWarning, stacklevel=1)
    return 0


FAULTS = {
    "a traceback": (lambda: [][0], "IndexError"),
    "a printed traceback": (lambda: say("Traceback (most recent call last):"), "a traceback was printed"),
    "a warning": (warn, "RuntimeWarning: overflow"),
    "no word": (lambda: 1, "not one line of error"),
    "two lines": (lambda: say("numpylm: error: a\nb"), "not one line of error"),
    "an odd exit code": (lambda: leave(3), "exit code 3"),
    "an error and exit code 0": (lambda: say("numpylm: error: a", 0), "exit code 0 and an error"),
    "an endless line": (lambda: say("numpylm: error: " + "a" * 10**5), "characters"),
    "an escape sequence": (lambda: say("numpylm: error: \x1b[2J"), "control character"),
    "a lost file": (lambda: Path("a.txt").unlink() or 0, "gone: ['a.txt']"),
    "a changed file": (lambda: Path("runs/b.txt").write_bytes(b"") and 0, "changed: ['runs/b.txt']"),
    "a file left behind": (lambda: Path("c.tmp").touch() or say("numpylm: error: a"), "new: ['c.tmp']"),
}


@pytest.mark.parametrize(("command", "said"), FAULTS.values(), ids=FAULTS.keys())
def test_the_fuzzer_sees(command, said, box, monkeypatch):
    monkeypatch.setattr(execute, "main", lambda argv: command())
    _, problem = execute.execute(Case(["generate"]), box)
    assert said in problem
    assert box.changes() == ([], [], [])  # all is as it was
    assert sorted(box.files) == ["a.txt", "runs/b.txt"]


def test_the_fuzzer_sees_memory_asked_for_by_a_small_file(box, monkeypatch):
    monkeypatch.setattr(execute, "outcome", lambda argv: (say("numpylm: error: Unable to allocate 71 PiB"), ""))
    assert "asks for memory" in execute.execute(Case(["generate"], "a.txt", b"x"), box)[1]


def test_the_fuzzer_is_content_with_one_line_and_with_success(box, monkeypatch):
    for command in (lambda: 0, lambda: leave(0), lambda: say("numpylm generate: error: a", 2)):
        monkeypatch.setattr(execute, "main", lambda argv, command=command: command())
        assert execute.execute(Case(["generate"], "a.txt", b"x"), box)[1] == ""
