"""``numpylm rank``: rank several answers to a prompt, or several prompts of an answer, by their probability."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from numpylm.cli.parser import not_empty
from numpylm.cli.typed_prompt import poem_text, theme_prompt, writes_poems

if TYPE_CHECKING:
    from numpylm.inference.scoring import Ranked


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
        "--prompts",
        nargs="+",
        metavar="TEXT",
        help="compare these prompts for one answer: after which is it most probable? For a run of --task poems, themes",
    )
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
    from numpylm.files.load_model import load_language_model
    from numpylm.inference.rank_prompts import rank_prompts
    from numpylm.inference.scoring import rank
    from numpylm.text.text_input import mistaken_escape, typed_text

    prompts = [typed_text(prompt, "--prompt") for prompt in args.prompts or [args.prompt]]
    answers = [typed_text(answer, "--answers") for answer in args.answers]
    if args.prompts:
        check_prompts(args)
    sys.stderr.write(mistaken_escape("--prompt", "".join(prompts)))
    gpt, tokenizer, _ = load_language_model(args.source)
    if writes_poems(args.source):
        prompts, answers = list(map(theme_prompt, prompts)), list(map(poem_text, answers))
    if any(runs_together(prompt, answer) for prompt in prompts for answer in answers):
        print(
            'note: an answer continues the prompt\'s last word; begin it with a space (" like this")', file=sys.stderr
        )
    if args.prompts:
        show("prompt", rank_prompts(gpt, prompts, answers[0], tokenizer))
    else:
        show("answer", rank(gpt, prompts[0], answers, tokenizer, args.per_token))
    return 0


def check_prompts(args: argparse.Namespace) -> None:
    """Raise ValueError for options that do not go together with several prompts."""
    if args.prompt:
        raise ValueError("--prompt and --prompts: choose one of them")
    if len(args.answers) > 1:
        raise ValueError(f"--prompts are compared for one answer, got {len(args.answers)}")
    if args.per_token:
        raise ValueError("--per-token compares answers of different lengths; --prompts have one and the same answer")


def show(what: str, ranked: Sequence["Ranked"]) -> None:
    """Print a table of answers or prompts."""
    shown = [quoted(r.answer.removesuffix("\n") if what == "prompt" else r.answer) for r in ranked]
    width = max(len(what), *map(len, shown))
    print(f"{what:{width}}  tokens      nats  per token  among these")
    for text, r in zip(shown, ranked, strict=True):
        print(f"{text:{width}}  {r.count:6}  {r.log_prob:8.3f}  {r.per_token:9.3f}  {r.probability:11.2%}")


def runs_together(prompt: str, answer: str) -> bool:
    """Whether prompt and answer would make one word."""
    return prompt[-1:].isalnum() and answer[:1].isalnum()


def quoted(answer: str) -> str:
    """An answer in quotes, so that its spaces and line ends are visible."""
    from numpylm.system.shell import printable

    return printable(json.dumps(answer, ensure_ascii=False))
