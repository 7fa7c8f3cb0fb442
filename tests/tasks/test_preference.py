"""Preference tuning: which tokens count, whole runs, resuming to the bit, and what cannot be begun with."""

import json
import math

import numpy as np
import pytest

from numpylm import GPT, GPTConfig, load_model
from numpylm.cli.main import main
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.preference import answer_log_prob
from numpylm.tasks import preference
from numpylm.tasks.chat import Chat
from numpylm.tasks.preference import PreferenceTuning, win_rate
from numpylm.tasks.preference_files import REFERENCE
from numpylm.tasks.preference_rows import batch_log_probs, pair_arrays, pair_rows
from numpylm.text.chat_template import train_chat_tokenizer
from numpylm.text.conversation import as_conversation
from numpylm.text.preference_pairs import Preference
from numpylm.training.config import make_config
from numpylm.training.run_state import resume_config
from numpylm.training.train import train
from tests.tasks.test_runs import TINY, WORDS, everything, same

TOKENIZER = train_chat_tokenizer(["red rot blue blau green grün cat Katze"], 280)


@pytest.fixture(scope="module")
def chat_run(tmp_path_factory):
    """A run of two steps that has the form of a chat."""
    folder = tmp_path_factory.mktemp("chat")
    talk = {"messages": [{"role": "user", "content": "red"}, {"role": "assistant", "content": "rot"}]}
    lines = [json.dumps(talk).replace('"red"', f'"{n} {word}"') for n in range(8) for word, _ in WORDS]
    (folder / "talks.jsonl").write_text("\n".join(lines), encoding="utf-8")
    options = {"task": "chat", "data": [str(folder / "talks.jsonl")], "block_size": 512, "max_steps": 2}
    return train(make_config(TINY | options | {"out": str(folder / "chat")}), task=Chat)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Pairs in which the German word is preferred to the English one."""
    monkeypatch.chdir(tmp_path)
    lines = [{"prompt": f"{n} {a}", "chosen": f"{b} !", "rejected": a} for n in range(9) for a, b in WORDS]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return tmp_path


def config(chat_run, **options):
    small = {"task": "preference", "data": ["pairs.jsonl"], "init_from": str(chat_run), "batch_size": 4}
    rest = {"max_steps": 9, "eval_interval": 3, "warmup_steps": 2, "check_gradients": False, "dropout": 0.1}
    return make_config(small | rest | {"sample_tokens": 5} | options)


def test_only_the_last_answer_counts():
    prompt = as_conversation([("user", "red"), ("assistant", "rot"), ("user", "blue")])
    (row,) = pair_rows(TOKENIZER, [Preference(prompt, "blau", "red red")], 100, "training")
    for (ids, targets), answer in ((row.chosen, "blau"), (row.rejected, "red red")):
        counted = targets != IGNORE_INDEX
        assert TOKENIZER.decode(targets[counted]) == f"{answer}<|end|>"
        assert TOKENIZER.decode(ids[: np.flatnonzero(counted)[0] + 1]).endswith("blue<|end|><|assistant|>")
    assert row.counts == (len(TOKENIZER.encode("blau")) + 1, len(TOKENIZER.encode("red red")) + 1)


def test_padding_changes_no_log_probability_and_scoring_equals_training():
    prompts = [as_conversation([("user", "red " * n)]) for n in (1, 6)]
    rows = pair_rows(TOKENIZER, [Preference(p, "rot", "blau blau") for p in prompts], 100, "training")
    model = GPT(GPTConfig(TOKENIZER.vocab_size, 100, 1, 2, 16), np.random.default_rng(0), np.float64)
    together = batch_log_probs(model, **pair_arrays(rows))
    alone = np.concatenate([batch_log_probs(model, **pair_arrays([row])) for row in rows])
    np.testing.assert_allclose(together, alone, rtol=1e-10)
    arrays = {key: value.reshape(4, -1) for key, value in pair_arrays(rows).items()}
    trained = answer_log_prob(model.forward(arrays["ids"])[0], arrays["targets"])[0]
    np.testing.assert_allclose(together.reshape(-1), trained, rtol=1e-10)


def test_long_prompts_are_cut_alike_for_both_answers(capsys):
    turns = [(role, f"{word} {n}") for n, (word, _) in enumerate(WORDS) for role in ("user", "assistant")]
    long = as_conversation([("system", "cat"), *turns, ("user", "blue")])
    hopeless = as_conversation([("user", "red " * 50)])
    pairs = [Preference(long, "blau", "red red"), Preference(hopeless, "a", "b")]
    (row,) = pair_rows(TOKENIZER, pairs, 40, "training")
    assert row.prompt[0] == long[0]
    assert row.prompt[1:] == long[-len(row.prompt) + 1 :]
    assert row.length <= 40
    out = capsys.readouterr().out
    assert "cut         1 training prompts" in out
    assert "left out    1 training pairs" in out
    with pytest.raises(ValueError, match="use a larger block_size"):
        pair_rows(TOKENIZER, pairs[1:], 40, "training")


def test_win_rate_counts_equal_answers_half():
    assert win_rate(len, ["aa", "b", ""], ["a", "c", "d"]) == 0.5


@pytest.mark.parametrize(
    ("stop", "options"),
    [
        (3, {}),
        pytest.param(1, {}, marks=pytest.mark.slow),
        pytest.param(5, {"lora_rank": 2}, marks=pytest.mark.slow),
        pytest.param(4, {"grad_accum": 2, "freeze_below": 1}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_run_that_was_stopped_resumes_to_the_bit(stop, options, chat_run, data):
    whole = train(config(chat_run, out="whole", **options), task=PreferenceTuning)
    part = train(config(chat_run, out="part", **options), task=PreferenceTuning, stop_at=stop)
    train(resume_config(part, {}), resume=part, task=PreferenceTuning)
    same(everything(whole), everything(part))


def test_training_begins_at_ln_2_and_moves_towards_the_chosen_answers(chat_run, data, capsys):
    options = {"learning_rate": 3e-3, "min_lr": 3e-3, "max_steps": 12, "eval_interval": 12, "dropout": 0.0}
    folder = train(config(chat_run, out="run", **options), task=PreferenceTuning)
    first, last = (entry for entry in everything(folder)[2] if "val_loss" in entry)
    assert first["val_loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert first["val_margin"] == pytest.approx(0, abs=1e-4)
    assert last["val_loss"] < 0.6
    assert last["val_accuracy"] == 1
    assert last["val_chosen"] > last["val_rejected"]
    assert "numpylm chat run" in capsys.readouterr().out
    assert main(["chat", str(folder), "--prompt", "3 cat", "--max-new-tokens", "3"]) == 0


def test_the_reference_is_the_model_before_training_and_is_kept(chat_run, data):
    part = train(config(chat_run, out="part"), task=PreferenceTuning, stop_at=3)
    with np.load(part / REFERENCE) as arrays:
        train_sums = arrays["train"]
    task = PreferenceTuning(resume_config(part, {}))
    task.resume(load_model(part).tokenizer, None)
    task.encode(part)
    expected = batch_log_probs(load_model(chat_run), **pair_arrays(task.train_ids[:3]))
    np.testing.assert_allclose(train_sums[:3], expected, rtol=1e-5)
    assert not np.allclose(train_sums[:3], batch_log_probs(load_model(part), **pair_arrays(task.train_ids[:3])))


def test_a_missing_or_damaged_reference_is_said_in_one_line(chat_run, data, capsys):
    part = train(config(chat_run, out="part"), task=PreferenceTuning, stop_at=1)
    path = part / REFERENCE
    whole = path.read_bytes()
    for content, message in ((whole[:-40], "is damaged"), (None, "is missing")):
        path.unlink() if content is None else path.write_bytes(content)
        assert main(["train", "--resume", str(part)]) == 1
        assert message in capsys.readouterr().err
    np.savez(path, train=np.zeros((2, 2)), val=np.zeros((1, 2)))
    assert main(["train", "--resume", str(part)]) == 1
    assert "should hold train" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["politeness", pytest.param("brevity", marks=pytest.mark.slow)])
def test_the_bundled_pairs_measure_wins_and_right_answers(kind, chat_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(preference, "BUNDLED_PAIRS", 20)
    options = {"data": [], "preference": kind, "max_steps": 1, "eval_interval": 1, "block_size": 512}
    folder = train(config(chat_run, out=kind, **options), task=PreferenceTuning)
    last = everything(folder)[2][-1]
    assert 0 <= last["val_wins"] <= 1
    assert last["val_right"] == 0  # an untrained model
    assert f"customer service, {kind}: " in capsys.readouterr().out


def test_what_cannot_be_begun_with_is_said_in_one_line(chat_run, data, capsys):
    (data / "text.txt").write_text("red rot blue blau\n" * 40, encoding="utf-8")
    plain = train(make_config(TINY | {"data": ["text.txt"], "out": "plain", "max_steps": 1}))
    (data / "equal.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "b"}\n' * 3, encoding="utf-8")
    capsys.readouterr()
    begin = ["train", "--no-check-gradients", "--task", "preference"]
    run = ["--init-from", str(chat_run)]
    for options, message in (
        (["--data", "pairs.jsonl"], "say with --init-from which one"),
        (["--data", "pairs.jsonl", "--init-from", str(plain)], "no form of a chat"),
        (["--data", "none.jsonl", *run], "no such file: none.jsonl"),
        (["--data", "text.txt", *run], "line 1 of text.txt is not a JSON object"),
        (["--data", "equal.jsonl", *run], "all texts are equal"),
        (["--data", "pairs.jsonl", "--block-size", "4", *run], "use a larger block_size"),
        (["--data", "pairs.jsonl", "--dpo-beta", "0", *run], "dpo_beta must be above 0"),
        (["--data", "pairs.jsonl", "--preference", "brevity", *run], "the pairs say what is preferred"),
        (["--data", "pairs.jsonl", "--label-smoothing", "0.1", *run], "label_smoothing is for --task"),
        (["--preference", "rudeness", *run], "preference must be politeness or brevity"),
    ):
        assert main([*begin, *options]) == 1
        err = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
        assert len(err) == 1, options
        assert message in err[0]
    with pytest.raises(ValueError, match="dpo_beta is for --task preference"):
        make_config({"dpo_beta": 0.2})
