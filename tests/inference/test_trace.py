"""The trace of a forward pass: the same numbers as GPT.forward, and the attention weights that made them."""

import numpy as np
import pytest

from numpylm import GPT, GPTConfig
from numpylm.inference.trace import trace
from numpylm.nn.attention import merge_heads, split_heads

B, T, V, L, H, C = 2, 5, 11, 3, 2, 8


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def gpt(rng):
    gpt = GPT(GPTConfig(V, 7, L, H, C, dropout=0.5), rng, np.float64)
    for parameter in gpt.parameters():  # not the initial values: gains of 1 and biases of 0 hide mistakes
        parameter.data += 0.3 * rng.standard_normal(parameter.shape)
    return gpt


@pytest.fixture
def ids(rng):
    return rng.integers(0, V, (B, T))


def test_logits_are_those_of_forward_to_the_bit(gpt, ids):
    np.testing.assert_array_equal(trace(gpt, ids).logits, gpt.forward(ids)[0])
    np.testing.assert_array_equal(trace(gpt, ids.tolist()).logits, gpt.forward(ids)[0])


def test_hidden_is_the_stream_before_the_first_block_and_after_each(gpt, ids):
    hidden = trace(gpt, ids).hidden
    assert [x.shape for x in hidden] == [(B, T, C)] * (L + 1)
    np.testing.assert_array_equal(hidden[0], gpt.wte.weight.data[ids] + gpt.wpe.weight.data[:T])
    for block, before, after in zip(gpt.h, hidden[:-1], hidden[1:], strict=True):
        np.testing.assert_array_equal(block.forward(before)[0], after)


def test_attention_holds_the_weights_that_multiplied_v(gpt, ids):
    found = trace(gpt, ids)
    assert [p.shape for p in found.attention] == [(B, H, T, T)] * L
    for block, x, p in zip(gpt.h, found.hidden[:-1], found.attention, strict=True):
        np.testing.assert_allclose(p.sum(axis=-1), 1)
        assert not np.triu(p, 1).any()
        normed, _ = block.ln_1.forward(x)
        v = split_heads(block.attn.c_attn.forward(normed)[0][..., 2 * C :], H)
        by_hand, _ = block.attn.c_proj.forward(merge_heads(p @ v))
        np.testing.assert_allclose(by_hand, block.attn.forward(normed)[0], atol=1e-12)


@pytest.mark.parametrize("bad", [np.array([1, 2]), np.zeros((1, 8), int), np.zeros((1, 0), int), np.array([[V]])])
def test_what_forward_refuses_trace_refuses(gpt, bad):
    with pytest.raises(ValueError) as by_forward:  # noqa: PT011
        gpt.forward(bad)
    with pytest.raises(ValueError) as by_trace:  # noqa: PT011
        trace(gpt, bad)
    assert str(by_trace.value) == str(by_forward.value)


def test_nothing_is_changed(gpt, ids):
    before = {name: value.copy() for name, value in gpt.state_dict().items()}
    trace(gpt, ids)
    assert all(np.array_equal(before[name], value) for name, value in gpt.state_dict().items())
    assert not any(parameter.grad.any() for parameter in gpt.parameters())


def test_a_map_longer_than_a_block_of_attention_is_whole():
    rng = np.random.default_rng(0)
    found = trace(GPT(GPTConfig(V, 70, 1, H, C), rng, np.float64), rng.integers(0, V, (1, 70))).attention[0]
    assert found.shape == (1, H, 70, 70)
    np.testing.assert_allclose(found.sum(axis=-1), 1)
    assert not np.triu(found[0, 0], 1).any()
