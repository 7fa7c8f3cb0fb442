"""``numpylm export``: write a model in transformers' format."""

import argparse
from pathlib import Path

from numpylm.cli.parser import not_empty

AUTO_CLASSES = {
    "GPT": "AutoModelForCausalLM",
    "Llama": "AutoModelForCausalLM",
    "Transformer": "AutoModelForSeq2SeqLM",
    "Whisper": "WhisperForConditionalGeneration",
    "Bert masked-lm": "AutoModelForMaskedLM",
    "Bert classification": "AutoModelForSequenceClassification",
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the options: the model, and the folder to write."""
    parser.add_argument(
        "source", type=not_empty, help="run folder, checkpoint, folder with transformers' files, or a name such as gpt2"
    )
    parser.add_argument("folder", type=Path, help="folder to write; LoRA adapters are merged into the weights")


def run(args: argparse.Namespace) -> int:
    """numpylm export"""
    from numpylm.files.load_model import load_model
    from numpylm.models.bert import Bert
    from numpylm.models.speech_ctc import SpeechCTC
    from numpylm.system.shell import shown
    from numpylm.system.signals import stoppable
    from numpylm.text.char_tokenizer import CharTokenizer

    model = load_model(args.source)
    if isinstance(model, SpeechCTC):
        raise ValueError(f"{shown(args.source)} holds a SpeechCTC, and transformers has no model of this form")
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise FileNotFoundError(f"{args.source} has no tokenizer: put its files beside the model")
    with stoppable():
        model.save_pretrained(args.folder)
    name = repr(args.folder.as_posix())
    print(f"{shown(args.folder)} holds the model in transformers' format. To load it there:")
    kind = type(model).__name__ + (f" {model.config.head}" if isinstance(model, Bert) else "")
    print(f"    {AUTO_CLASSES.get(kind, 'AutoModel')}.from_pretrained({name})")
    if isinstance(tokenizer, CharTokenizer):
        print("Its tokenizer has one token per character, which transformers cannot read; it is in characters.json.")
    else:
        print(f"    AutoTokenizer.from_pretrained({name})")
    return 0
