"""GPT: causality, initial values, dtypes, and errors for impossible shapes and ids."""

import numpy as np
import pytest

from numpylm import (
    GPT,
    GPTConfig,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_no_position_of_a_gpt_sees_a_later_one():
    gpt = GPT(GPTConfig(11, 8, 2, 2, 8), rng(), np.float64)
    ids = rng(1).integers(0, 11, (2, 8))
    changed = ids.copy()
    changed[:, 5] = (ids[:, 5] + 1) % 11
    before, after = gpt.forward(ids)[0], gpt.forward(changed)[0]
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert (before[:, 5:] != after[:, 5:]).any(-1).all()


@pytest.mark.parametrize("bias", [True, False])
def test_a_whole_gpt_stays_in_float32(bias):
    gpt = GPT(GPTConfig(11, 6, 2, 2, 8, dropout=0.1, bias=bias), rng())
    ids = rng().integers(0, 11, (2, 6))
    logits, _ = gpt.forward(ids, rng())
    gpt.loss_and_grad(ids, ids, rng())
    assert logits.dtype == np.float32
    assert all(p.data.dtype == p.grad.dtype == np.float32 for p in gpt.parameters())


def test_set_dropout_makes_the_model_one_that_was_built_with_this_dropout():
    """With one place forgotten (embeddings, attention weights, either branch), the two outputs differ."""
    ids, shape = rng().integers(0, 11, (2, 6)), (11, 6, 2, 2, 8)
    gpt, built = GPT(GPTConfig(*shape), rng()), GPT(GPTConfig(*shape, dropout=0.4), rng())
    gpt.set_dropout(0.4)
    assert gpt.config == built.config
    np.testing.assert_array_equal(gpt.forward(ids, rng(1))[0], built.forward(ids, rng(1))[0])
    with pytest.raises(ValueError, match="dropout must lie in"):
        gpt.set_dropout(1.0)


def test_gpt2s_initialization():
    gpt = GPT(GPTConfig(500, 300, 8, 4, 64), rng())
    assert gpt.wte.weight.data.std() == pytest.approx(0.02, rel=0.03)
    assert gpt.wpe.weight.data.std() == pytest.approx(0.02, rel=0.03)
    assert gpt.h[0].mlp.c_fc.weight.data.std() == pytest.approx(0.02, rel=0.03)
    for block in gpt.h:
        assert block.attn.c_proj.weight.data.std() == pytest.approx(0.02 / 4, rel=0.05)  # √(2 · 8) = 4
        assert block.mlp.c_proj.weight.data.std() == pytest.approx(0.02 / 4, rel=0.05)
        assert not block.attn.c_attn.bias.data.any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_head": 3}, "n_head must divide n_embd"),
        ({"n_layer": 0}, "n_layer must be a whole number"),
        ({"vocab_size": 2.5}, "vocab_size must be a whole number"),
        ({"dropout": 1.0}, "dropout must lie in"),
        ({"gelu_approximate": "relu"}, "gelu_approximate"),
    ],
)
def test_impossible_shapes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        GPTConfig(**({"vocab_size": 5, "block_size": 4, "n_layer": 1, "n_head": 2, "n_embd": 8} | changes))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.zeros(4, int), "add a batch axis"),
        (np.zeros((1, 9), int), "block_size=8"),
        (np.zeros((1, 0), int), "got 0"),
        (np.zeros((1, 3)), "integer ids"),
        (np.full((1, 3), 11), r"\[0, 11\), got 11"),
    ],
)
def test_gpt_explains_bad_ids(ids, message):
    with pytest.raises(ValueError, match=message):
        GPT(GPTConfig(11, 8, 1, 2, 8), rng()).forward(ids)
