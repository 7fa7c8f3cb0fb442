"""BERT and RoBERTa in transformers' format: their settings, the names of their weights, loading and saving."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numpylm.files.checkpoint import check_size
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
from numpylm.models.bert import Bert, BertConfig
from numpylm.models.lora import has_lora, merged
from numpylm.nn.module import SkipInit
from numpylm.text.any_tokenizer import TextTokenizer

ACTIVATION_NAMES = {"gelu": "gelu", "gelu_new": "gelu_new", "gelu_pytorch_tanh": "gelu_new", "relu": "relu"}
ACTIVATION_NAMES |= {"silu": "silu", "swish": "silu"}

TRUNK: Names = (
    ("tokens", "embeddings.word_embeddings"),
    ("positions", "embeddings.position_embeddings"),
    ("segments", "embeddings.token_type_embeddings"),
    ("embed_norm", "embeddings.LayerNorm"),
    ("self_attn.q_proj", "attention.self.query"),
    ("self_attn.k_proj", "attention.self.key"),
    ("self_attn.v_proj", "attention.self.value"),
    ("self_attn.out_proj", "attention.output.dense"),
    ("self_attn_layer_norm", "attention.output.LayerNorm"),
    ("mlp.c_fc", "intermediate.dense"),
    ("mlp.c_proj", "output.dense"),
    ("final_layer_norm", "output.LayerNorm"),
    ("layer", "encoder.layer"),
)
HEADS: dict[tuple[str, str], Names] = {
    ("bert", "masked-lm"): (
        ("head.dense", "cls.predictions.transform.dense"),
        ("head.layer_norm", "cls.predictions.transform.LayerNorm"),
        ("head.bias", "cls.predictions.bias"),
    ),
    ("bert", "classification"): (("head.dense", "bert.pooler.dense"), ("head.out_proj", "classifier")),
    ("roberta", "masked-lm"): (("head", "lm_head"),),
    ("roberta", "classification"): (("head", "classifier"),),
}
# Tensors that no head of ours needs: a buffer of old files, BERT's pooler and next-sentence head, contrastive extras.
UNUSED = (
    r"(.*\.)?embeddings\.(position_ids|token_type_ids)|(.*\.)?pooler\.dense\.(weight|bias)|cls\.seq_relationship\..*"
)
COMPUTED: dict[str, tuple[Any, ...]] = {
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "tie_word_embeddings": (True,),
    "hidden_act": tuple(ACTIVATION_NAMES),
    "problem_type": (None, "single_label_classification"),
}


def load_bert(folder: Path, dtype: DTypeLike = np.float32) -> Bert:
    """Load BERT or RoBERTa from a folder with ``config.json`` and ``model.safetensors``.

    The head is the one whose weights are in the files: for masked tokens, for classification, or none.

    Raises
    ------
    FileNotFoundError, ValueError
        If files are missing, damaged, or of a model that `Bert` cannot compute. The message lists all problems.
    """
    settings, stored = read_settings(folder), own_tensors(folder)
    family = settings.get("model_type")
    refuse_others(settings, COMPUTED, folder / "config.json")
    head = _head_in(stored)
    labels = _labels(settings) if head == "classification" else ()
    if len(labels) == 1:
        raise ValueError(
            f"{folder / 'config.json'}: a model with one label is a regression, which numpylm does not compute"
        )
    config = _config(settings, folder, head, len(labels))
    try:
        check_size(config, sum(math.prod(tensor.shape) for tensor in stored.values()))
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    bert = Bert(config, SkipInit(), dtype)
    prefix = "" if head == "none" and "embeddings.word_embeddings.weight" in stored else f"{family}."
    copies = {}
    if head == "masked-lm":
        where = "cls.predictions.decoder" if family == "bert" else "lm_head.decoder"
        copies = {f"{where}.weight": "tokens.weight", f"{where}.bias": "head.bias"}
    read_weights(bert, stored, lambda name: transformers_name(name, str(family), head, prefix), folder, UNUSED, copies)
    bert.labels = labels
    return bert


def save_bert(bert: Bert, folder: str | Path, tokenizer: TextTokenizer | None = None) -> None:
    """Write ``config.json``, ``model.safetensors`` and the tokenizer's files, which transformers loads.

    A model whose positions begin at 0 is written as BERT, others as RoBERTa.

    Raises
    ------
    ValueError
        If transformers has no such model (a classification head that pools the mean), or the folder is a run's.
    """
    folder = Path(folder)
    tokenizer = bert.tokenizer if tokenizer is None else tokenizer
    check_target(folder)
    c = bert.config
    if c.head == "classification" and c.pooling == "mean":
        raise ValueError(
            "transformers' BERT classifies by the first token; this model pools the mean over all tokens, which its "
            "format cannot express (train it with --pooling first to export it)"
        )
    family = "roberta" if c.position_offset else "bert"
    needed = "gelu" if family == "roberta" else c.activation
    if c.head == "masked-lm" and (c.head_activation or c.activation) != needed:
        raise ValueError(f"the head for masked tokens of {family} has the activation {needed}, this one another")
    bert = merged(bert) if has_lora(bert) else bert
    prefix = "" if c.head == "none" else f"{family}."
    if tokenizer is not None:
        folder.mkdir(parents=True, exist_ok=True)
        export_tokenizer(tokenizer, folder, c.block_size)
    settings = _settings(bert, family, tokenizer)
    write_folder(folder, bert, lambda name: transformers_name(name, family, c.head, prefix), settings)


def transformers_name(name: str, family: str, head: str, prefix: str) -> str:
    """transformers' name of one of our parameters."""
    if name.startswith("head."):
        return renamed(name, HEADS[family, head])
    return prefix + renamed(name, TRUNK)


def _head_in(stored: Mapping[str, Any]) -> str:
    if any(name.startswith(("cls.predictions.", "lm_head.")) for name in stored):
        return "masked-lm"
    return "classification" if any(name.startswith("classifier.") for name in stored) else "none"


def _labels(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the labels in order of their numbers."""
    names = settings.get("id2label")
    try:
        names = names or {n: f"LABEL_{n}" for n in range(settings.get("num_labels", 2))}
        return tuple(str(name) for _, name in sorted((int(number), name) for number, name in names.items()))
    except (ValueError, AttributeError, TypeError):
        raise ValueError(f"id2label should be an object of number -> name, is {names!r}") from None


def _config(settings: Mapping[str, Any], folder: Path, head: str, n_labels: int) -> BertConfig:
    wanted = {
        "vocab_size": "vocab_size",
        "max_position_embeddings": "block_size",
        "num_hidden_layers": "n_layer",
        "num_attention_heads": "n_head",
        "hidden_size": "n_embd",
        "intermediate_size": "n_inner",
    }
    if missing := [name for name in wanted if not isinstance(settings.get(name), int)]:
        raise ValueError(
            f"{folder / 'config.json'}: {missing[0]} should be a whole number, is {settings.get(missing[0])!r}"
        )
    sizes = {ours: settings[theirs] for theirs, ours in wanted.items()}
    offset = 0
    if settings["model_type"] == "roberta":
        pad_id = settings.get("pad_token_id", 1)
        if not isinstance(pad_id, int):
            raise ValueError(f"{folder / 'config.json'}: pad_token_id should be a whole number, is {pad_id!r}")
        offset = pad_id + 1
    sizes["block_size"] -= offset  # RoBERTa counts the positions before the first one, too
    try:
        return BertConfig(
            **sizes,
            dropout=settings.get("hidden_dropout_prob", 0.1),
            head=head,
            n_labels=n_labels,
            token_types=settings.get("type_vocab_size", 2),
            position_offset=offset,
            activation=ACTIVATION_NAMES[settings.get("hidden_act", "gelu")],
            head_activation="gelu" if settings["model_type"] == "roberta" else "",
            layer_norm_eps=settings.get("layer_norm_eps", 1e-12),
        )
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'}: {error}") from None


ARCHITECTURES = {
    ("bert", "masked-lm"): "BertForMaskedLM",
    ("bert", "classification"): "BertForSequenceClassification",
    ("bert", "none"): "BertModel",
    ("roberta", "masked-lm"): "RobertaForMaskedLM",
    ("roberta", "classification"): "RobertaForSequenceClassification",
    ("roberta", "none"): "RobertaModel",
}


def _settings(bert: Bert, family: str, tokenizer: TextTokenizer | None) -> dict[str, Any]:
    c = bert.config
    special = {} if tokenizer is None else tokenizer.special_tokens
    pad = c.position_offset - 1 if c.position_offset else special.get("[PAD]", 0)
    settings: dict[str, Any] = {
        "model_type": family,
        "architectures": [ARCHITECTURES[family, c.head]],
        "vocab_size": c.vocab_size,
        "max_position_embeddings": c.block_size + c.position_offset,
        "num_hidden_layers": c.n_layer,
        "num_attention_heads": c.n_head,
        "hidden_size": c.n_embd,
        "intermediate_size": c.n_inner or 4 * c.n_embd,
        "hidden_act": c.activation,
        "hidden_dropout_prob": c.dropout,
        "attention_probs_dropout_prob": c.dropout,
        "layer_norm_eps": c.layer_norm_eps,
        "type_vocab_size": c.token_types,
        "position_embedding_type": "absolute",
        "tie_word_embeddings": True,
        "pad_token_id": pad,
        "torch_dtype": str(bert.tokens.weight.dtype),
    }
    if c.head == "classification":
        names = bert.labels or tuple(f"LABEL_{n}" for n in range(c.n_labels))
        settings["id2label"] = {str(n): name for n, name in enumerate(names)}
        settings["label2id"] = {name: n for n, name in enumerate(names)}
    return settings
