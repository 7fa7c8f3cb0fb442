"""Frozen blocks and LoRA: gradients where something is trained, no work and no memory where nothing is."""

import numpy as np
import pytest

from numpylm import GPT, AdamW, DataParallel, GPTConfig, Linear, gradcheck
from numpylm.check.selfcheck_inputs import ModelLoss
from numpylm.models.lora import LoRALinear, add_lora, has_lora, lora_settings, merge_lora, merged

IDS = np.array([[3, 0, 3, 7, 1], [9, 3, 5, 0, 6]])  # (B, T)
TARGETS = np.array([[0, 3, 7, -100, 2], [3, 5, 0, 6, 2]])


@pytest.fixture
def gpt():
    gpt = GPT(GPTConfig(11, 7, 3, 2, 6), np.random.default_rng(0), np.float64)
    rng = np.random.default_rng(1)
    for p in gpt.parameters():
        p.data += 0.5 * rng.standard_normal(p.shape)
    return gpt


def train_b(gpt, seed=2):
    """B is zero at first, and then half of the gradients are; after this it is not."""
    rng = np.random.default_rng(seed)
    for name, p in gpt.named_parameters():
        if name.endswith("lora_B"):
            p.data[:] = rng.standard_normal(p.shape)


def gradients(gpt):
    return {name: p.grad.copy() for name, p in gpt.named_parameters() if not p.frozen}


def test_the_layer_is_the_frozen_one_plus_a_low_rank_change():
    rng = np.random.default_rng(0)
    linear = Linear(6, 9, rng=rng, dtype=np.float64, std=1)
    x = rng.standard_normal((2, 5, 6))
    before = linear.forward(x)[0]
    layer = LoRALinear(linear, 2, 6.0, rng=rng)
    np.testing.assert_array_equal(layer.forward(x)[0], before)  # B is zero
    layer.lora_B.data[:] = rng.standard_normal((2, 9))
    change = 3.0 * layer.lora_A.data @ layer.lora_B.data  # alpha / rank = 3
    np.testing.assert_allclose(layer.forward(x)[0], before + x @ change, atol=1e-12)
    np.testing.assert_allclose(layer.merged_weight(), linear.weight.data + change, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("below", [0, *(pytest.param(below, marks=pytest.mark.slow) for below in (1, 2))])
def test_every_adapter_of_a_whole_gpt_has_the_right_gradient(gpt, below):
    add_lora(gpt, 2, below=below, rng=np.random.default_rng(1))
    report = gradcheck(ModelLoss(gpt), IDS, TARGETS)
    assert report.ok, str(report)
    names = {row.name for row in report.rows}
    assert len(names) == 8 * (3 - below)  # A and B of four layers in each block
    assert all(name.endswith(("lora_A", "lora_B")) for name in names)


@pytest.mark.parametrize("below", [1, 2, 3])
def test_what_is_above_frozen_blocks_gets_the_gradients_of_the_whole_model(gpt, below):
    loss = gpt.loss_and_grad(IDS, TARGETS)
    whole = gradients(gpt)
    gpt.freeze(below)
    gpt.zero_grad()
    assert gpt.loss_and_grad(IDS, TARGETS) == loss
    top = gradients(gpt)
    assert {name.split(".")[1] for name in top if name.startswith("h.")} == {str(n) for n in range(below, 3)}
    assert not any(name.startswith("w") for name in top)
    for name, grad in top.items():
        np.testing.assert_array_equal(grad, whole[name], err_msg=name)


def test_frozen_blocks_keep_no_activations_and_get_no_gradient_memory(gpt):
    gpt.freeze(2)
    logits, cache = gpt.forward(IDS)
    assert [block is None for block in cache[0].blocks] == [True, True, False]
    gpt.backward(np.ones_like(logits), cache)
    gpt.zero_grad()
    for name, p in gpt.named_parameters():
        assert (p._grad is None) == p.frozen, name


def test_adapters_leave_no_gradient_on_the_large_matrices(gpt):
    add_lora(gpt, 1)
    gpt.loss_and_grad(IDS, TARGETS)
    assert all(p._grad is None for p in gpt.parameters() if p.frozen and p.data.ndim == 2)


def test_frozen_matrices_without_adapters_get_no_gradient_either(gpt):
    add_lora(gpt, 1, targets=("attn.c_attn",))
    gpt.loss_and_grad(IDS, TARGETS)
    assert gradcheck(ModelLoss(gpt), IDS, TARGETS).ok
    assert all(p._grad is None for p in gpt.parameters() if p.frozen and p.data.ndim == 2)


def test_thawing_trains_everything_again(gpt):
    gpt.freeze(3)
    gpt.freeze(0)
    assert len(gpt.trainable_parameters()) == len(gpt.parameters())
    with pytest.raises(ValueError, match=r"0 … 3, got 4"):
        gpt.freeze(4)


@pytest.mark.slow
def test_merging_keeps_the_function_and_makes_an_ordinary_model(gpt):
    names = [name for name, _ in gpt.named_parameters()]
    add_lora(gpt, 2, targets=("attn.c_attn", "mlp.c_proj"))
    train_b(gpt)
    logits = gpt.forward(IDS)[0]
    copy = merged(gpt)
    assert has_lora(gpt)
    assert not has_lora(copy)
    np.testing.assert_array_equal(gpt.forward(IDS)[0], logits)  # the original is as it was
    np.testing.assert_allclose(copy.forward(IDS)[0], logits, atol=1e-11)
    assert copy.wte.weight.data is gpt.wte.weight.data  # shared, not copied
    merge_lora(gpt)
    np.testing.assert_allclose(gpt.forward(IDS)[0], logits, atol=1e-11)
    assert [name for name, _ in gpt.named_parameters()] == names
    assert gradcheck(ModelLoss(gpt), IDS, TARGETS).ok


def test_settings_are_enough_to_build_the_same_adapters(gpt):
    add_lora(gpt, 3, 5.0, below=1, targets=("attn.c_attn", "attn.c_proj"))
    settings = lora_settings(gpt)
    other = GPT(gpt.config)
    add_lora(other, **settings)
    assert [(n, p.shape) for n, p in other.named_parameters()] == [(n, p.shape) for n, p in gpt.named_parameters()]
    assert other.h[1].attn.c_attn.scale == gpt.h[1].attn.c_attn.scale == pytest.approx(5 / 3)


def test_training_moves_the_adapters_and_nothing_else(gpt):
    add_lora(gpt, 2, rng=np.random.default_rng(0))
    frozen = {n: p.data.copy() for n, p in gpt.named_parameters() if p.frozen}
    optimizer = AdamW(gpt.trainable_parameters(), lr=0.02)
    losses = []
    for _ in range(30):
        gpt.zero_grad()
        losses.append(gpt.loss_and_grad(IDS, TARGETS))
        optimizer.step()
    assert losses[-1] < losses[0] - 0.5
    for name, p in gpt.named_parameters():
        if p.frozen:
            np.testing.assert_array_equal(p.data, frozen[name], err_msg=name)


def test_workers_add_up_the_adapters_gradients(gpt):
    add_lora(gpt, 2)
    train_b(gpt)
    loss = gpt.loss_and_grad(IDS, TARGETS)
    alone = gradients(gpt)
    gpt.zero_grad()
    assert DataParallel(gpt, 2).loss_and_grad(IDS, TARGETS) == pytest.approx(loss, abs=1e-12)
    for name, grad in gradients(gpt).items():
        np.testing.assert_allclose(grad, alone[name], atol=1e-12, err_msg=name)
    assert all(p._grad is None for p in gpt.parameters() if p.frozen and p.data.ndim == 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 0}, "rank must lie between 1 and 6"),
        ({"rank": 7}, "rank must lie between 1 and 6"),
        ({"rank": 1, "targets": ("attn.c_atn",)}, "unknown target 'attn.c_atn'"),
        ({"rank": 1, "targets": ()}, "nothing would be trained"),
        ({"rank": 1, "below": 3}, "nothing would be trained"),
    ],
)
def test_impossible_adapters_are_refused(gpt, change, message):
    with pytest.raises(ValueError, match=message):
        add_lora(gpt, **change)


def test_adapters_on_adapters_are_refused(gpt):
    add_lora(gpt, 1)
    with pytest.raises(ValueError, match="merge them first"):
        add_lora(gpt, 1)
