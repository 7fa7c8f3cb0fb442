"""Settings that fit a text: what is chosen, that what is given wins, and that a run remembers what was chosen."""

import json
import re

import numpy as np
import pytest

from numpylm import Tokenizer
from numpylm.cli.main import main
from numpylm.files.checkpoint import load_checkpoint
from numpylm.training.choose_settings import choose_settings, fit_to_text
from numpylm.training.config import FINE_TUNING, TrainConfig, make_config
from numpylm.training.first_batch import first_batch
from numpylm.training.prepare_data import make_tokenizer
from numpylm.training.run_state import resume_config
from numpylm.training.train import train

TINY = {
    "vocab_size": 270,
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
RNG = np.random.default_rng(0)
NAMES = ["".join(RNG.choice(list("aeionrstlm"), RNG.integers(3, 9))) for _ in range(400)]
PROSE = "It was late, and nobody spoke;\nthe older one looked at\nthe water for a while. "
HAN = [chr(0x4E00 + i) for i in range(1500)]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def names(tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    return "names.txt"


def chosen(text, given=(), **settings):
    """The config and the names of what was chosen."""
    config, choices = choose_settings(make_config({"data": "a.txt"}, settings), [text], {"data", *given, *settings})
    assert all(choice.reason for choice in choices)
    return config, {choice.setting for choice in choices}


def chinese(count=20_000):
    """Frequent and rare characters, in lines of verse with blank lines between the verses."""
    places = np.minimum(RNG.geometric(1 / 300, count), len(HAN) - 1)
    lines = ["".join(HAN[i] for i in places[n : n + 7]) + "，" for n in range(0, count, 7)]
    return "\n\n".join(lines)


def test_a_small_text_gets_a_small_model_few_steps_and_an_early_end():
    small, _ = chosen(PROSE * 120)
    assert (small.n_embd, small.vocab_size, small.block_size, small.batch_size) == (64, 512, 64, 32)
    assert small.dropout > 0
    assert small.max_steps < 500
    assert small.patience * small.eval_interval <= small.max_steps // 3
    large, _ = chosen(PROSE * 50_000)
    assert (large.n_embd, large.dropout, large.block_size, large.batch_size) == (128, 0.0, 128, 16)
    assert small.max_steps < large.max_steps
    assert large.vocab_size > 1024


def test_longer_texts_never_get_fewer_steps_or_more_dropout():
    configs = [chosen(PROSE * n)[0] for n in (10, 100, 1000, 10_000, 50_000)]
    assert [c.max_steps for c in configs] == sorted(c.max_steps for c in configs)
    assert [c.dropout for c in configs] == sorted((c.dropout for c in configs), reverse=True)


def test_characters_that_occur_more_than_a_few_times_are_tokens():
    text = chinese()
    config, names = chosen(text)
    assert {"vocab_size", "whole_characters"} <= names
    assert config.vocab_size > 1024
    tokenizer = make_tokenizer(config, [text], [])
    assert tokenizer.vocab_size == config.vocab_size
    for character in set(text):
        whole = len(tokenizer.encode(character)) == 1
        assert whole == (character.isascii() or text.count(character) >= 3), (character, text.count(character))
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_with_too_little_room_the_most_frequent_characters_are_tokens():
    text = "漢" * 8 + "字字字子子好好"
    tokenizer = Tokenizer.train(text, 259, whole_characters=2)
    assert [len(tokenizer.encode(c)) for c in "漢字"] == [1, 3]


def test_whole_characters_change_nothing_in_ascii_and_come_first_elsewhere():
    ascii_text = "low lower lowest low low"
    assert Tokenizer.train(ascii_text, 270, whole_characters=3).merges == Tokenizer.train(ascii_text, 270).merges
    text = "the the the the the é é é "
    ours = [a + b for a, b in Tokenizer.train(text, 270, whole_characters=3).merges]
    assert ours[0] == "é".encode()
    assert {b"the", " é".encode()} <= set(ours)


def test_names_are_documents_of_letters_in_short_windows():
    config, _ = chosen("\n".join(NAMES))
    assert config.documents == "lines"
    assert config.vocab_size == 257
    assert config.block_size == 16
    assert config.block_size * config.batch_size == 2048
    config, _ = chosen("\n".join(NAMES), documents="file")
    assert config.documents == "file"
    assert config.vocab_size > 257


def test_windows_hold_documents_that_are_many_and_short():
    """Stories of about 250 tokens each: in windows of 128 tokens, no model would see the end of one."""
    documents = [PROSE * (4 + n % 5) for n in range(300)]
    config, _ = choose_settings(make_config({"data": "a.txt"}), documents, {"data"})
    assert 128 < max(map(len, documents)) / 3 < config.block_size <= 256
    assert choose_settings(make_config({"data": "a.txt"}), documents[:20], {"data"})[0].block_size == 64
    assert choose_settings(make_config({"data": "a.txt"}), [PROSE * 40] * 300, {"data"})[0].block_size == 128


def test_lines_whose_answers_alone_count_are_not_cut():
    assert chosen("\n".join(NAMES), loss_after="a")[0].documents == "file"


@pytest.mark.parametrize(
    "settings",
    [
        {"vocab_size": 300},
        {"block_size": 40},
        {"batch_size": 3},
        {"n_embd": 32},
        {"dropout": 0.0},
        {"max_steps": 20},
        {"eval_interval": 7},
        {"patience": 0},
        {"tokenizer": "char"},
        {"whole_characters": 0},
        {"max_val_mb": 1.0},
    ],
)
def test_what_is_given_wins_even_if_it_is_the_default(settings):
    config, names = chosen(PROSE * 120, **settings)
    assert not names & settings.keys()
    assert all(getattr(config, name) == value for name, value in settings.items())


def test_given_settings_are_taken_into_account():
    assert chosen(PROSE * 120, block_size=32)[0].batch_size == 64
    config, _ = chosen(PROSE * 120, max_steps=100, eval_interval=5)
    assert config.patience == 5
    assert chosen(PROSE * 120, n_head=3, n_embd=129)[0].n_embd == 129
    assert "n_embd" not in chosen(PROSE * 120, n_head=128)[1]  # 64 channels cannot be shared by 128 heads
    assert "vocab_size" not in chosen(PROSE * 120, tokenizer="char")[1]


@pytest.mark.parametrize("size", [5_000, 1_000_000])
def test_very_long_windows_leave_some_steps_and_reasons_that_are_true(size):
    config, choices = choose_settings(
        make_config({"data": "a.txt", "block_size": size}), [PROSE * 4000], {"data", "block_size"}
    )
    assert config.max_steps >= 10
    reasons = {choice.setting: choice.reason for choice in choices}
    assert reasons["eval_interval"].startswith(f"{-(-config.max_steps // config.eval_interval)} evaluations")
    assert f"after {config.patience} evaluations" in reasons["patience"]


def test_the_stories_and_fine_tuning_stay_as_they_are(capsys):
    for config in (TrainConfig(), make_config({"data": "a.txt", "init_from": "gpt2"})):
        assert fit_to_text(config, ["\n".join(NAMES)], set()) is config
    assert capsys.readouterr().out == ""
    assert config.max_steps == FINE_TUNING["max_steps"]


def test_python_gets_what_it_asks_for(names, capsys):
    folder = train(make_config(TINY, {"data": names}))
    assert "chosen" not in capsys.readouterr().out
    saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert (saved["documents"], saved["block_size"]) == ("file", 256)


def test_what_is_chosen_is_said_and_kept_and_flags_and_toml_win(names, tmp_path, capsys):
    (tmp_path / "c.toml").write_text("n_embd = 12\nmax_steps = 6\nsample_tokens = 0\n", encoding="utf-8")
    flags = ["--data", names, "--config", "c.toml", "--n-head", "2", "--eval-interval", "3", "--no-check-gradients"]
    assert main(["train", *flags]) == 0
    out = capsys.readouterr().out
    saved = json.loads((tmp_path / "runs" / "names" / "config.json").read_text(encoding="utf-8"))
    said = dict(re.findall(r"^chosen +(\w+) (\S+):", out, re.M))
    assert said["documents"] == saved["documents"] == "lines"
    assert said["block_size"] == str(saved["block_size"]) == "16"
    assert not said.keys() & {"n_embd", "max_steps", "n_head", "eval_interval"}
    assert (saved["n_embd"], saved["max_steps"], saved["eval_interval"]) == (12, 6, 3)
    assert "windows begin with documents" in out


@pytest.mark.slow
def test_a_run_with_chosen_settings_resumes_to_the_bit(names):
    config = make_config(TINY, {"data": names})
    given = {"data", "out", *TINY} - {"batch_size"}
    whole = train(make_config(TINY, {"data": names, "out": "whole"}), given=given)
    parts = train(make_config(TINY, {"data": names, "out": "parts"}), given=given, stop_at=3)
    resumed = resume_config(parts, {})
    assert (resumed.documents, resumed.block_size, resumed.batch_size) == ("lines", 16, 128)
    assert config.dropout != resumed.dropout
    train(resumed, resume=parts)
    one, two = (load_checkpoint(folder / "last.npz").model for folder in (whole, parts))
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_diagnosis_looks_at_the_batch_that_would_be_trained_on(names):
    config, _, ids, _ = first_batch(make_config(TINY, {"data": names}), {"data", *TINY} - {"batch_size"})
    assert config.documents == "lines"
    assert ids.shape == (128, 16)


def test_evaluate_cuts_as_the_run_did_and_counts_line_ends(names, tmp_path, capsys):
    train(make_config(TINY, {"data": names, "out": "run", "documents": "lines", "vocab_size": 257}))
    (tmp_path / "other.txt").write_text("anna\nmaria\n\nnoah\n", encoding="utf-8")
    capsys.readouterr()
    assert main(["evaluate", "run", "--data", "other.txt"]) == 0
    out = capsys.readouterr().out
    assert "3 documents, 16 bytes, 16 predicted" in out  # 13 letters and 3 line ends
    assert re.search(r"loss +([\d.]+)", out)[1] == re.search(r"per character +([\d.]+)", out)[1]
    assert main(["evaluate", "run/best.npz", "--data", "other.txt"]) == 0
    assert "3 documents, 16 bytes" in capsys.readouterr().out
    assert main(["evaluate", "run", "--data", "other.txt", "--documents", "file"]) == 0
    assert "1 documents, 17 bytes" in capsys.readouterr().out


@pytest.mark.slow
def test_a_model_of_lines_writes_lines(names, capsys):
    train(make_config(TINY, {"data": names, "out": "run", "max_steps": 60}), given={"data", "out", *TINY})
    capsys.readouterr()
    assert main(["generate", "run", "--seed", "1", "--max-new-tokens", "200"]) == 0
    assert "\n" not in capsys.readouterr().out.strip()
