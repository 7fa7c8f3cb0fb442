"""Llama and Qwen2 in GGUF files: their settings and weights under transformers' names, so that one loader serves both.

llama.cpp has its own names, and another order of the rows of q and k in files of the architecture ``llama``.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import DTypeLike

from numpylm.files.gguf_files import GgufFile
from numpylm.files.safetensors_files import StoredTensor
from numpylm.nn.module import Array
from numpylm.nn.positions import rotary_frequencies
from numpylm.system.json_fields import brief

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}
NAMES = {  # llama.cpp's names -> transformers' names
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
FREQUENCIES = "rope_freqs.weight"
# Llama 3.1's rule for long contexts. A GGUF file has only its result, so these numbers must be known.
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
# Entries that change nothing here, or only if they have another value than this one.
HARMLESS: dict[str, tuple[Any, ...]] = {
    "vocab_size": (),
    "rope.scaling.finetuned": (),
    "tensor_data_layout": ("Meta AI original pth",),
    "attention.causal": (True,),
    "use_parallel_residual": (False,),
    "expert_count": (0,),
    "expert_used_count": (0,),
    "attention.sliding_window": (0,),
    "rope.scaling.attn_factor": (1.0,),
    "rope.scaling.yarn_ext_factor": (1.0,),
    "rope.scaling.yarn_attn_factor": (1.0,),
}


def settings_from_gguf(gguf: GgufFile) -> dict[str, Any]:
    """The settings of a model as in transformers' config.json.

    Parameters
    ----------
    gguf : GgufFile
        Of the architecture ``llama`` (Llama, Mistral, SmolLM2, …) or ``qwen2``.

    Returns
    -------
    dict
        ``model_type`` (the architecture), ``hidden_size``, ``num_attention_heads``, … and all others that matter.

    Raises
    ------
    ValueError
        If the file is of another architecture, a setting is missing or has an impossible value, or a setting changes
        what the model computes in a way that numpylm does not support.
    """
    header = _Header(gguf)
    heads, width = header.whole("attention.head_count"), header.whole("embedding_length")
    if width % heads and "attention.key_length" not in header.found:
        header.fail(f"embedding_length {width} is not a multiple of attention.head_count {heads}")
    head_dim = header.whole("attention.key_length", width // heads)
    for name in ("attention.value_length", "rope.dimension_count"):
        if (found := header.whole(name, head_dim)) != head_dim:
            header.fail(f"{name} is {found}; numpylm computes only {head_dim}, the size of a head")
    settings: dict[str, Any] = {
        "architectures": [ARCHITECTURES[header.architecture]],
        "model_type": header.architecture,
        "vocab_size": gguf.shape("token_embd.weight")[0],
        "hidden_size": width,
        "intermediate_size": header.whole("feed_forward_length"),
        "num_hidden_layers": header.whole("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": header.whole("attention.head_count_kv", heads),
        "hidden_act": "silu",
        "max_position_embeddings": header.whole("context_length"),
        "rms_norm_eps": header.number("attention.layer_norm_rms_epsilon"),
        "rope_theta": header.number("rope.freq_base", 10000.0),
        "tie_word_embeddings": "output.weight" not in gguf.tensors,
    }
    if head_dim * heads != width:
        settings["head_dim"] = head_dim
    settings["rope_scaling"] = _rope_scaling(header, settings["rope_theta"], head_dim)
    if header.architecture == "llama":  # Qwen2 always has biases in q, k and v
        settings["attention_bias"] = "blk.0.attn_q.bias" in gguf.tensors
        settings["mlp_bias"] = "blk.0.ffn_gate.bias" in gguf.tensors
    for name in ("bos_token_id", "eos_token_id"):
        if (token := gguf.metadata.get(f"tokenizer.ggml.{name}")) is not None:
            settings[name] = token
    header.refuse_others()
    return settings


class _Header:
    """The entries of an architecture. It remembers which of them were asked for."""

    def __init__(self, gguf: GgufFile) -> None:
        self.gguf = gguf
        self.architecture = str(gguf.metadata.get("general.architecture"))
        if self.architecture not in ARCHITECTURES:
            self.fail(f"its architecture is {brief(self.architecture)}; numpylm reads {' and '.join(ARCHITECTURES)}")
        if (kind := gguf.metadata.get("general.type", "model")) != "model":
            self.fail(f"it holds {brief(kind)}, not a model")
        prefix = f"{self.architecture}."
        self.found = {k.removeprefix(prefix): v for k, v in gguf.metadata.items() if k.startswith(prefix)}
        self.asked: set[str] = set()

    def fail(self, problem: str) -> NoReturn:
        raise ValueError(f"{self.gguf.path}: {problem}")

    def value(self, name: str, default: Any = None) -> Any:
        """The value of an entry. A list with one value for each layer must have the same value everywhere."""
        self.asked.add(name)
        value = self.found.get(name, default)
        if isinstance(value, np.ndarray) and value.size:
            if (value != value[0]).any():
                self.fail(f"{name} differs between layers, {brief(value.tolist())}")
            value = value[0].item()
        if value is None:
            self.fail(f"the header has no {self.architecture}.{name}")
        return value

    def whole(self, name: str, default: int | None = None) -> int:
        value = self.value(name, default)
        if type(value) is not int or not 0 < value < 1 << 31:
            self.fail(f"{name} should be a whole number of at least 1, is {brief(value)}")
        return int(value)

    def number(self, name: str, default: float | None = None) -> float:
        """A number above 0. The file has float32, so 1e-5 is read as 9.99999975e-06, and rounded to 1e-05 here."""
        value = self.value(name, default)
        if type(value) not in (int, float) or not 0 < value < 1e30:
            self.fail(f"{name} should be a number above 0, is {brief(value)}")
        return float(str(np.float32(value)))

    def refuse_others(self) -> None:
        """Raise ValueError for entries that nobody asked for, unless they are known to change nothing."""
        others = [
            f"{name} is {brief(value)}"
            for name, value in self.found.items()
            if name not in self.asked
            and not (name in HARMLESS and (not HARMLESS[name] or brief(value) in map(brief, HARMLESS[name])))
        ]
        if others:
            self.fail(f"numpylm cannot compute this model: {'; '.join(sorted(others)[:10])}")


def _rope_scaling(header: _Header, theta: float, head_dim: int) -> dict[str, Any] | None:
    """How the positions are stretched for long contexts: transformers' rope_scaling."""
    old = header.number("rope.scale_linear", 1.0)
    factor = header.number("rope.scaling.factor", old)
    kind = header.value("rope.scaling.type", "linear")
    original = header.whole("rope.scaling.original_context_length", header.whole("context_length"))
    if kind not in ("none", "linear", "yarn"):
        header.fail(f"rope.scaling.type is {brief(kind)}; numpylm knows none, linear and yarn")
    if FREQUENCIES in header.gguf.tensors:
        if factor != 1.0:
            header.fail(f"it has both {FREQUENCIES} and rope.scaling.factor; numpylm computes only one of them")
        return _llama3_scaling(header, theta, head_dim)
    if kind == "none" or factor == 1.0:
        return None
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    scaling = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}
    for name in ("beta_fast", "beta_slow"):
        if f"rope.scaling.yarn_{name}" in header.found:
            scaling[name] = header.number(f"rope.scaling.yarn_{name}")
    return scaling


def _llama3_scaling(header: _Header, theta: float, head_dim: int) -> dict[str, Any] | None:
    """Llama 3.1's rule, if the divisors of the frequencies in the file are those that it gives."""
    divisors = header.gguf.tensor(FREQUENCIES, np.float64)
    if divisors.shape != (head_dim // 2,) or not np.all((divisors >= 1) & (divisors < 1e6)):
        header.fail(f"{FREQUENCIES} should have a number of at least 1 for each of {head_dim // 2} frequencies")
    factor = float(divisors.max())
    if factor == 1.0:
        return None
    expected = llama3_divisors(factor, theta, head_dim)
    if not np.allclose(divisors, expected, rtol=1e-4):
        header.fail(
            f"{FREQUENCIES} has other divisors than Llama 3.1's rule with {LLAMA3} and factor {factor:g}; "
            f"numpylm does not support them"
        )
    return {"rope_type": "llama3", "factor": factor, **LLAMA3}


def llama3_divisors(factor: float, theta: float, head_dim: int) -> Array:
    """The numbers (head_dim / 2,) by which Llama 3.1 divides its frequencies; see `rotary_frequencies`."""
    scaling = {"rope_type": "llama3", "factor": factor, **LLAMA3}
    return rotary_frequencies(head_dim, theta) / rotary_frequencies(head_dim, theta, scaling)


# ---------------------------------------------------------------------------------------------- tensors


def llama_tensors(gguf: GgufFile) -> dict[str, StoredTensor]:
    """The tensors of a model by transformers' names. Their values are read only when they are asked for.

    Raises
    ------
    ValueError
        If the file has tensors that these architectures do not have.
    """
    header = _Header(gguf)
    order = {}
    if header.architecture == "llama":
        heads = header.whole("attention.head_count")
        order = {"attn_q": heads, "attn_k": header.whole("attention.head_count_kv", heads)}
    found: dict[str, StoredTensor] = {}
    unknown = []
    for name, tensor in gguf.tensors.items():
        match = re.fullmatch(r"(?:blk\.(0|[1-9]\d{0,5})\.)?(\w+)\.(weight|bias)", name, re.ASCII)
        layer, part, last = match.groups() if match else (None, "", "")
        names: Mapping[str, str] = NAMES if layer is None else LAYER_NAMES
        if part not in names:
            unknown += [name] if name != FREQUENCIES else []
            continue
        if part in order:
            if tensor.shape[0] % (2 * order[part]):
                header.fail(f"{name} has {tensor.shape[0]} rows, which {order[part]} heads cannot share")
            tensor = replace(tensor, rows=unpermute(np.arange(tensor.shape[0]), order[part]))
        before = "" if layer is None else f"model.layers.{layer}."
        found[f"{before}{names[part]}.{last}"] = tensor
    if unknown:
        header.fail(f"it has tensors that numpylm does not know: {', '.join(map(brief, sorted(unknown)[:10]))}")
    return found


def llama_arrays(gguf: GgufFile, dtype: DTypeLike = np.float32) -> Iterator[tuple[str, Array]]:
    """Yield the name in transformers and the values of each tensor, one at a time; see `llama_tensors`."""
    for name, tensor in llama_tensors(gguf).items():
        yield name, tensor.array(dtype)


def unpermute(weight: Array, n_head: int) -> Array:
    """Put the rows of q or k into transformers' order.

    The rotary embedding turns pairs of channels. In transformers, channel i of a head is paired with channel i + D/2.
    In llama.cpp's files of the architecture ``llama``, it is paired with its neighbor: the rows of a head are
    0, D/2, 1, D/2 + 1, … In files of ``qwen2`` they are as in transformers.

    Parameters
    ----------
    weight : (n_head D, ...) array
        A weight (out, in) or a bias, from the file.
    n_head : int
        For k, the number of key and value heads.

    Returns
    -------
    weight : (n_head D, ...) array
        A copy.
    """
    pairs = weight.reshape(n_head, -1, 2, *weight.shape[1:])  # (n_head, D/2, 2, ...)
    return pairs.swapaxes(1, 2).reshape(weight.shape)
