"""``numpylm gradcheck``: check the gradients of numpylm or of a user's file, or show the zoo of faulty layers."""

import argparse
from pathlib import Path


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the options: what to check, and how."""
    parser.add_argument("--seed", type=int, default=0, help="seed of parameters and inputs (default: 0)")
    parser.add_argument("--all", action="store_true", help="check the layers of all models; without it, those of GPT")
    parser.add_argument("--verbose", "-v", action="store_true", help="show every input and parameter")
    parser.add_argument(
        "--file", type=Path, help="check your own: every layer, function pair and optimizer in a Python file"
    )
    parser.add_argument("--only", metavar="NAME", help="with --file: check only this class or function")
    parser.add_argument(
        "--as", dest="like", metavar="LAYER", help="with --file: compare it with a layer of numpylm, such as LayerNorm"
    )
    parser.add_argument(
        "--zoo",
        nargs="?",
        const="",
        metavar="NAME",
        help="the zoo of faulty layers: list them, or show one so that you can find the bug",
    )
    zoo = parser.add_mutually_exclusive_group()
    zoo.add_argument("--check", action="store_true", help="with --zoo NAME: show what the checker finds")
    zoo.add_argument("--solve", action="store_true", help="with --zoo NAME: show the answer")
    zoo.add_argument(
        "--table", action="store_true", help="with --zoo: all faults and what the checker finds, as Markdown"
    )


def run(args: argparse.Namespace) -> int:
    """numpylm gradcheck"""
    import numpy as np

    from numpylm.check import selfcheck

    check_flags(args)
    if args.zoo is not None:
        return run_zoo(args)
    if args.file:
        return run_file(args)
    reports = []
    families = tuple(selfcheck.FAMILIES) if args.all else ("gpt",)
    for report in selfcheck.run(np.random.default_rng(args.seed), families=families):
        reports.append(report)
        if args.verbose:
            print(report, end="\n\n")
    print(selfcheck.summary(reports))
    ok = all(report.ok for report in reports)
    print("\nEvery gradient agrees with differences of the forward pass." if ok else "\nSome gradients are wrong.")
    if not args.all:
        print("These are the layers of GPT. To check those of all models: numpylm gradcheck --all")
    return 0 if ok else 1


def check_flags(args: argparse.Namespace) -> None:
    """Raise ValueError for options that cannot be combined."""
    if args.seed < 0:
        raise ValueError(f"--seed must be 0 or more, got {args.seed}")
    if (args.only or args.like) and not args.file:
        raise ValueError("--only and --as belong to --file: say which Python file to check")
    if (args.check or args.solve) and not args.zoo:
        raise ValueError("--check and --solve need an animal: --zoo NAME (numpylm gradcheck --zoo lists them)")
    if args.table and args.zoo != "":
        raise ValueError("--table belongs to --zoo without a name")
    if args.all and (args.zoo is not None or args.file):
        raise ValueError("--all checks numpylm's own layers: leave it out with --file and --zoo")
    if args.zoo is not None and args.file:
        raise ValueError("--zoo and --file are two different things: choose one")


def run_file(args: argparse.Namespace) -> int:
    """numpylm gradcheck --file my_layers.py"""
    from numpylm.check.student import check_found, compare, items_to_check

    reports = []
    for item in items_to_check(args.file, args.only, args.like):
        report = compare(item, args.like, args.seed) if args.like else check_found(item, args.seed)
        print(report, end="\n\n")
        reports.append(report)
    unchecked = [report.title for report in reports if report.unchecked and not report.findings]
    changes = [report.title for report in reports if report.only_changes]
    wrong = [report.title for report in reports if not report.ok and report.title not in (*unchecked, *changes)]
    said = f"{len(reports) - len(unchecked)} checked"
    right = ", no gradient is wrong." if changes else ", all right." if len(unchecked) < len(reports) else "."
    said += f", wrong: {', '.join(wrong)}." if wrong else right
    said += f" Right gradients, but changes arrays of its caller: {', '.join(changes)}." if changes else ""
    print(said + (f" Not checked: {', '.join(unchecked)}." if unchecked else ""))
    return 1 if wrong or changes or len(unchecked) == len(reports) else 0


def run_zoo(args: argparse.Namespace) -> int:
    """numpylm gradcheck --zoo: the game"""
    from numpylm.zoo import catalog

    if args.table:
        print(catalog.table())
    elif not args.zoo:
        print(catalog.index())
    elif args.check:
        print(catalog.check(catalog.get(args.zoo), args.seed))
    elif args.solve:
        print(catalog.answer(catalog.get(args.zoo)))
    else:
        print(catalog.riddle(catalog.get(args.zoo)))
    return 0
