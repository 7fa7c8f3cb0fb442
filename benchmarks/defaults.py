"""The settings that `numpylm train` chooses for a text, compared with the defaults for the stories.

    python benchmarks/defaults.py [--quick | --tuning] [TEXT ...]

The script trains twice on each text in `texts.REPORTED`: with ``--data`` alone, and with every setting at its default.
``numpylm evaluate`` scores both on a separate text, in bits per byte, so that different vocabularies can be compared.
Each training run uses one core, and two run at a time. The time is CPU time. The output is a Markdown table. The rules
were developed only on the texts of ``--tuning``.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from queue import Queue

from texts import REPORTED, TUNING, Text

from numpylm.training.config import TrainConfig

OLD = ["--config", "old.toml"]
QUICK = ("prose 10 kB", "names (German words)", "verse (quatrains)")


def old_defaults() -> str:
    """TOML text with every setting at its default."""
    values = {f.name: f.default for f in fields(TrainConfig) if f.default not in ("", ())}
    return "".join(f"{name} = {_toml(value)}\n" for name, value in values.items())


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


def measure(text: Text, flags: list[str], cores: "Queue[int | None]") -> tuple[float, float]:
    """Train and score on one core; returns bits per byte of the test text, and seconds of training."""
    core = cores.get()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "train.txt").write_text(text.train, encoding="utf-8")
            (folder / "test.txt").write_text(text.test, encoding="utf-8")
            (folder / "old.toml").write_text(old_defaults(), encoding="utf-8")
            _, time_taken = run(["train", "--data", "train.txt", "--out", "run", *flags], folder, core)
            printed, _ = run(["evaluate", "run", "--data", "test.txt"], folder, core)
    finally:
        cores.put(core)
    found = re.search(r"bits per byte +([\d.]+)", printed)
    assert found, printed
    return float(found[1]), time_taken


def run(arguments: list[str], folder: Path, core: int | None) -> tuple[str, float]:
    """Run a numpylm command on one core; returns its output and its CPU seconds.

    Where CPU time is not available (Windows), it returns the elapsed seconds.
    """
    start = time.perf_counter()
    with (folder / "printed").open("w+", encoding="utf-8") as printed:
        process = subprocess.Popen(
            [sys.executable, "-m", "numpylm", *arguments], cwd=folder, stdout=printed, stderr=subprocess.STDOUT
        )
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        if hasattr(os, "wait4"):
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            time_taken = usage.ru_utime + usage.ru_stime
        else:
            process.wait()
            time_taken = time.perf_counter() - start
        printed.seek(0)
        output = printed.read()
    if process.returncode:
        raise RuntimeError(f"numpylm {' '.join(arguments)} failed:\n{output[-2000:]}")
    return output, time_taken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="names of texts (default: all)")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    parser.add_argument("--tuning", action="store_true", help="the texts that the rules were made with")
    args = parser.parse_args()
    known = TUNING if args.tuning else REPORTED
    names = args.texts or (QUICK if args.quick else list(known))
    cores: Queue[int | None] = Queue()
    for core in sorted(os.sched_getaffinity(0))[:2] if hasattr(os, "sched_setaffinity") else [None]:
        cores.put(core)
    print("| text | kB | bits per byte: defaults | chosen | less | seconds: defaults | chosen | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    with ThreadPoolExecutor(cores.qsize()) as pool:
        jobs = []
        for name in names:
            try:
                text = known[name]()
            except FileNotFoundError as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
                continue
            jobs.append((name, text, *(pool.submit(measure, text, flags, cores) for flags in (OLD, []))))
        for name, text, old, new in jobs:
            (old_bits, old_time), (new_bits, new_time) = old.result(), new.result()
            print(
                f"| {name} | {len(text.train.encode()) / 1e3:,.0f} | {old_bits:.3f} | {new_bits:.3f} | "
                f"{1 - new_bits / old_bits:.1%} | {old_time:.0f} | {new_time:.0f} | {new_time / old_time:.2f} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
