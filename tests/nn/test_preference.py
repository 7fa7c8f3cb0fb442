"""DPO: values by hand, extreme margins, parts of a batch, which tokens count, and every gradient of small models."""

import math

import numpy as np
import pytest

from numpylm import GPT, GPTConfig, Llama, LlamaConfig
from numpylm.models.lora import add_lora
from numpylm.models.pair_loss import pair_loss, pair_loss_and_grad
from numpylm.nn.functional import IGNORE_INDEX, cross_entropy
from numpylm.nn.preference import answer_log_prob, dpo_loss, dpo_loss_backward
from numpylm.training.parallel import DataParallel

V, P, T = 11, 3, 6


def pairs(seed=0):
    """Arguments of `pair_loss` without the model: prompts of two tokens, answers of different lengths."""
    rng = np.random.default_rng(seed)
    ids, targets = rng.integers(0, V, (2, P, 2, T))
    targets[..., :2] = IGNORE_INDEX
    targets[:, 1, 4:] = IGNORE_INDEX
    return {"ids": ids, "targets": targets, "reference": rng.normal(-8, 2, (P, 2)), "beta": 0.3}


def models():
    rng = np.random.default_rng(1)
    gpt = GPT(GPTConfig(V, T, 2, 2, 8), rng, np.float64)
    llama = Llama(LlamaConfig(V, T, 2, 4, 8, n_kv_head=2), rng, np.float64)
    adapted = GPT(GPTConfig(V, T, 1, 2, 8), rng, np.float64)
    add_lora(adapted, 2, rng=rng)
    for model in (gpt, llama, adapted):
        for p in model.trainable_parameters():
            p.data[...] = 0.4 * rng.standard_normal(p.shape)
    return {"GPT": gpt, "Llama": llama, "LoRA": adapted}


def test_a_pair_by_hand():
    """The policy prefers the chosen answer by 2 nats more than the reference: h = 0.5 · 2, L = log(1 + 1/e)."""
    loss, cache = dpo_loss(*(np.array([x]) for x in (-4.0, -7.0, -5.0, -6.0)), 0.5)
    assert loss == pytest.approx(math.log(1 + math.exp(-1)))
    chosen, rejected = dpo_loss_backward(1.0, cache)
    assert chosen == pytest.approx(-0.5 / (1 + math.e))
    assert rejected == pytest.approx(0.5 / (1 + math.e))


def test_equal_models_give_ln_2_and_extreme_margins_stay_finite():
    zero = np.zeros(1)
    assert dpo_loss(zero, zero - 3, zero, zero - 3)[0] == pytest.approx(math.log(2))
    with np.errstate(over="raise", invalid="raise"):
        for far, loss, gradient in ((1e5, 0, 0), (-1e5, 1e4, -0.1)):
            found, cache = dpo_loss(zero + far, zero, zero, zero, 0.1)
            assert found == pytest.approx(loss)
            assert dpo_loss_backward(1.0, cache)[0] == pytest.approx(gradient)


def test_an_answer_is_the_sum_of_its_tokens_and_not_their_mean():
    arguments = pairs()
    targets = arguments["targets"].reshape(2 * P, T)
    logits = np.random.default_rng(2).standard_normal((2 * P, T, V))
    sums, _ = answer_log_prob(logits, targets)
    for row, z, y in zip(sums, logits, targets, strict=True):
        assert row == pytest.approx(-cross_entropy(z, y, count=1)[0])
    logits[:, :2] += 5 * np.random.default_rng(3).standard_normal((2 * P, 2, V))  # the prompts
    np.testing.assert_array_equal(answer_log_prob(logits, targets)[0], sums)


def test_wrong_shapes_and_targets_are_refused():
    with pytest.raises(ValueError, match="four arrays"):
        dpo_loss(np.zeros(2), np.zeros(2), np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match="target 4 is outside"):
        answer_log_prob(np.zeros((1, 2, 4)), np.array([[0, 4]]))
    with pytest.raises(ValueError, match="logits"):
        answer_log_prob(np.zeros((1, 2, 4)), np.array([0, 1]))


@pytest.mark.parametrize("name", ["GPT", "Llama", "LoRA"])
def test_every_gradient_by_differences(name):
    """Ten elements of every trained parameter (`numpylm gradcheck --all` checks all); frozen ones get nothing."""
    model, arguments, h = models()[name], pairs(), 1e-5
    model.zero_grad()
    pair_loss_and_grad(model, **arguments)
    for label, p in model.named_parameters():
        if p.frozen:
            assert not p.grad.any(), label
            continue
        flat = p.data.reshape(-1)
        chosen = range(flat.size) if flat.size <= 10 else np.random.default_rng(0).choice(flat.size, 10, replace=False)
        for i in chosen:
            before = flat[i]
            flat[i] = before + h
            up = pair_loss(model, **arguments)[0]
            flat[i] = before - h
            down = pair_loss(model, **arguments)[0]
            flat[i] = before
            assert p.grad.reshape(-1)[i] == pytest.approx((up - down) / (2 * h), rel=1e-5, abs=1e-9), (label, i)


def test_parts_of_a_batch_and_workers_add_up():
    model, arguments = models()["GPT"], pairs()
    model.zero_grad()
    loss = pair_loss_and_grad(model, **arguments)
    whole = [p.grad.copy() for p in model.parameters()]
    model.zero_grad()
    arrays, options = {k: arguments[k] for k in ("ids", "targets", "reference")}, {"beta": arguments["beta"]}
    found = DataParallel(model, 2).add_gradients(arrays, None, P, options, pair_loss_and_grad)
    assert found == pytest.approx(loss)
    for p, expected in zip(model.parameters(), whole, strict=True):
        np.testing.assert_allclose(p.grad, expected, atol=1e-12)
