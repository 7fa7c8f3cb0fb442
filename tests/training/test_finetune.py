"""Fine-tuning from a run of ours: what is trained, what counts, when it ends, and that it can be resumed."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from numpylm import GPT
from numpylm.cli.main import main
from numpylm.files.checkpoint import load_checkpoint, load_run, save_checkpoint
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.text.data import random_batch, sequential_batches
from numpylm.text.loss_mask import encode_answers
from numpylm.text.tokenizer import Tokenizer
from numpylm.training.config import FINE_TUNING, make_config
from numpylm.training.first_batch import diagnose_run
from numpylm.training.run_state import resume_config
from numpylm.training.train import train

TINY = {
    "vocab_size": 300,
    "block_size": 16,
    "n_layer": 3,
    "n_head": 2,
    "n_embd": 8,
    "batch_size": 4,
    "max_steps": 4,
    "warmup_steps": 2,
    "eval_interval": 2,
    "sample_tokens": 0,
    "check_gradients": False,
}
FINE = {"check_gradients": False, "max_steps": 6, "eval_interval": 2, "sample_tokens": 0, "batch_size": 2}


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory):
    """A run to start from, and a text of questions and answers."""
    folder = tmp_path_factory.mktemp("base")
    rng = np.random.default_rng(0)
    words = ["one", "two", "three"] + ["".join(rng.choice(list("aeionrst"), 5)) for _ in range(40)]
    documents = ["Q: " + " ".join(rng.choice(words, 5)) + " A: " + " ".join(rng.choice(words, 3)) for _ in range(120)]
    (folder / "qa.txt").write_text("\n<|endoftext|>\n".join(documents), encoding="utf-8")
    train(make_config(TINY, {"data": str(folder / "qa.txt"), "out": str(folder / "base")}))
    return folder


@pytest.fixture
def base(trained_once, tmp_path, monkeypatch):
    """That run and that text in a folder of their own, which is the current one."""
    shutil.copytree(trained_once, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Path("base")


def fine(**changes):
    return make_config(FINE, {"data": "qa.txt", "init_from": "base"}, changes)


def weights(folder, name="last.npz"):
    return load_checkpoint(folder / name).model


def test_only_what_is_not_frozen_moves(base):
    folder = train(fine(freeze_below=2))
    before, after = weights(base, "best.npz"), weights(folder)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == {name for name in before if name.startswith(("h.2.", "ln_f"))}
    assert len(load_checkpoint(folder / "last.npz").optimizer) == 1 + 2 * len(moved)


def test_adapters_are_trained_saved_and_merged_when_the_model_is_used(base):
    folder = train(fine(lora_rank=2, freeze_below=1, learning_rate=0.01))
    before, after = weights(base, "best.npz"), weights(folder)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert {name for name in after if name not in before} == {
        f"h.{n}.{layer}.lora_{ab}"
        for n in (1, 2)
        for layer in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
        for ab in "AB"
    }
    gpt, _, _ = load_run(folder / "last.npz")
    names = {name for name, _ in gpt.named_parameters()}
    assert names == set(before)
    a, b = (after[f"h.2.mlp.c_fc.lora_{ab}"] for ab in "AB")
    np.testing.assert_allclose(gpt.h[2].mlp.c_fc.weight.data, before["h.2.mlp.c_fc.weight"] + 2 * a @ b, atol=1e-6)


@pytest.mark.parametrize("how", [{"freeze_below": 2}, {"lora_rank": 2, "dropout": 0.1}])
def test_a_stopped_run_goes_on_to_the_bit(base, how):
    whole = train(fine(out="whole", **how))
    stopped = train(fine(out="stopped", **how), stop_at=3)
    train(resume_config(stopped, {}), resume=stopped)
    one, two = weights(whole), weights(stopped)
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_a_run_that_was_fine_tuned_can_be_fine_tuned_again(base):
    train(fine(out="once", lora_rank=2))
    folder = train(fine(out="twice", init_from="once", freeze_below=1))
    assert set(weights(folder)) == set(weights(base))


def test_training_ends_when_the_validation_loss_no_longer_falls(base, capsys):
    folder = train(fine(max_steps=40, patience=2, learning_rate=3.0, min_lr=3.0, warmup_steps=0))
    checkpoint = load_checkpoint(folder / "last.npz")
    assert checkpoint.meta["step"] == checkpoint.meta["best_step"] + 4
    assert "stopped early: 2 evaluations" in capsys.readouterr().out


def test_without_patience_training_goes_on(base):
    folder = train(fine(max_steps=12, patience=0, learning_rate=3.0, min_lr=3.0, warmup_steps=0))
    assert load_checkpoint(folder / "last.npz").meta["step"] == 12


@pytest.mark.parametrize("block_size", [4, 16])
def test_prompts_are_not_learned(base, capsys, monkeypatch, block_size):
    """What the optimizer sees: targets are answers, prompts are not, and no window is empty, however short."""
    seen = []

    def recorded(*args, **kwargs):
        seen.append(random_batch(*args, **kwargs))
        return seen[-1]

    monkeypatch.setattr("numpylm.training.language_modeling.random_batch", recorded)
    folder = train(fine(loss_after="A:", block_size=block_size))
    assert "tokens after 'A:' count in the loss" in capsys.readouterr().out
    tokenizer = Tokenizer.load(folder)
    assert all((targets != IGNORE_INDEX).any(axis=1).all() for _, targets in seen)
    learned = [tokenizer.token_bytes(i) for _, targets in seen for i in targets[targets != IGNORE_INDEX]]
    assert not any(b":" in token or b"Q" in token for token in learned)
    assert any((targets == IGNORE_INDEX).any() for _, targets in seen)


def test_a_mark_that_occurs_again_is_said(base, tmp_path, capsys):
    (tmp_path / "one.txt").write_text("Q: a A: b\n\nQ: c A: d\n" * 200, encoding="utf-8")
    train(fine(data="one.txt", loss_after="A:", max_steps=1))
    assert "occurs more than once in 1 of 1 documents" in capsys.readouterr().out


def test_a_run_that_cannot_begin_leaves_no_folder(base):
    with pytest.raises(ValueError, match="has no"):
        train(fine(loss_after="Answer:", out="nothing"))
    assert not Path("nothing").exists()


def test_a_padded_vocabulary_can_be_trained_and_sampled(base):
    gpt, tokenizer, _ = load_run(base)
    padded = GPT(replace(gpt.config, vocab_size=420), np.random.default_rng(0))
    save_checkpoint(Path("padded") / "best.npz", padded, meta={"tokens": tokenizer.vocab_size})
    tokenizer.save("padded")
    train(fine(init_from="padded", sample_tokens=60))


@pytest.mark.parametrize("how", [{"freeze_below": 2}, {"lora_rank": 2}])
def test_diagnosis_looks_at_what_is_trained(base, how):
    text = str(diagnose_run(fine(learning_rate=0.05, **how)))
    assert "h.2" in text
    assert not any(words in text for words in ("wte", "No gradient reaches", "does not depend")), text


def test_answers_and_their_end_count_and_nothing_else():
    tokenizer = Tokenizer.train("Q: yes A: no Q: no A: yes yes " * 20, 300)
    documents = ["Q: no A: yes A: no", "Q: yes A:"]
    tokens, counted = encode_answers(documents, tokenizer, "A:")
    end = tokenizer.end_id
    assert tokenizer.decode(tokens) == "<|endoftext|>Q: no A: yes A: no<|endoftext|>Q: yes A:<|endoftext|>"
    parts = np.split(tokens, np.flatnonzero(np.diff(counted)) + 1)
    assert [tokenizer.decode(part) for part in parts] == [
        "<|endoftext|>Q: no A:",
        " yes A: no<|endoftext|>",
        "Q: yes A:",
        "<|endoftext|>",
    ]
    assert counted.tolist() == [bool(c) for c in counted]
    assert tokens[0] == end
    with pytest.raises(ValueError, match=r"document 2 has no 'A:'"):
        encode_answers(["Q A: x", "nothing"], tokenizer, "A:")


def test_batches_hide_targets_that_do_not_count():
    tokens = np.arange(40)
    counted = tokens % 3 == 0
    batches = [random_batch(tokens, 5, 8, np.random.default_rng(0), counted=counted)]
    batches += list(sequential_batches(tokens, 2, 8, counted=counted))
    for ids, targets in batches:
        expected = np.where(counted[ids + 1], ids + 1, IGNORE_INDEX)
        np.testing.assert_array_equal(targets, expected)
    assert sum((targets != IGNORE_INDEX).sum() for _, targets in batches[1:]) == counted[1:].sum()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_layer": 5}, "n_layer is 3 in base and cannot be changed, got 5"),
        ({"tokenizer": "char"}, "tokenizer is bpe in base"),
        ({"block_size": 17}, "reads 16 tokens at most, got block_size=17"),
        ({"freeze_below": 4}, r"0 … 3, got 4"),
        ({"lora_rank": 99}, "rank must lie between"),
        ({"loss_after": "Answer:"}, "has no 'Answer:'"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(base, changes, message):
    with pytest.raises(ValueError, match=message):
        train(fine(**changes))


def test_fine_tuning_has_defaults_of_its_own():
    config = make_config({"init_from": "x", "batch_size": 3})
    assert config.learning_rate == FINE_TUNING["learning_rate"]
    assert config.batch_size == 3
    assert make_config({"init_from": "x", "lora_rank": 4}).learning_rate > config.learning_rate
    with pytest.raises(ValueError, match="say with init_from"):
        make_config({"freeze_below": 1})
    with pytest.raises(ValueError, match="needs a lora_rank"):
        make_config({"init_from": "x", "lora_alpha": 3.0})
    with pytest.raises(ValueError, match="finite"):
        make_config({"init_from": "x", "learning_rate": math.inf})


def test_from_the_command_line(base, capsys):
    flags = ["--freeze-below", "2", "--max-steps", "2", "--no-check-gradients"]
    assert main(["train", "--init-from", "base", "--data", "qa.txt", *flags]) == 0
    assert "fine-tuning base" in capsys.readouterr().out
    assert main(["generate", "runs/qa", "--prompt", "Q: one", "--max-new-tokens", "5"]) == 0
    assert main(["train", "--init-from", "base", "--data", "qa.txt", "--n-layer", "2"]) == 1
    assert "n_layer cannot be set: base brings its own" in capsys.readouterr().err


def test_loading_a_run_holds_nothing_twice(base):
    """The optimizer's arrays are not read, and old weights are freed after merging: a peak of 3.1 models."""
    folder = train(fine(lora_rank=2))
    whole = load_checkpoint(folder / "last.npz", optimizer=False)
    assert not whole.optimizer
    gpt, _, checkpoint = load_run(folder / "last.npz")
    assert not checkpoint.model
    assert not checkpoint.optimizer
    assert checkpoint.meta == whole.meta
    assert load_run(folder / "last.npz", np.float64)[0].wte.weight.dtype == np.float64
    assert gpt.wte.weight.dtype == np.float32


def test_a_resumed_run_takes_over_the_optimizers_arrays(base, monkeypatch):
    import numpylm.training.run_state

    folder, read = train(fine(max_steps=2)), []

    def reading(path):
        read.append(load_checkpoint(path))
        return read[0]

    monkeypatch.setattr(numpylm.training.run_state, "load_checkpoint", reading)
    run = numpylm.training.run_state.resumed_run(resume_config(folder, {}), folder)
    assert all(m is read[0].optimizer[f"m.{i}"] for i, m in enumerate(run.optimizer.m))
    assert all(v is read[0].optimizer[f"v.{i}"] for i, v in enumerate(run.optimizer.v))
    assert all(p.data is read[0].model[name] for name, p in run.model.named_parameters())


def test_from_pretrained_takes_a_run_of_ours(base):
    """Adapters merged, tokenizer and dtype as asked."""
    folder = train(fine(lora_rank=2, learning_rate=0.01))
    ids, (whole, tokenizer, _) = np.arange(8)[None], load_run(folder)
    for source in (str(folder), folder / "best.npz"):
        gpt = GPT.from_pretrained(source)
        np.testing.assert_array_equal(gpt.forward(ids)[0], whole.forward(ids)[0])
        assert {name for name, _ in gpt.named_parameters()} == set(weights(base))
        assert gpt.tokenizer.encode("one two") == tokenizer.encode("one two")
    assert {p.dtype for p in GPT.from_pretrained(folder, np.float64).parameters()} == {np.dtype(np.float64)}
    with pytest.raises(ValueError, match="float32 or float64"):
        GPT.from_pretrained(folder, np.float16)


def test_a_llama_is_trained_resumed_and_fine_tuned(base, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    shape = TINY | {"model": "llama", "n_head": 2, "n_kv_head": 1, "n_inner": 12, "data": "qa.txt"}
    whole = train(make_config(shape, {"out": "whole"}))
    part = train(make_config(shape, {"out": "part"}), stop_at=2)
    resumed = train(resume_config(part, {}), resume=part)
    for folder in (whole, resumed):
        assert type(load_run(folder)[0]).__name__ == "Llama"
    ours, theirs = (load_checkpoint(folder / "last.npz") for folder in (whole, resumed))
    assert all((ours.model[name] == theirs.model[name]).all() for name in ours.model)
    tuned = train(fine(init_from="whole", lora_rank=2, out="tuned"))
    assert load_run(tuned)[0].config == load_run(whole)[0].config
    assert main(["generate", "tuned", "--max-new-tokens", "3"]) == 0
    assert main(["evaluate", "tuned", "--data", "qa.txt"]) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_kv_head": 1}, "n_kv_head is for --model llama"),
        ({"model": "lama"}, "did you mean llama"),
        ({"model": "llama", "n_kv_head": 3}, "n_kv_head must divide"),
        ({"model": "llama", "n_embd": 6}, "even"),
        ({"model": "llama", "task": "translation"}, "model is for --task language-model"),
    ],
    ids=str,
)
def test_wrong_settings_of_a_llama_are_explained(changes, message):
    with pytest.raises(ValueError, match=message):
        make_config(TINY, changes)
