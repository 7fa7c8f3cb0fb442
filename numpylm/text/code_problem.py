"""Problem: a docstring, a function that does what it says, and asserts; reading problems from JSON lines as in MBPP"""

import ast
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from numpylm.system.json_fields import brief, json_objects
from numpylm.system.shell import shown
from numpylm.text.pretokenize import utf8
from numpylm.text.text_input import read_text_file

EXAMPLE = '{"text": …, "code": …, "test_list": [assert, …]}'
TEXTS = ("text", "prompt")  # the keys of the docstring, in MBPP and in its sanitized form
BROKEN = (SyntaxError, ValueError, RecursionError, MemoryError)  # what ast.parse raises for a text that is no Python
UNNAMED = "solve"  # the name of a function for which a prompt has none


class Problem(NamedTuple):
    """A function y and its docstring x, of which a model learns P(y | x). The asserts are no part of either."""

    text: str
    name: str  # of the function that the asserts call
    code: str
    asserts: tuple[str, ...] = ()

    @property
    def prompt(self) -> str:
        """What the model reads before it writes the code."""
        return f"{self.text}\n{self.name}\n"


def parses(code: str) -> bool:
    """Whether a text is Python. Nothing of it runs."""
    with suppress(*BROKEN):
        ast.parse(code)
        return True
    return False


def tidy(code: str) -> str:
    """Code with plain line ends, four spaces for a tab, and nothing at the ends of lines."""
    lines = code.replace("\r\n", "\n").replace("\r", "\n").expandtabs(4).split("\n")
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def function_called(code: str, asserts: Sequence[str]) -> str:
    """The last function that the code defines and the asserts call; "" if there is none."""
    defined = [node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    called = {node.id for line in asserts for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Name)}
    return next((name for name in reversed(defined) if name in called or not asserts), "")


def read_problems(paths: Sequence[str]) -> list[Problem]:
    """The problems of all files: JSON lines or a JSON array, ``.gz`` too. It prints what it left out.

    ``text`` (or ``prompt``) is the docstring, ``code`` the function, and ``test_list`` has the asserts. What is in
    ``test_setup_code`` runs before them. Other keys are ignored. Problems are left out if their code is not Python, or
    does not define what their asserts call.

    Raises
    ------
    ValueError
        For an entry of another form, with its line; or if no problem is left.
    """
    found = [entry for path in paths for entry in _entries(path)]
    problems = [problem for problem in found if problem]
    name = shown(", ".join(map(str, paths)))
    print(f"text        {name}: {len(problems):,} problems")
    if left_out := len(found) - len(problems):
        print(f"left out    {left_out:,} whose code is not Python, or does not define what their asserts call")
    if not problems:
        raise ValueError(f"{name} has no problem: each line should be {EXAMPLE}")
    return problems


def _entries(path: str) -> list[Problem | None]:
    text = read_text_file(Path(path))
    utf8(text)
    found = []
    for number, entry in json_objects(text, shown(path), EXAMPLE):
        try:
            found.append(_problem(entry))
        except ValueError as error:
            raise ValueError(f"line {number} of {shown(path)}: {error}") from None
    return found


def _problem(entry: Mapping[str, Any]) -> Problem | None:
    key = next((key for key in TEXTS if key in entry), "")
    if missing := [name for name, here in (("text", key), ("code", "code" in entry)) if not here]:
        raise ValueError(f"{missing[0]} is missing; expected is {EXAMPLE}")
    tests = entry.get("test_list", [])
    for name, value in ((key, entry[key]), ("code", entry["code"])):
        if not isinstance(value, str):
            raise ValueError(f"{name} should be a text, is {brief(value)}")
    if not isinstance(tests, list) or not all(isinstance(test, str) for test in tests):
        raise ValueError(f"test_list should be a list of texts, is {brief(tests)}")
    code, setup = tidy(entry["code"]), entry.get("test_setup_code") or ""
    text = " ".join(entry[key].split())
    if not all(map(parses, (code, *tests))):
        return None
    name = function_called(code, tests)
    return Problem(text, name, code, (*([setup] if setup else []), *tests)) if name and text else None
