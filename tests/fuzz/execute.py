"""Run one case in this process, and say what is wrong with what happened."""

import contextlib
import io
import os
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpylm.check.selfcheck
import numpylm.cli.serve
import numpylm.system.lock
import numpylm.training.first_batch
import numpylm.training.train
import numpylm.zoo.catalog
from numpylm.cli.main import main
from numpylm.system.run_files import LOCK
from numpylm.training.config import TrainConfig
from tests.fuzz.cases import Case
from tests.fuzz.sandbox import Sandbox

CPU_SECONDS = 20  # for one input: more is a hang
LONGEST = 4000  # characters of an error
ERROR = re.compile(r"numpylm( \w+)?: error: .")
LIMITS = {"n_layer": 3, "n_embd": 128, "block_size": 256, "vocab_size": 2000, "batch_size": 64, "grad_accum": 3}
LIMITS |= {"sample_tokens": 50, "lora_rank": 64}


class Hang(BaseException):
    """An input that takes too long."""


class Begun(BaseException):
    """What would go on for too long has begun: a large training, or a server."""


def execute(case: Case, sandbox: Sandbox) -> tuple[int, str]:
    """Run a case; its exit code, and what is wrong, "" if all is well. The sandbox is put back."""
    if case.file:
        sandbox.put(case.file, case.data)
    stdout, stderr = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    stdin = io.TextIOWrapper(io.BytesIO(case.stdin), "utf-8")
    before = sys.stdin, sys.stdout, sys.stderr
    threads = threading.active_count()
    sys.stdin, sys.stdout, sys.stderr = stdin, stdout, stderr
    try:
        with warnings.catch_warnings(record=True) as warned, timed():
            warnings.simplefilter("always")
            code, crash = outcome(case.argv)
    finally:
        sys.stdin, sys.stdout, sys.stderr = before
    said = []
    for stream in (stdout, stderr):
        stream.flush()
        said.append(stream.buffer.getvalue().decode("utf-8", "replace"))
    problem = crash or wrong_words(code, *said, case) or wrong_files(code, case, sandbox, said[1])
    problem = problem or "".join(f"warning: {w.category.__name__}: {w.message}" for w in warned[:1])
    if not problem and threading.active_count() > threads + 20:
        problem = "threads are left behind"
    sandbox.restore({case.file} - {""})
    return code, problem


def outcome(argv: list[str]) -> tuple[int, str]:
    """The exit code, and the traceback of what no command may let out."""
    try:
        return main(argv), ""
    except Begun:
        return 0, ""
    except SystemExit as end:
        return (0 if end.code is None else end.code if isinstance(end.code, int) else 1), ""
    except Hang:
        return (0, "") if writes_for_ever(argv) else (-1, "hang:\n" + traceback.format_exc(limit=-6))
    except BaseException:
        return -1, "traceback:\n" + traceback.format_exc(limit=-6)


def writes_for_ever(argv: list[str]) -> bool:
    """Whether 100,000 tokens or more were asked for: that takes long because it was asked for."""
    return re.search(r"--max-new-tokens[= ]\+?\d{6}", " ".join(argv)) is not None


@contextlib.contextmanager
def timed() -> Iterator[None]:
    """Raise `Hang` after so many seconds of the processor's time (on POSIX; elsewhere the parent's clock is left)."""

    def stop(number: int, frame: Any) -> None:
        raise Hang

    if not hasattr(signal, "setitimer"):
        yield
        return
    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def wrong_words(code: int, out: str, err: str, case: Case) -> str:
    """What is wrong with what was printed."""
    if "Traceback (most recent call last)" in out + err:
        return f"a traceback was printed:\n{err[-2000:]}"
    lines = [line.rpartition("\r")[2].strip("\x1b[A") for line in err.split("\n")]  # progress bars end with \r
    lines = [line for line in lines if line.strip() and not re.search(r"\d+%\||\d(it|steps| \w+)/s", line)]
    errors = [line for line in lines if ERROR.match(line)]
    if code == 0:
        return f"exit code 0 and an error: {errors[0]}" if errors and "-i" not in _short(case.argv) else ""
    if code not in (1, 2):
        return f"exit code {code}"
    if not errors and code == 1 and (case.argv[0] == "gradcheck" or "--diagnose" in case.argv) and out:
        return ""  # something was checked and found wrong
    others = [line for line in lines if not ERROR.match(line) and not line.startswith(("  ", "note: "))]
    if len(errors) != 1 or others:
        return f"exit code {code}, and not one line of error: {errors + others}"
    if len(err) > LONGEST + 2000:
        return f"an error of {len(err)} characters: {err[:300]}…"
    if odd := re.search(r"[\x00-\x08\x0b-\x1f\x7f]", "".join(lines)):
        return f"an error with a control character {odd.group()!r}: {errors[0]!r}"
    settings = case.file.endswith((".toml", "runs/bpe/config.json", "runs/lora/config.json"))
    if case.file and not settings and ("allocate" in errors[0] or "MemoryError" in errors[0]):
        return f"a small file asks for memory: {errors[0]}"
    return ""


def _short(argv: list[str]) -> list[str]:
    return ["-i" if word in ("-i", "--interactive") else word for word in argv]


def wrong_files(code: int, case: Case, sandbox: Sandbox, err: str) -> str:
    """Files that are gone, changed or new, though the command had no business with them."""
    changed, gone, new = ([name for name in names if not name.endswith(LOCK)] for names in sandbox.changes())
    if code != 0:
        if "diverged" in err:  # it trained, and kept what it had
            return ""
        touched = f"changed: {changed}, gone: {gone}, new: {new}"
        return f"exit code {code}; {touched}; it said {err[-300:]!r}" if changed or gone or new else ""
    may = may_write(case.argv)
    odd, lost, left = ([name for name in names if not name.startswith(may)] for names in (changed, gone, new))
    left += [name for name in new if name.endswith(".tmp")]
    return f"exit code 0; changed: {odd}, gone: {lost}, new: {left}" if odd or lost or left else ""


def may_write(argv: list[str]) -> tuple[str, ...]:
    """What the names of files begin with that a command may make, change or remove."""
    command = argv[0] if argv else ""
    given = {
        word.partition("=")[0]: word.partition("=")[2] or after
        for word, after in zip(argv, [*argv[1:], ""], strict=True)
    }
    if command == "export":
        return (os.path.normpath(argv[-1]).removeprefix("."),)
    if command == "look":
        return (os.path.normpath(given.get("--out") or "look.html"),)
    if command == "course":
        return (os.path.normpath(given.get("--collect", "no")), "course.json")
    if command == "train":
        folder = os.path.normpath(given.get("--resume") or given.get("--out") or "runs")
        return (folder.removesuffix("last.npz").removesuffix("config.json"),)  # a run's file means the run
    return ("no file at all",)


# -------------------------------------------------------------------------------------- what takes long


def fits(config: TrainConfig) -> bool:
    """Whether a training is small enough to really begin."""
    return all(getattr(config, name) <= limit for name, limit in LIMITS.items()) and bool(config.data)


def limit_what_takes_long() -> None:
    """Trainings take a step, large ones none; servers stop once they listen; not all layers and animals are checked."""
    train = numpylm.training.train.train
    diagnose_run, profile_run = numpylm.training.first_batch.diagnose_run, numpylm.training.first_batch.profile_run

    def small_train(config: TrainConfig, resume: Any = None, given: Any = None, **_: Any) -> Path:
        if not fits(config):
            raise Begun
        stop_at = 1 if resume is None else 3
        return train(replace(config, check_gradients=False), resume, stop_at=stop_at, given=given)

    def small(run: Any) -> Any:
        def one(config: TrainConfig, *rest: Any) -> Any:
            if not fits(config):
                raise Begun
            return run(config, *rest)

        return one

    reports = numpylm.check.selfcheck.run

    def first(*args: Any, **options: Any) -> Any:
        yield next(iter(reports(*args, **options)))

    numpylm.system.lock.WATCH = 0.01
    numpylm.training.train.train = small_train
    numpylm.training.first_batch.diagnose_run, numpylm.training.first_batch.profile_run = (
        small(diagnose_run),
        small(profile_run),
    )

    def listens(server: Any) -> None:
        raise Begun

    numpylm.cli.serve.announce = listens
    numpylm.check.selfcheck.run = first
    numpylm.zoo.catalog.table = lambda: "a table"
