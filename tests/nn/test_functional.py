"""Values and edge cases of the functions; their gradients are checked in tests/check/test_gradcheck.py."""

import math

import numpy as np
import pytest

from numpylm import cross_entropy, cross_entropy_backward, gelu, relu, softmax
from numpylm.nn.functional import IGNORE_INDEX


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_is_the_definition(axis):
    x = np.random.default_rng(0).standard_normal((3, 4, 5))
    p, _ = softmax(x, axis=axis)
    np.testing.assert_allclose(p, np.exp(x) / np.exp(x).sum(axis, keepdims=True), rtol=1e-13)


def test_softmax_of_huge_numbers_does_not_overflow():
    p, _ = softmax(np.array([1e4, 1e4, -1e4], np.float32))
    np.testing.assert_array_equal(p, np.array([0.5, 0.5, 0], np.float32))


def test_softmax_with_minus_infinity():
    p, _ = softmax(np.array([[0.0, -np.inf], [-np.inf, -np.inf]]))
    np.testing.assert_array_equal(p, [[1, 0], [0, 0]])


def test_relu_and_its_slope_at_zero():
    out, cache = relu(np.array([-1.0, 0.0, 2.0]))
    np.testing.assert_array_equal(out, [0, 0, 2])
    from numpylm import relu_backward

    np.testing.assert_array_equal(relu_backward(np.array([5.0, 5.0, 5.0]), cache), [0, 0, 5])


def test_exact_gelu_is_x_times_the_normal_distribution_function():
    x = np.concatenate([np.linspace(-9, 9, 20001), [0.0, -0.0, 1e-300, 30.0, -30.0]])
    expected = np.array([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])
    np.testing.assert_allclose(gelu(x, "none")[0], expected, rtol=0, atol=5e-15)


def test_tanh_gelu_is_gpt2s_formula():
    x = np.linspace(-5, 5, 101)
    expected = [0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) for v in x]
    np.testing.assert_allclose(gelu(x)[0], expected, rtol=0, atol=1e-15)


def test_gelu_refuses_other_forms():
    with pytest.raises(ValueError, match="sigmoid"):
        gelu(np.zeros(2), "sigmoid")


def test_cross_entropy_averages_over_counted_targets_only():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((2, 3, 5))
    targets = np.array([[1, -100, 4], [-100, -100, 0]])
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -(log_p[0, 0, 1] + log_p[0, 2, 4] + log_p[1, 2, 0]) / 3
    loss, cache = cross_entropy(logits, targets)
    assert loss == pytest.approx(expected, rel=1e-14)
    grad = cross_entropy_backward(1.0, cache)
    assert not grad[targets == -100].any()
    np.testing.assert_allclose(grad.sum(-1), 0, atol=1e-16)


def test_cross_entropy_of_equal_logits_is_ln_v():
    assert cross_entropy(np.zeros((4, 7)), np.arange(4))[0] == pytest.approx(math.log(7), rel=1e-15)


def test_parts_of_a_batch_add_up_with_count():
    rng = np.random.default_rng(1)
    logits, targets = rng.standard_normal((4, 6, 5)), rng.integers(0, 5, (4, 6))
    targets[0, :5] = -100  # the parts have unequal counts
    whole, cache = cross_entropy(logits, targets)
    n = int((targets != IGNORE_INDEX).sum())
    parts = [cross_entropy(logits[i : i + 2], targets[i : i + 2], count=n) for i in (0, 2)]
    assert parts[0][0] + parts[1][0] == pytest.approx(whole, rel=1e-14)
    np.testing.assert_allclose(np.concatenate([part[1] for part in parts]), cache, rtol=1e-14)


def test_nothing_counted_is_zero_and_not_nan():
    loss, cache = cross_entropy(np.ones((2, 3)), np.array([-100, -100]))
    assert loss == 0.0
    assert not cross_entropy_backward(1.0, cache).any()


@pytest.mark.parametrize("target", [5, -1])
def test_targets_outside_the_vocabulary_are_named(target):
    with pytest.raises(ValueError, match=rf"target {target} is outside \[0, 5\)"):
        cross_entropy(np.zeros((1, 5)), np.array([target]))


def test_targets_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 3\), got \(3, 2\)"):
        cross_entropy(np.zeros((2, 3, 5)), np.zeros((3, 2), int))
