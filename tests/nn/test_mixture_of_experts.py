"""MixtureOfExperts: one expert is a GatedMLP, tokens are independent, who is chosen, and the load-balancing loss."""

import numpy as np
import pytest

from numpylm import GatedMLP, MixtureOfExperts
from numpylm.nn.functional import softmax

C, F = 6, 5


def rng(seed=0):
    return np.random.default_rng(seed)


def make(E=4, k=2, activation="silu"):
    return MixtureOfExperts(C, F, E, k, activation, std=0.8, proj_std=0.8, rng=rng(), dtype=np.float64)


def tokens(*shape):
    return rng(1).standard_normal((*shape, C))


@pytest.mark.parametrize("activation", ["silu", "gelu"])
def test_one_expert_is_a_gated_mlp(activation):
    mixture, alone = make(1, 1, activation), GatedMLP(C, F, activation, dtype=np.float64)
    alone.load_state_dict(mixture.experts[0].state_dict())
    x, dy = tokens(2, 7), rng(2).standard_normal((2, 7, C))
    y, cache = mixture.forward(x)
    expected, alone_cache = alone.forward(x)
    np.testing.assert_allclose(y, expected, atol=1e-14)
    np.testing.assert_allclose(mixture.backward(dy, cache), alone.backward(dy, alone_cache), atol=1e-13)
    for p, q in zip(mixture.experts[0].parameters(), alone.parameters(), strict=True):
        np.testing.assert_allclose(p.grad, q.grad, atol=1e-13)
    assert not mixture.gate.weight.grad.any()  # there is no choice
    assert cache.balance == pytest.approx(1)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_the_formula_token_by_token(k):
    mixture, x = make(4, k), tokens(7)
    y, cache = mixture.forward(x)
    for n in range(7):
        p = softmax(x[n : n + 1] @ mixture.gate.weight.data)[0][0]
        best = sorted(range(4), key=lambda e: -p[e])[:k]
        expected = sum(p[e] * mixture.experts[e].forward(x[n])[0] for e in best) / sum(p[e] for e in best)
        np.testing.assert_allclose(y[n], expected, atol=1e-12)
        assert list(cache.chosen[n]) == best


def test_a_tokens_output_does_not_depend_on_other_tokens_or_their_order():
    mixture, x = make(), tokens(2, 7)
    y = mixture.forward(x)[0]
    order = rng(3).permutation(7)
    np.testing.assert_allclose(mixture.forward(x[:, order])[0], y[:, order], atol=1e-13)
    np.testing.assert_allclose(mixture.forward(x.reshape(14, C))[0].reshape(y.shape), y, atol=1e-13)
    np.testing.assert_allclose(mixture.forward(x[:1, 4:5])[0], y[:1, 4:5], atol=1e-13)
    changed = x.copy()
    changed[0, 2] *= -3
    same = np.abs(mixture.forward(changed)[0] - y).max(axis=-1) < 1e-12
    assert (~same).sum() == 1
    assert not same[0, 2]


def test_an_expert_without_tokens_gets_no_gradient():
    mixture, x = make(4, 1), np.abs(tokens(3))
    mixture.gate.weight.data[:] = 0
    mixture.gate.weight.data[:, 2] = 1  # positive tokens all prefer expert 2
    y, cache = mixture.forward(x)
    dx = mixture.backward(np.ones_like(y), cache)
    used = [any(p.grad.any() for p in expert.parameters()) for expert in mixture.experts]
    assert used == [False, False, True, False]
    assert np.isfinite(dx).all()


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_balance_is_k_for_a_uniform_router_and_e_for_one_that_sends_all_tokens_to_one_expert(k):
    mixture, x = make(4, k), np.abs(tokens(9))
    mixture.gate.weight.data[:] = 0
    assert mixture.forward(x)[1].balance == pytest.approx(k)
    mixture.gate.weight.data[:, 1] = 50
    assert mixture.forward(x)[1].balance == pytest.approx(4)  # E f_e P_e with f = P = 1, whatever k


def test_the_balance_by_hand():
    """Two tokens, two experts: p = (0.8, 0.2) and (0.4, 0.6), k = 1: f = (½, ½), P = (0.6, 0.4), 2 Σ f P = 1."""
    mixture = MixtureOfExperts(2, F, 2, 1, dtype=np.float64)
    mixture.gate.weight.data = np.log([[0.8, 0.2], [0.4, 0.6]])
    assert mixture.forward(np.eye(2))[1].balance == pytest.approx(1)
    both = mixture.forward(np.array([[1.0, 0], [1, 0], [0, 1]]))[1].balance  # f = (2/3, 1/3), P = (2/3, 1/3)
    assert both == pytest.approx(2 * (4 / 9 + 1 / 9))


def test_following_the_balances_gradient_spreads_the_tokens():
    mixture, x = make(4, 1), tokens(64)
    mixture.gate.weight.data[:, 0] += 0.5 * x.mean(axis=0) + 0.3
    first = mixture.forward(x)[1]
    for _ in range(60):
        y, cache = mixture.forward(x)
        mixture.zero_grad()
        mixture.backward(np.zeros_like(y), cache, dbalance=1.0)
        mixture.gate.weight.data -= 2.0 * mixture.gate.weight.grad
    assert cache.balance < first.balance - 0.05
    assert cache.load.max() < first.load.max()
    assert not any(p.grad.any() for expert in mixture.experts for p in expert.parameters())


def test_the_upstream_gradients_of_output_and_balance_add_up():
    mixture, x, dy = make(), tokens(7), rng(2).standard_normal((7, C))
    found = []
    for dout, dbalance in ((dy, 0.0), (0 * dy, 0.7), (dy, 0.7)):
        mixture.zero_grad()
        dx = mixture.backward(dout, mixture.forward(x)[1], dbalance=dbalance)
        found.append([dx, *(p.grad.copy() for p in mixture.parameters())])
    for output, balance, both in zip(*found, strict=True):
        np.testing.assert_allclose(output + balance, both, atol=1e-13)


@pytest.mark.parametrize("k", [0, 5])
def test_impossible_numbers_of_experts_are_refused(k):
    with pytest.raises(ValueError, match=f"a token can use 1 to 4 of 4 experts, got {k}"):
        MixtureOfExperts(C, F, 4, k)


def test_no_tokens_at_all():
    y, cache = make().forward(np.zeros((2, 0, C)))
    assert y.shape == (2, 0, C)
    assert make().backward(y, cache).shape == (2, 0, C)
