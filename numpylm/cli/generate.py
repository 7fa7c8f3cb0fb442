"""``numpylm generate``: let a trained model write."""

import argparse
import contextlib
import io
import sys
from collections.abc import Callable
from typing import Any

from numpylm.cli.parser import given

MARK = "> "  # before a line that is to be typed
MANY = 10_000  # texts that fit side by side into memory, if the model is small
RULE = "\n" + "-" * 40  # between texts

EPILOG = """The model reads as many tokens as its window holds (block_size). Of a longer prompt it reads the end; when a
text outgrows the window, its newest half is kept and read again, and so on. The options of sampling act in the order
repetition penalty, temperature, top-k, top-p, min-p; docs/sampling.md shows with numbers what each does."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """What to generate from, and how."""
    parser.epilog = EPILOG
    parser.add_argument(
        "source",
        metavar="SOURCE",
        type=given,
        help="run folder or checkpoint of ours; folder with transformers' files; or a name, such as gpt2",
    )
    parser.add_argument("--prompt", help="how the text begins (default: a new document); -: standard input, all of it")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="length limit (default: 256)")
    parser.add_argument("--temperature", type=float, default=1.0, help="0: always the likeliest (default: 1)")
    parser.add_argument("--top-k", type=int, help="choose among the k likeliest tokens")
    parser.add_argument("--top-p", type=float, help="choose among the likeliest tokens that add up to p")
    parser.add_argument("--min-p", type=float, help="choose among tokens at least p times as likely as the likeliest")
    parser.add_argument(
        "--repetition-penalty",
        type=float,
        default=1.0,
        help="above 1: tokens that were there before become less likely (default: 1; usual: up to 1.3)",
    )
    parser.add_argument("--seed", type=int, help="the same seed gives the same text")
    parser.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help=r"end before this text; may be given several times; \n is a line end, \t a tab, \\ a backslash",
    )
    parser.add_argument("--samples", "-n", type=int, default=1, help="how many texts, side by side (default: 1)")
    parser.add_argument(
        "--interactive",
        "-i",
        action="store_true",
        help="each line is a prompt, typed or from a pipe; Ctrl-C stops a text, an empty line or Ctrl-D ends",
    )


def run(args: argparse.Namespace) -> int:
    """numpylm generate"""
    from numpylm.inference.sampling import check_sampling
    from numpylm.text.text_input import STDIN, mistaken_escape, read_stdin, typed_text, unescaped

    if args.interactive and args.prompt is not None:
        args.parser.error("--prompt and --interactive: choose one of them")
    if args.max_new_tokens < 1 or args.samples < 1:
        raise ValueError("--max-new-tokens and --samples must be at least 1")
    if args.samples > MANY:
        raise ValueError(f"--samples: {MANY:,} texts can be written side by side, got {args.samples:,}")
    if args.seed is not None and args.seed < 0:
        raise ValueError(f"--seed must be at least 0, got {args.seed}")
    if "" in args.stop:
        raise ValueError("--stop must not be empty")
    args.stop = [unescaped(typed_text(text, "--stop")) for text in args.stop]
    check_sampling(**sampling(args))
    prompt = typed_text(args.prompt or "", "--prompt")
    sys.stderr.write(mistaken_escape("--prompt", prompt))
    write = writer(args)
    if args.interactive:
        converse(write)
    else:
        write(read_stdin().removesuffix("\n") if prompt == STDIN else prompt)
    return 0


def sampling(args: argparse.Namespace) -> dict[str, Any]:
    """The options of `numpylm.inference.sampling.next_token_probabilities`."""
    names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
    return {name: getattr(args, name) for name in names}


def writer(args: argparse.Namespace) -> Callable[[str], None]:
    """Load the model; a function that prints a prompt and what follows it, as often as there are prompts."""
    import numpy as np

    from numpylm.files.checkpoint import load_model
    from numpylm.inference.generate_text import generate_text, generate_texts, prompt_ids
    from numpylm.inference.streaming import printable
    from numpylm.training.parallel import keep_memory

    keep_memory()
    gpt, tokenizer, own = load_model(args.source)
    rng = np.random.default_rng(args.seed)

    def write(prompt: str) -> None:
        length = len(prompt_ids(tokenizer, prompt, own))
        if length > gpt.config.block_size:
            print(
                f"note: the prompt has {length} tokens, the model reads the last {gpt.config.block_size}",
                file=sys.stderr,
            )
        given = (gpt, tokenizer, prompt, args.max_new_tokens)
        options = {"own": own, "stop": args.stop, "rng": rng, **sampling(args)}
        if args.samples == 1:
            texts = [generate_text(*given, **options)]
        else:
            texts = [iter([text]) for text in generate_texts(*given, args.samples, progress=True, **options)]
        for number, pieces in enumerate(texts):
            print(RULE + "\n" + prompt if number else prompt, end="", flush=True)
            for piece in pieces:
                print(printable(piece) if sys.stdout.isatty() else piece, end="", flush=True)
            print()

    return write


def converse(write: Callable[[str], None]) -> None:
    """Write to one line after another, until an empty one or the end of the input. A bad one costs a message only."""
    from numpylm.text.text_input import typed_text

    terminal = sys.stdin.isatty()
    if terminal:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  arrow keys, and lines typed before
        print("Each line is a prompt. Ctrl-C stops a text; an empty line or Ctrl-D ends.", file=sys.stderr)
    elif isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape", newline=None)  # as files are read
    number = 0
    while True:
        try:
            prompt = typed_text(ask(MARK if terminal else ""), "this line")
            if not prompt:
                return
            if number and not terminal:
                print(RULE)
            number += 1
            write(prompt)
        except EOFError:
            return
        except KeyboardInterrupt:
            print()
        except ValueError as error:
            print(f"numpylm: error: {error}", file=sys.stderr)


def ask(mark: str) -> str:
    """One line of the input. Raises EOFError at its end."""
    if mark and not sys.stdout.isatty():  # it must not get into the file that the texts go to
        print(mark, end="", file=sys.stderr, flush=True)
        mark = ""
    return input(mark)
