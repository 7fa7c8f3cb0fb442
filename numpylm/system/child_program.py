"""The program of a child process in which generated code runs: it guards itself, runs the code, says how it ended

It is started by `numpylm.system.untrusted_code` with ``python -I -S``, so it needs nothing but the standard library.
"""

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

MODULES = (  # what the code may import: modules that compute, and reach neither files nor the network
    "array bisect builtins calendar cmath collections collections.abc copy dataclasses datetime decimal enum "
    "fractions functools heapq itertools json math numbers operator random re statistics string sys textwrap time "
    "typing"
)
ALLOWED = {  # audit events, https://docs.python.org/3/library/audit_events.html; all others are refused
    "array.__new__",
    "builtins.id",
    "builtins.input",
    "code.__new__",
    "compile",
    "exec",
    "function.__new__",
    "object.__delattr__",
    "object.__getattr__",
    "object.__setattr__",
    "sys._getframe",
    "sys.unraisablehook",
    "time.sleep",
}
MOST_DETAIL = 200  # characters of an error message
REACHING = {  # an import of these is an attempt to reach out
    "ctypes",
    "multiprocessing",
    "pathlib",
    "shutil",
    "socket",
    "ssl",
    "subprocess",
    "tempfile",
    "urllib",
    "http",
}


class Refused(PermissionError):
    """The code tried something that it may not do."""


class TooMuchOutput(BaseException):
    """The code printed more than it may."""


class Output:
    """Takes the place of standard output. It keeps nothing, but counts."""

    encoding = "utf-8"

    def __init__(self, most: int) -> None:
        self.left = most

    def write(self, text: str) -> int:
        self.left -= len(text)
        if self.left < 0:
            raise TooMuchOutput
        return len(text)

    def flush(self) -> None:
        pass


def limit_resources(seconds: int, memory: int) -> None:
    """Limits of the operating system, where there are any: Windows has none of these, macOS does not limit memory."""
    try:
        import resource
    except ImportError:
        return
    limits = {"RLIMIT_CPU": seconds + 1, "RLIMIT_AS": memory, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
    for name, most in limits.items():
        with suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (most, most))


def guard() -> list[str]:
    """Refuse files, network and processes from now on. Returns the list of what was refused, which grows."""
    refused: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in ALLOWED:
            return
        if event == "import":
            if arguments[0] in sys.modules:
                return
            if arguments[0].partition(".")[0] not in REACHING:
                raise ModuleNotFoundError(f"{arguments[0]} is not among the modules that generated code may import")
        if event == "open" and str(arguments[0]).startswith("<"):
            raise FileNotFoundError  # Python looks for the source of a syntax error in "<generated>" or "<string>"
        refused.append(event if event != "import" else f"import {arguments[0]}")
        raise Refused(f"{refused[-1]} is not allowed")

    sys.addaudithook(hook)
    return refused


def outcome_of(code: str, asserts: list[str], most_output: int) -> tuple[str, str]:
    """How the code and its asserts end: a name, and details."""
    names: dict[str, Any] = {"__name__": "__main__"}
    sys.stdout = sys.stderr = Output(most_output)
    sys.stdin = None
    failed = ""
    try:
        program = compile(code, "<generated>", "exec")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        return "syntax", str(error)[:MOST_DETAIL]
    try:
        exec(program, names)
        for line in asserts:
            try:
                exec(compile(line, "<assert>", "exec"), names)
            except AssertionError:
                failed = failed or line
    except SystemExit:
        return "exit", "the code ended the program"
    except MemoryError:
        return "memory", ""
    except TooMuchOutput:
        return "output", f"more than {most_output:,} characters"
    except BaseException as error:
        return "error", f"{type(error).__name__}: {error}"[:MOST_DETAIL]
    return ("wrong", failed) if failed else ("passed", "")


def main() -> None:
    """Read the task, guard, run, and write the answer in one line that begins with the parent's secret word."""
    with Path("task.json").open(encoding="utf-8") as file:
        task = json.load(file)
    Path("task.json").unlink()
    for name in MODULES.split():
        if name.partition(".")[0] in task["code"]:
            __import__(name)
    answer = os.dup(1)
    limit_resources(task["seconds"], task["memory"])
    refused = guard()
    outcome = outcome_of(task["code"], task["asserts"], task["output"])
    if refused:
        outcome = "forbidden", refused[0]
    os.write(answer, f"{task['word']}{json.dumps(outcome)}\n".encode())
    os._exit(0)


if __name__ == "__main__":
    main()
