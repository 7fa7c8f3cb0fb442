"""LlamaBlock: its formula with every dropout, the way past both branches, and the balance of its experts."""

import numpy as np
import pytest

from numpylm import GatedMLP, GroupedQueryAttention, LlamaBlock, MixtureOfExperts
from numpylm.nn.functional import dropout

C = 8


def rng(seed=0):
    return np.random.default_rng(seed)


def make(experts=0, p=0.0):
    options = {"std": 0.5, "proj_std": 0.5, "rng": rng(), "dtype": np.float64}
    mlp = MixtureOfExperts(C, 5, experts, **options) if experts else GatedMLP(C, 5, **options)
    block = LlamaBlock(GroupedQueryAttention(C, 4, 2, dropout=p, **options), mlp, C, p, eps=0.1, dtype=np.float64)
    for norm in (block.input_layernorm, block.post_attention_layernorm):
        norm.weight.data[:] = rng(norm.weight.size).standard_normal(C)
    return block


@pytest.mark.parametrize("experts", [0, 3])
@pytest.mark.parametrize("p", [0.0, 0.3])
def test_the_formula_with_dropout_after_both_branches(experts, p):
    """One generator draws the masks in the order of the forward: attention weights, first branch, second branch."""
    block, x, masks = make(experts, p), rng(1).standard_normal((2, 5, C)), rng(2)
    z = x + dropout(block.self_attn.forward(block.input_layernorm.forward(x)[0], masks)[0], p, masks)[0]
    expected = z + dropout(block.mlp.forward(block.post_attention_layernorm.forward(z)[0])[0], p, masks)[0]
    np.testing.assert_array_equal(block.forward(x, rng(2))[0], expected)
    assert (np.abs(block.forward(x)[0] - expected).max() > 1e-3) == (p > 0)


def test_without_its_branches_it_passes_everything_on():
    block, x, dy = make(), rng(1).standard_normal((2, 5, C)), rng(2).standard_normal((2, 5, C))
    block.self_attn.o_proj.weight.data[:] = block.mlp.down_proj.weight.data[:] = 0
    y, cache = block.forward(x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(block.backward(dy, cache), dy)


def test_the_balance_is_that_of_the_experts_and_its_gradient_reaches_the_router():
    plain, block, x = make(), make(3), rng(1).standard_normal((2, 5, C))
    assert plain.balance(plain.forward(x)[1]) == 0.0
    y, cache = block.forward(x)
    assert block.balance(cache) == cache.mlp.balance > 0
    assert block.backward(np.zeros_like(y), cache, dbalance=1.0).any()
    moved = {name for name, p in block.named_parameters() if p.grad.any()}
    assert "mlp.gate.weight" in moved
    assert not any("experts" in name for name in moved)
