"""``numpylm course``: list lessons and exercises, show progress, collect solved layers."""

import argparse
from pathlib import Path


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the options: a lesson or exercise, or what to do with the progress."""
    parser.add_argument("name", nargs="?", help="show a lesson (04) or an exercise (Linear) in detail")
    parser.add_argument("--collect", type=Path, metavar="FILE", help="write all layers that passed into one module")
    parser.add_argument("--reset", action="store_true", help="start over (the old progress is kept in a file)")


def run(args: argparse.Namespace) -> int:
    """numpylm course"""
    from numpylm.course import overview, progress
    from numpylm.course.collect import collect
    from numpylm.system.shell import command, shown

    if sum(map(bool, (args.reset, args.collect, args.name))) > 1:
        raise ValueError("numpylm course: a lesson or exercise, --collect FILE and --reset: choose one of them")
    if args.reset:
        kept = progress.reset()
        print(f"progress reset; the old progress is kept in {shown(kept)}" if kept else "nothing was solved yet")
    elif args.collect:
        count = collect(args.collect)
        check = command("numpylm", "gradcheck", "--file", args.collect)
        print(f"{shown(args.collect)}: {count} parts are your own; {check} checks them")
    elif args.name:
        print(overview.details(args.name, progress.load()))
    else:
        print(overview.overview(progress.load()))
    return 0
