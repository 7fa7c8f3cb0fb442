"""``numpylm generate``: generate text with a trained model."""

import argparse
import contextlib
import io
import sys
from collections.abc import Callable
from typing import Any

from numpylm.cli.parser import not_empty
from numpylm.cli.typed_prompt import prompt_for

MARK = "> "  # the prompt of the interactive mode
MOST_SAMPLES = 10_000  # texts in a batch that fit into memory, if the model is small
RULE = "\n" + "-" * 40  # between texts

EPILOG = """The model reads a window of at most block_size tokens. Of a longer prompt, it reads only the end. When a
text outgrows the window, its newest half is kept and read again. The sampling options apply in the order repetition
penalty, temperature, top-k, top-p, min-p; docs/sampling.md shows an example of each."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the options: the model, the prompt, and the sampling options."""
    parser.epilog = EPILOG
    parser.add_argument(
        "source",
        metavar="SOURCE",
        type=not_empty,
        help="run folder or checkpoint of numpylm; folder with transformers' files; or a name such as gpt2",
    )
    parser.add_argument(
        "--prompt",
        help="beginning of the text (default: a new document), or the theme of a poem; -: read from standard input",
    )
    parser.add_argument("--max-new-tokens", type=int, default=256, help="length limit (default: 256)")
    add_sampling_flags(parser)
    parser.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help=r"stop before this text; can be repeated; \n means a line end, \t a tab, \\ a backslash",
    )
    parser.add_argument(
        "--samples", "-n", type=int, default=1, help="number of texts, generated as a batch (default: 1)"
    )
    parser.add_argument(
        "--allow-special",
        action="store_true",
        help="marks such as <|im_start|> in the prompt are special tokens, as in the form of a conversation",
    )
    parser.add_argument(
        "--interactive",
        "-i",
        action="store_true",
        help="each line of the input is a prompt; Ctrl-C stops a text, an empty line or Ctrl-D ends",
    )


def add_sampling_flags(parser: argparse.ArgumentParser, temperature: float = 1.0, top_p: float | None = None) -> None:
    """Add the options of `numpylm.inference.sampling.next_token_probabilities`, and the seed."""
    parser.add_argument(
        "--temperature",
        type=float,
        default=temperature,
        help=f"0: always choose the most likely token (default: {temperature:g})",
    )
    parser.add_argument("--top-k", type=int, help="sample from the k most likely tokens")
    parser.add_argument(
        "--top-p",
        type=float,
        default=top_p,
        help="sample from the most likely tokens whose total probability reaches p"
        + (f" (default: {top_p:g})" if top_p else ""),
    )
    parser.add_argument(
        "--min-p", type=float, help="sample from tokens at least p times as likely as the most likely token"
    )
    parser.add_argument(
        "--repetition-penalty",
        type=float,
        default=1.0,
        help="above 1: tokens that are already in the text become less likely (default: 1; usual: up to 1.3)",
    )
    parser.add_argument("--seed", type=int, help="the same seed gives the same text")


def run(args: argparse.Namespace) -> int:
    """numpylm generate"""
    from numpylm.inference.sampling import check_sampling
    from numpylm.text.text_input import STDIN, mistaken_escape, read_stdin, typed_text, unescaped

    if args.interactive and args.prompt is not None:
        args.parser.error("--prompt and --interactive: choose one of them")
    if args.max_new_tokens < 1 or args.samples < 1:
        raise ValueError("--max-new-tokens and --samples must be at least 1")
    if args.samples > MOST_SAMPLES:
        raise ValueError(f"--samples must be at most {MOST_SAMPLES:,}, got {args.samples:,}")
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
    from numpylm.inference.sampling import SAMPLING_OPTIONS

    return {name: getattr(args, name) for name in SAMPLING_OPTIONS}


def writer(args: argparse.Namespace) -> Callable[[str], None]:
    """Load the model, and return a function that prints a prompt and the text that follows it."""
    import numpy as np

    from numpylm.files.load_model import load_language_model
    from numpylm.inference.generate_text import generate_text, generate_texts, prompt_ids
    from numpylm.system.processor import keep_memory
    from numpylm.system.shell import printable

    keep_memory()
    gpt, tokenizer, own = load_language_model(args.source)
    rng = np.random.default_rng(args.seed)

    def write(prompt: str) -> None:
        prompt = prompt_for(args.source, prompt)
        length = len(prompt_ids(tokenizer, prompt, own, args.allow_special))
        if length > gpt.config.block_size:
            print(
                f"note: the prompt has {length} tokens, the model reads the last {gpt.config.block_size}",
                file=sys.stderr,
            )
        special = {"own": own, "allow_special": args.allow_special}
        options = {"stop": args.stop, "rng": rng, **special, **sampling(args)}
        if args.samples == 1:
            texts = [generate_text(gpt, tokenizer, prompt, args.max_new_tokens, **options)]
        else:
            batch = generate_texts(gpt, tokenizer, prompt, args.max_new_tokens, args.samples, progress=True, **options)
            texts = [iter([text]) for text in batch]
        for number, pieces in enumerate(texts):
            print(RULE + "\n" + prompt if number else prompt, end="", flush=True)
            for piece in pieces:
                print(printable(piece) if sys.stdout.isatty() else piece, end="", flush=True)
            print()

    return write


def converse(
    write: Callable[[str], None],
    hint: str = "Each line is a prompt. Ctrl-C stops a text; an empty line or Ctrl-D ends.",
    rule: str = RULE,
    empty_ends: bool = True,
) -> None:
    """Call ``write`` for each line of the input until its end. An invalid line prints an error.

    Parameters
    ----------
    write : callable
        Prints the text for a line.
    hint : str
        Printed first, on a terminal.
    rule : str
        Printed between texts, unless on a terminal; "" for nothing.
    empty_ends : bool
        Whether an empty line ends. If not, it is skipped.
    """
    from numpylm.text.text_input import typed_text

    terminal = sys.stdin.isatty()
    if terminal:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  makes input() support arrow keys and history
        print(hint, file=sys.stderr)
    elif isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape", newline=None)  # decode as in files
    number = 0
    while True:
        try:
            prompt = typed_text(ask(MARK if terminal else ""), "this line")
            if not prompt and empty_ends:
                return
            if not prompt:
                continue
            if number and not terminal and rule:
                print(rule)
            number += 1
            write(prompt)
        except EOFError:
            return
        except KeyboardInterrupt:
            print()
        except ValueError as error:
            print(f"numpylm: error: {error}", file=sys.stderr)


def ask(mark: str) -> str:
    """Read one line of the input. Raises EOFError at its end."""
    if mark and not sys.stdout.isatty():  # stdout is a file of generated texts, which must not contain the mark
        print(mark, end="", file=sys.stderr, flush=True)
        mark = ""
    return input(mark)
