"""Converting between transformers' ``config.json`` of GPT-2 and `GPTConfig`.

    n_positions                          block_size
    activation_function                  gelu_approximate: gelu_new and gelu_pytorch_tanh are "tanh", gelu is "none"
    layer_norm_epsilon                   layer_norm_eps
    resid_pdrop, embd_pdrop, attn_pdrop  dropout: three rates there, one here

The settings of vocabulary, layers, heads and channels have the same names in both.
"""

import json
from pathlib import Path
from typing import Any

from numpylm.models.checks import is_number
from numpylm.models.gpt import GPTConfig
from numpylm.system.whole_files import read_json, write_text

ACTIVATIONS = {"gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu": "none"}

# The default values of transformers for settings that a file does not contain.
DEFAULTS: dict[str, Any] = {
    "vocab_size": 50257,
    "n_positions": 1024,
    "n_layer": 12,
    "n_head": 12,
    "n_embd": 768,
    "n_inner": None,
    "resid_pdrop": 0.1,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}


def read_gpt2_config(folder: Path) -> GPTConfig:
    """The GPTConfig of a folder's config.json. Its ``dropout`` is the file's resid_pdrop.

    Raises
    ------
    FileNotFoundError
        If there is no config.json.
    ValueError
        If it is of another architecture, or if a setting changes what the model computes in a way that numpylm does
        not support. The message lists all such settings.
    """
    settings, path = gpt2_settings(folder), folder / "config.json"
    if problems := _unsupported(settings):
        raise ValueError(f"{path}: numpylm's GPT cannot compute this model: {'; '.join(problems)}")
    try:
        return GPTConfig(
            vocab_size=settings["vocab_size"],
            block_size=settings["n_positions"],
            n_layer=settings["n_layer"],
            n_head=settings["n_head"],
            n_embd=settings["n_embd"],
            dropout=settings["resid_pdrop"],
            layer_norm_eps=settings["layer_norm_epsilon"],
            gelu_approximate=ACTIVATIONS[settings["activation_function"]],
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error} (block_size is n_positions in this file, dropout is resid_pdrop)") from None


def gpt2_settings(folder: Path) -> dict[str, Any]:
    """All settings of a GPT-2's config.json, with transformers' defaults. Raises the errors of `read_gpt2_config`."""
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"no model in {folder}: config.json is missing (needed: config.json, model.safetensors and, to read "
            f"text, vocab.json and merges.txt)"
        )
    settings = read_json(path)
    if not isinstance(settings, dict):
        raise ValueError(f"{path} should be one JSON object of settings")
    if settings.get("model_type") != "gpt2":
        raise ValueError(f"{path} {_what_it_is(settings)}")
    return DEFAULTS | settings


def _what_it_is(settings: dict[str, Any]) -> str:
    if "model_type" in settings:
        return f"is of a {settings['model_type']!r} model; numpylm reads GPT-2 (model_type 'gpt2')"
    if "block_size" in settings and "max_steps" in settings:
        return (
            "is of a training run of numpylm, not in transformers' format: load it with "
            "numpylm.files.checkpoint.load_run"
        )
    return 'does not say its architecture: that of GPT-2 has "model_type": "gpt2"'


def _unsupported(settings: dict[str, Any]) -> list[str]:
    """A message for each setting with which transformers' model would not compute the same as our GPT."""
    problems = [
        f"{name} must be a whole number of at least 1, is {settings[name]!r}"
        for name in ("vocab_size", "n_positions", "n_layer", "n_head", "n_embd")
        if type(settings[name]) is not int or settings[name] < 1  # type, because isinstance(True, int) is true
    ]
    activation, inner, C = settings["activation_function"], settings["n_inner"], settings["n_embd"]
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        problems.append(f"activation_function is {activation!r}, it has {', '.join(ACTIVATIONS)}")
    if inner is not None and isinstance(C, int) and inner != 4 * C:
        problems.append(f"n_inner is {inner!r}, its MLP is 4 n_embd = {4 * C} wide")
    for name in ("scale_attn_weights", "scale_attn_by_inverse_layer_idx", "add_cross_attention"):
        if bool(settings[name]) != DEFAULTS[name]:
            problems.append(f"{name} is {settings[name]!r}, it has {DEFAULTS[name]!r}")
    epsilon, dropout = settings["layer_norm_epsilon"], settings["resid_pdrop"]
    if not (is_number(epsilon) and 0 < epsilon < 1):
        problems.append(f"layer_norm_epsilon is {epsilon!r}, it must be a number between 0 and 1")
    if not (is_number(dropout) and 0 <= dropout < 1):
        problems.append(f"resid_pdrop (dropout) is {dropout!r}, it must be a number in [0, 1)")
    return problems


def write_gpt2_config(path: Path, config: GPTConfig, dtype: str, end_id: int | None) -> None:
    """Write a config.json for transformers' GPT-2.

    Parameters
    ----------
    path : Path
    config : GPTConfig
    dtype : str
        The dtype of the weights, float32 or float64.
    end_id : int or None
        The id of the end-of-text token, which is also GPT-2's begin-of-text token.
    """
    settings = {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": config.vocab_size,
        "n_positions": config.block_size,
        "n_ctx": config.block_size,
        "n_embd": config.n_embd,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_inner": None,
        "activation_function": {"tanh": "gelu_new", "none": "gelu"}[config.gelu_approximate],
        "layer_norm_epsilon": config.layer_norm_eps,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "scale_attn_weights": True,
        "tie_word_embeddings": True,
        "bos_token_id": end_id,
        "eos_token_id": end_id,
        "torch_dtype": dtype,  # old and new versions of transformers both understand this name
        "use_cache": True,
    }
    write_text(path, json.dumps(settings, indent=2) + "\n")
