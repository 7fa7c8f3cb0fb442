"""Marian, the Transformer of the published OPUS-MT translation models, in transformers' format: loading and saving."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numpylm.files.bert_files import ACTIVATION_NAMES
from numpylm.files.checkpoint import check_size
from numpylm.files.safetensors_files import StoredTensor
from numpylm.files.tokenizer_export import export_tokenizer
from numpylm.files.transformers_folder import (
    Names,
    check_target,
    own_tensors,
    read_settings,
    read_weights,
    refuse_others,
    renamed,
    write_folder,
)
from numpylm.models.lora import has_lora, merged
from numpylm.models.transformer import Transformer, TransformerConfig
from numpylm.nn.module import SkipInit
from numpylm.nn.positions import sinusoidal
from numpylm.text.any_tokenizer import TextTokenizer

BIAS = "final_logits_bias"
EPSILON = 1e-5  # of all norms
NAMES: Names = (
    ("encoder", "model.encoder.layers"),
    ("decoder", "model.decoder.layers"),
    ("mlp.c_fc", "fc1"),
    ("mlp.c_proj", "fc2"),
    ("logits_bias", BIAS),
)
ONE_TABLE: Names = (("shared", "model.shared"),)
TWO_TABLES: Names = (("source_tokens", "model.encoder.embed_tokens"), ("shared", "model.decoder.embed_tokens"))
POSITIONS = ("model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight")
COMPUTED: dict[str, tuple[Any, ...]] = {
    "activation_function": tuple(ACTIVATION_NAMES),
    "static_position_embeddings": (True,),
    "normalize_before": (False,),
    "add_final_layer_norm": (False,),
    "normalize_embedding": (False,),
    "tie_word_embeddings": (True,),
}


def load_marian(folder: Path, dtype: DTypeLike = np.float32) -> Transformer:
    """Load a Marian model from a folder with ``config.json`` and ``model.safetensors``.

    Raises
    ------
    FileNotFoundError, ValueError
        If files are missing, damaged, or of a model that `Transformer` cannot compute. The message lists all problems.
    """
    settings, stored = read_settings(folder), own_tensors(folder)
    refuse_others(settings, COMPUTED, folder / "config.json")
    config = _config(settings, folder)
    try:
        check_size(config, sum(math.prod(tensor.shape) for tensor in stored.values()))
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    config = replace(config, logits_bias=BIAS in stored)
    model = Transformer(config, SkipInit(), dtype)
    _check_positions(model, stored, folder)
    copies = ["lm_head.weight"]
    if config.share_embeddings:
        copies += ["model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"]
    unused = "|".join(map(re.escape, POSITIONS))
    tied = dict.fromkeys(copies, "shared.weight")
    read_weights(model, stored, lambda name: transformers_name(name, config), folder, unused, tied)
    return model


def save_marian(model: Transformer, folder: str | Path, tokenizer: TextTokenizer | None = None) -> None:
    """Write ``config.json``, ``model.safetensors`` and the tokenizer's files, which transformers loads.

    Raises
    ------
    ValueError
        If transformers' Marian cannot compute this model (pre-norm, interleaved positions), or the folder is a run's.
    """
    folder = Path(folder)
    tokenizer = model.tokenizer if tokenizer is None else tokenizer
    check_target(folder)
    c = model.config
    if c.norm_first or c.position_layout != "halves":
        raise ValueError(
            "transformers' Marian is post-norm, with sines and cosines in two halves: a model with norm_first or "
            "interleaved positions cannot be written in its format (numpylm train --no-norm-first makes one that can)"
        )
    if c.layer_norm_eps != EPSILON:
        raise ValueError(f"the norms of Marian have ε = {EPSILON}, those of this model {c.layer_norm_eps}")
    model = merged(model) if has_lora(model) else model
    if tokenizer is not None:
        folder.mkdir(parents=True, exist_ok=True)
        export_tokenizer(tokenizer, folder, c.block_size, translates=True)
    write_folder(folder, model, lambda name: transformers_name(name, c), _settings(model, tokenizer), BIAS)


def transformers_name(name: str, config: TransformerConfig) -> str:
    """transformers' name of one of our parameters."""
    return renamed(name, NAMES + (ONE_TABLE if config.share_embeddings else TWO_TABLES))


def _check_positions(model: Transformer, stored: Mapping[str, StoredTensor], folder: Path) -> None:
    """Old files hold the sinusoidal positions. They are constants, so they must be the right ones."""
    c = model.config
    for name in POSITIONS:
        if name in stored:
            values = np.empty(stored[name].shape)
            stored[name].read_into(values)
            if values.shape != (c.block_size, c.n_embd) or not np.allclose(
                values, sinusoidal(c.block_size, c.n_embd, "halves", np.float64), atol=1e-2
            ):
                raise ValueError(f"{folder}: {name} does not hold the sinusoidal positions that Marian has")


def _config(settings: Mapping[str, Any], folder: Path) -> TransformerConfig:
    def whole(*names: str) -> int:
        values = {name: settings.get(name) for name in names}
        first = values[names[0]]
        if not isinstance(first, int) or any(value not in (first, None) for value in values.values()):
            raise ValueError(
                f"{folder / 'config.json'}: {' and '.join(names)} should be one whole number, are {values}"
            )
        return first

    try:
        return TransformerConfig(
            vocab_size=whole("vocab_size", "decoder_vocab_size"),
            block_size=whole("max_position_embeddings"),
            n_layer=whole("encoder_layers"),
            n_decoder_layer=whole("decoder_layers"),
            n_head=whole("encoder_attention_heads", "decoder_attention_heads"),
            n_embd=whole("d_model"),
            n_inner=whole("encoder_ffn_dim", "decoder_ffn_dim"),
            start_id=whole("decoder_start_token_id"),
            dropout=settings.get("dropout", 0.1),
            attention_dropout=settings.get("attention_dropout", 0.0),
            activation=ACTIVATION_NAMES[settings.get("activation_function", "gelu")],
            position_layout="halves",
            scale_embedding=bool(settings.get("scale_embedding", False)),
            share_embeddings=bool(settings.get("share_encoder_decoder_embeddings", True)),
        )
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from None


def _settings(model: Transformer, tokenizer: TextTokenizer | None) -> dict[str, Any]:
    c = model.config
    end_id = None if tokenizer is None else tokenizer.end_id
    pad_id = getattr(tokenizer, "pad_id", None)
    return {
        "model_type": "marian",
        "architectures": ["MarianMTModel"],
        "is_encoder_decoder": True,
        "vocab_size": c.vocab_size,
        "decoder_vocab_size": c.vocab_size,
        "max_position_embeddings": c.block_size,
        "encoder_layers": c.n_layer,
        "decoder_layers": len(model.decoder),
        "encoder_attention_heads": c.n_head,
        "decoder_attention_heads": c.n_head,
        "d_model": c.n_embd,
        "encoder_ffn_dim": c.n_inner or 4 * c.n_embd,
        "decoder_ffn_dim": c.n_inner or 4 * c.n_embd,
        "dropout": c.dropout,
        "attention_dropout": c.attention_dropout,
        "activation_dropout": 0.0,
        "activation_function": c.activation,
        "scale_embedding": c.scale_embedding,
        "static_position_embeddings": True,
        "share_encoder_decoder_embeddings": c.share_embeddings,
        "tie_word_embeddings": True,
        "decoder_start_token_id": c.start_id,
        "eos_token_id": end_id,
        "forced_eos_token_id": None,
        "pad_token_id": c.start_id if pad_id is None else pad_id,
        "torch_dtype": str(model.shared.weight.dtype),
    }
