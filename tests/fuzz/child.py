"""A child process, ``python -m tests.fuzz.child FOLDER SEED BEGIN END``: runs inputs, says each before and after it."""

import contextlib
import io
import json
import sys
from pathlib import Path

from tests.fuzz import cases, sandbox
from tests.fuzz.execute import execute, limit_what_takes_long
from tests.fuzz.run import MEMORY, rng_of


def main(folder: str, seed: int, begin: int, end: int) -> None:
    """Make the sandbox, then run the inputs."""
    box = Path(folder) / "box"
    box.mkdir()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        sandbox.build(box)
    limit_what_takes_long()
    limit_memory()
    files = sandbox.Sandbox()
    for number in range(begin, end):
        case = cases.make(rng_of(seed, number), files.files)
        say(number=number, case=str(case))
        code, problem = execute(case, files)
        say(number=number, case=str(case), code=code, problem=problem)


def say(**message: object) -> None:
    """One line for the parent."""
    print(json.dumps(message), flush=True)


def limit_memory() -> None:
    """Let a request for far too much memory fail, and not the machine (on POSIX)."""
    with contextlib.suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
