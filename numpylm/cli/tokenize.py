"""``numpylm tokenize``: show how a text is split into tokens."""

import argparse
import sys
from pathlib import Path

from numpylm.cli.parser import not_empty


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the options: tokenizer, text, and what to print."""
    parser.add_argument("run", nargs="?", help="run folder, folder with a tokenizer's files, or .gguf file")
    parser.add_argument("text", nargs="?", help="text; if not given, standard input or --data")
    parser.add_argument(
        "--model",
        metavar="MODEL",
        type=not_empty,
        help="the tokenizer, instead of RUN: a run folder, a folder with transformers' files, a .gguf file, or a name "
        "such as gpt2",
    )
    parser.add_argument("--data", type=Path, help="a text file, or - for standard input")
    parser.add_argument(
        "--allow-special", action="store_true", help="recognize <|endoftext|> and other special tokens in the text"
    )
    parser.add_argument("--ids", action="store_true", help="print only the ids, on one line")
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="show the text with a background color for each token (default: auto, which means on a terminal, if "
        "NO_COLOR is not set)",
    )


def run(args: argparse.Namespace) -> int:
    """numpylm tokenize"""
    from numpylm.files.hub import TOKENIZER_FILES, model_folder
    from numpylm.text.any_tokenizer import load_tokenizer
    from numpylm.text.text_input import STDIN, read_document, typed_text
    from numpylm.text.token_view import show_tokens, wants_color

    model, text = which(args)
    tokenizer = load_tokenizer(model if model.endswith(".gguf") else model_folder(model, TOKENIZER_FILES))
    text = read_document(args.data or STDIN) if text is None else typed_text(text, "the text")
    view = show_tokens(tokenizer, text, args.allow_special)
    if args.ids:
        print(*view.ids)
        return 0
    if wants_color(args.color, sys.stdout) and view.ids:
        print(view.ansi(), end="\n\n")
    if view.ids:
        print(view)
    n_bytes = len(text.encode("utf-8"))
    rate = f", {n_bytes / len(view.ids):.2f} bytes per token" if view.ids else ""
    print(f"{len(view.ids)} tokens, {len(text)} characters, {n_bytes} bytes{rate}")
    return 0


def which(args: argparse.Namespace) -> tuple[str, str | None]:
    """The model and the text: ``RUN TEXT``, or ``--model MODEL TEXT``."""
    if args.model is None:
        model, text, rest = args.run, args.text, None
    else:
        model, text, rest = args.model, args.run, args.text
    if model is None:
        args.parser.error("which tokenizer? Give a run folder, or --model")
    if rest is not None:
        args.parser.error(f"with --model there is one text; {rest!r} is a second one (quote the text)")
    if text is not None and args.data:
        args.parser.error("a text and --data: choose one of them")
    return model, text
