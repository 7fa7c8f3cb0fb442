"""Llama and Qwen2 in GGUF files: settings, names, the order of rows, and what is refused by name."""

import sys

import numpy as np
import pytest

from numpylm import load_model
from numpylm.files.gguf_files import open_gguf
from numpylm.files.llama_gguf import llama3_divisors, llama_arrays, llama_tensors, settings_from_gguf, unpermute
from tests.small_gguf import gguf_bytes, small_llama


@pytest.fixture
def opened(tmp_path):
    """Write the small Llama with other entries (None drops one) and tensors, and open it."""

    def opened(entries=None, tensors=None, prefix="llama", **more):
        metadata, own = small_llama()
        metadata = {name.replace("llama.", f"{prefix}."): value for name, value in metadata.items()}
        metadata |= {"general.architecture": prefix} | (entries or {})
        metadata = {name: value for name, value in metadata.items() if value is not None}
        own = {name: values for name, values in (own | (tensors or {})).items() if values is not None}
        (tmp_path / "a.gguf").write_bytes(gguf_bytes(metadata, own, **more))
        return open_gguf(tmp_path / "a.gguf")

    return opened


def test_the_settings_of_a_small_llama(opened):
    assert settings_from_gguf(opened()) == {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 260,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_act": "silu",
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,  # not 9.99999975e-06
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": 258,
        "eos_token_id": 259,
    }


def test_an_own_output_layer_biases_and_another_size_of_heads(opened):
    tensors = {"output.weight": np.ones((260, 16), np.float32), "blk.0.attn_q.bias": np.ones(16, np.float32)}
    sizes = {"llama.attention.key_length": 8, "llama.attention.value_length": 8, "llama.rope.dimension_count": 8}
    settings = settings_from_gguf(opened(sizes, tensors))
    assert (settings["tie_word_embeddings"], settings["attention_bias"], settings["head_dim"]) == (False, True, 8)
    assert "attention_bias" not in settings_from_gguf(opened(prefix="qwen2"))


def test_settings_that_are_missing_have_llama_cpps_defaults(opened):
    gguf = opened({"llama.attention.head_count_kv": None, "llama.rope.freq_base": None})
    settings = settings_from_gguf(gguf)
    assert (settings["num_key_value_heads"], settings["rope_theta"]) == (4, 10000.0)


def test_one_value_for_each_layer_if_all_are_equal(opened):
    assert (
        settings_from_gguf(opened({"llama.feed_forward_length": np.array([24, 24], np.int32)}))["intermediate_size"]
        == 24
    )


SCALINGS = {
    "none": ({"type": "none", "factor": 4.0}, None),
    "linear": ({"type": "linear", "factor": 4.0}, {"rope_type": "linear", "factor": 4.0}),
    "linear without a type": ({"factor": 2.0}, {"rope_type": "linear", "factor": 2.0}),
    "yarn": (
        {"type": "yarn", "factor": 4.0, "original_context_length": 32, "yarn_beta_fast": 16.0, "attn_factor": 1.0},
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 16.0},
    ),
}


@pytest.mark.parametrize(("entries", "expected"), SCALINGS.values(), ids=SCALINGS.keys())
def test_longer_contexts(entries, expected, opened):
    entries = {f"llama.rope.scaling.{name}": value for name, value in entries.items()}
    assert settings_from_gguf(opened(entries))["rope_scaling"] == expected


def test_longer_contexts_as_llama_3(opened):
    divisors = llama3_divisors(8.0, 500_000.0, 16).astype(np.float32)
    sizes = dict.fromkeys(("attention.key_length", "attention.value_length", "rope.dimension_count"), 16)
    entries = {"llama.rope.freq_base": 500_000.0} | {f"llama.{name}": size for name, size in sizes.items()}
    scaling = settings_from_gguf(opened(entries, {"rope_freqs.weight": divisors}))["rope_scaling"]
    assert scaling == {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    assert settings_from_gguf(opened({}, {"rope_freqs.weight": np.ones(2, np.float32)}))["rope_scaling"] is None
    with pytest.raises(ValueError, match="other divisors than Llama 3"):
        settings_from_gguf(opened(entries, {"rope_freqs.weight": divisors[::-1].copy()}))


REFUSED = {
    "another architecture": ({"general.architecture": "gemma3"}, {}, "architecture is 'gemma3'; numpylm reads llama"),
    "no architecture": ({"general.architecture": None}, {}, "architecture is 'None'"),
    "an adapter": ({"general.type": "adapter"}, {}, "it holds 'adapter', not a model"),
    "a missing size": ({"llama.block_count": None}, {}, "the header has no llama.block_count"),
    "a size that is text": ({"llama.block_count": "2"}, {}, "block_count should be a whole number of at least 1"),
    "a size of 0": ({"llama.attention.head_count": 0}, {}, "attention.head_count should be a whole number"),
    "an epsilon of nan": ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, {}, "should be a number above 0"),
    "experts": ({"llama.expert_count": 8}, {}, "cannot compute this model: expert_count is 8"),
    "a sliding window": ({"llama.attention.sliding_window": 4096}, {}, "attention.sliding_window is 4096"),
    "an unknown setting": ({"llama.logit_scale": 0.5}, {}, "logit_scale is 0.5"),
    "layers that differ": ({"llama.feed_forward_length": np.array([24, 32], np.int32)}, {}, r"differs .*\[24, 32\]"),
    "half of a head turned": (
        {"llama.rope.dimension_count": 2},
        {},
        "dimension_count is 2; numpylm computes only 4",
    ),
    "a width that heads cannot share": ({"llama.embedding_length": 18}, {}, "not a multiple of attention.head_count 4"),
    "longrope": ({"llama.rope.scaling.type": "longrope"}, {}, "rope.scaling.type is 'longrope'"),
    "yarn with a temperature": (
        {"llama.rope.scaling.type": "yarn", "llama.rope.scaling.factor": 4.0, "llama.rope.scaling.attn_factor": 2.0},
        {},
        "attn_factor is 2.0",
    ),
    "two scalings": (
        {"llama.rope.scaling.factor": 4.0},
        {"rope_freqs.weight": np.ones(2, np.float32)},
        "computes only one of them",
    ),
    "another layout": ({"llama.tensor_data_layout": "other"}, {}, "tensor_data_layout is 'other'"),
    "no embedding": ({}, {"token_embd.weight": None}, "has no tensor 'token_embd.weight'"),
    "an unknown tensor": ({}, {"blk.0.attn_q_norm.weight": np.ones(4, np.float32)}, "not know: 'blk.0.attn_q_norm.w"),
    "a layer with an odd number": ({}, {"blk.00.attn_q.weight": np.ones((16, 16), np.float32)}, "not know: 'blk.00"),
    "rows that heads cannot share": ({}, {"blk.0.attn_q.weight": np.ones((12, 16), np.float32)}, "12 rows, which 4 h"),
    "a part of a model": ({"split.count": 3}, {}, "one of 3 parts of a model"),
}


@pytest.mark.parametrize(("entries", "tensors", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(entries, tensors, said, opened, tmp_path):
    def load():
        gguf = opened(entries, tensors)
        settings_from_gguf(gguf)
        llama_tensors(gguf)

    with pytest.raises(ValueError, match=said) as caught:
        load()
    assert str(caught.value).startswith(str(tmp_path / "a.gguf"))


def permuted(weight, n_head):
    """What llama.cpp's converter does: the halves of a head are interleaved."""
    head = weight.shape[0] // n_head
    order = [h * head + half * head // 2 + i for h in range(n_head) for i in range(head // 2) for half in range(2)]
    return weight[order]


@pytest.mark.parametrize("shape", [(24, 5), (24,)])
def test_unpermute_undoes_the_converter(shape):
    weight = np.random.default_rng(0).standard_normal(shape)
    for n_head in (1, 2, 3):
        assert np.array_equal(unpermute(permuted(weight, n_head), n_head), weight)
    assert not np.array_equal(permuted(weight, 2), weight)


def test_arrays_have_transformers_names_and_order(opened):
    """In files of llama, q has the heads of queries and k those of keys; in files of qwen2 the rows stay."""
    _, tensors = small_llama()
    for prefix in ("llama", "qwen2"):
        found = dict(llama_arrays(opened(prefix=prefix), np.float64))
        assert len(found) == len(tensors)
        q, k, v = (found[f"model.layers.1.self_attn.{name}_proj.weight"] for name in "qkv")
        turn = permuted if prefix == "llama" else lambda weight, n_head: weight
        assert np.array_equal(turn(q, 4), tensors["blk.1.attn_q.weight"])
        assert np.array_equal(turn(k, 2), tensors["blk.1.attn_k.weight"])
        assert np.array_equal(v, tensors["blk.1.attn_v.weight"])
        assert np.array_equal(found["model.embed_tokens.weight"], tensors["token_embd.weight"])
        assert found["model.norm.weight"].dtype == np.float64


def test_biases_of_q_are_put_in_order_too(opened):
    bias = np.arange(16, dtype=np.float32)
    found = dict(llama_arrays(opened({}, {"blk.0.attn_q.bias": bias})))
    assert np.array_equal(permuted(found["model.layers.0.self_attn.q_proj.bias"], 4), bias)


def test_large_arrays_are_read_piece_by_piece(opened, monkeypatch):
    """Each piece begins where the one before ended, also if the rows have another order."""
    from numpylm.files import gguf_files

    whole = dict(llama_arrays(opened()))
    monkeypatch.setattr(gguf_files, "PIECE", 3 * 16 * 4)
    tensors = llama_tensors(opened())
    assert len(list(tensors["model.layers.0.self_attn.q_proj.weight"].pieces())) == 6
    for name, tensor in tensors.items():
        assert np.array_equal(tensor.array(), whole[name])


@pytest.mark.parametrize("kind", ["F16", "BF16", "F64"])
def test_other_kinds_of_numbers(kind, opened):
    values = np.random.default_rng(0).standard_normal((260, 16)).astype(np.float32)
    data = {
        "F16": values.astype(np.float16).tobytes(),
        "F64": values.astype(np.float64).tobytes(),
        "BF16": (values.view(np.uint32) >> 16).astype(np.uint16).tobytes(),
    }
    gguf = opened({}, {"token_embd.weight": (kind, (260, 16), data[kind])})
    assert gguf.shape("token_embd.weight") == (260, 16)
    found = gguf.tensor("token_embd.weight")
    assert found.dtype == np.float32
    assert np.allclose(found, values, rtol={"F16": 1e-3, "BF16": 1e-2, "F64": 0}[kind], atol=1e-7)


def test_quantized_weights_of_other_types_need_the_package_gguf(opened, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    gguf = opened({}, {"token_embd.weight": ("Q5_0", (260, 32), bytes(260 * 22))})
    with pytest.raises(ModuleNotFoundError, match=r'needs the package gguf: pip install -e ".\[hub\]"'):
        gguf.tensor("token_embd.weight")


def test_the_ending_of_a_gguf_file_may_be_in_capitals_and_a_folder_is_none(tmp_path):
    (tmp_path / "MODEL.GGUF").write_bytes(b"no model")
    with pytest.raises(ValueError, match="GGUF"):
        load_model(tmp_path / "MODEL.GGUF")
    (tmp_path / "folder.gguf").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        load_model(tmp_path / "folder.gguf")
