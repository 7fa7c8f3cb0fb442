"""A soak of the training command: small runs that are disturbed at random moments, resumed, and compared to the bit.

    python -m tests.soak --rounds 200 --seed 0

Each round starts ``numpylm train`` on a real text, lets one disturbance happen at a random moment, resumes the run
until it is complete, and compares it with a run that was never disturbed: every array and every random state of both
checkpoints, and all validation losses. POSIX only: it sends signals.
"""

import argparse
import collections
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("NUMPYLM_SHARED_DATA", ROOT.parent / "shared" / "data"))
BYTES = 60_000  # of text
TIMEOUT = 120  # seconds; one run takes two or three
SETTINGS = {
    "n-layer": 1,
    "n-head": 2,
    "n-embd": 16,
    "block-size": 32,
    "batch-size": 4,
    "dropout": 0.1,
    "vocab-size": 300,
    "sample-tokens": 5,
    "max-steps": 600,
    "eval-interval": 60,
    "warmup-steps": 10,
    "patience": 0,
    "max-val-mb": 0.005,
}
FLAGS = ["--no-check-gradients", *(f"--{name}={value}" for name, value in SETTINGS.items())]


class SoakError(AssertionError):
    """A disturbed run did not end as the undisturbed one did."""


def real_text() -> str:
    """The first 60 kB of Shakespeare's plays where they are at hand, else of the bundled stories."""
    path = SHARED / "tinyshakespeare.txt"
    path = path if path.exists() else ROOT / "data" / "stories.txt"
    return path.read_text(encoding="utf-8")[:BYTES]


# ----------------------------------------------------------------------------------------------- one run


def start(arguments: list[str], folder: Path, **streams: object) -> subprocess.Popen:
    """``numpylm train`` in a process group of its own, as a shell starts it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "numpylm", "train", *arguments]
    given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} | streams
    return subprocess.Popen(
        command, cwd=folder, env=environment, start_new_session=True, text=True, preexec_fn=hear_signals, **given
    )


def hear_signals() -> None:
    """A shell that starts the soak in the background makes it, and all that it starts, ignore Ctrl-C and SIGHUP."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def finish(process: subprocess.Popen) -> str:
    """Wait for the end of a run; what it printed."""
    try:
        printed = process.communicate(timeout=TIMEOUT)[0] or ""
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise SoakError(f"a run still works after {TIMEOUT} seconds: it hangs") from None
    except ValueError:  # the pipe was closed by a disturbance
        process.wait(TIMEOUT)
        printed = ""
    if "Traceback" in printed:
        raise SoakError(f"a traceback:\n{printed}")
    return printed


def outcome(run: Path) -> dict[str, object]:
    """What must be the same to the bit: both checkpoints, and the validation losses."""
    found: dict[str, object] = {}
    for name in ("best.npz", "last.npz"):
        with np.load(run / name, allow_pickle=False) as file:
            for key in file.files:
                found[f"{name}/{key}"] = file[key].tobytes()
    entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    found["validation"] = [(entry["step"], entry["val_loss"]) for entry in entries if "val_loss" in entry]
    return found


# ------------------------------------------------------------------------------------------ disturbances


@dataclass
class Scene:
    """One run under way: its process and its folder."""

    process: subprocess.Popen
    run: Path


def send(number: int, group: bool = False) -> Callable[[Scene], None]:
    """A signal to the command alone, or to its process group as a terminal and a batch system send it."""

    def disturb(scene: Scene) -> None:
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(scene.process.pid, number)

    return disturb


def kill_worker(scene: Scene) -> None:
    """What Linux does when memory runs out: one of the worker processes is gone."""
    for _ in range(1000):  # wait for the first worker, but not for longer than the run
        workers = worker_processes(scene.process.pid)
        if workers or scene.process.poll() is not None:
            break
        time.sleep(0.005)
    for worker in workers:
        os.kill(worker, signal.SIGKILL)


def worker_processes(parent: int) -> list[int]:
    """The worker processes that a run has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            its_parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if its_parent == parent and b"numpylm.system.worker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def fill_disk(scene: Scene) -> None:
    """From now on no file can grow beyond 1,000 bytes: writing fails as on a full disk."""
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(scene.process.pid, resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))


def close_pipe(scene: Scene) -> None:
    """``numpylm train | head``: the reader has seen enough."""
    scene.process.stdout.close()


def second_process(scene: Scene) -> None:
    """Another process resumes the same run at the same time: one line, and nothing is touched."""
    if not scene.run.exists():
        return
    other = start(["--resume", str(scene.run)], scene.run.parent)
    printed = finish(other)
    if other.returncode not in (0, 1) or (
        other.returncode == 1 and scene.process.poll() is None and "process" not in printed
    ):
        raise SoakError(f"the second process should be refused in one line that names the first; it said:\n{printed}")


SIGNALS: dict[str, Callable[[Scene], None]] = {
    "SIGKILL": send(signal.SIGKILL),
    "SIGKILL to the group": send(signal.SIGKILL, group=True),
    "SIGTERM": send(signal.SIGTERM),
    "SIGTERM to the group": send(signal.SIGTERM, group=True),
    "SIGINT to the group": send(signal.SIGINT, group=True),
    "SIGHUP to the group": send(signal.SIGHUP, group=True),
}
DISTURBANCES = SIGNALS | {
    "killed worker": kill_worker,
    "full disk": fill_disk,
    "closed pipe": close_pipe,
    "second process": second_process,
}


# ---------------------------------------------------------------------------------------------- the soak


def disturbed(arguments: list[str], run: Path, disturb: Callable[[Scene], None], seconds: float) -> str:
    """Start a run, disturb it after so many seconds, and wait for its end; how far it was."""
    process = start(arguments, run.parent)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    moment = "ended" if process.poll() is not None else "before the folder" if not run.exists() else "in the run"
    disturb(Scene(process, run))
    printed = finish(process)
    if disturb is kill_worker and "a worker process was killed" not in printed:
        moment = "ended before there was a worker"
    if disturb is fill_disk and not process.returncode:
        moment = "ended before it wrote"
    if disturb in SIGNALS.values() and not process.returncode:
        moment = "ended"
    return moment


def soak_round(name: str, rng: np.random.Generator, folder: Path, seconds: float, expected: dict[str, object]) -> str:
    """One round; at which moment the disturbance came. Raises SoakError if the run does not end as ``expected``."""
    run = folder / "run"
    arguments = ["--data", "text.txt", "--out", "run", *FLAGS]
    moment = disturbed(arguments, run, DISTURBANCES[name], float(rng.uniform(0.2, seconds)))
    for _ in range(3):
        resumed = ["--resume", "run"] if run.exists() else arguments
        process = start(resumed, folder)
        printed = finish(process)
        if process.returncode:
            raise SoakError(f"after {name} ({moment}) the run cannot be resumed:\n{printed}")
        if run.exists():
            break
    found = outcome(run)
    if different := [key for key in expected if found.get(key) != expected[key]]:
        raise SoakError(f"after {name} ({moment}) other bits than undisturbed: {', '.join(different[:5])}")
    if left := [path.name for path in run.iterdir() if path.name.endswith(".tmp")]:
        raise SoakError(f"after {name} ({moment}) temporary files are left: {', '.join(left)}")
    return moment


def soak(rounds: int, seed: int, report: Callable[[str], None] = print) -> collections.Counter[tuple[str, str]]:
    """So many rounds, every disturbance in turn; how often each came at which moment."""
    rng = np.random.default_rng(seed)
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    base = Path(tempfile.mkdtemp(prefix="numpylm-soak-"))
    try:
        (base / "text.txt").write_text(real_text(), encoding="utf-8")
        began = time.perf_counter()
        finish(start(["--data", "text.txt", "--out", "run", *FLAGS], base))
        seconds = time.perf_counter() - began
        expected = outcome(base / "run")
        report(f"one undisturbed run takes {seconds:.1f} s")
        names = list(DISTURBANCES)
        for number in range(rounds):
            name = names[number % len(names)]
            folder = base / f"round-{number}"
            folder.mkdir()
            shutil.copy(base / "text.txt", folder)
            moment = soak_round(name, rng, folder, seconds, expected)
            counts[name, moment] += 1
            report(f"round {number + 1:3}  {name:22} {moment}")
            shutil.rmtree(folder)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return counts


def main() -> int:
    """Run the soak and print a table."""
    parser = argparse.ArgumentParser(description="Disturb, resume and compare small training runs.")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    counts = soak(args.rounds, args.seed, lambda line: print(line, flush=True))
    print(f"\n{args.rounds} rounds, all ended with the bits of the undisturbed run:")
    for (name, moment), count in sorted(counts.items()):
        print(f"  {count:4}  {name}, {moment}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
