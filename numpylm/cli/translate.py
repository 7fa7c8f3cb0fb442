"""``numpylm translate``: translate a text, the lines of a file, or standard input."""

import argparse
import sys
from pathlib import Path

from numpylm.cli.parser import not_empty
from numpylm.cli.texts import lines_from


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the options: the model, the text, and how to search."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        type=not_empty,
        help="run folder of numpylm train --task translation, or folder or name of a Marian model",
    )
    parser.add_argument(
        "text", nargs="*", help="text to translate, or a file (.gz too), line by line; default: standard input"
    )
    parser.add_argument("--beam", type=int, help="candidates of the beam search (default: 5); 1: greedy")
    parser.add_argument(
        "--length-penalty",
        type=float,
        default=1.0,
        help="translations are compared by log P / length^this (default: 1)",
    )
    parser.add_argument("--temperature", type=float, help="sample at this temperature instead of searching")
    parser.add_argument("--seed", type=int, help="seed of sampling")
    parser.add_argument("--reference", type=Path, help="file with right translations: print BLEU and chrF at the end")


def run(args: argparse.Namespace) -> int:
    """numpylm translate"""
    import numpy as np

    from numpylm.files.load_model import load_as
    from numpylm.inference.translate import check_lengths, source_ids, translate
    from numpylm.models.transformer import Transformer
    from numpylm.system.processor import keep_memory
    from numpylm.tasks.pairs import check_files, lines_of
    from numpylm.text.any_tokenizer import require_tokenizer

    lines = lines_from(args.text)
    if tabs := [number for number, line in enumerate(lines, 1) if "\t" in line]:
        raise ValueError(f"line {tabs[0]} has a tab: give a file with the source sentences alone, one in each line")
    check_files([args.reference] if args.reference else [])
    references = lines_of(args.reference) if args.reference else []
    if args.reference and len(references) != len(lines):
        raise ValueError(f"there are {len(lines):,} texts, and {len(references):,} lines in {args.reference}")
    if args.temperature is not None and args.temperature < 0:
        raise ValueError("--temperature must be at least 0")
    if args.temperature is not None and args.beam is not None:
        raise ValueError("--beam searches and --temperature samples: give one of them")
    keep_memory()
    model = load_as(Transformer, args.source)
    tokenizer = require_tokenizer(model)
    check_lengths(model, [source_ids(tokenizer, line) for line in lines], "line")  # before anything is printed
    rng = None if args.temperature is None else np.random.default_rng(args.seed)
    sampling = {} if rng is None else {"temperature": args.temperature}
    made: list[str] = []
    for start in range(0, len(lines), 100):  # so that a long file is printed while it is translated
        some = lines[start : start + 100]
        made += translate(model, some, beam=args.beam or 5, length_penalty=args.length_penalty, rng=rng, **sampling)
        for text in made[start:]:
            print(text, flush=True)
    if references:
        print_scores(made, references)
    return 0


def print_scores(made: list[str], references: list[str]) -> None:
    """Print BLEU and chrF with their signatures, to standard error."""
    from numpylm.metrics import bleu, chrf
    from numpylm.tasks.translation import bleu_tokenizer

    pairs = [("", reference) for reference in references]
    for name, score in (
        ("BLEU", bleu(made, [[text] for text in references], tokenize=bleu_tokenizer(pairs))),
        ("chrF", chrf(made, [[text] for text in references])),
    ):
        print(f"{name} {score.score:.2f}  ({score.signature})", file=sys.stderr)
