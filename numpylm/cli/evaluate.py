"""``numpylm evaluate``: loss, perplexity, bits per byte and accuracy of a trained model on a text or on chats"""

import argparse
import math
from typing import TYPE_CHECKING

from numpylm.cli.evaluate_chat import evaluate_chat, is_chat, print_score
from numpylm.cli.evaluate_code import evaluate_code
from numpylm.cli.parser import not_empty
from numpylm.cli.typed_prompt import writes_code

if TYPE_CHECKING:
    from numpylm.training.evaluation import Score

LONGEST_WINDOW = 1024  # tokens, if none are asked for: the memory of attention grows with their square


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the options: the model, the text, and how to divide it into documents and windows."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        type=not_empty,
        help="run folder or checkpoint of numpylm; folder with transformers' files; or a name such as gpt2",
    )
    parser.add_argument(
        "--data",
        nargs="+",
        type=not_empty,
        required=True,
        help="text files or folders; -: standard input; for a model that chats, .jsonl files of conversations; for one "
        "that writes code, .jsonl files of problems, as in MBPP",
    )
    parser.add_argument(
        "--documents", choices=("file", "lines"), help="what one document is (default: as in the training of the run)"
    )
    parser.add_argument("--batch-size", type=int, help="windows in a batch (default: about 512 tokens)")
    parser.add_argument(
        "--block-size", type=int, help="tokens of a window (default: the model's context length, at most 1,024)"
    )
    parser.add_argument(
        "--loss-after", default="", help=r"score only the text after this mark in each document; \n means a line end"
    )
    parser.add_argument(
        "--stride",
        type=int,
        help="tokens from one window to the next (default: the block size). With a smaller stride, windows overlap: "
        "each token is counted once, and after the first window it has at least block size - stride tokens before it",
    )
    parser.add_argument(
        "--answers",
        type=int,
        help="conversations, problems: how many the model answers itself (default: the first 500)",
    )
    parser.add_argument(
        "--run",
        dest="run_code",
        action="store_true",
        help="code: run what the model writes, and the asserts, in child processes with limits",
    )


def run(args: argparse.Namespace) -> int:
    """numpylm evaluate"""
    from numpylm.corpora import source_nats
    from numpylm.files.load_model import load_language_model
    from numpylm.system.processor import keep_memory
    from numpylm.text.data import document_starts, encode_documents, fits_documents, read_documents
    from numpylm.text.line_documents import cut_lines
    from numpylm.text.loss_mask import answer_bytes, encode_answers, text_bytes
    from numpylm.text.text_files import find_texts
    from numpylm.text.text_input import typed_text, unescaped
    from numpylm.training.evaluation import evaluate
    from numpylm.training.parallel import DataParallel
    from numpylm.training.run_state import saved_setting

    if args.batch_size is not None and args.batch_size < 1:
        raise ValueError("--batch-size must be at least 1")
    keep_memory()
    gpt, tokenizer, _ = load_language_model(args.source)
    if writes_code(args.source):
        return evaluate_code(args, gpt, tokenizer)
    if args.run_code:
        raise ValueError("--run is for a run of --task code: no other model writes functions")
    if is_chat(args.data, tokenizer):
        return evaluate_chat(args, gpt, tokenizer)
    found = find_texts(args.data)
    documents = read_documents(found.files)
    in_lines = (args.documents or saved_setting(args.source, "documents")) == "lines"
    if in_lines:
        documents = cut_lines(documents)
    mark, counted = unescaped(typed_text(args.loss_after, "--loss-after")), None
    if mark:
        tokens, counted = encode_answers(documents, tokenizer, mark)
    else:
        tokens = encode_documents(documents, tokenizer)
    block_size = args.block_size or min(gpt.config.block_size, LONGEST_WINDOW)
    aligned = fits_documents(tokens, block_size, tokenizer.end_id)
    starts = document_starts(tokens, tokenizer.end_id) if aligned else None
    workers = DataParallel(gpt)
    score = evaluate(
        gpt, tokens, args.batch_size, starts, block_size, counted, args.stride, progress=True, workers=workers
    )
    n_bytes = answer_bytes(documents, mark) if mark else text_bytes(documents, in_lines)
    for line in found.reasons():
        print(f"left out        {line}")
    files = f"{found.kinds()}, " if len(found.files) > 1 else ""
    print(f"text            {files}{len(documents):,} documents, {n_bytes:,} bytes, {score.count:,} predicted tokens")
    print_score(score, n_bytes)
    if not mark:
        n_characters = sum(map(len, documents)) + in_lines * len(documents)  # lines are counted with their line ends
        print(f"per character   {score.loss * score.count / n_characters:.4f} nats")
        if tokenizer.end_id is not None and (nats := source_nats(documents)) is not None:
            print_source(score, nats, n_bytes)
    return 0


def print_source(score: "Score", nats: float, n_bytes: int) -> None:
    """Print the lowest possible loss for a text from a source of known probability, and the distance to it."""
    floor = nats / score.count
    print(
        f"source          {floor:.4f} nats per token ({nats / math.log(2) / n_bytes:.4f} bits per byte); "
        f"the model is {score.loss - floor:.4f} above"
    )
