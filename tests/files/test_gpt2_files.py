"""GPT-2's files: what is rejected with which message, what stays intact, and how much memory it takes."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from numpylm import GPT, CharTokenizer, GPTConfig, Tokenizer
from numpylm.cli.main import main
from numpylm.files.gpt2_config import read_gpt2_config
from numpylm.training.replica import replica_in_this_process

CONFIG = {"model_type": "gpt2", "vocab_size": 261, "n_positions": 8, "n_layer": 2, "n_head": 2, "n_embd": 4}


def write_config(folder, **changes):
    settings = {key: value for key, value in (CONFIG | changes).items() if value != "absent"}
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")


# ------------------------------------------------------------------------------------- config.json, alone


def test_settings_are_read(tmp_path):
    write_config(tmp_path, activation_function="gelu", resid_pdrop=0.25, attn_pdrop=0.5, layer_norm_epsilon=1e-3)
    assert read_gpt2_config(tmp_path) == GPTConfig(261, 8, 2, 2, 4, 0.25, True, 1e-3, "none")


def test_a_setting_that_is_not_there_has_transformers_default(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    assert read_gpt2_config(tmp_path) == GPTConfig(50257, 1024, 12, 12, 768, 0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "llama"}, "'llama' model; numpylm reads GPT-2"),
        ({"model_type": "absent"}, "does not say its architecture"),
        ({"model_type": "absent", "block_size": 8, "max_steps": 3}, "training run of numpylm"),
        ({"activation_function": "relu"}, "activation_function is 'relu'.*gelu_new"),
        ({"n_inner": 17}, "n_inner is 17.*= 16 wide"),
        ({"scale_attn_weights": False}, "scale_attn_weights is False"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
        ({"add_cross_attention": True}, "add_cross_attention is True"),
        ({"n_inner": 17, "activation_function": "silu"}, "silu.*n_inner is 17"),
        ({"layer_norm_epsilon": "small"}, "layer_norm_epsilon is 'small'"),
        ({"n_head": 3}, "n_head must divide n_embd"),
        ({"n_layer": "two"}, "n_layer must be a whole number"),
        ({"resid_pdrop": None}, r"resid_pdrop \(dropout\) is None"),
        ({"resid_pdrop": "0.1"}, r"resid_pdrop \(dropout\) is '0.1'"),
        ({"activation_function": ["gelu"]}, r"activation_function is \['gelu'\]"),
        ({"n_head": True}, "n_head must be a whole number of at least 1, is True"),
        ({"layer_norm_epsilon": float("inf")}, "layer_norm_epsilon is inf"),
        ({"layer_norm_epsilon": 10**400}, "layer_norm_epsilon is 1000"),
        ({"layer_norm_epsilon": True}, "layer_norm_epsilon is True"),
        ({"n_embd": None}, "n_embd must be a whole number"),
    ],
)
def test_other_models_are_refused(changes, message, tmp_path):
    write_config(tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        read_gpt2_config(tmp_path)
    assert "config.json" in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[1]", "", "[" * 100_000, "9" * 5000])
def test_a_config_that_is_none(text, tmp_path):
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"config\.json"):
        read_gpt2_config(tmp_path)


def test_without_the_package_the_error_says_how_to_install_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for job in (lambda: GPT.from_pretrained(tmp_path), lambda: model().save_pretrained(tmp_path)):
        with pytest.raises(ModuleNotFoundError, match=r'pip install -e "\.\[gpt2\]"'):
            job()
    assert main(["generate", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


# ---------------------------------------------------------------------------------------------- weights


def model(**more):
    gpt = GPT(GPTConfig(261, 8, 2, 2, 4, **more), np.random.default_rng(0))
    for p in gpt.parameters():
        p.data += 0.1 * np.random.default_rng(p.size).standard_normal(p.shape).astype(p.dtype)
    return gpt


@pytest.fixture
def numbers():
    """safetensors' functions for NumPy."""
    pytest.importorskip("safetensors", reason='pip install -e ".[gpt2]"')
    import safetensors.numpy

    return safetensors.numpy


@pytest.fixture
def folder(tmp_path, numbers):
    model().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def change(numbers, folder, edit):
    """Load the tensors, let ``edit`` change the dict, write them back."""
    tensors = numbers.load_file(folder / "model.safetensors")
    edit(tensors)
    numbers.save_file(tensors, folder / "model.safetensors")


def test_what_is_saved_is_loaded(folder):
    again = GPT.from_pretrained(str(folder))
    assert again.config == model().config
    for name, value in model().state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], value, name)
    assert again.tokenizer is None
    again.wte.weight.data[0] = 1  # the arrays are the model's own
    double = GPT.from_pretrained(folder, np.float64)
    assert {p.dtype for p in double.parameters()} == {np.dtype(np.float64)}
    with pytest.raises(ValueError, match="float32 or float64"):
        GPT.from_pretrained(folder, np.float16)


def test_the_file_says_that_it_is_for_transformers(folder):
    """Versions of it before 5 refuse one that does not."""
    from safetensors import safe_open

    with safe_open(str(folder / "model.safetensors"), "np") as file:
        assert file.metadata() == {"format": "pt"}


def test_a_model_without_biases_gets_zeros(tmp_path, numbers):
    gpt, ids = model(bias=False), np.arange(8)[None]
    gpt.save_pretrained(tmp_path)
    np.testing.assert_allclose(GPT.from_pretrained(tmp_path).forward(ids)[0], gpt.forward(ids)[0], rtol=0, atol=1e-6)


def test_every_tensor_that_does_not_fit_is_listed_at_once(folder, numbers):
    def edit(tensors):
        del tensors["transformer.h.1.ln_2.bias"]
        del tensors["transformer.wpe.weight"]
        tensors["transformer.h.0.crossattention.c_attn.weight"] = np.zeros((4, 8), np.float32)
        tensors["transformer.h.0.attn.c_attn.weight"] = tensors["transformer.h.0.attn.c_attn.weight"].T.copy()
        tensors["transformer.ln_f.weight"] = np.ones(4, np.int32)

    change(numbers, folder, edit)
    with pytest.raises(ValueError, match="5 problems") as caught:
        GPT.from_pretrained(folder)
    for line in (
        "missing: h.1.ln_2.bias (4,)",
        "missing: wpe.weight (8, 4)",
        "unexpected: transformer.h.0.crossattention.c_attn.weight (4, 8)",
        "misshapen: transformer.h.0.attn.c_attn.weight should be (4, 12), is (12, 4)",
        "wrong kind of number: transformer.ln_f.weight is I32",
    ):
        assert line in str(caught.value)


def test_shapes_are_checked_before_anything_is_read(folder, numbers, monkeypatch):
    change(numbers, folder, lambda tensors: tensors.update({"more": np.zeros(3, np.float32)}))
    monkeypatch.setattr(
        "numpylm.files.safetensors_files.StoredTensor.pieces", lambda self: pytest.fail("read a weight")
    )
    with pytest.raises(ValueError, match="unexpected: more"):
        GPT.from_pretrained(folder)


def test_a_config_far_too_large_for_the_files_asks_for_no_memory(folder):
    write_config(folder, vocab_size=10**15, n_layer=10**12)
    with pytest.raises(ValueError, match="do not belong together"):
        GPT.from_pretrained(folder)


def test_a_head_of_its_own_is_refused(folder, numbers, monkeypatch):
    monkeypatch.setattr("numpylm.files.safetensors_files.PIECE", 64)

    def tied(tensors):
        tensors["lm_head.weight"] = tensors["transformer.wte.weight"].copy()

    def untied(tensors):
        tensors["lm_head.weight"][-1, -1] += 1

    change(numbers, folder, tied)
    GPT.from_pretrained(folder)
    change(numbers, folder, untied)
    with pytest.raises(ValueError, match=r"lm_head\.weight.*not the token embedding"):
        GPT.from_pretrained(folder)


def test_a_head_of_its_own_that_is_in_no_file_is_refused(folder):
    write_config(folder, tie_word_embeddings=False)
    with pytest.raises(ValueError, match=r"tie_word_embeddings is false.*no lm_head"):
        GPT.from_pretrained(folder)


def test_a_name_with_and_without_prefix(folder, numbers):
    change(numbers, folder, lambda t: t.update({"wpe.weight": t["transformer.wpe.weight"]}))
    with pytest.raises(ValueError, match=r"wpe\.weight twice"):
        GPT.from_pretrained(folder)


def renamed(numbers, folder, names):
    """Write the tensors under the names that ``names`` makes of theirs."""
    tensors = numbers.load_file(folder / "model.safetensors")
    numbers.save_file({names(name): value for name, value in tensors.items()}, folder / "model.safetensors")


def assert_is_model(folder):
    for name, value in model().state_dict().items():
        np.testing.assert_array_equal(GPT.from_pretrained(folder).state_dict()[name], value, name)


@pytest.mark.parametrize(
    "names",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module.{name}",
        lambda name: f"_orig_mod.module.{name}",
        lambda name: f"model.{name}",
        lambda name: name.replace("transformer.", "model."),
        lambda name: name.replace("transformer.", ""),
        lambda name: name.replace("transformer.", "net."),
        lambda name: f"my.net.{name}",
        lambda name: name.replace(".attn.", "._orig_mod.attn._checkpoint_wrapped_module."),
    ],
    ids=["compile", "DataParallel", "both", "Lightning", "model", "none", "unknown", "two unknown", "inside"],
)
def test_names_with_wrappers(names, folder, numbers):
    renamed(numbers, folder, names)
    assert_is_model(folder)


def test_two_models_in_one_file_are_named(folder, numbers):
    def edit(tensors):
        tensors.update({f"average.{name}": value for name, value in list(tensors.items())})

    change(numbers, folder, edit)
    with pytest.raises(ValueError, match=r"holds 2 models, whose names begin with '' and 'average\.'"):
        GPT.from_pretrained(folder)


@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
def test_a_tied_head_alone_is_the_embedding_too(prefix, folder, numbers):
    """As safetensors' ``save_model`` writes it: of an array's two names, one."""
    renamed(numbers, folder, lambda name: prefix + name.replace("transformer.wte", "lm_head"))
    assert_is_model(folder)
    write_config(folder, tie_word_embeddings=False)
    with pytest.raises(ValueError, match=r"missing: wte\.weight"):
        GPT.from_pretrained(folder)


LINEAR = re.compile(r".*(c_attn|c_proj|c_fc)\.weight")


def test_matrices_as_nn_linear_keeps_them_are_turned(folder, numbers):
    """Including attn.c_proj, which is square, so that its shape does not show the layout."""

    def edit(tensors, only=""):
        tensors.update({n: v.T.copy() for n, v in tensors.items() if LINEAR.fullmatch(n) and only in n})

    change(numbers, folder, edit)
    assert_is_model(folder)
    assert all(p.data.flags.c_contiguous for p in GPT.from_pretrained(folder).parameters())
    change(numbers, folder, lambda tensors: edit(tensors, only="h.1."))
    with pytest.raises(ValueError, match=r"misshapen: transformer\.h\.0\.attn\.c_attn\.weight should be \(4, 12\)"):
        GPT.from_pretrained(folder)


def test_a_file_without_any_bias_is_a_model_without_biases(folder, numbers):
    """As nanoGPT writes it; if some are missing, the file is incomplete."""
    gpt, ids = model(bias=False), np.arange(8)[None]
    gpt.save_pretrained(folder)
    change(numbers, folder, lambda t: [t.pop(name) for name in list(t) if name.endswith(".bias")])
    np.testing.assert_array_equal(GPT.from_pretrained(folder).forward(ids)[0], gpt.forward(ids)[0])
    change(numbers, folder, lambda t: t.update({"transformer.h.0.ln_1.bias": np.zeros(4, np.float32)}))
    with pytest.raises(ValueError, match=r"missing: h\.0\.attn\.c_attn\.bias"):
        GPT.from_pretrained(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-5], "cut off"),
        (lambda data: data[:100], "cut off"),
        (lambda data: b"", "cut off"),
        (lambda data: b"<html><body>404</body></html>", "not a safetensors file"),
        (lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "Git LFS pointer"),
    ],
    ids=["end missing", "header cut", "empty", "web page", "LFS pointer"],
)
def test_damaged_files(folder, damage, message):
    path = folder / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=message) as caught:
        GPT.from_pretrained(folder)
    assert "model.safetensors" in str(caught.value)


def test_missing_files(folder, capsys):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"pickled.*save_pretrained"):
        GPT.from_pretrained(folder)
    (folder / "pytorch_model.bin").rename(folder / "ckpt.pt")  # as nanoGPT leaves it, without a config
    (folder / "config.json").rename(folder / "config")
    assert main(["generate", str(folder)]) == 1
    assert "has ckpt.pt but no model.safetensors" in capsys.readouterr().err
    (folder / "config").rename(folder / "config.json")
    (folder / "ckpt.pt").rename(folder / "net.safetensors")
    with pytest.raises(FileNotFoundError, match=r"missing; net\.safetensors is there"):
        GPT.from_pretrained(folder)
    (folder / "net.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors is missing"):
        GPT.from_pretrained(folder)
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing.*vocab\.json and merges\.txt"):
        GPT.from_pretrained(folder)
    assert main(["generate", str(folder)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"weight_map": {"a": "model-1-of-2.safetensors", "b": "gone.safetensors"}}, "missing: gone.safetensors"),
        ({"weight_map": {"a": "../model.safetensors"}}, "outside its folder"),
        ({"weight_map": ["a"]}, "should have a weight_map"),
        ([], "should have a weight_map"),
        ({"weight_map": {"a": "model-1-of-2.safetensors", "b": "copy.safetensors"}}, "is both in"),
    ],
)
def test_indexes_that_are_wrong(folder, index, message):
    whole = (folder / "model.safetensors").rename(folder / "model-1-of-2.safetensors")
    (folder / "copy.safetensors").write_bytes(whole.read_bytes())
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        GPT.from_pretrained(folder)


# ------------------------------------------------------------------------------------------- tokenizers


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train("low lower lowest", 259)


def test_the_tokenizer_comes_along(folder, tokenizer):
    gpt = GPT.from_pretrained(folder)
    gpt.save_pretrained(folder, tokenizer)
    again = GPT.from_pretrained(folder)
    assert again.tokenizer.encode("lowest") == Tokenizer.from_pretrained(folder).encode("lowest")
    again.save_pretrained(folder)  # where it came from, with the tokenizer it came with
    again = GPT.from_pretrained(folder)
    assert again.tokenizer.encode("lowest") == tokenizer.encode("lowest")
    assert json.loads((folder / "config.json").read_text(encoding="utf-8"))["eos_token_id"] == tokenizer.end_id
    assert replica_in_this_process(again).tokenizer is again.tokenizer
    assert list(again.state_dict()) == list(gpt.state_dict())
    assert copy.deepcopy(again).tokenizer.encode("lowest") == tokenizer.encode("lowest")


def test_another_tokenizer_replaces_all_files_of_the_one_before(folder, tokenizer):
    gpt, characters = GPT.from_pretrained(folder), CharTokenizer("abc")
    gpt.save_pretrained(folder, tokenizer)
    gpt.save_pretrained(folder, characters)
    assert sorted(path.name for path in folder.iterdir()) == ["characters.json", "config.json", "model.safetensors"]
    assert GPT.from_pretrained(folder).tokenizer.encode("cab") == [2, 0, 1]
    gpt.save_pretrained(folder, tokenizer)
    assert GPT.from_pretrained(folder).tokenizer.encode("lowest") == tokenizer.encode("lowest")


def test_a_tokenizer_that_is_too_large_or_damaged(folder, tokenizer):
    large = Tokenizer.train("low lower lowest low lowest lower", 262)
    before = sorted(folder.iterdir())
    with pytest.raises(ValueError, match="262 tokens, the model embeddings for 261"):
        model().save_pretrained(folder, large)
    assert sorted(folder.iterdir()) == before
    large.save(folder)
    with pytest.raises(ValueError, match="262 tokens, the model embeddings for 261"):
        GPT.from_pretrained(folder)
    (folder / "merges.txt").unlink()
    with pytest.raises(ValueError, match=r"merges\.txt is missing.*without its tokenizer"):
        GPT.from_pretrained(folder)


# ------------------------------------------------------------------------------------------------ saving


def test_a_run_folder_is_left_alone(tmp_path, numbers):
    (tmp_path / "last.npz").touch()
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="run folder"):
        model().save_pretrained(tmp_path)
    assert (tmp_path / "config.json").read_text(encoding="utf-8") == "{}"
    with pytest.raises(ValueError, match="is a file"):
        model().save_pretrained(tmp_path / "last.npz")


def test_a_full_disk_leaves_the_old_model(folder, numbers, monkeypatch):
    def full(tensors, path, metadata=None):
        Path(path).write_bytes(b"half")
        raise OSError("no space left on device")

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(numbers, "save_file", full)
    with pytest.raises(OSError, match="no space"):
        model(gelu_approximate="none").save_pretrained(folder, CharTokenizer("abc"))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_transformers_settings_for_another_model_are_deleted(folder):
    (folder / "generation_config.json").write_text('{"eos_token_id": 3}', encoding="utf-8")
    model().save_pretrained(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("names", [["notes.txt"], [""], [".."], ["../outside.safetensors"], [3], None])
def test_an_old_index_cannot_have_other_files_deleted(folder, names):
    """It must not prevent saving the model, however broken it is."""
    index = "{" if names is None else json.dumps({"weight_map": {str(i): name for i, name in enumerate(names)}})
    (folder / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    outside = folder.parent / "outside.safetensors"
    for path in (folder / "notes.txt", outside):
        path.write_text("mine", encoding="utf-8")
    model().save_pretrained(folder)
    assert outside.exists()
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors", "notes.txt"]


def test_parts_of_an_old_model_are_deleted_and_nothing_else(folder):
    (folder / "model.safetensors").rename(folder / "model-1-of-1.safetensors")
    index = {"weight_map": {"a": "model-1-of-1.safetensors", "b": "notes.txt"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (folder / "notes.txt").touch()
    model().save_pretrained(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors", "notes.txt"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured with Linux's /proc")
def test_memory_of_loading_and_saving_124_million_parameters(tmp_path, numbers, request):
    """Never two copies: a mapped file that stays open alone would be a second one."""
    script = request.config.rootpath / "benchmarks" / "gpt2_files.py"

    def run(*arguments):
        return subprocess.run([sys.executable, script, *arguments], check=True, capture_output=True, text=True).stdout

    run("make", tmp_path)
    for dtype in ("float32", "float64"):
        _, load_peak, _, save_peak = map(float, run("measure", tmp_path, dtype).split())
        assert load_peak < 1.3
        assert save_peak < 1.3  # older versions of safetensors make one copy
