"""Conv1d against its formula, window by window; its lengths and its errors."""

import numpy as np
import pytest

from numpylm import Conv1d


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 1), (2, 1), (3, 2), (5, 0)])
def test_each_output_is_a_sum_over_its_window(stride, padding):
    layer, x = Conv1d(4, 3, 3, stride, padding, std=1, dtype=np.float64), rng().standard_normal((2, 8, 4))
    layer.bias.data[:] = rng(1).standard_normal(3)
    y, _ = layer.forward(x)
    assert y.shape == (2, layer.output_length(8), 3)
    for t in range(y.shape[1]):
        places = [(k, stride * t + k - padding) for k in range(3)]
        terms = [x[:, i] @ layer.weight.data[k] for k, i in places if 0 <= i < 8]
        np.testing.assert_allclose(y[:, t], layer.bias.data + sum(terms), rtol=1e-12)


def test_the_kernel_is_not_flipped():
    """An impulse writes the kernel backwards: y_t meets it at place i - t."""
    layer = Conv1d(1, 1, 3, bias=False)
    layer.weight.data[:, 0, 0] = [1, 2, 3]
    y, _ = layer.forward(np.eye(1, 5, 2, dtype=np.float32)[:, :, None])
    np.testing.assert_array_equal(y[0, :, 0], [3, 2, 1])


def test_positions_beyond_the_last_window_get_no_gradient():
    layer = Conv1d(2, 3, 2, stride=3, dtype=np.float64)
    y, cache = layer.forward(np.ones((1, 7, 2)))  # windows at 0 and 3; 2, 5 and 6 are in none
    dx = layer.backward(np.ones_like(y), cache)
    np.testing.assert_array_equal((dx != 0).all(-1)[0], [True, True, False, True, True, False, False])


def test_the_output_length_of_a_batch_of_lengths():
    layer = Conv1d(2, 3, 3, stride=2, padding=1)
    np.testing.assert_array_equal(layer.output_length(np.array([1, 2, 3, 3000])), [1, 1, 2, 1500])


@pytest.mark.parametrize(
    ("shape", "message"),
    [((2, 5, 3), "the 4 features"), ((5, 4), r"\(B, T, 4\)"), ((1, 2, 4), "at least 3 positions")],
)
def test_inputs_that_do_not_fit_are_named(shape, message):
    with pytest.raises(ValueError, match=message):
        Conv1d(4, 3, 3).forward(np.zeros(shape))


@pytest.mark.parametrize(("kernel_size", "stride", "padding"), [(0, 1, 0), (3, 0, 0), (3, 1, -1)])
def test_impossible_settings_are_refused(kernel_size, stride, padding):
    with pytest.raises(ValueError, match="Conv1d needs kernel_size >= 1"):
        Conv1d(4, 3, kernel_size, stride, padding)
