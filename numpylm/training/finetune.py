"""Fine-tuning: load a pretrained model, freeze blocks or add LoRA adapters, and set its dropout."""

from dataclasses import fields, replace
from typing import Any

import numpy as np

from numpylm.files.load_model import load_language_model
from numpylm.models.gpt import GPT
from numpylm.models.llama import Llama
from numpylm.models.lora import add_lora, has_lora
from numpylm.text.char_tokenizer import CharTokenizer
from numpylm.text.tokenizer import Tokenizer
from numpylm.training.config import FROM_MODEL, TrainConfig


def load_pretrained_model(config: TrainConfig) -> tuple[TrainConfig, GPT | Llama, Tokenizer | CharTokenizer]:
    """Load the model and tokenizer of ``config.init_from``; return them with the config, updated to the model's shape.

    Raises
    ------
    ValueError
        If a setting is of another shape, or block_size is longer than the model's context.
    """
    gpt, tokenizer, _ = load_language_model(config.init_from)
    gpt.astype(config.dtype).set_dropout(config.dropout)
    defaults = {field.name: field.default for field in fields(TrainConfig)}
    own: dict[str, Any] = {name: getattr(gpt.config, name, defaults[name]) for name in FROM_MODEL}
    own["model"] = "llama" if isinstance(gpt, Llama) else "gpt"
    own["tokenizer"] = "char" if isinstance(tokenizer, CharTokenizer) else "bpe"
    for name, value in own.items():
        asked = getattr(config, name)
        if asked not in (value, defaults[name]):
            raise ValueError(f"{name} is {value} in {config.init_from} and cannot be changed, got {asked}")
    longest = gpt.config.block_size
    if config.block_size > longest and config.block_size != defaults["block_size"]:
        raise ValueError(f"{config.init_from} reads {longest} tokens at most, got block_size={config.block_size}")
    config = replace(config, **own, block_size=min(config.block_size, longest))
    freeze_or_add_lora(gpt, config)
    return config, gpt, tokenizer


def begin_with(model: Any, config: TrainConfig) -> TrainConfig:
    """Set the dropout of a pretrained model of any class, and return the config with the model's shape."""
    model.set_dropout(config.dropout)
    k = model.config
    sizes = {"n_layer": k.n_layer, "n_head": k.n_head, "n_embd": k.n_embd, "vocab_size": k.vocab_size}
    return replace(config, **sizes, block_size=min(config.block_size, k.block_size))


def freeze_or_add_lora(model: Any, config: TrainConfig) -> None:
    """Freeze the blocks that the config says, or add LoRA adapters if the config asks for them and there are none.

    The head of a classifier is new, so it is always trained.
    """
    if not config.lora_rank:
        model.freeze(config.freeze_below)
    elif not has_lora(model):
        rng = np.random.default_rng(config.seed)
        add_lora(model, config.lora_rank, config.lora_alpha or None, config.freeze_below, rng=rng)
    if config.task == "classification":
        for parameter in model.head.parameters():
            parameter.frozen = False
