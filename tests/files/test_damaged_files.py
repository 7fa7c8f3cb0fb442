"""Damaged files in a run folder: one line says which file and what is wrong, and nothing is written."""

import json
import shutil
import sys
import warnings
import zipfile

import numpy as np
import pytest

from numpylm.cli.main import main
from numpylm.files.checkpoint import load_checkpoint
from numpylm.files.npz_files import read_npz
from numpylm.training.config import TrainConfig, make_config
from numpylm.training.train import train

TINY = {"n_layer": 1, "n_head": 2, "n_embd": 8, "block_size": 8, "batch_size": 2, "vocab_size": 260, "max_steps": 2}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two small runs, by words and by characters."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "a.txt").write_text("once there was a boat on the sea. " * 30, encoding="utf-8")
    for name in ("bpe", "char"):
        settings = {"data": (str(folder / "a.txt"),), "tokenizer": name, "out": str(folder / name)}
        train(TrainConfig(**TINY, **settings, check_gradients=False, sample_tokens=0))
    return folder


@pytest.fixture
def bpe(runs, tmp_path):
    return shutil.copytree(runs / "bpe", tmp_path / "bpe")


@pytest.fixture
def char(runs, tmp_path):
    return shutil.copytree(runs / "char", tmp_path / "char")


def complaint(capsys, *argv):
    """The one line that a command ends with."""
    capsys.readouterr()
    assert main(list(map(str, argv))) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "\r" not in line]
    assert line.startswith("numpylm: error: ")
    return line


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def change_meta(path, change):
    """Let ``change`` edit the meta of a checkpoint."""
    with np.load(path) as file:
        arrays = dict(file)
    meta = json.loads(str(arrays["meta"]))
    meta = change(meta) or meta
    np.savez(path, **arrays | {"meta": np.array(json.dumps(meta))})


def change_entry(path, name, change):
    """Let ``change`` replace the bytes of one array in a checkpoint."""
    with zipfile.ZipFile(path) as file:
        entries = {entry: file.read(entry) for entry in file.namelist()}
    entries[f"{name}.npy"] = change(entries[f"{name}.npy"])
    with zipfile.ZipFile(path, "w") as file:
        for entry, data in entries.items():
            file.writestr(entry, data)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"(260, 8)", b"(260, 80000000)", r"claims to be float32 of shape \(260, 80000000\), but holds 8,320 bytes"),
        (b"(260, 8)", b"(8,)", "holds 8,320 bytes"),
        (b"(260, 8)", b"(260, 8", "damaged"),
        (b"(260, 8)", b"'a'", "damaged"),
        (b"'<f4'", b"'|O'", "claims to be object"),
        (b"'<f4'", b"'<U1'", "should hold numbers, but holds <U1"),
        (b"'<f4'", b"'<i4'", "not floating point: wte.weight is int32"),
        (b"NUMPY", b"NUMPI", "damaged"),
    ],
)
def test_an_array_whose_header_is_not_true(old, new, said, bpe):
    """The first header claims 78 GB, and an earlier version tried to allocate them."""

    def change(data):
        room = len(new) - len(old)
        header = data.replace(old, new, 1)
        return (
            header.replace(b" " * room + b"\n", b"\n", 1)
            if room > 0
            else header.replace(b"\n", b" " * -room + b"\n", 1)
        )

    change_entry(bpe / "best.npz", "model/wte.weight", change)
    with pytest.raises(ValueError, match=said):
        load_checkpoint(bpe / "best.npz").build_model()


CONFIG = "model_config"
DAMAGES = {
    "a list": (lambda m: [m], "meta should be an object"),
    "no format": (lambda m: m.pop("format") and None, "format None"),
    "no shape": (lambda m: m.pop(CONFIG) and None, "model_config is missing"),
    "a shape that is a list": (lambda m: m.update({CONFIG: [1]}), r"model_config should be dict, is \[1\]"),
    "a part of the shape missing": (lambda m: m[CONFIG].pop("n_head") and None, "'n_head'"),
    "an unknown part": (lambda m: m[CONFIG].update({"n_hed": 2}), "model_config has the unknown setting 'n_hed'"),
    "layers that are text": (lambda m: m[CONFIG].update(n_layer="2"), "n_layer must be a whole number"),
    "layers that are true": (lambda m: m[CONFIG].update(n_layer=True), "n_layer must be a whole number"),
    "far too many layers": (lambda m: m[CONFIG].update(n_layer=10**12), "do not belong together"),
    "more layers": (lambda m: m[CONFIG].update(n_layer=2), "missing: h.1.attn.c_attn.bias"),
    "dropout that is text": (lambda m: m[CONFIG].update(dropout="0.1"), r"dropout must lie in \[0, 1\), got '0.1'"),
    "an epsilon that is text": (lambda m: m[CONFIG].update(layer_norm_eps="x"), "layer_norm_eps must be a number"),
    "bias that is a number": (lambda m: m[CONFIG].update(bias=2), "bias must be True or False"),
    "another kind of number": (lambda m: m.update(dtype="object"), "dtype should be float32 or float64, is 'object'"),
    "adapters that are a list": (lambda m: m.update(lora=[1]), r"lora should be dict, is \[1\]"),
    "adapters without a rank": (lambda m: m.update(lora={"alpha": 1.0}), "rank is missing"),
}


@pytest.mark.parametrize(("change", "said"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_checkpoint_whose_meta_is_not_ours(change, said, bpe, capsys):
    change_meta(bpe / "best.npz", change)
    capsys.readouterr()
    assert main(["generate", str(bpe), "--max-new-tokens", "1"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("numpylm: error: ")
    assert "best.npz" in error
    with pytest.raises(ValueError, match=said):
        load_checkpoint(bpe / "best.npz").build_model()


STATES = {
    "no step": (lambda m: m.pop("step"), "step is missing"),
    "a step that is text": (lambda m: m.update(step="2"), "step should be int, is '2'"),
    "a step below 0": (lambda m: m.update(best_step=-1), "best_step should be at least 0, is -1"),
    "a loss that is text": (lambda m: m.update(best="x"), "best should be float or null, is 'x'"),
    "no generator": (lambda m: m.update(batch_rng={}), "batch_rng is not the state of a random generator"),
    "another generator": (lambda m: m["batch_rng"].update(bit_generator="MT19937"), "batch_rng"),
    "half of a generator": (lambda m: m["dropout_rng"].update(state={"state": 1}), "dropout_rng is not the state"),
    "a mean that is a number": (lambda m: m.update(since_log=3), "since_log should be dict, is 3"),
}


@pytest.mark.parametrize(("change", "said"), STATES.values(), ids=STATES.keys())
def test_a_run_whose_state_is_damaged_is_not_resumed_and_stays_as_it_is(change, said, bpe, capsys):
    change_meta(bpe / "last.npz", lambda meta: change(meta) and None)
    before = content(bpe)
    line = complaint(capsys, "train", "--resume", bpe, "--max-steps", 3)
    assert f"last.npz is damaged: {said}" in line
    assert content(bpe) == before


def test_a_config_of_another_model_is_refused_before_anything_is_written(bpe, capsys):
    settings = json.loads((bpe / "config.json").read_text(encoding="utf-8"))
    del settings["block_size"]  # the default is longer than what this model reads
    (bpe / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    before = content(bpe)
    line = complaint(capsys, "train", "--resume", bpe, "--max-steps", 3)
    assert "block_size is 256, the model in last.npz reads 8 tokens" in line
    assert content(bpe) == before


def test_lines_of_the_metrics_that_are_none_are_left_out(bpe, capsys):
    path = bpe / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    odd = ["[1]", "3", "{", "null", '{"step": "x"}', '{"val_loss": 1.0}', '{"step": 1, "val_loss": "low"}', "[" * 10**5]
    path.write_text("\n".join([*odd, *lines]) + "\n", encoding="utf-8")
    assert main(["train", "--resume", str(bpe), "--max-steps", "3", "--no-check-gradients"]) == 0
    assert path.read_text(encoding="utf-8").splitlines()[: len(lines)] == lines


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: [c], "it holds"),
        (lambda c: c.pop("special_tokens") and None, "special_tokens is missing"),
        (lambda c: c.update(characters=["a", "b"]), "characters should be str, is ['a', 'b']"),
        (lambda c: c.update(characters=3), "characters should be str, is 3"),
        (lambda c: c.update(characters="aa"), "a token occurs twice"),
        (lambda c: c.update(characters="\ud800"), "a lone surrogate, U+D800"),
        (lambda c: c.update(special_tokens=[None]), "None is not a token"),
        (lambda c: c.update(special_tokens=[""]), "'' is not a token"),
        (lambda c: c.update(special_tokens="end"), "special_tokens should be list"),
    ],
)
def test_characters_that_are_none(change, said, char, capsys):
    path = char / "characters.json"
    state = json.loads(path.read_text(encoding="utf-8")) | {"special_tokens": ["<|endoftext|>"]}
    path.write_text(json.dumps(change(state) or state), encoding="utf-8")
    assert said in complaint(capsys, "tokenize", char, "a")


def test_values_that_are_too_long_to_be_read_are_cut(bpe, capsys):
    (bpe / "merges.txt").write_text("((" * 10**5, encoding="utf-8")
    assert len(complaint(capsys, "tokenize", bpe, "a")) < 300
    (bpe / "pattern.txt").write_text("(" * 10**5, encoding="utf-8")
    (bpe / "merges.txt").write_text("", encoding="utf-8")
    assert "is not a regular expression" in complaint(capsys, "tokenize", bpe, "a")
    (bpe / "config.json").write_text(json.dumps({"n_" * 10**5: 1}), encoding="utf-8")
    assert len(complaint(capsys, "train", "--resume", bpe)) < 2200


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"warmup_steps": 10**400}, "warmup_steps must be below 1e+15, got 1000"),
        ({"learning_rate": 10**400}, "learning_rate must be below 1e+15"),
        ({"max_val_mb": 1e308}, "max_val_mb must be below 1e+15, got 1e+308"),
        ({"max_steps": -(10**400)}, "max_steps must be below"),
    ],
)
def test_settings_beyond_all_numbers(settings, said):
    with pytest.raises(ValueError, match=said.replace("+", r"\+")):
        make_config(settings)


def test_so_many_texts_side_by_side_are_refused_at_once(bpe, capsys):
    assert "at most 10,000" in complaint(capsys, "generate", bpe, "-n", 10**30)


def test_answers_that_are_all_empty_are_refused(runs, tmp_path, capsys):
    """Bits per byte of an empty text divided by zero."""
    (tmp_path / "a.txt").write_text("<|endoftext|>".join(["Q: one? A:"] * 20), encoding="utf-8")
    line = complaint(capsys, "evaluate", runs / "bpe", "--data", tmp_path / "a.txt", "--loss-after", "A:")
    assert "there is no text after 'A:'" in line


def test_numbers_without_bounds_print_no_warnings_of_numpy(bpe, capsys):
    """The consequences are explained in words."""
    with np.load(bpe / "best.npz") as file:
        arrays = dict(file)
    arrays["model/wte.weight"] = np.full_like(arrays["model/wte.weight"], 3e38)
    np.savez(bpe / "best.npz", **arrays)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert "logits are not finite" in complaint(capsys, "generate", bpe, "--max-new-tokens", 2)
    assert not [w for w in warned if w.category is RuntimeWarning]


def test_a_file_is_closed_when_it_is_damaged(bpe):
    (bpe / "best.npz").write_bytes((bpe / "best.npz").read_bytes()[:-100])
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        with pytest.raises(ValueError, match="zip"):
            read_npz(bpe / "best.npz", lambda name: True)
    if sys.platform == "win32":
        (bpe / "best.npz").unlink()  # no open file can be removed there
