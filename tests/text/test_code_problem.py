"""Problems of code: reading files as MBPP's, the name that the asserts call, and what is refused or left out."""

import json

import pytest

from numpylm.text.code_problem import Problem, parses, read_problems, tidy

ENTRY = {"text": "Add  one.", "code": "import math\r\ndef help(x):\r\n\treturn x\r\ndef add(x): \r\n\treturn x + 1\r\n"}
TESTS = {"test_list": ["assert add(1) == 2"]}


def written(tmp_path, *entries):
    path = tmp_path / "problems.jsonl"
    path.write_text("\n".join(map(json.dumps, entries)), encoding="utf-8")
    return [str(path)]


def test_an_entry_becomes_a_problem_without_carriage_returns_and_tabs(tmp_path):
    (problem,) = read_problems(written(tmp_path, ENTRY | TESTS | {"task_id": 3}))
    code = "import math\ndef help(x):\n    return x\ndef add(x):\n    return x + 1"
    assert problem == Problem("Add one.", "add", code, ("assert add(1) == 2",))
    assert problem.prompt == "Add one.\nadd\n"
    assert "assert" not in problem.prompt


def test_setup_code_runs_first_and_the_last_function_counts_without_asserts(tmp_path):
    setup, bare = read_problems(written(tmp_path, ENTRY | TESTS | {"test_setup_code": "y = 1"}, ENTRY))
    assert setup.asserts == ("y = 1", "assert add(1) == 2")
    assert (bare.name, bare.asserts) == ("add", ())


def test_what_cannot_be_used_is_left_out_with_a_message(tmp_path, capsys):
    broken, foreign = ENTRY | TESTS | {"code": "def"}, ENTRY | {"test_list": ["assert other(1) == 2"]}
    assert len(read_problems(written(tmp_path, ENTRY | TESTS, broken, foreign))) == 1
    assert "left out    2 whose code" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"code": "x"}, "line 2 of .*: text is missing"),
        ({"text": "x"}, "code is missing"),
        ({"text": 1, "code": "x"}, "text should be a text, is 1"),
        (ENTRY | {"test_list": "assert 1"}, "test_list should be a list of texts"),
        ([1], "line 2 of .* is not a JSON object"),
    ],
)
def test_other_entries_are_refused_with_their_line(tmp_path, entry, message):
    with pytest.raises(ValueError, match=message):
        read_problems(written(tmp_path, ENTRY | TESTS, entry))


def test_a_file_without_problems_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no problem"):
        read_problems(written(tmp_path, ENTRY | {"code": "def"}))


@pytest.mark.parametrize(("text", "right"), [("x = 1", True), ("def", False), ("\0", False), ("(" * 5000, False)])
def test_parsing_never_raises(text, right):
    assert parses(text) is right


def test_tidy_keeps_indents():
    assert tidy("\n  a \r\n\tb\n\n") == "  a\n    b"
