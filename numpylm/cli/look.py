"""``numpylm look``: one HTML file that shows what happens inside a model while it reads a text."""

import argparse
import os
import sys
from pathlib import Path

from numpylm.cli.parser import not_empty

EPILOG = """The file has at most 2 MB and needs no network. It shows the tokens, the attention of every head, the logit
lens, the most probable tokens, gradient times input, what changes if a head is switched off, and the generation step by
step. For a Bert that predicts tokens, write [MASK] in the prompt where a token is hidden."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the options: the model, the text, and the file."""
    parser.epilog = EPILOG
    parser.add_argument(
        "source",
        metavar="SOURCE",
        type=not_empty,
        help="run folder or checkpoint of numpylm; folder with transformers' files; a .gguf file; or a name",
    )
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="the text to look at; -: standard input")
    parser.add_argument(
        "--target", metavar="TEXT", help="the translation to look at (default: the one that the model writes)"
    )
    parser.add_argument(
        "--new-tokens",
        type=int,
        metavar="N",
        help="tokens that the model writes after the prompt (default: 12; a translation: up to its end)",
    )
    parser.add_argument(
        "--allow-special", action="store_true", help="marks such as <|im_start|> in the prompt are special tokens"
    )
    parser.add_argument("--out", type=Path, default=Path("look.html"), help="the file (default: look.html)")


def run(args: argparse.Namespace) -> int:
    """numpylm look"""
    from numpylm.files.find_model import is_run
    from numpylm.files.load_model import load_model
    from numpylm.inference.inside.content import look_inside
    from numpylm.inference.inside.page import look_page
    from numpylm.system.processor import keep_memory
    from numpylm.system.shell import shown
    from numpylm.system.whole_files import write_text
    from numpylm.text.text_input import STDIN, mistaken_escape, read_stdin, typed_text

    prompt = read_stdin().removesuffix("\n") if args.prompt == STDIN else typed_text(args.prompt, "--prompt")
    target = None if args.target is None else typed_text(args.target, "--target")
    if not prompt.strip():
        raise ValueError("the prompt is empty: give a text to look at")
    check_place(args.out)
    sys.stderr.write(mistaken_escape("--prompt", prompt))
    keep_memory()
    model, own = load_model(args.source), is_run(args.source)
    options = {"target": target, "new_tokens": args.new_tokens, "own": own, "allow_special": args.allow_special}
    page = look_page(
        Path(args.source).name or args.source, look_inside(model, prompt, progress=sys.stderr.isatty(), **options)
    )
    write_text(args.out, page)
    print(f"wrote {shown(args.out)} ({len(page.encode()) / 1000:,.0f} kB): open it in a browser")
    return 0


def check_place(out: Path) -> None:
    """Raise ValueError if no file can be written there: before the work, not after it."""
    from numpylm.system.shell import shown

    if out.is_dir():
        raise ValueError(f"--out {shown(out)} is a folder: name a file, such as {shown(out / 'look.html')}")
    folder = next(path for path in out.absolute().parents if path.exists())
    if not folder.is_dir():
        raise ValueError(f"--out {shown(out)}: {shown(folder)} is a file, not a folder")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"--out {shown(out)}: you may not write in {shown(folder)}; choose another folder")
