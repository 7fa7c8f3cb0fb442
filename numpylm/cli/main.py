"""The entry point of the ``numpylm`` command, which runs one of its subcommands and reports errors in one line."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence

from numpylm.cli import (
    audit,
    chat,
    classify,
    course,
    evaluate,
    export,
    generate,
    gradcheck,
    look,
    rank,
    serve,
    tokenize,
    train,
    transcribe,
    translate,
)
from numpylm.cli.parser import Parser
from numpylm.system.shell import shown
from numpylm.system.streams import ReaderLeft, standard_streams

EXAMPLES = """examples:
  numpylm train                                   the bundled stories, about two minutes
  numpylm train --data my.txt                     your own text
  numpylm train --resume runs/stories             continue a run that was stopped
  numpylm generate runs/stories --prompt "Once"   generate text with a model
  numpylm evaluate runs/stories --data my.txt     loss, perplexity, bits per byte, accuracy
  numpylm rank runs/stories --prompt "Once upon" --answers " a time" " the sea"
  numpylm generate gpt2 --prompt "The sea"        GPT-2 itself (see docs/gpt2.md)
  numpylm train --init-from gpt2 --data my.txt --freeze-below 10
  numpylm train --task translation                a translator (also: masked-lm, classification)
  numpylm translate runs/translation "a red fox"  translate a text, a file, or standard input
  numpylm transcribe openai/whisper-tiny talk.wav  speech to text, with --srt as subtitles
  numpylm train --task chat --data talks.jsonl    an assistant, from conversations (see docs/chat.md)
  numpylm chat runs/talks                         talk with it
  numpylm classify runs/messages "where is it?"   the label of a text, or of each text in a file
  numpylm audit runs/stories                      what the model has memorized of its text
  numpylm serve runs/stories                      OpenAI's API and a chat page, on this machine
  numpylm look runs/stories --prompt "Once upon"  a page that shows what happens inside a model
  numpylm gradcheck                               check every gradient
  numpylm gradcheck --file my_layers.py           find what is wrong in your own layers
  numpylm gradcheck --zoo                         a game: find the bug
  numpylm tokenize runs/stories "some text"       ids and tokens, in color
  numpylm course                                  the lessons, and your progress"""

LONGEST = 2000  # characters of a line of an error message

COMMANDS = {
    "train": (train, "train a model on text, after checking every gradient"),
    "generate": (generate, "generate text with a trained model"),
    "gradcheck": (gradcheck, "check the gradient of every layer, block and the whole model"),
    "tokenize": (tokenize, "show how a text is split into tokens"),
    "course": (course, "list the lessons and exercises in notebooks/, and what has passed on this machine"),
    "evaluate": (evaluate, "evaluate a trained model on text"),
    "export": (export, "export a model to transformers' format"),
    "translate": (translate, "translate text with a trained model"),
    "transcribe": (transcribe, "write down what is said in sound files"),
    "chat": (chat, "talk with a model that was trained for chats"),
    "classify": (classify, "find the label of texts with a trained model"),
    "look": (look, "write a page that shows what happens inside a model while it reads a text"),
    "rank": (rank, "compare answers to a prompt by their probability"),
    "audit": (audit, "measure what a model has memorized of its training text"),
    "serve": (serve, "serve a model to programs that know OpenAI's API, with a chat page"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 success, 1 failure, 2 wrong usage, 130 interrupted.

    Another stopping signal raises SystemExit with code 128 + its number.
    """
    argv = sys.argv[1:] if argv is None else argv
    # NumPy's warnings about infinity and NaN: we report these ourselves.
    warnings.simplefilter("ignore", RuntimeWarning)
    with standard_streams():
        from numpylm.training.run_state import TrainingError

        try:
            args = build_parser().parse_args(argv)
            code = args.command(args)
            sys.stdout.flush()  # errors of buffered output are raised here, not when Python exits
            return code
        except KeyboardInterrupt:
            print("\nnumpylm: interrupted", file=sys.stderr)
            return 130
        except ReaderLeft:
            return 0
        except (ValueError, OSError, TrainingError, MemoryError, ModuleNotFoundError) as error:
            if os.environ.get("NUMPYLM_DEBUG"):
                raise
            print(f"numpylm: error: {message(error, argv)}", file=sys.stderr)
            return 1


def message(error: Exception, argv: Sequence[str]) -> str:
    """The text of an error. Line ends in names from the command line, and all control characters, are escaped."""
    text = str(error) or type(error).__name__
    for name in (part for word in argv for part in (word, word.partition("=")[2])):
        text = text.replace(name, shown(name)) if "\n" in name else text
    return "\n".join(shortened(shown(line)) for line in text.split("\n"))


def shortened(line: str) -> str:
    """Remove the middle of a line that is too long to read, for example a number of a million digits from a file."""
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} … {line[-LONGEST // 2 :]}"


def build_parser() -> Parser:
    """The parser with all commands and their options."""
    parser = Parser(
        prog="numpylm",
        description="A Transformer language model in pure NumPy, with every gradient written by hand and checked.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    from numpylm._version import __version__

    parser.add_argument("--version", action="version", version=f"numpylm {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for name, (module, text) in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_flags(sub)
        sub.set_defaults(command=module.run, parser=sub)
    return parser


if __name__ == "__main__":
    sys.exit(main())
