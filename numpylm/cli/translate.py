"""``numpylm translate``: translate a text, the lines of a file, or standard input."""

import argparse
import sys
from pathlib import Path

from numpylm.cli.parser import not_empty


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
    parser.add_argument("--beam", type=int, default=5, help="candidates of the beam search (default: 5); 1: greedy")
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
    from numpylm.inference.translate import check_lengths, own_tokenizer, source_ids, translate
    from numpylm.models.transformer import Transformer
    from numpylm.system.processor import keep_memory
    from numpylm.tasks.pairs import lines_of, split_lines
    from numpylm.text.text_input import STDIN, is_file, read_stdin, typed_text

    words = [typed_text(word, "the text") for word in args.text]
    if len(words) == 1 and words[0] != STDIN and is_file(words[0]):
        lines = lines_of(Path(words[0]))
    elif words and words != [STDIN]:
        lines = [" ".join(words)]
    else:
        lines = split_lines(read_stdin())
    references = lines_of(args.reference) if args.reference else []
    if args.reference and len(references) != len(lines):
        raise ValueError(f"there are {len(lines):,} texts, and {len(references):,} lines in {args.reference}")
    if args.temperature is not None and args.temperature < 0:
        raise ValueError("--temperature must be at least 0")
    keep_memory()
    model = load_as(Transformer, args.source)
    tokenizer = own_tokenizer(model)
    check_lengths(model, [source_ids(tokenizer, line) for line in lines], "line")  # before anything is printed
    rng = None if args.temperature is None else np.random.default_rng(args.seed)
    sampling = {} if rng is None else {"temperature": args.temperature}
    made: list[str] = []
    for start in range(0, len(lines), 100):  # so that a long file is printed while it is translated
        some = lines[start : start + 100]
        made += translate(model, some, beam=args.beam, length_penalty=args.length_penalty, rng=rng, **sampling)
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
    for score in (
        bleu(made, [[text] for text in references], tokenize=bleu_tokenizer(pairs)),
        chrf(made, [[text] for text in references]),
    ):
        print(f"{type(score).__name__.removesuffix('Score')} {score.score:.2f}  ({score.signature})", file=sys.stderr)
