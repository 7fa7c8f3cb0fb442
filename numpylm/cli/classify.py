"""``numpylm classify``: the label of a text, or of each text in a file, with a report if the file has labels."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpylm.cli.parser import not_empty
from numpylm.cli.texts import file_of, lines_from

SHOWN = 5  # labels shown for one text


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the options: the model, the text, and the columns of a file."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        type=not_empty,
        help="run folder of numpylm train --task classification, or folder or name of a BERT classifier",
    )
    parser.add_argument(
        "text",
        nargs="*",
        help="text to classify; or a file: .csv, .tsv or .jsonl, else a text in each line; default: standard input",
    )
    parser.add_argument("--text-column", default="", help="name or number of the column with the texts")
    parser.add_argument("--label-column", default="", help="name or number of the column with the labels")
    parser.add_argument("--svg", type=Path, help="write the confusion matrix of a file with labels as a picture")


def run(args: argparse.Namespace) -> int:
    """numpylm classify"""
    from numpylm.files.load_model import load_as
    from numpylm.inference.classify import classify
    from numpylm.models.bert import Bert
    from numpylm.tasks.labelled import TABLES, has_labels, read_texts, suffix_of

    file = file_of(args.text)
    model = load_as(Bert, args.source)
    table = file is not None and suffix_of(file) in TABLES
    if file is not None and table and (args.label_column or has_labels(file, model.labels)):
        return report(model, file, args)
    if args.svg or args.label_column or (args.text_column and not table):
        raise ValueError(f"--svg and the columns are for a table with labels ({', '.join(TABLES)})")
    texts = read_texts(file, args.text_column) if file is not None and table else lines_from(args.text)
    if texts == [""]:
        raise ValueError("the text is empty")
    note_cut(model, texts)
    found = classify(model, texts)
    if file is None and len(texts) == 1:
        for label, probability in found[0][:SHOWN]:
            print(f"{probability:7.2%}  {label}")
        return 0
    for text, labels in zip(texts, found, strict=True):
        label, probability = labels[0]
        print(f"{label}\t{probability:.4f}\t{text}" if text.strip() else "")
    return 0


def note_cut(model: Any, texts: Sequence[str]) -> None:
    """Say on standard error if texts are longer than the model can read."""
    from numpylm.text.any_tokenizer import require_tokenizer
    from numpylm.text.encoder_input import encoder_input

    size = model.config.block_size
    _, cut = encoder_input(require_tokenizer(model), texts, size)
    if cut:
        print(
            f"note: {cut:,} of {len(texts):,} texts were cut to the {size} tokens that the model reads", file=sys.stderr
        )


def report(model: Any, file: Path, args: argparse.Namespace) -> int:
    """Classify the texts of a file with labels, and print how good the labels are."""
    from numpylm.inference.classify import classify
    from numpylm.metrics import ClassificationReport, confusion_svg
    from numpylm.system.whole_files import write_text
    from numpylm.tasks.labelled import read_labelled

    examples = read_labelled([str(file)], args.text_column, args.label_column)
    texts = [text for text, _ in examples]
    note_cut(model, texts)
    if unknown := sorted({label for _, label in examples} - set(model.labels)):
        count = sum(label in unknown for _, label in examples)
        names = ", ".join(unknown[:5])
        print(
            f"note: {count:,} texts have labels that the model does not know, and count as wrong: {names}",
            file=sys.stderr,
        )
    predicted = [labels[0][0] for labels in classify(model, texts)]
    found = ClassificationReport.of([label for _, label in examples], predicted)
    print(found)
    for true, guess, count in found.most_confused(5):
        print(f"{count:6,} times {true} was called {guess}")
    if args.svg:
        write_text(args.svg, confusion_svg(f"{file.name}: labels", found))
        print(f"the confusion matrix is in {args.svg}")
    return 0
