"""A short run says what is wrong with training, and nothing where nothing is."""

import copy

import numpy as np
import pytest

from numpylm import GPT, AdamW, GPTConfig, diagnose
from numpylm.cli.main import main

V = 19
RNG = np.random.default_rng(0)
WINDOW = RNG.integers(0, V, (4, 13))
IDS, TARGETS = WINDOW[:, :-1], WINDOW[:, 1:]


def model(n_layer=2, seed=0):
    return GPT(GPTConfig(V, 16, n_layer, 2, 16), np.random.default_rng(seed))


def kinds(*args, **options):
    return [finding.kind for finding in diagnose(*args, **options).findings]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_layer", [1, 4])
def test_a_healthy_run_gives_no_warning(seed, n_layer):
    result = diagnose(model(n_layer, seed), IDS, TARGETS, lr=3e-3)
    assert result.ok, str(result)
    assert "Nothing unusual" in str(result)
    assert len(result.losses) == 41


def test_the_model_is_left_alone():
    gpt = model()
    before = copy.deepcopy(gpt.state_dict())
    diagnose(gpt, IDS, TARGETS)
    for name, value in gpt.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert not any(p.grad.any() for p in gpt.parameters())
    assert "forward" not in vars(gpt.h[0])


@pytest.mark.parametrize(
    ("ids", "targets", "said"),
    [
        (IDS, IDS, "not shifted"),
        (TARGETS, IDS, "wrong way"),
        (IDS[:, :-1], TARGETS[:, 1:], "2 positions after"),
        (IDS[:, :-2], TARGETS[:, 2:], "3 positions after"),
        (IDS, np.full_like(IDS, -100), "No target is counted"),
        (IDS, np.full_like(IDS, 3), "the same token"),
    ],
)
def test_wrong_targets(ids, targets, said):
    result = diagnose(model(), ids, targets)
    assert said in str(result)
    assert result.findings[0].place == "targets"


def test_a_learning_rate_far_too_high_and_far_too_low():
    assert set(kinds(model(), IDS, TARGETS, lr=3.0)) & {"learning-rate", "sign"}
    assert "learning-rate" in kinds(model(), IDS, TARGETS, lr=1e-8)


def test_weights_that_are_too_large_at_the_start():
    gpt = model()
    for p in gpt.parameters():
        if p.data.ndim == 2:
            p.data *= 60
    assert "initial-values" in kinds(gpt, IDS, TARGETS)


def test_weights_that_are_all_zero_or_all_the_same_are_called_that_and_nothing_else():
    gpt = model()
    for p in gpt.parameters():
        p.data[...] = 0
    result = diagnose(gpt, IDS, TARGETS)
    assert [f.kind for f in result.findings] == ["initial-values"]
    assert "weight matrices are zero" in str(result)
    assert "inf" not in str(result)
    gpt = model()
    for p in gpt.parameters():
        if p.data.ndim == 2:
            p.data[...] = 0.02
    result = diagnose(gpt, IDS, TARGETS)
    assert [f.kind for f in result.findings] == ["initial-values"]
    assert "the same" in str(result)


def test_a_loss_that_is_a_sum_is_not_called_large_weights():
    class Sums(GPT):
        def loss_and_grad(self, *args, **options):
            return super().loss_and_grad(*args, **options) * IDS.shape[1]

    text = str(diagnose(Sums(GPTConfig(V, 16, 1, 2, 16), np.random.default_rng(0)), IDS, TARGETS))
    assert "T = 12 times too much" in text
    assert "weights are too large" not in text


def test_zero_grad_that_does_nothing():
    class Keeps(GPT):
        def zero_grad(self):
            pass

    found = diagnose(Keeps(GPTConfig(V, 16, 1, 2, 16), np.random.default_rng(0)), IDS, TARGETS).findings
    assert [(f.kind, f.place) for f in found] == [("state", "wte.weight")]


def test_dead_units_are_no_missing_backward():
    gpt = model()
    for name, p in gpt.named_parameters():
        if "c_fc.bias" in name:
            p.data[...] = -30
    text = str(diagnose(gpt, IDS, TARGETS))
    assert "backward does not write it" not in text
    assert "dead" in text


def test_updates_are_said_as_in_the_table_and_progress_is_told():
    lines = []
    result = diagnose(model(), IDS, TARGETS, lr=1e-8, progress=lines.append)
    text = next(f.text for f in result.findings if "hardly change" in f.text)
    part = next(p for p in result.parts if f"matrices of {p.name} " in text)
    assert f"{part.update:.1e}" in text
    assert [line.split(":")[0] for line in lines] == [f"step {k} of 40" for k in range(0, 41, 10)]


def test_a_few_steps_need_not_learn_anything():
    assert diagnose(model(), IDS, TARGETS, steps=3).ok


def test_the_future_shining_through(monkeypatch):
    monkeypatch.setattr("numpylm.nn.attention.causal_mask", lambda T, S: np.ones((T, S), bool))
    result = diagnose(model(), IDS, TARGETS)
    assert result.findings[0].kind == "causal"
    assert "sees the future" in str(result)


def test_sequences_that_see_each_other():
    class Mixes(GPT):
        def forward(self, ids, rng=None):
            logits, cache = super().forward(ids, rng)
            return logits + logits.mean(0), cache

    assert "mixing" in kinds(Mixes(GPTConfig(V, 16, 1, 2, 16), np.random.default_rng(0)), IDS, TARGETS)


def test_a_parameter_without_gradient_and_a_wrong_backward():
    class Headless(GPT):
        def backward(self, dlogits, cache):
            before = self.ln_f.bias.grad.copy()
            super().backward(dlogits, cache)
            self.ln_f.bias.grad[...] = before

    found = diagnose(Headless(GPTConfig(V, 16, 1, 2, 16), np.random.default_rng(0)), IDS, TARGETS).findings
    assert {("never-written", "ln_f.bias")} <= {(f.kind, f.place) for f in found}

    class Doubled(GPT):
        def backward(self, dlogits, cache):
            super().backward(2 * dlogits, cache)

    assert "inner" in kinds(Doubled(GPTConfig(V, 16, 1, 2, 16), np.random.default_rng(0)), IDS, TARGETS)


def test_an_optimizer_that_climbs_and_one_that_forgets():
    class Climbs(AdamW):
        def step(self, lr=None):
            for p in self.parameters:
                p.grad *= -1
            super().step(lr)

    assert "sign" in kinds(model(), IDS, TARGETS, optimizer=Climbs, lr=1e-2)

    class Forgets(AdamW):
        def __init__(self, parameters, lr):
            super().__init__(list(parameters)[1:], lr)

    found = diagnose(model(), IDS, TARGETS, optimizer=Forgets).findings
    assert ("step", "wte.weight") in {(f.kind, f.place) for f in found}


def test_exploding_and_dying_activations_and_broken_numbers():
    gpt = model(4)
    for block in gpt.h[1:]:
        block.mlp.c_proj.weight.data *= 3000
    assert "activations" in kinds(gpt, IDS, TARGETS)
    gpt = model()
    gpt.h[1].mlp.c_fc.bias.data -= 50
    assert any("dead" in f.text for f in diagnose(gpt, IDS, TARGETS).findings)
    gpt = model()
    gpt.h[1].ln_2.weight.data[3] = np.nan
    result = diagnose(gpt, IDS, TARGETS)
    assert result.findings[0].kind == "not-finite"
    assert result.findings[0].place == "h.1"
    assert not any("dead" in part.name for part in result.parts)


def test_a_trained_model_is_no_cheat_if_one_says_so():
    gpt = model()
    opt = AdamW(gpt.parameters(), 1e-2)
    for _ in range(60):
        gpt.zero_grad()
        gpt.loss_and_grad(IDS, TARGETS)
        opt.step()
    assert "counting" in kinds(gpt, IDS, TARGETS)
    assert diagnose(gpt, IDS, TARGETS, fresh=False).ok


@pytest.mark.slow
def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["--stories-mb", "0.3", "--n-embd", "32", "--block-size", "32"]
    assert main(["train", "--diagnose", *small]) == 0
    assert "Nothing unusual" in capsys.readouterr().out
    assert main(["train", "--diagnose", *small, "--learning-rate", "5"]) == 1
    assert not list(tmp_path.iterdir())  # it writes nothing


@pytest.mark.parametrize("lr", [1e-3, 3e-3, 6e-3])
@pytest.mark.parametrize("seed", range(3))
def test_healthy_rates_stay_quiet(lr, seed):
    assert diagnose(model(seed=seed), IDS, TARGETS, lr=lr).ok


@pytest.mark.parametrize("seed", range(3))
def test_a_rate_that_stalls_is_compared_with_a_smaller_one(seed):
    result = diagnose(model(seed=seed), IDS, TARGETS, lr=0.3)
    assert "learning-rate" in [finding.kind for finding in result.findings], str(result)
    assert "too high" in str(result)


def test_a_norm_has_no_share_of_change():
    assert "nan" not in str(diagnose(model(), IDS, TARGETS))
