"""``numpylm tokenize``: show how a text is cut into tokens."""

import argparse
import sys
from pathlib import Path


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Which tokenizer, which text, and what to print."""
    parser.add_argument("run", type=Path, help="run folder, or folder with vocab.json and merges.txt")
    parser.add_argument("text", nargs="?", help="text; if not given, standard input or --data")
    parser.add_argument("--data", type=Path, help="a text file")
    parser.add_argument("--allow-special", action="store_true", help="recognise <|endoftext|> in the text")
    parser.add_argument("--ids", action="store_true", help="print ids only, on one line")


def run(args: argparse.Namespace) -> int:
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
