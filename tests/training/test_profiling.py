"""A profile adds up, counts what is computed, and leaves the model as it was."""

import time

import numpy as np
import pytest

from numpylm import GPT, GPTConfig
from numpylm.cli.main import main
from numpylm.models.lora import add_lora
from numpylm.training.profiling import Stopwatch, count_flops, profile

IDS = np.random.default_rng(0).integers(0, 50, (2, 9))


@pytest.fixture
def gpt():
    return GPT(GPTConfig(50, 8, 3, 2, 16), np.random.default_rng(0))


def test_own_times_of_nested_calls_add_up_to_the_whole():
    watch = Stopwatch()
    inner = watch.timed("inner", "forward", lambda: time.sleep(0.02))

    def both():
        inner()
        inner()
        time.sleep(0.01)

    start = time.perf_counter()
    watch.timed("outer", "forward", both)()
    whole = time.perf_counter() - start
    assert watch.seconds["inner", "forward"] >= 0.04
    assert 0.01 <= watch.seconds["outer", "forward"] < whole - 0.04
    assert 0.05 <= sum(watch.seconds.values()) <= whole


@pytest.mark.slow
def test_every_layer_is_timed_in_both_directions_and_the_model_stays_as_it_was(gpt):
    before = {name: value.copy() for name, value in gpt.state_dict().items()}
    report = profile(gpt, IDS[:, :-1], IDS[:, 1:], steps=2)
    assert all(np.array_equal(value, before[name]) for name, value in gpt.state_dict().items())
    assert not hasattr(gpt.h[0].mlp, "__wrapped__")
    assert "forward" not in vars(gpt.h[0].mlp)
    names = [row.name for row in report.rows if row.phase == "forward"]
    assert names[0] == "wte"
    assert names[-2:] == ["head", "loss, with its gradient"]
    backward = [row.name for row in report.rows if row.phase == "backward"]
    assert backward[:2] == ["head", "ln_f"]
    assert backward[-1] == "wte"
    assert all(row.seconds > 0 for row in report.rows)
    assert report.seconds == pytest.approx(sum(row.seconds for row in report.rows))
    assert "a step" in str(report)


def test_flops_are_six_for_each_weight_and_token_and_the_causal_half_of_attention(gpt):
    """Kaplan et al. 2020: forward 2 N, backward 4 N for each token; attention 12 L C for each pair that is seen."""
    B, T, C, L = 2, 8, 16, 3
    weights = 50 * C + 12 * L * C * C
    pairs = B * T * (T + 1) / 2
    assert sum(count_flops(gpt, B, T).values()) == 6 * weights * B * T + 12 * L * C * pairs


@pytest.mark.slow
def test_frozen_weights_are_not_counted_backwards(gpt):
    whole = count_flops(gpt, 2, 8)
    gpt.freeze(2)
    top = count_flops(gpt, 2, 8)
    assert top["h.mlp.c_fc", "backward"] == whole["h.mlp.c_fc", "backward"] / 3
    assert top["head", "backward"] == whole["head", "backward"] / 2
    gpt.freeze(0)
    add_lora(gpt, 2)
    assert count_flops(gpt, 2, 8)["h.mlp.c_fc", "backward"] == whole["h.mlp.c_fc", "backward"] / 2
    assert profile(gpt, IDS[:, :-1], IDS[:, 1:], steps=1).seconds > 0


@pytest.mark.slow
def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("one two three four five six " * 300, encoding="utf-8")
    small = ["--vocab-size", "280", "--n-layer", "1", "--n-embd", "16", "--block-size", "8"]
    assert main(["train", "--data", "a.txt", "--profile", *small]) == 0
    out = capsys.readouterr().out
    assert "h.mlp: gelu" in out
    assert "such workers share a batch" in out
    assert not (tmp_path / "runs").exists()
