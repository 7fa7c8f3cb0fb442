"""Privacy accounting: the published figures, the closed form for whole orders, and the properties of ε."""

import math

import numpy as np
import pytest

from numpylm.training.privacy_accountant import (
    ORDERS,
    classic_epsilon,
    epsilon_spent,
    improved_epsilon,
    log_moment,
    noise_for,
    renyi,
)

DELTA = 1e-5
NOISE_AND_EPOCHS = ((1.3, 15), (1.1, 60), (0.7, 45))
# github.com/pytorch/opacus, examples/mnist_README.md: three settings with -sr=0.004, so 250 steps an epoch, and the
# orders of its RDPAccountant. It was written when Opacus had the classic formula; today's gives 0.92, 2.50 and 6.09.
OPACUS_ORDERS = (*(1 + i / 10 for i in range(1, 100)), *range(12, 64))
OPACUS = (1.16, 2.91, 6.86)
OPACUS_NOW = (0.92, 2.50, 6.09)
# github.com/tensorflow/privacy, tutorials/README.md: the same settings with batches of 256 of 60,000 examples, and the
# orders of compute_dp_sgd_privacy. (Its table says 7.10 for the last one, which has the orders of Opacus.)
TENSORFLOW_ORDERS = (1.25, 1.5, 1.75, 2, 2.25, 2.5, 3, 3.5, 4, 4.5, *range(5, 64), 128, 256, 512)
TENSORFLOW = (1.19, 3.01, 7.12)


@pytest.mark.parametrize(
    ("q", "orders", "formula", "published"),
    [
        (0.004, OPACUS_ORDERS, classic_epsilon, OPACUS),
        (0.004, OPACUS_ORDERS, improved_epsilon, OPACUS_NOW),
        (256 / 60_000, TENSORFLOW_ORDERS, classic_epsilon, TENSORFLOW),
    ],
)
def test_published_figures(q, orders, formula, published):
    found = [
        formula(renyi(q, noise, math.ceil(epochs / q), orders), orders, DELTA) for noise, epochs in NOISE_AND_EPOCHS
    ]
    assert [round(epsilon, 2) for epsilon in found] == list(published)


def closed_form(q, noise, order):
    """log A_α of a whole order: a binomial sum (Mironov et al. 2019, equation in section 3.3)."""
    terms = [
        math.lgamma(order + 1)
        - math.lgamma(k + 1)
        - math.lgamma(order - k + 1)
        + (order - k) * math.log1p(-q)
        + k * math.log(q)
        + (k * k - k) / (2 * noise**2)
        for k in range(order + 1)
    ]
    return float(np.logaddexp.reduce(terms))


@pytest.mark.parametrize("q", [1e-4, 0.01, 0.3, 0.9])
@pytest.mark.parametrize("noise", [0.1, 0.4, 1.0, 5.0])
def test_the_integral_is_the_binomial_sum_for_whole_orders(q, noise):
    for order in (2, 3, 7, 32, 100):
        assert log_moment(q, noise, order) == pytest.approx(closed_form(q, noise, order), rel=1e-10, abs=1e-12)


def test_between_whole_orders_the_log_moment_is_convex():
    """log A_α is convex in α, so a fractional order lies below the chord, and above neighboring ones extended."""
    q, noise = 0.02, 0.8
    for order in (1.5, 2.5, 6.5):
        low, high = math.floor(order), math.ceil(order)
        below = log_moment(q, noise, low) if low > 1 else 0.0
        assert log_moment(q, noise, order) < (below + log_moment(q, noise, high)) / 2


def test_limits():
    assert log_moment(0, 1.0, 2) == 0
    assert log_moment(0.1, 0, 2) == math.inf
    assert log_moment(1, 2.0, 3) == (9 - 3) / 8  # without sampling: the Gaussian mechanism, α (α - 1) / 2σ²
    assert log_moment(1 - 1e-12, 2.0, 3) == pytest.approx(0.75)
    assert log_moment(0.1, 0.05, 2) >= closed_form(0.1, 0.05, 2)  # so little noise has an upper bound instead
    assert noise_for(1e9, DELTA, 0.1, 10) < 0.01
    assert epsilon_spent(0.1, 1.0, 0, DELTA) == 0
    assert epsilon_spent(0.1, 0, 1, DELTA) == math.inf


def test_the_improved_formula_is_never_above_the_classic_one():
    for q, noise, steps in ((0.01, 1.0, 100), (0.01, 0.5, 3), (1.0, 10.0, 1), (0.001, 5.0, 1)):
        divergences = renyi(q, noise, steps)
        assert 0 <= improved_epsilon(divergences, ORDERS, DELTA) <= classic_epsilon(divergences, ORDERS, DELTA)


def test_more_steps_less_noise_or_larger_batches_cost_more():
    base = epsilon_spent(0.01, 1.0, 1000, DELTA)
    assert base < epsilon_spent(0.01, 1.0, 1100, DELTA)
    assert base < epsilon_spent(0.01, 0.9, 1000, DELTA)
    assert base < epsilon_spent(0.011, 1.0, 1000, DELTA)
    assert base < epsilon_spent(0.01, 1.0, 1000, DELTA / 10)


@pytest.mark.parametrize(("epsilon", "q", "steps"), [(8, 0.01, 500), (0.5, 0.001, 2000), (20, 0.1, 10), (1, 1, 1)])
def test_the_noise_for_a_wanted_epsilon_is_enough_and_hardly_more(epsilon, q, steps):
    noise = noise_for(epsilon, DELTA, q, steps)
    assert epsilon_spent(q, noise, steps, DELTA) <= epsilon < epsilon_spent(q, noise * 0.999, steps, DELTA)


def test_what_cannot_be_is_named():
    with pytest.raises(ValueError, match=r"no noise makes 10 steps private with epsilon 0\.0"):
        noise_for(0.0, DELTA, 0.5, 10)
    with pytest.raises(ValueError, match="delta must lie between 0 and 1, got 1"):
        epsilon_spent(0.1, 1.0, 10, 1)
    with pytest.raises(ValueError, match="expected 0 <= q <= 1"):
        renyi(1.5, 1.0, 10)
