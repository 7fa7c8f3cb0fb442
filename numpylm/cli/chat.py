"""``numpylm chat``: talk with a model that was trained for chats."""

import argparse
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpylm.cli.generate import add_sampling_flags, converse, sampling
from numpylm.cli.parser import not_empty

HINT = "Each line is a message. Ctrl-C ends an answer, Ctrl-D the chat; /help lists the commands."
HELP = """/reset      forget what was said
/save FILE  write the conversation to a file, which numpylm train --task chat can read, too
/load FILE  continue a conversation that was saved
/stats      tokens, speed, and how full the window is
/help       these lines"""
EPILOG = f"""Each line of standard input is a message, and its answer is printed while it is written. Commands:

{HELP}

If the conversation outgrows the window of the model, the oldest turns are dropped; the system message stays."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the options: the model, what to say, and the sampling options."""
    from numpylm.inference.chat import USUAL_SAMPLING

    parser.epilog = EPILOG
    parser.add_argument(
        "source",
        metavar="MODEL",
        type=not_empty,
        help="run folder of numpylm train --task chat; or a published model with a chat template: a .gguf file, a "
        "folder with transformers' files, or a name",
    )
    parser.add_argument("--system", default="", help="system message: what the assistant is and how it should answer")
    parser.add_argument("--prompt", help="ask this, print the answer, and end; -: read it from standard input")
    parser.add_argument("--max-new-tokens", type=int, default=512, help="length limit of an answer (default: 512)")
    add_sampling_flags(parser, **USUAL_SAMPLING)


def run(args: argparse.Namespace) -> int:
    """numpylm chat"""
    import numpy as np

    from numpylm.files.load_model import load_language_model
    from numpylm.inference.chat import ChatSession
    from numpylm.inference.sampling import check_sampling
    from numpylm.system.processor import keep_memory
    from numpylm.system.shell import shown
    from numpylm.text.chat_template import NO_CHAT, can_chat
    from numpylm.text.text_input import STDIN, mistaken_escape, read_stdin, typed_text

    check_sampling(**sampling(args))
    if args.max_new_tokens < 1:
        raise ValueError("--max-new-tokens must be at least 1")
    if args.seed is not None and args.seed < 0:
        raise ValueError(f"--seed must be at least 0, got {args.seed}")
    system, prompt = typed_text(args.system, "--system"), typed_text(args.prompt or "", "--prompt")
    sys.stderr.write(mistaken_escape("--system", system) + mistaken_escape("--prompt", prompt))
    keep_memory()
    model, tokenizer, _ = load_language_model(args.source)
    if not can_chat(tokenizer):
        raise ValueError(f"{shown(args.source)}: {NO_CHAT}")
    session = ChatSession(model, tokenizer, system)
    say = speaker(session, args.max_new_tokens, np.random.default_rng(args.seed), sampling(args))
    if args.prompt is not None:
        say(read_stdin().removesuffix("\n") if prompt == STDIN else prompt)
    else:
        converse(lambda line: obey(session, line) if line.startswith("/") else say(line), HINT, "", empty_ends=False)
    return 0


def speaker(session: Any, most: int, rng: Any, options: dict[str, Any]) -> Callable[[str], None]:
    """A function that prints the answer to a message while it is written, and says if something was left out."""
    from numpylm.system.shell import printable

    def say(text: str) -> None:
        dropped, said = session.stats.dropped, len(session.messages)
        try:
            with contextlib.closing(session.answer(text, most, rng, **options)) as pieces:  # Ctrl-C keeps what was said
                for piece in pieces:
                    print(printable(piece) if sys.stdout.isatty() else piece, end="", flush=True)
        except KeyboardInterrupt:
            if session.stats.dropped > dropped:
                print(flush=True)
                note_dropped(session)
            raise
        print(flush=True)
        if session.stats.dropped > dropped:
            note_dropped(session)
        if len(session.messages) == said:
            note("the answer is empty, so this turn is not kept")
        if session.full:
            note("the answer was cut, because it filled the window of the model")

    return say


def note_dropped(session: Any) -> None:
    """Say how many turns have left the window."""
    note(f"the window is full: the model no longer sees the {session.stats.dropped:,} oldest turns")


def note(text: str) -> None:
    """Print what a user should know, beside the answers."""
    print(f"note: {text}", file=sys.stderr)


def obey(session: Any, line: str) -> None:
    """Carry out a command. Raises ValueError for an unknown one."""
    name, _, rest = line.partition(" ")
    path = rest.strip()
    if name in ("/save", "/load") and path in ("", "-"):
        raise ValueError(f"{name} needs the name of a file")
    if name in ("/save", "/load"):
        try:
            (session.save if name == "/save" else session.load)(Path(path).expanduser())
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror or error}") from None
        print(f"{len(session.messages)} messages are in {path}", file=sys.stderr)
    elif name == "/reset":
        session.reset()
    elif name == "/stats":
        print(session.stats, file=sys.stderr)
    elif name == "/help":
        print(HELP, file=sys.stderr)
    else:
        raise ValueError(f"there is no command {name}; /help lists them. A message can begin with a space and /")
