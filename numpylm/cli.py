"""The ``numpylm`` command: train, generate, gradcheck, tokenize, evaluate, course."""

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

EXAMPLES = """examples:
  numpylm train                                   the bundled stories, about two minutes
  numpylm train --data my.txt                     your own text
  numpylm train --resume runs/stories             go on with a run that was stopped
  numpylm generate runs/stories --prompt "Once"   let a model write
  numpylm evaluate runs/stories --data my.txt     loss, perplexity, bits per byte, accuracy
  numpylm gradcheck                               prove every gradient
  numpylm gradcheck --file my_layers.py           find what is wrong in yours
  numpylm gradcheck --zoo                         a game: find the bug
  numpylm tokenize runs/stories "some text"       ids and pieces
  numpylm course                                  the lessons, and how far you are"""


class Parser(argparse.ArgumentParser):
    """An argument parser that names the nearest known flag when it does not know one."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with 2."""
        if message.startswith("unrecognized arguments: "):
            word = next((w for w in message.split()[2:] if w.startswith("-")), "")
            flags = [flag for action in self._actions for flag in action.option_strings]
            near = difflib.get_close_matches(word.split("=")[0], flags, 1, 0.5)
            message = message.replace("unrecognized arguments", "unknown option")
            message += f"; did you mean {near[0]}?" if near else ""
        print(f"{self.prog}: error: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse, but a subcommand's unknown flags are compared with that subcommand's own."""
        parsed, rest = self.parse_known_args(args, namespace)
        if rest:
            parser = getattr(parsed, "parser", self)
            parser.error("unrecognized arguments: " + " ".join(rest))
        return parsed


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code: 0 done, 1 it failed, 2 it was called wrongly, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")  # Windows consoles default to less
    args = build_parser().parse_args(argv)
    from numpylm.run import TrainingError

    try:
        return args.command(args)
    except KeyboardInterrupt:
        print("\nnumpylm: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError, TrainingError, MemoryError) as error:
        if os.environ.get("NUMPYLM_DEBUG"):
            raise
        text = str(error) if str(error) else type(error).__name__
        print(f"numpylm: error: {text}", file=sys.stderr)
        return 1


def build_parser() -> Parser:
    """All commands with their flags."""
    parser = Parser(
        prog="numpylm",
        description="A Transformer language model in pure NumPy, every gradient written by hand and proven.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    from numpylm._version import __version__

    parser.add_argument("--version", action="version", version=f"numpylm {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)

    def add(name: str, function: Any, text: str) -> Parser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(command=function, parser=sub)
        return sub

    add_train_flags(add("train", run_train, "train a model on text, after checking every gradient"))
    add_generate_flags(add("generate", run_generate, "let a trained model write"))
    check = add("gradcheck", run_gradcheck, "check the gradient of every layer, block and the whole model")
    check.add_argument("--seed", type=int, default=0, help="seed of parameters and inputs (default: 0)")
    check.add_argument("--verbose", "-v", action="store_true", help="show every input and parameter")
    check.add_argument(
        "--file", type=Path, help="check your own: every layer, function pair and optimizer in a Python file"
    )
    check.add_argument("--only", metavar="NAME", help="with --file: this class or function alone")
    check.add_argument(
        "--as", dest="like", metavar="LAYER", help="with --file: hold it against ours, such as LayerNorm"
    )
    check.add_argument(
        "--zoo",
        nargs="?",
        const="",
        metavar="NAME",
        help="the zoo of faulty layers: list them, or show one for you to find the bug",
    )
    zoo = check.add_mutually_exclusive_group()
    zoo.add_argument("--check", action="store_true", help="with --zoo NAME: what the checker says")
    zoo.add_argument("--solve", action="store_true", help="with --zoo NAME: the answer")
    zoo.add_argument("--table", action="store_true", help="with --zoo: all faults and what was said, as Markdown")
    tokenize = add("tokenize", run_tokenize, "show how a text is cut into tokens")
    tokenize.add_argument("run", type=Path, help="run folder, or folder with vocab.json and merges.txt")
    tokenize.add_argument("text", nargs="?", help="text; if not given, standard input or --data")
    tokenize.add_argument("--data", type=Path, help="a text file")
    tokenize.add_argument("--allow-special", action="store_true", help="recognise <|endoftext|> in the text")
    tokenize.add_argument("--ids", action="store_true", help="print ids only, on one line")
    course = add("course", run_course, "the lessons and exercises in notebooks/, and what has passed on this machine")
    course.add_argument("name", nargs="?", help="a lesson (04) or an exercise (Linear), in detail")
    course.add_argument("--collect", type=Path, metavar="FILE", help="write all layers that passed into one module")
    course.add_argument("--reset", action="store_true", help="begin anew (the old progress is kept)")
    score = add("evaluate", run_evaluate, "score a trained model on text")
    score.add_argument("run", type=Path, help="run folder or checkpoint")
    score.add_argument("--data", nargs="+", required=True, help="text files or folders")
    score.add_argument("--batch-size", type=int, default=8, help="sequences at a time (default: 8)")
    return parser


# ------------------------------------------------------------------------------------------------ train


def add_train_flags(parser: Parser) -> None:
    """A flag for each field of TrainConfig, and those that are not settings of the run."""
    from numpylm.config import KINDS, TrainConfig

    parser.add_argument("--config", type=Path, help="TOML file with any of the settings below; flags win over it")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="go on with a run folder")
    parser.add_argument(
        "--diagnose", action="store_true", help="do not train: take some steps on one batch, and say what looks wrong"
    )
    for setting in fields(TrainConfig):
        kind, default = KINDS[setting.name], setting.default
        names = ["--" + setting.name.replace("_", "-")]
        if "_" in setting.name:
            names.append("--" + setting.name)
        text = setting.metadata["help"]
        if kind is not tuple and default != "":
            text += f" (default: {default})"
        options: dict[str, Any] = {"dest": setting.name, "default": None, "help": text}
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif kind is tuple:
            options |= {"nargs": "+", "metavar": setting.name.upper()}
        else:
            options |= {"type": kind, "metavar": setting.name.upper()}
        parser.add_argument(*names, **options)


def run_train(args: argparse.Namespace) -> int:
    """numpylm train"""
    from numpylm.config import TrainConfig, make_config, read_config_file
    from numpylm.run import resume_config
    from numpylm.train import diagnose_run, train

    flags = {f.name: getattr(args, f.name) for f in fields(TrainConfig) if getattr(args, f.name) is not None}
    file = read_config_file(args.config) if args.config else {}
    if args.diagnose:
        if args.resume:
            raise ValueError("--diagnose looks at a new run; it does not go with --resume")
        print("preparing the data, then 40 steps on one batch …", flush=True)
        diagnosis = diagnose_run(make_config(file, flags), partial(print, flush=True))
        print(diagnosis)
        return 0 if diagnosis.ok else 1
    if args.resume:
        train(resume_config(args.resume, file | flags), resume=args.resume)
    else:
        train(make_config(file, flags))
    return 0


# --------------------------------------------------------------------------------------------- generate


def add_generate_flags(parser: Parser) -> None:
    """What to generate from, and how."""
    parser.add_argument("run", type=Path, help="run folder or checkpoint")
    parser.add_argument("--prompt", default="", help="how the text begins (default: a new document)")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="length limit (default: 256)")
    parser.add_argument("--temperature", type=float, default=1.0, help="0: always the likeliest (default: 1)")
    parser.add_argument("--top-k", type=int, help="choose among the k likeliest tokens")
    parser.add_argument("--top-p", type=float, help="choose among the likeliest tokens that add up to p")
    parser.add_argument("--seed", type=int, help="the same seed gives the same text")
    parser.add_argument("--stop", action="append", default=[], help="stop at this text, if it is one token")
    parser.add_argument("--samples", "-n", type=int, default=1, help="how many texts (default: 1)")


def run_generate(args: argparse.Namespace) -> int:
    """numpylm generate"""
    import numpy as np

    from numpylm.checkpoint import load_run
    from numpylm.generation import printable, stream_text
    from numpylm.parallel import keep_memory

    if args.max_new_tokens < 1 or args.samples < 1:
        raise ValueError("--max-new-tokens and --samples must be at least 1")
    keep_memory()
    gpt, tokenizer, _ = load_run(args.run)
    stop_ids = set() if tokenizer.end_id is None else {tokenizer.end_id}
    for text in args.stop:
        ids = tokenizer.encode(text, allow_special=True)
        if len(ids) != 1:
            raise ValueError(f"--stop must be one token of this tokenizer; {text!r} is {len(ids)}")
        stop_ids.add(ids[0])
    prompt = tokenizer.encode(args.prompt)
    start = [] if tokenizer.end_id is None else [tokenizer.end_id]  # as documents begin in training
    ids = start + prompt or [0]
    if len(ids) > gpt.config.block_size:
        print(
            f"note: the prompt has {len(ids)} tokens, the model reads the last {gpt.config.block_size}",
            file=sys.stderr,
        )
    rng = np.random.default_rng(args.seed)
    for number in range(args.samples):
        if number:
            print("\n" + "-" * 40)
        out = gpt.generate(
            ids,
            args.max_new_tokens,
            temperature=args.temperature,
            top_k=args.top_k,
            top_p=args.top_p,
            rng=rng,
            stop_ids=stop_ids,
        )
        print(args.prompt, end="", flush=True)
        for piece in stream_text((i for i in out if i not in stop_ids), tokenizer.token_bytes):
            print(printable(piece) if sys.stdout.isatty() else piece, end="", flush=True)
        print()
    return 0


# --------------------------------------------------------------------------- gradcheck, tokenize, evaluate


def run_gradcheck(args: argparse.Namespace) -> int:
    """numpylm gradcheck"""
    import numpy as np

    from numpylm import selfcheck

    check_gradcheck_flags(args)
    if args.zoo is not None:
        return run_zoo(args)
    if args.file:
        return run_file(args)
    reports = []
    for report in selfcheck.run(np.random.default_rng(args.seed)):
        reports.append(report)
        if args.verbose:
            print(report, end="\n\n")
    print(selfcheck.summary(reports))
    ok = all(report.ok for report in reports)
    print("\nEvery gradient agrees with differences of the forward pass." if ok else "\nSome gradients are wrong.")
    return 0 if ok else 1


def check_gradcheck_flags(args: argparse.Namespace) -> None:
    """Flags that mean nothing together are refused, not ignored."""
    if args.seed < 0:
        raise ValueError(f"--seed must be 0 or more, got {args.seed}")
    if (args.only or args.like) and not args.file:
        raise ValueError("--only and --as belong to --file: say which Python file to check")
    if (args.check or args.solve) and not args.zoo:
        raise ValueError("--check and --solve need an animal: --zoo NAME (numpylm gradcheck --zoo lists them)")
    if args.table and args.zoo != "":
        raise ValueError("--table belongs to --zoo without a name")
    if args.zoo is not None and args.file:
        raise ValueError("--zoo and --file are two different things: choose one")


def run_file(args: argparse.Namespace) -> int:
    """numpylm gradcheck --file my_layers.py"""
    from numpylm.student import check_found, choose, compare

    reports = []
    for item in choose(args.file, args.only, args.like):
        report = compare(item, args.like, args.seed) if args.like else check_found(item, args.seed)
        print(report, end="\n\n")
        reports.append(report)
    wrong = [report.title for report in reports if not report.ok]
    print(f"{len(reports)} checked, all right." if not wrong else f"{len(reports)} checked, wrong: {', '.join(wrong)}.")
    return 1 if wrong else 0


def run_zoo(args: argparse.Namespace) -> int:
    """numpylm gradcheck --zoo: the game"""
    from numpylm.zoo import keeper

    if args.table:
        print(keeper.table())
    elif not args.zoo:
        print(keeper.index())
    elif args.check:
        print(keeper.check(keeper.get(args.zoo), args.seed))
    elif args.solve:
        print(keeper.answer(keeper.get(args.zoo)))
    else:
        print(keeper.riddle(keeper.get(args.zoo)))
    return 0


def run_tokenize(args: argparse.Namespace) -> int:
    """numpylm tokenize"""
    from numpylm.char_tokenizer import load_tokenizer
    from numpylm.files import read_text

    tokenizer = load_tokenizer(args.run)
    if args.text is not None:
        text = args.text
    elif args.data:
        text = read_text(args.data)
    else:
        text = sys.stdin.buffer.read().decode("utf-8")
    ids = tokenizer.encode(text, args.allow_special)
    if args.ids:
        print(*ids)
        return 0
    for i in ids:
        print(f"{i:6}  {tokenizer.token_bytes(i).decode('utf-8', 'backslashreplace')!r}")
    n_bytes = len(text.encode("utf-8"))
    rate = f", {n_bytes / len(ids):.2f} bytes per token" if ids else ""
    print(f"{len(ids)} tokens, {len(text)} characters, {n_bytes} bytes{rate}")
    return 0


def run_evaluate(args: argparse.Namespace) -> int:
    """numpylm evaluate"""
    import math

    from numpylm.checkpoint import load_run
    from numpylm.data import document_starts, encode_documents, fits_documents, read_documents
    from numpylm.evaluation import evaluate, source_nats
    from numpylm.parallel import keep_memory

    if args.batch_size < 1:
        raise ValueError("--batch-size must be at least 1")
    keep_memory()
    gpt, tokenizer, _ = load_run(args.run)
    documents = read_documents(args.data)
    tokens = encode_documents(documents, tokenizer)
    if len(tokens) < 2:
        raise ValueError("this text has fewer than two tokens: there is nothing to predict")
    aligned = fits_documents(tokens, gpt.config.block_size, tokenizer.end_id)
    score = evaluate(gpt, tokens, args.batch_size, document_starts(tokens, tokenizer.end_id) if aligned else None)
    n_bytes = sum(len(document.encode("utf-8")) for document in documents)
    print(f"text            {len(documents):,} documents, {n_bytes:,} bytes, {score.count:,} predicted tokens")
    print(f"loss            {score.loss:.4f} nats per token")
    print(f"perplexity      {score.perplexity:,.3f}")
    print(f"bits per byte   {score.bits_per_byte(n_bytes):.4f}")
    print(f"accuracy        {score.accuracy:.1%} of next tokens")
    if tokenizer.end_id is not None and (nats := source_nats(documents)) is not None:
        floor = nats / score.count
        print(
            f"source          {floor:.4f} nats per token ({nats / math.log(2) / n_bytes:.4f} bits per byte); "
            f"the model is {score.loss - floor:.4f} above"
        )
    return 0


# ----------------------------------------------------------------------------------------------- course


def run_course(args: argparse.Namespace) -> int:
    """numpylm course"""
    from numpylm.course import overview, progress
    from numpylm.course.collect import collect

    if sum(map(bool, (args.reset, args.collect, args.name))) > 1:
        raise ValueError("numpylm course: a lesson or exercise, --collect FILE and --reset: choose one of them")
    if args.reset:
        kept = progress.reset()
        print(f"nothing is solved any more; what was, is kept in {kept}" if kept else "nothing was solved yet")
    elif args.collect:
        count = collect(args.collect)
        print(f"{args.collect}: {count} parts are your own; numpylm gradcheck --file {args.collect} checks them")
    elif args.name:
        print(overview.details(args.name, progress.load()))
    else:
        print(overview.overview(progress.load()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
