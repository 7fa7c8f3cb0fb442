"""The parent: child processes that run the inputs, and a clock for those that do not come back."""

import contextlib
import json
import os
import queue
import random
import shutil
import string
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

WALL_SECONDS = 300  # for one input, on a busy machine: a child that says nothing for so long hangs
MEMORY = 4 << 30  # bytes of address space for a child
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Failure:
    """An input that failed: its number and what happened."""

    seed: int
    number: int
    case: str
    problem: str

    def __str__(self) -> str:
        return (
            f"--- input {self.number}: {self.problem}\n    {self.case}\n"
            f"    again: python -m tests.fuzz --seed {self.seed} --first {self.number} --count 1"
        )


def run(seed: int, first: int, count: int, jobs: int = 1, codes: Counter[int] | None = None) -> Iterator[Failure]:
    """Run inputs in child processes; give those that fail as they come. ``codes`` counts the exit codes."""
    codes = Counter() if codes is None else codes
    found: queue.Queue[Failure | Exception | None] = queue.Queue()
    size = -(-count // jobs)
    shares = [(begin, min(begin + size, first + count)) for begin in range(first, first + count, size)]
    threads = [threading.Thread(target=_share, args=(seed, *share, found, codes), daemon=True) for share in shares]
    for thread in threads:
        thread.start()
    left = len(threads)
    while left:
        failure = found.get()
        left -= failure is None
        if isinstance(failure, Exception):
            raise failure
        if failure is not None:
            yield failure


@contextlib.contextmanager
def folder_without_digits() -> Iterator[str]:
    """A temporary folder. Its path stands in files that are mutated: a digit in it would change what a seed makes."""
    folder = Path(tempfile.gettempdir(), "numpylm-fuzz-" + "".join(random.choices(string.ascii_lowercase, k=12)))
    folder.mkdir(mode=0o700)
    try:
        yield str(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _share(seed: int, begin: int, end: int, found: queue.Queue, codes: Counter[int]) -> None:
    """Run inputs begin to end; a child that dies or hangs is followed by another, behind that input."""
    try:
        while begin < end:
            with folder_without_digits() as folder:
                begin = _child(seed, begin, end, folder, found, codes)
        found.put(None)
    except Exception as error:
        found.put(error)


def _child(seed: int, begin: int, end: int, folder: str, found: queue.Queue, codes: Counter[int]) -> int:
    """One child process; returns the number of the input after the last that it ran."""
    environment = os.environ | {
        "OPENBLAS_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": folder,
        "HOME": folder,
        "NUMPYLM_COURSE_FILE": str(Path(folder) / "box" / "course.json"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "tests.fuzz.child", folder, *map(str, (seed, begin, end))]
    at, last, kill = begin - 1, "", None
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", env=environment
    ) as child:
        assert child.stdout
        assert child.stderr
        errors: list[str] = []
        drain = threading.Thread(target=lambda: errors.extend(child.stderr), daemon=True)  # type: ignore[arg-type]
        drain.start()
        kill = threading.Timer(WALL_SECONDS, child.kill)
        kill.start()
        for line in child.stdout:
            kill.cancel()
            kill = threading.Timer(WALL_SECONDS, child.kill)
            kill.start()
            message = json.loads(line)
            at, last = message["number"], message["case"]
            if "code" in message:
                codes[message["code"]] += 1
            if message.get("problem"):
                found.put(Failure(seed, at, last, message["problem"]))
        kill.cancel()
        drain.join()
    if child.returncode == 0:
        return end
    if at < begin:
        raise RuntimeError("the child died before its first input:\n" + "".join(errors)[-3000:])
    how = f"the process died or hung (exit code {child.returncode}): {''.join(errors)[-1500:]}"
    found.put(Failure(seed, at, last, how))
    return at + 1


def rng_of(seed: int, number: int) -> random.Random:
    """The generator that makes one input."""
    return random.Random(f"{seed}-{number}")
