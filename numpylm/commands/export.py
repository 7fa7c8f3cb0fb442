"""``numpylm export``: hand a model on to transformers, and to everything that reads its files."""

import argparse
from pathlib import Path


def add_flags(parser: argparse.ArgumentParser) -> None:
    """From where to where."""
    parser.add_argument("source", help="run folder, checkpoint, folder with transformers' files, or a name: gpt2")
    parser.add_argument("folder", type=Path, help="folder to write; LoRA adapters are merged into the weights")


def run(args: argparse.Namespace) -> int:
    """numpylm export"""
    from numpylm.checkpoint import load_model
    from numpylm.tokenizer import Tokenizer

    gpt, tokenizer, _ = load_model(args.source)
    gpt.save_pretrained(args.folder, tokenizer)
    print(f"{args.folder} holds the model as transformers has it. There:")
    print(f'    AutoModelForCausalLM.from_pretrained("{args.folder.as_posix()}")')
    if isinstance(tokenizer, Tokenizer):
        print(f'    AutoTokenizer.from_pretrained("{args.folder.as_posix()}")')
    else:
        print("Its tokenizer has one token a character, which transformers cannot read; characters.json has it.")
    return 0
