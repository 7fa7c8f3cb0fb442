"""Fine-tuning: begin with a trained model, and choose what of it is trained."""

from dataclasses import fields, replace
from typing import Any

import numpy as np

from numpylm.files.checkpoint import load_model
from numpylm.models.gpt import GPT
from numpylm.nn.layers import Dropout
from numpylm.nn.lora import add_lora, has_lora
from numpylm.text.char_tokenizer import CharTokenizer
from numpylm.text.tokenizer import Tokenizer
from numpylm.training.config import BROUGHT_ALONG, TrainConfig


def load_start(config: TrainConfig) -> tuple[TrainConfig, GPT, Tokenizer | CharTokenizer]:
    """The model and tokenizer that ``config.init_from`` names, and the config with that model's shape.

    Raises
    ------
    ValueError
        If a setting asks for another shape, or for longer windows than the model can read.
    """
    gpt, tokenizer, _ = load_model(config.init_from)
    gpt = as_dtype(gpt, config.dtype)
    set_dropout(gpt, config.dropout)
    kind = "char" if isinstance(tokenizer, CharTokenizer) else "bpe"
    own: dict[str, Any] = {name: kind if name == "tokenizer" else getattr(gpt.config, name) for name in BROUGHT_ALONG}
    defaults = {field.name: field.default for field in fields(TrainConfig)}
    for name, value in own.items():
        asked = getattr(config, name)
        if asked not in (value, defaults[name]):
            raise ValueError(f"{name} is {value} in {config.init_from} and cannot be changed, got {asked}")
    longest = gpt.config.block_size
    if config.block_size > longest and config.block_size != defaults["block_size"]:
        raise ValueError(f"{config.init_from} reads {longest} tokens at most, got block_size={config.block_size}")
    config = replace(config, **own, block_size=min(config.block_size, longest))
    choose_trained(gpt, config)
    return config, gpt, tokenizer


def choose_trained(gpt: GPT, config: TrainConfig) -> None:
    """Freeze what the config says, and add adapters if it wants them and the model has none yet."""
    if not config.lora_rank:
        gpt.freeze(config.freeze_below)
    elif not has_lora(gpt):
        rng = np.random.default_rng(config.seed)
        add_lora(gpt, config.lora_rank, config.lora_alpha or None, config.freeze_below, rng=rng)


def set_dropout(gpt: GPT, p: float) -> None:
    """Give every dropout of a model the probability ``p``."""
    gpt.config = replace(gpt.config, dropout=p)
    gpt.drop = Dropout(p)
    for block in gpt.h:
        block.drop = Dropout(p)
        block.attn.dropout = p


def as_dtype(gpt: GPT, dtype: str) -> GPT:
    """The same model with its numbers in ``dtype``, converted in place where they are in another."""
    for parameter in gpt.parameters():
        parameter.data = np.asarray(parameter.data, dtype)
    return gpt
