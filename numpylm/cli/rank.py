"""``numpylm rank``: rank several answers to a prompt by their probability."""

import argparse
import json
import sys

from numpylm.cli.parser import not_empty


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the options: the model, the prompt, and the answers."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        type=not_empty,
        help="run folder or checkpoint of numpylm; folder with transformers' files; or a name such as gpt2",
    )
    parser.add_argument("--prompt", default="", help="text before the answers (default: a new document)")
    parser.add_argument(
        "--answers",
        nargs="+",
        required=True,
        metavar="TEXT",
        help='texts to compare; most begin with a space: " Paris"',
    )
    parser.add_argument(
        "--per-token",
        action="store_true",
        help="compare the mean over an answer's tokens instead of the sum, which favors short answers",
    )


def run(args: argparse.Namespace) -> int:
    """numpylm rank"""
    from numpylm.files.pretrained import load_language_model
    from numpylm.text.text_input import mistaken_escape, typed_text

    prompt = typed_text(args.prompt, "--prompt")
    answers = [typed_text(answer, "--answers") for answer in args.answers]
    sys.stderr.write(mistaken_escape("--prompt", prompt))
    gpt, tokenizer, _ = load_language_model(args.source)
    ranked = gpt.rank(prompt, answers, tokenizer, args.per_token)
    if any(runs_together(prompt, answer) for answer in answers):
        print(
            'note: an answer continues the prompt\'s last word; begin it with a space (" like this")', file=sys.stderr
        )
    shown = [quoted(r.answer) for r in ranked]
    width = max(len("answer"), *map(len, shown))
    print(f"{'answer':{width}}  tokens      nats  per token  among these")
    for text, r in zip(shown, ranked, strict=True):
        print(f"{text:{width}}  {r.count:6}  {r.log_prob:8.3f}  {r.per_token:9.3f}  {r.probability:11.2%}")
    return 0


def runs_together(prompt: str, answer: str) -> bool:
    """Whether prompt and answer would make one word."""
    return prompt[-1:].isalnum() and answer[:1].isalnum()


def quoted(answer: str) -> str:
    """An answer in quotes, so that its spaces and line ends are visible."""
    from numpylm.inference.streaming import printable

    return printable(json.dumps(answer, ensure_ascii=False))
