"""Llama, Qwen2, Mistral and Mixtral in transformers' format, and Llama and Qwen2 in GGUF files."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numpylm.files.bert_files import ACTIVATION_NAMES
from numpylm.files.checkpoint import check_size
from numpylm.files.gguf_files import open_gguf
from numpylm.files.llama_gguf import llama_tensors, settings_from_gguf
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
from numpylm.models.llama import Llama, LlamaConfig
from numpylm.models.lora import has_lora, merged
from numpylm.nn.module import SkipInit
from numpylm.system.json_fields import brief
from numpylm.text.any_tokenizer import TextTokenizer, load_tokenizer

FAMILIES = ("llama", "qwen2", "mistral", "mixtral")
MIXTRAL: Names = (("gate_proj", "w1"), ("down_proj", "w2"), ("up_proj", "w3"), ("mlp", "block_sparse_moe"))
UNUSED = r".*rotary_emb\.inv_freq"  # a constant that old files hold
COMPUTED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", *ACTIVATION_NAMES),
    "pretraining_tp": (1, None),
    "use_sliding_window": (False, None),
}
# What transformers uses if config.json does not have it.
DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {"rms_norm_eps": 1e-6, "rope_theta": 10000.0},
    "qwen2": {"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "num_key_value_heads": 32},
    "mistral": {"rms_norm_eps": 1e-6, "rope_theta": 10000.0, "num_key_value_heads": 8, "sliding_window": 4096},
    "mixtral": {
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e6,
        "num_key_value_heads": 8,
        "output_router_logits": False,
    },
}
SIZES = {
    "vocab_size": "vocab_size",
    "max_position_embeddings": "block_size",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "hidden_size": "n_embd",
    "intermediate_size": "n_inner",
}


def load_llama(folder: Path, dtype: DTypeLike = np.float32) -> Llama:
    """Load Llama, Qwen2, Mistral or Mixtral from a folder with ``config.json`` and ``model.safetensors``.

    Raises
    ------
    FileNotFoundError, ValueError
        If files are missing, damaged, or of a model that `Llama` cannot compute. The message lists all problems.
    """
    config = llama_config(read_settings(folder), folder / "config.json")
    return _with_weights(config, own_tensors(folder), folder, dtype)


def load_llama_gguf(path: str | Path, dtype: DTypeLike = np.float32) -> Llama:
    """Load Llama or Qwen2, with its tokenizer, from a ``.gguf`` file. Quantized weights become ``dtype``.

    Raises
    ------
    FileNotFoundError, ValueError
        If the file is damaged, or of a model that `Llama` cannot compute.
    """
    gguf = open_gguf(path)
    llama = _with_weights(llama_config(settings_from_gguf(gguf), gguf.path), llama_tensors(gguf), gguf.path, dtype)
    llama.tokenizer = load_tokenizer(gguf.path)
    return llama


def _with_weights(config: LlamaConfig, stored: Mapping[str, StoredTensor], where: Path, dtype: DTypeLike) -> Llama:
    try:
        check_size(config, sum(math.prod(tensor.shape) for tensor in stored.values()))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    llama = Llama(config, SkipInit(), dtype)
    copies = {"lm_head.weight": "embed_tokens.weight"} if config.tie_embeddings else {}
    read_weights(llama, stored, lambda name: transformers_name(name, config), where, UNUSED, copies)
    return llama


def save_llama(llama: Llama, folder: str | Path, tokenizer: TextTokenizer | None = None) -> None:
    """Write ``config.json``, ``model.safetensors`` and the tokenizer's files, which transformers loads.

    A model with experts is written as Mixtral, one with biases of queries, keys and values alone as Qwen2, and others
    as Llama.

    Raises
    ------
    ValueError
        If transformers has no such model, or the folder is a run's.
    """
    folder = Path(folder)
    tokenizer = llama.tokenizer if tokenizer is None else tokenizer
    check_target(folder)
    settings = settings_for_transformers(llama.config, str(llama.embed_tokens.weight.dtype), tokenizer)
    llama = merged(llama) if has_lora(llama) else llama
    if tokenizer is not None:
        folder.mkdir(parents=True, exist_ok=True)
        export_tokenizer(tokenizer, folder, llama.config.block_size)
    write_folder(folder, llama, lambda name: transformers_name(name, llama.config), settings)


def transformers_name(name: str, config: LlamaConfig) -> str:
    """transformers' name of one of our parameters."""
    if name.startswith("lm_head."):
        return name
    return "model." + (renamed(name, MIXTRAL) if config.n_experts else name)


def llama_config(settings: Mapping[str, Any], where: Path) -> LlamaConfig:
    """The shape that a config.json describes. Raises ValueError for what numpylm does not compute."""
    family = str(settings.get("model_type"))
    settings = DEFAULTS[family] | dict(settings)
    refuse_others(settings, COMPUTED, where)
    if missing := [name for name in SIZES if type(settings.get(name)) is not int]:
        raise ValueError(f"{where}: {missing[0]} should be a whole number, is {brief(settings.get(missing[0]))}")
    sizes = {ours: settings[theirs] for theirs, ours in SIZES.items()}
    _refuse_windows(settings, where)
    rope = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        raise ValueError(f"{where}: rope_scaling should be an object, is {brief(rope)}")
    rope = dict(rope)
    theta = rope.pop("rope_theta", settings["rope_theta"])
    scaled = rope.get("rope_type", rope.get("type", "default")) != "default"
    bias = family == "qwen2" or bool(settings.get("attention_bias", False))
    experts = {}
    if family == "mixtral":
        experts = {
            "n_experts": settings.get("num_local_experts", 8),
            "experts_per_token": settings.get("num_experts_per_tok", 2),
            # As in transformers, the loss that balances the experts is used only if this is set.
            "router_aux_loss_coef": settings.get("router_aux_loss_coef", 0.001)
            * bool(settings["output_router_logits"]),
        }
    try:
        return LlamaConfig(
            **sizes,
            n_kv_head=settings.get("num_key_value_heads") or sizes["n_head"],
            head_dim=settings.get("head_dim") or 0,
            dropout=settings.get("attention_dropout") or 0.0,
            rms_norm_eps=settings["rms_norm_eps"],
            rope_theta=theta,
            rope_scaling=tuple(rope.items()) if scaled else (),
            tie_embeddings=bool(settings.get("tie_word_embeddings", False)),
            attention_bias=bias,
            attention_out_bias=bias and family != "qwen2",
            mlp_bias=bool(settings.get("mlp_bias", False)),
            activation=ACTIVATION_NAMES[settings.get("hidden_act", "silu")],
            **experts,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{where}: {error}") from None


def _refuse_windows(settings: Mapping[str, Any], where: Path) -> None:
    """Raise ValueError if attention does not reach back to the beginning of the context."""
    window = settings.get("sliding_window")
    if window is not None and type(window) is not int:
        raise ValueError(f"{where}: sliding_window should be a whole number, is {brief(window)}")
    sliding = "sliding_attention" in (settings.get("layer_types") or ())
    used = settings.get("model_type") in ("mistral", "mixtral") or sliding
    if used and window is not None and window < settings["max_position_embeddings"]:
        raise ValueError(f"{where}: sliding_window is {window}: numpylm computes only attention to all earlier tokens")


def settings_for_transformers(c: LlamaConfig, dtype: str, tokenizer: TextTokenizer | None) -> dict[str, Any]:
    """The content of config.json. Raises ValueError if transformers has no model of this shape."""
    if c.rope_layout != "halves":
        raise ValueError("transformers turns channels i and i + D/2: a model with interleaved pairs cannot be written")
    if c.attention_out_bias and not c.attention_bias:
        raise ValueError("transformers has no Llama with a bias in attention's output alone")
    family = "mixtral" if c.n_experts else "qwen2" if c.attention_bias and not c.attention_out_bias else "llama"
    if family != "llama" and (c.mlp_bias or (family == "mixtral" and c.attention_bias)):
        raise ValueError(f"transformers' {family} has no biases here")
    name = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "mixtral": "MixtralForCausalLM"}[family]
    ends = [] if tokenizer is None else list(getattr(tokenizer, "eos_ids", ()))
    bos = getattr(tokenizer, "bos_id", None)
    settings: dict[str, Any] = {
        "model_type": family,
        "architectures": [name],
        **{theirs: getattr(c, ours) for theirs, ours in SIZES.items()},
        "intermediate_size": c.F,
        "num_key_value_heads": c.K,
        "head_dim": c.D,
        "hidden_act": c.activation,
        "attention_dropout": c.dropout,
        "rms_norm_eps": c.rms_norm_eps,
        "rope_theta": c.rope_theta,
        "rope_scaling": dict(c.rope_scaling) or None,
        "tie_word_embeddings": c.tie_embeddings,
        "bos_token_id": ends[0] if bos is None and ends else bos,
        "eos_token_id": ends[0] if len(ends) == 1 else ends or None,
        "torch_dtype": dtype,
    }
    if family == "llama":
        settings |= {"attention_bias": c.attention_bias, "mlp_bias": c.mlp_bias}
    elif family == "qwen2":
        settings["use_sliding_window"] = False
    else:
        settings |= {
            "num_local_experts": c.n_experts,
            "num_experts_per_tok": c.experts_per_token,
            "router_aux_loss_coef": c.router_aux_loss_coef,
            "output_router_logits": c.router_aux_loss_coef > 0,
            "sliding_window": None,
        }
    return settings
