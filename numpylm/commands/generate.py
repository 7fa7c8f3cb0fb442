"""``numpylm generate``: let a trained model write."""

import argparse
import sys
from pathlib import Path


def add_flags(parser: argparse.ArgumentParser) -> None:
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


def run(args: argparse.Namespace) -> int:
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
