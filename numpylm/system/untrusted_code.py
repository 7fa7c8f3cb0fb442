"""Running Python code that a model wrote: in a child process with limits on time, memory, files, network and output

The guard is for accidents: models write endless loops, and may by chance write a line that deletes files. It is no wall
against an attacker. Code that is written to break out of the interpreter needs a container or a virtual machine.

    time       the child and its group are killed; the CPU time is limited too
    memory     RLIMIT_AS, on Linux. macOS and Windows have no such limit for a process that limits itself
    files      an audit hook (PEP 578) refuses every file, folder, process and socket, on all systems
    output     counted and thrown away; an answer that is too long is not read
    the rest   ``python -I -S``: no packages, no settings of the user; an empty environment and an empty folder
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from numpylm.system import child_program
from numpylm.system.processor import available_cores

OUTCOMES = {
    "passed": "all asserts hold",
    "wrong": "it runs, but an assert does not hold",
    "error": "an exception",
    "syntax": "it is no Python",
    "time": "not done in time",
    "memory": "more memory than allowed",
    "output": "more output than allowed",
    "exit": "it ended the program",
    "forbidden": "a file, the network or another process",
    "crash": "the interpreter ended without an answer",
}
RAN = ("passed", "wrong")  # outcomes of code whose calls all returned
KEPT_VARIABLES = ("SYSTEMROOT",)  # of the environment: Python on Windows does not start without it


@dataclass(frozen=True)
class Limits:
    """What generated code may use: seconds of time, bytes of memory, characters of output."""

    seconds: int = 3
    memory: int = 512 * 2**20
    output: int = 10_000


class Outcome(NamedTuple):
    """How a program ended."""

    name: str  # a key of OUTCOMES
    detail: str = ""


def run_untrusted(code: str, asserts: Sequence[str] = (), limits: Limits | None = None) -> Outcome:
    """Run code and then each assert, in a child process.

    Parameters
    ----------
    code : str
        Python source.
    asserts : sequence of str
        Statements that use what the code defined. After one that does not hold, the others still run.
    limits : Limits, optional
    """
    limits, word = limits or Limits(), secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="numpylm-code-", ignore_cleanup_errors=True) as folder:
        task = {"code": code, "asserts": list(asserts), "word": word, "seconds": limits.seconds}
        task |= {"memory": limits.memory, "output": limits.output}
        Path(folder, "task.json").write_text(json.dumps(task), encoding="utf-8")
        written = _last_output(folder, limits)
    if written is None:
        return Outcome("time", f"more than {limits.seconds} s")
    if len(written) > limits.output:
        return Outcome("output", f"more than {limits.output:,} bytes")
    line = written.decode("utf-8", "replace").rpartition(word)[2]
    if word.encode() not in written:
        return Outcome("crash")
    return Outcome(*json.loads(line))


def run_all(programs: Sequence[tuple[str, Sequence[str]]], limits: Limits | None = None) -> list[Outcome]:
    """The outcomes of many programs with their asserts, several at a time."""
    with ThreadPoolExecutor(available_cores()) as pool:
        return list(pool.map(lambda program: run_untrusted(program[0], program[1], limits), programs))


def _last_output(folder: str, limits: Limits) -> bytes | None:
    """What the child wrote, up to a little more than is allowed; None if it was not done in time."""
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-X", "utf8", child_program.__file__],
        cwd=folder,
        env={name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=os.name == "posix",  # a group of its own, which can be killed whole
    )
    assert child.stdout
    stream, found = child.stdout, [b""]

    def read() -> None:
        with suppress(OSError, ValueError):
            found[0] = stream.read(limits.output + 1)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(limits.seconds)
    late = reader.is_alive()
    _kill(child)
    reader.join()
    stream.close()
    cpu = getattr(signal, "SIGXCPU", None)
    return None if late or (cpu and child.returncode == -cpu) else found[0]


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End the child and everything that it started."""
    if os.name == "posix":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.wait()
