"""The whole job on a tiny model: run folders, resuming, interruption, divergence, commands, settings."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from numpylm import GPT, DataParallel, GPTConfig
from numpylm.cli.main import main
from numpylm.files.checkpoint import load_checkpoint, load_run, save_checkpoint
from numpylm.system import worker
from numpylm.training.config import TrainConfig, make_config
from numpylm.training.parallel import _loss_and_grad
from numpylm.training.run_state import RESUMABLE, TrainingError, resume_config
from numpylm.training.train import save_after_loss, train

TINY = {
    "vocab_size": 300,
    "block_size": 16,
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 8,
    "batch_size": 4,
    "max_steps": 6,
    "warmup_steps": 2,
    "eval_interval": 2,
    "sample_tokens": 5,
    "check_gradients": False,
}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def text(tmp_path):
    rng = np.random.default_rng(0)
    words = ["one", "two", "three"] + ["".join(rng.choice(list("aeionrst"), 5)) for _ in range(40)]
    path = tmp_path / "numbers.txt"
    path.write_text(" ".join(rng.choice(words, 3000)), encoding="utf-8")
    return str(path)


def tiny(text, **changes):
    return make_config(TINY, {"data": text}, changes)


def arrays(folder, name="last.npz"):
    checkpoint = load_checkpoint(folder / name)
    return checkpoint.model | {f"optimizer {k}": v for k, v in checkpoint.optimizer.items()}


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_training_losses_are_logged_between_evaluations(text):
    entries = metrics(train(tiny(text, max_steps=25, eval_interval=25)))
    assert [entry["step"] for entry in entries if "train_loss" in entry] == [10, 20]
    assert all(entry["lr"] > 0 and entry["grad_norm"] > 0 for entry in entries if "train_loss" in entry)


def test_a_run_folder_holds_everything(text, capsys):
    folder = train(tiny(text))
    assert sorted(p.name for p in folder.iterdir()) == [
        "best.npz",
        "config.json",
        "last.npz",
        "loss.svg",
        "merges.txt",
        "metrics.jsonl",
        "vocab.json",
    ]
    entries = metrics(folder)
    assert [entry["step"] for entry in entries] == [0, 2, 4, 6]
    assert entries[-1]["val_loss"] < entries[0]["val_loss"]
    assert abs(entries[0]["val_loss"] - math.log(300)) < 0.2
    ET.fromstring((folder / "loss.svg").read_text(encoding="utf-8"))
    out = capsys.readouterr().out
    for part in ("guessing, ln V", "unigram model", "bigram model", "bits per byte", "numpylm generate"):
        assert part in out
    assert re.search(r"5\.7038 +guessing", out)
    gpt, tokenizer, checkpoint = load_run(folder)
    assert gpt.config.vocab_size == tokenizer.vocab_size == 300
    assert checkpoint.meta["step"] == 6


def test_stories_are_the_default_and_know_their_floor(capsys):
    config = make_config(TINY, {"stories_mb": 0.05, "block_size": 600, "max_steps": 1})
    folder = train(config)
    assert folder.as_posix() == "runs/stories"
    out = capsys.readouterr().out
    assert "entropy of the source" in out
    assert "windows begin with documents" in out
    assert "above_source" in (folder / "metrics.jsonl").read_text(encoding="utf-8")


def test_n_and_n_steps_are_2n_steps_to_the_bit(text):
    config = tiny(text, dropout=0.2, grad_accum=2, max_steps=7, eval_interval=3)
    whole = train(make_config(asdict(config), {"out": "whole"}))
    parts = train(make_config(asdict(config), {"out": "parts"}), stop_at=4)
    assert load_checkpoint(parts / "last.npz").meta["step"] == 4
    train(resume_config(parts, {}), resume=parts)
    assert metrics(whole) == metrics(parts)
    one, two = arrays(whole), arrays(parts)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(text):
    first, second = train(tiny(text, out="a")), train(tiny(text, out="b"))
    third = train(tiny(text, out="c", seed=1))
    for name, value in arrays(first).items():
        np.testing.assert_array_equal(value, arrays(second)[name])
    assert (arrays(first)["wte.weight"] != arrays(third)["wte.weight"]).any()


def test_gradient_accumulation_is_one_large_batch(text):
    """Two batches of four must move the parameters as their eight sequences together do."""
    from numpylm.text.data import random_batch

    folder = train(tiny(text, grad_accum=2, max_steps=1, eval_interval=1, grad_clip=0.0, out="acc"))
    start = train(tiny(text, max_steps=1, out="start"), stop_at=0)
    checkpoint = load_checkpoint(start / "last.npz")
    gpt = checkpoint.build_model()
    rng = np.random.default_rng()
    rng.bit_generator.state = checkpoint.meta["batch_rng"]
    from numpylm.nn.optim import AdamW, warmup_cosine
    from numpylm.text.any_tokenizer import load_tokenizer
    from numpylm.text.train_val_split import split_train_val
    from numpylm.training.prepare_data import Data, load_documents

    config = tiny(text)
    docs = split_train_val(load_documents(config), 0.1, np.random.default_rng(config.seed))
    data = Data.encode(*docs, load_tokenizer(start), config, start)
    batches = [random_batch(data.train, 4, 16, rng, data.starts) for _ in range(2)]
    gpt.loss_and_grad(np.concatenate([b[0] for b in batches]), np.concatenate([b[1] for b in batches]))
    AdamW(gpt.parameters(), weight_decay=0.1).step(warmup_cosine(0, 2, 1, 6e-3, 2e-4))
    for name, value in gpt.state_dict().items():
        np.testing.assert_allclose(arrays(folder)[name], value, atol=2e-5)


def test_resuming_with_more_steps_and_what_may_not_change(text):
    folder = train(tiny(text))
    train(resume_config(folder, {"max_steps": 8}), resume=folder)
    assert load_checkpoint(folder / "last.npz").meta["step"] == 8
    assert "max_steps" in RESUMABLE
    with pytest.raises(ValueError, match="n_layer cannot change"):
        resume_config(folder, {"n_layer": 3})


def test_resuming_on_another_text_is_refused(text, tmp_path):
    folder = train(tiny(text), stop_at=2)
    (tmp_path / "numbers.txt").write_text("six seven " * 1000, encoding="utf-8")
    with pytest.raises(TrainingError, match="not what this run began with"):
        train(resume_config(folder, {}), resume=folder)


def test_metrics_after_a_crash_are_cut_to_the_checkpoint(text):
    folder = train(tiny(text), stop_at=4)
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 6, "val_loss": 1.0}\n{"step": 8, "val')
    train(resume_config(folder, {}), resume=folder)
    steps = [entry["step"] for entry in metrics(folder)]
    assert steps == [0, 2, 4, 6]


def test_tokens_on_disk_train_and_resume_as_tokens_in_memory(text, monkeypatch):
    inside = train(tiny(text, out="inside"))
    monkeypatch.setattr("numpylm.text.data.IN_MEMORY", 500)
    outside = train(tiny(text, out="outside"), stop_at=3)
    train(resume_config(outside, {}), resume=outside)
    for name, value in arrays(inside).items():
        np.testing.assert_array_equal(value, arrays(outside)[name])


def test_an_existing_folder_is_never_overwritten(text):
    assert train(tiny(text, max_steps=1)).as_posix() == "runs/numbers"
    assert train(tiny(text, max_steps=1)).as_posix() == "runs/numbers-2"
    with pytest.raises(FileExistsError, match="exists"):
        train(tiny(text, out="runs/numbers"))


def test_divergence_names_step_and_parameter(text, monkeypatch):
    from numpylm.nn import layers

    class Breaks(layers.LayerNorm):
        calls = 0

        def backward(self, dy, cache):
            dx = super().backward(dy, cache)
            Breaks.calls += 1
            if Breaks.calls > 5:
                self.bias.grad[0] = np.nan
            return dx

    monkeypatch.setattr("numpylm.models.gpt.LayerNorm", Breaks)
    with pytest.raises(TrainingError, match=r"diverged at step \d.*the gradient of ln_f\.bias"):
        train(tiny(text))
    load_run("runs/numbers")


@pytest.mark.slow
def test_overfitting_is_said(tmp_path, capsys):
    """Random letters cannot be predicted, only memorized."""
    noise = "".join(np.random.default_rng(0).choice(list("abcdefgh "), 500))
    (tmp_path / "noise.txt").write_text(noise, encoding="utf-8")
    config = {"tokenizer": "char", "n_embd": 64, "batch_size": 16, "max_steps": 300, "eval_interval": 50}
    train(tiny("noise.txt", **config))
    assert capsys.readouterr().out.count("overfitting: validation loss was lowest at step") == 1


@pytest.mark.slow
def test_a_wrong_gradient_stops_training_before_it_begins(text, monkeypatch):
    from numpylm.nn.layers import Linear

    class Wrong(Linear):
        def backward(self, dy, cache):
            return -super().backward(dy, cache)

    monkeypatch.setattr("numpylm.check.selfcheck.Linear", Wrong)
    with pytest.raises(TrainingError, match="wrong sign"):
        train(tiny(text, check_gradients=True))


COMMAND = [sys.executable, "-m", "numpylm", "train", "--no-check-gradients"]


def tiny_flags(text):
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in TINY.items() if key != "check_gradients"]
    return [*COMMAND, "--data", text, *flags]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for other processes")
def test_ctrl_c_saves_and_says_how_to_go_on(text, tmp_path):
    command = [*tiny_flags(text), "--max-steps", "1000000", "--eval-interval", "1000000", "--out", "stopped"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8")
    for _ in range(600):
        if (tmp_path / "stopped" / "metrics.jsonl").exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert "numpylm train --resume stopped" in out
    assert load_checkpoint(tmp_path / "stopped" / "last.npz").meta["step"] > 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_killed_at_any_moment_the_run_folder_can_be_resumed(text, tmp_path):
    rng = np.random.default_rng(0)
    found = 0
    for attempt in range(40):
        out = tmp_path / f"run{attempt}"
        command = [*tiny_flags(text), "--max-steps", "100000", "--eval-interval", "1", "--out", str(out)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        begun = out if attempt % 2 else out.with_name(f".{out.name}.lock")  # the folder, or the claim to its name
        while not (begun.exists() or out.exists()):
            assert process.poll() is None
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.wait()
        if out.exists():
            found += 1
            gpt, _, checkpoint = load_run(out / "last.npz")
            assert all(np.isfinite(p.data).all() for p in gpt.parameters())
            resume_config(out, {})
            train(resume_config(out, {"max_steps": checkpoint.meta["step"] + 1}), resume=out)
    assert found >= 20


# -------------------------------------------------------------------------------------------- settings


def test_settings_from_defaults_file_and_flags(tmp_path, text):
    (tmp_path / "c.toml").write_text("n_layer = 3\nlearning_rate = 1\n", encoding="utf-8")
    flags = [*tiny_flags(text)[3:], "--config", "c.toml", "--n_embd", "16", "--learning-rate", "0.002"]
    flags = [flag for flag in flags if "n-layer" not in flag] + ["--max-steps", "1"]
    assert main(flags) == 0
    saved = json.loads((tmp_path / "runs" / "numbers" / "config.json").read_text(encoding="utf-8"))
    assert (saved["n_layer"], saved["n_embd"], saved["learning_rate"]) == (3, 16, 0.002)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_layers": 3}, "unknown setting 'n_layers'; did you mean 'n_layer'"),
        ({"qqq": 3}, "unknown setting 'qqq'; there are: task, data"),
        ({"n_layer": "3"}, "n_layer must be a value of type int, got '3'"),
        ({"n_layer": True}, "type int"),
        ({"learning_rate": "fast"}, "type float"),
        ({"data": [1]}, "list of strings"),
        ({"batch_size": 0}, "batch_size must be above 0"),
        ({"min_lr": 1.0}, "min_lr .* must not be above"),
        ({"dtype": "float16"}, "float32 or float64"),
        ({"warmup_steps": -1}, "at least 0"),
    ],
)
def test_bad_settings_are_explained(values, message):
    with pytest.raises(ValueError, match=message):
        make_config(values)


def test_an_int_is_a_fine_float():
    assert make_config({"learning_rate": 1}).learning_rate == 1.0
    assert make_config({"data": "a.txt"}).data == ("a.txt",)
    assert make_config() == TrainConfig()


# -------------------------------------------------------------------------------------------- commands


@pytest.fixture
def run(text):
    return str(train(tiny(text, out="run")))


def test_generate_evaluate_and_tokenize(run, text, capsys):
    capsys.readouterr()
    assert main(["generate", run, "--prompt", "one two", "--max-new-tokens", "5", "--seed", "1"]) == 0
    first = capsys.readouterr().out
    assert first.startswith("one two")
    assert main(["generate", run, "--prompt", "one two", "--max-new-tokens", "5", "--seed", "1"]) == 0
    assert capsys.readouterr().out == first
    assert main(["evaluate", run, "--data", text]) == 0
    out = capsys.readouterr().out
    assert re.search(r"loss +\d\.\d{4} nats per token", out)
    assert "bits per byte" in out
    assert "accuracy" in out
    assert main(["tokenize", run, "one 漢"]) == 0
    assert "5 characters, 7 bytes" in capsys.readouterr().out
    assert main(["tokenize", run, "one", "--ids"]) == 0
    assert all(word.isdigit() for word in capsys.readouterr().out.split())


def test_evaluation_agrees_with_the_loss_that_training_reported(run, capsys, text):
    gpt, tokenizer, checkpoint = load_run(run)
    from numpylm.text.train_val_split import split_train_val
    from numpylm.training.evaluation import evaluate
    from numpylm.training.prepare_data import load_documents

    docs = split_train_val(load_documents(tiny(text)), 0.1, np.random.default_rng(1337))
    from numpylm.text.data import encode_documents

    score = evaluate(gpt, encode_documents(docs[1], tokenizer))
    assert score.loss == pytest.approx(checkpoint.meta["best"], rel=1e-5)
    by_hand = []
    tokens = encode_documents(docs[1], tokenizer).astype(int)
    for i in range(0, len(tokens) - 1, 16):
        ids, targets = tokens[i : i + 16][: len(tokens) - 1 - i], tokens[i + 1 : i + 17]
        by_hand.append(gpt.loss(ids[None], targets[None]) * len(targets))
    assert score.loss == pytest.approx(sum(by_hand) / (len(tokens) - 1), rel=1e-5)


def test_long_prompts_are_said_and_handled(run, capsys):
    assert main(["generate", run, "--prompt", "one two three " * 30, "--max-new-tokens", "3"]) == 0
    assert "the model reads the last 16" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["generate", "./nowhere"], 1, "no folder './nowhere'"),
        (["generate", "."], 1, "not a run folder"),
        (["generate", "RUN", "--temperature", "-1"], 1, "temperature must be"),
        (["generate", "RUN", "--max-new-tokens", "0"], 1, "at least 1"),
        (["evaluate", "RUN", "--data", "nothing.txt"], 1, "no such file"),
        (["train", "--n-layers", "3"], 2, "unknown option: --n-layers 3; did you mean --n-layer?"),
        (["train", "--n-layer", "three"], 2, "expected a whole number, got 'three'"),
        (["train", "--config", "no.toml"], 1, "no such config file"),
        (["train", "--resume", "nowhere"], 1, "cannot resume nowhere"),
        (["train", "--data", "nowhere.txt", "--no-check-gradients"], 1, "no such file or folder"),
        (["tran"], 2, "unknown command 'tran'; did you mean train?"),
        ([], 2, "required"),
    ],
)
def test_mistakes_get_one_line_and_an_exit_code(run, capsys, argv, code, message):
    capsys.readouterr()
    argv = [run if word == "RUN" else word for word in argv]
    try:
        status = main(argv)
    except SystemExit as stop:
        status = stop.code
    assert status == code
    err = capsys.readouterr().err
    assert message in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("config", [{"model_type": "gpt2", "n_embd": 8}, [1]])
def test_a_folder_of_transformers_is_no_run_to_resume(config, tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert main(["train", "--resume", ".", "--max-steps", "9"]) == 1
    assert "it is not a run folder, its config.json is not of a training run" in capsys.readouterr().err


def test_broken_checkpoints_are_explained(run, tmp_path, capsys):
    whole = (tmp_path / "run" / "best.npz").read_bytes()
    for data in (whole[: len(whole) // 2], b"", b"not a zip file at all", b"\x93NUMPY"):
        (tmp_path / "run" / "best.npz").write_bytes(data)
        with pytest.raises(ValueError, match="not a numpylm checkpoint, or is damaged"):
            load_run(run)
    np.savez(tmp_path / "run" / "best.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="not a numpylm checkpoint"):
        load_run(run)
    np.savez(tmp_path / "run" / "best.npz", meta=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="not a numpylm checkpoint"):
        load_run(run)


def test_a_tokenizer_from_another_run_is_noticed(run, tmp_path):
    save_checkpoint(tmp_path / "run" / "best.npz", GPT(GPTConfig(301, 4, 1, 1, 4)))
    with pytest.raises(ValueError, match="301 tokens, the tokenizer beside it has 300"):
        load_run(run)


def test_writing_fails_without_touching_the_old_file(tmp_path):
    from numpylm.system.whole_files import write_atomically

    def fail(file):
        file.write(b"half")
        raise OSError("disk full")

    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(OSError, match="disk full"):
        write_atomically(tmp_path / "f", fail)
    assert (tmp_path / "f").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_file_that_is_open_elsewhere_is_replaced_a_moment_later(tmp_path, monkeypatch):
    """On Windows, `numpylm generate`, which reads best.npz, would end the training that writes it."""
    from numpylm.system import whole_files as files

    refused, replace = [], Path.replace

    def busy(self, target):
        if len(refused) < 2:
            refused.append(target)
            raise PermissionError(13, "Access is denied")
        return replace(self, target)

    monkeypatch.setattr(files, "TRIES", 3)
    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(Path, "replace", busy)
    files.write_text(tmp_path / "f", "new")
    assert (tmp_path / "f").read_text(encoding="utf-8") == "new"
    assert len(refused) == 2


def test_character_models_train_too(text):
    folder = train(tiny(text, tokenizer="char"))
    gpt, tokenizer, _ = load_run(folder)
    assert gpt.config.vocab_size == tokenizer.vocab_size == len(set("one two three aeionrst"))


@pytest.mark.parametrize("marks", ["", "\n<|endoftext|>\n"])
def test_characters_that_only_the_validation_text_has_are_in_the_alphabet(text, marks, tmp_path, capsys):
    words = (tmp_path / "numbers.txt").read_text(encoding="utf-8")
    (tmp_path / "rare.txt").write_text(marks.join([*(words[n:] for n in range(4)), " ωж漢"]), encoding="utf-8")
    for seed in range(3):  # another seed chooses another document to validate
        folder = train(tiny("rare.txt", tokenizer="char", seed=seed, max_steps=2))
        characters = load_run(folder)[1].characters
        assert set("ωж漢") < set(characters)
    if not marks:
        assert "3 characters occur in the validation text only, and get ids: 'ωж漢'" in capsys.readouterr().out
    assert main(["generate", str(folder), "--prompt", "ωx"]) == 1
    assert "the character 'x' (U+0078, first at position 1)" in capsys.readouterr().err


def test_python_m_numpylm_works():
    out = subprocess.run([sys.executable, "-m", "numpylm", "train", "--help"], capture_output=True, text=True)
    assert out.returncode == 0
    assert "--n-layer" in out.stdout


def test_importing_is_light():
    code = "import sys, numpylm; print([m for m in ('torch', 'matplotlib', 'argparse', 'tomllib') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.slow
def test_processes_train_the_same_model_and_a_run_may_change_from_them_to_threads(text, monkeypatch):
    monkeypatch.setattr("numpylm.training.train.FEWEST_STEPS_FOR_PROCESSES", 4)
    monkeypatch.setattr("numpylm.training.train.default_workers", lambda: 2)
    expected = arrays(train(tiny(text, dropout=0.2)))
    whole = train(tiny(text, dropout=0.2), processes=True)
    parts = train(tiny(text, dropout=0.2), processes=True, stop_at=4)  # the last two steps are not worth processes
    train(resume_config(parts, {}), resume=parts, processes=True)
    for folder in (whole, parts):
        found = arrays(folder)
        assert found.keys() == expected.keys()
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def dies_in_the_second_step(gpt, *part):
    """Like a worker; the process ends after the second call, before it can report it."""
    loss = _loss_and_grad(gpt, *part)
    calls.append(1)
    if worker._serving and len(calls) == 2:
        os._exit(9)
    return loss


calls: list[int] = []


@pytest.mark.slow
def test_a_worker_that_dies_is_survived_and_what_was_trained_is_saved_at_once(text, monkeypatch, capsys):
    """A run that continues, and one resumed from the saved state, end with the bits of an undisturbed run."""
    monkeypatch.setattr("numpylm.training.train.FEWEST_STEPS_FOR_PROCESSES", 4)
    monkeypatch.setattr("numpylm.training.train.default_workers", lambda: 2)
    expected = arrays(train(tiny(text, dropout=0.2, eval_interval=3)))
    kept = Path("runs/kept")

    def save(run, line):
        save_after_loss(run, line)
        shutil.copytree(run.folder, kept)

    with monkeypatch.context() as patch:
        patch.setattr("numpylm.training.parallel._loss_and_grad", dies_in_the_second_step)
        patch.setattr("numpylm.training.train.save_after_loss", save)
        survived = train(tiny(text, dropout=0.2, eval_interval=3), processes=True)
    said = capsys.readouterr().out
    assert "a worker process ended with exit code 9; a thread continues in its place, with the same result" in said
    assert f"If this process is killed, too: numpylm train --resume {survived}" in said
    assert load_checkpoint(kept / "last.npz").meta["step"] == 1
    for folder in (survived, train(resume_config(kept, {}), resume=kept)):
        found = arrays(folder)
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_no_process_is_started_unless_asked_for(text, monkeypatch):
    def refuse(*args):
        raise AssertionError("a process was asked for")

    monkeypatch.setattr("numpylm.training.prepare_data.FEWEST_CHARACTERS_FOR_PROCESSES", 0)
    monkeypatch.setattr("numpylm.system.worker.Worker.__init__", refuse)
    train(tiny(text))
    with pytest.raises(AssertionError, match="a process was asked for"):
        train(tiny(text), processes=True)


def test_no_more_workers_are_made_than_a_batch_has_rows(text, monkeypatch):
    made = []

    class Watched(DataParallel):
        def __init__(self, gpt, workers, **options):
            made.append(workers)
            super().__init__(gpt, workers, **options)

    monkeypatch.setattr("numpylm.training.train.DataParallel", Watched)
    monkeypatch.setattr("numpylm.training.train.default_workers", lambda: 64)
    train(tiny(text))
    assert made == [4]
