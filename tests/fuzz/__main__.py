"""See `tests.fuzz`: ``python -m tests.fuzz --count 100000 --seed 0``."""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.run import Failure, run


def main() -> int:
    """Run the inputs and print what failed, each with what repeats it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="how many inputs (default: 1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first input; with --count 1: that one")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--keep", type=Path, help="write the failures to this file, too")
    args = parser.parse_args()
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    start = time.perf_counter()
    failures: list[Failure] = []
    codes: Counter[int] = Counter()
    for failure in run(args.seed, args.first, args.count, args.jobs, codes):
        failures.append(failure)
        print(failure, flush=True)
        if args.keep:
            with args.keep.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{failure}\n")
    seconds = time.perf_counter() - start
    ends = ", ".join(f"{code}: {times:,}" for code, times in sorted(codes.items()))
    print(f"{args.count:,} inputs, seed {args.seed}: {len(failures)} failures, {seconds:,.0f} s; exit codes {ends}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
