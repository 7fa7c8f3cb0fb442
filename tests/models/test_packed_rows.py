"""Packed rows in GPT and Llama: the logits, the loss and all gradients are those of a row for each text."""

import numpy as np
import pytest

from numpylm import GPT, DataParallel, GPTConfig
from numpylm.models.llama import Llama, LlamaConfig
from numpylm.models.lora import add_lora
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.packing import spans

V, T = 13, 90
SEGMENTS = np.array([np.repeat([1, 2, 0], [70, 15, 5]), np.repeat([1, 2, 3], [3, 1, 86])])  # some exceed a block of 64
RNG = np.random.default_rng(0)
IDS, TARGETS = RNG.integers(0, V, (2, *SEGMENTS.shape))
TARGETS[(RNG.random(TARGETS.shape) < 0.4) | (SEGMENTS == 0)] = IGNORE_INDEX
COUNT = int((TARGETS != IGNORE_INDEX).sum())

MODELS = {
    "gpt": lambda: GPT(GPTConfig(V, T, 3, 2, 8), np.random.default_rng(1), np.float64),
    "llama": lambda: Llama(
        LlamaConfig(V, T, 3, 4, 16, 2, 4, 12, attention_bias=True, tie_embeddings=False),
        np.random.default_rng(1),
        np.float64,
    ),
}
CHANGES = {
    "plain": lambda model: None,
    "frozen": lambda model: model.freeze(1),
    "recomputed": lambda model: setattr(model, "recompute", True),
    "LoRA": lambda model: add_lora(model, 2, rng=np.random.default_rng(2)),
}


def make(name, change="plain"):
    model = MODELS[name]()
    CHANGES[change](model)
    rng = np.random.default_rng(3)
    for p in model.parameters():
        p.data += 0.3 * rng.standard_normal(p.shape)
    return model


def gradients(model):
    return {name: p.grad.copy() for name, p in model.named_parameters() if not p.frozen}


def close(found, expected):
    assert found.keys() == expected.keys()
    for name, grad in found.items():
        np.testing.assert_allclose(
            grad, expected[name], rtol=0, atol=1e-12 * np.abs(expected[name]).max(), err_msg=name
        )
        assert np.abs(grad).max() > 0 or "k_proj.bias" in name


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", MODELS)
def test_they_equal_a_row_for_each_text(name, change):
    model = make(name, change)
    loss = model.loss_and_grad(IDS, TARGETS, segments=SEGMENTS)
    packed, logits = gradients(model), model.forward(IDS, segments=SEGMENTS)[0]
    model.zero_grad()
    alone = 0.0
    for row, start, end in spans(SEGMENTS):
        here = np.s_[row : row + 1, start:end]
        alone += model.loss_and_grad(IDS[here], TARGETS[here], count=COUNT)
        np.testing.assert_allclose(logits[here], model.forward(IDS[here])[0], rtol=0, atol=1e-12)
    assert loss == pytest.approx(alone, rel=1e-12)
    assert model.loss(IDS, TARGETS, SEGMENTS) == pytest.approx(loss, rel=1e-12)
    close(packed, gradients(model))


@pytest.mark.parametrize("name", MODELS)
def test_workers_share_packed_rows(name):
    model = make(name)
    loss = model.loss_and_grad(IDS, TARGETS, segments=SEGMENTS)
    expected = gradients(model)
    model.zero_grad()
    arrays = {"ids": IDS, "targets": TARGETS, "segments": SEGMENTS}
    assert DataParallel(model, 2).add_gradients(arrays) == pytest.approx(loss, rel=1e-12)
    close(gradients(model), expected)


@pytest.mark.parametrize("name", MODELS)
def test_a_row_with_one_text_is_the_plain_call_to_the_bit(name):
    model = make(name)
    loss = model.loss_and_grad(IDS, TARGETS)
    plain = gradients(model)
    model.zero_grad()
    assert model.loss_and_grad(IDS, TARGETS, segments=np.ones_like(IDS)) == loss
    close(gradients(model), plain)  # the sums over rows have another order
    np.testing.assert_array_equal(model.forward(IDS, segments=np.full_like(IDS, 9))[0], model.forward(IDS)[0])


@pytest.mark.parametrize("name", MODELS)
def test_recompute_draws_the_same_dropout_masks(name):
    found = []
    for recompute in (False, True):
        model = make(name)
        model.set_dropout(0.3)
        model.recompute = recompute
        loss = model.loss_and_grad(IDS, TARGETS, np.random.default_rng(5), segments=SEGMENTS)
        found.append((loss, gradients(model)))
    assert found[0][0] == found[1][0]
    assert all(np.array_equal(found[0][1][key], found[1][1][key]) for key in found[0][1])


@pytest.mark.parametrize("name", MODELS)
def test_wrong_segments_are_refused_in_one_line(name):
    model = make(name)
    with pytest.raises(ValueError, match="segments must have the shape of ids"):
        model.loss_and_grad(IDS, TARGETS, segments=SEGMENTS[0])
    with pytest.raises(ValueError, match="side by side"):
        model.loss(IDS, TARGETS, segments=SEGMENTS % 2)
