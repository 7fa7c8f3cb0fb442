"""``numpylm audit``: what a trained model has memorized: copies of its training text, and the exposure of canaries."""

import argparse
from typing import TYPE_CHECKING

from numpylm.cli.parser import not_empty

if TYPE_CHECKING:
    from numpylm.inference.exposure import Exposure
    from numpylm.training.audit import Extracted

SHOWN = 3  # the longest copies


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the options: the run, its text, how much to copy, and the form of canaries."""
    parser.add_argument("source", metavar="RUN", type=not_empty, help="run folder of numpylm, or a checkpoint in it")
    parser.add_argument("--data", nargs="+", type=not_empty, help="the text of the run, if it was moved")
    parser.add_argument(
        "--canary",
        type=not_empty,
        metavar="TEXT",
        help='the form of sentences with a random number, such as "The code of {word} is {digits:6}"; each one in the '
        "text is ranked among all numbers",
    )
    parser.add_argument("--count", type=int, default=200, help="documents to prompt with, of each kind (default: 200)")
    parser.add_argument("--prompt-tokens", type=int, default=16, help="tokens that the model reads (default: 16)")
    parser.add_argument("--copied-tokens", type=int, default=16, help="tokens that make a copy (default: 16)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of documents (default: 0)")


def run(args: argparse.Namespace) -> int:
    """numpylm audit"""
    import numpy as np

    from numpylm.system.processor import keep_memory
    from numpylm.text.text_input import typed_text
    from numpylm.training.audit import canary_exposures, load_audited, sample_extraction

    for name in ("count", "prompt_tokens", "copied_tokens"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(args, name)}")
    keep_memory()
    template = typed_text(args.canary, "--canary") if args.canary else None
    model, texts = load_audited(args.source, args.data or ())
    print(f"documents   {len(texts.train):,} trained on, {len(texts.held_out):,} held out")
    results = {
        kind: sample_extraction(
            model, documents, args.count, args.prompt_tokens, args.copied_tokens, np.random.default_rng(args.seed)
        )
        for kind, documents in (("trained on", texts.train), ("held out", texts.held_out))
    }
    print_extracted(results, args.prompt_tokens)
    if template:
        print_exposures(*canary_exposures(model, texts, template))
    return 0


def print_extracted(results: dict[str, "Extracted"], prompt_tokens: int) -> None:
    """Print the shares of copied documents, and the longest copies of training documents."""
    from numpylm.system.shell import printable

    at_least = next(iter(results.values())).at_least
    print(f"\nextraction  the model reads {prompt_tokens} tokens, and then writes the likeliest ones")
    print(f"documents     prompted  copies of >= {at_least} tokens  mean copied tokens")
    for kind, found in results.items():
        n = len(found.copies)
        share = f"{found.count} ({found.count / n:.1%})" if n else "-"
        print(f"{kind:12}  {n:8}  {share:>{len(f'copies of >= {at_least} tokens')}}  {found.mean:18.1f}")
    longest = sorted(results["trained on"].copies, key=lambda copy: -copy.tokens)[:SHOWN]
    if any(copy.tokens for copy in longest):
        print("\nlongest copies of documents that it was trained on: prompt | copy")
    for copy in longest:
        if copy.tokens:
            print(f"  {copy.tokens:3} tokens  {printable(copy.prompt)!r} | {printable(copy.text)!r}")


def print_exposures(seen: list["Exposure"], unseen: list["Exposure"]) -> None:
    """Print the rank and the exposure of each canary."""
    from numpylm.system.shell import printable

    print("\ncanaries    exposure = log2(numbers) - log2(rank); a number that was never seen has 1.4 bits on average")
    width = max(len(printable(e.canary.prefix + e.canary.secret)) for e in seen + unseen)
    print(f"{'sentence':{width}}  {'times':>8}     rank  of numbers  bits")
    for exposure, times in [(e, str(e.canary.times)) for e in seen] + [(e, "held out") for e in unseen]:
        sentence = printable(exposure.canary.prefix + exposure.canary.secret)
        print(f"{sentence:{width}}  {times:>8}  {exposure.rank:>7,}  {exposure.space:10,}  {exposure.bits:4.1f}")
