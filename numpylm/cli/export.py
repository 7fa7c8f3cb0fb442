"""``numpylm export``: write a model in transformers' format."""

import argparse
from pathlib import Path

from numpylm.cli.parser import not_empty


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the options: the model, and the folder to write."""
    parser.add_argument(
        "source", type=not_empty, help="run folder, checkpoint, folder with transformers' files, or a name such as gpt2"
    )
    parser.add_argument("folder", type=Path, help="folder to write; LoRA adapters are merged into the weights")


def run(args: argparse.Namespace) -> int:
    """numpylm export"""
    from numpylm.files.pretrained import load_language_model
    from numpylm.system.shell import shown
    from numpylm.system.signals import stoppable
    from numpylm.text.tokenizer import Tokenizer

    gpt, tokenizer, _ = load_language_model(args.source)
    with stoppable():
        gpt.save_pretrained(args.folder, tokenizer)
    name = repr(args.folder.as_posix())
    print(f"{shown(args.folder)} holds the model in transformers' format. To load it there:")
    print(f"    AutoModelForCausalLM.from_pretrained({name})")
    if isinstance(tokenizer, Tokenizer):
        print(f"    AutoTokenizer.from_pretrained({name})")
    else:
        print("Its tokenizer has one token per character, which transformers cannot read; it is in characters.json.")
    return 0
