"""Rotary positions: angles by hand, both layouts, scores that depend on distances, and the two kinds of scaling."""

import math

import numpy as np
import pytest

from numpylm import Rotary
from numpylm.nn.positions import LAYOUTS, rotary_frequencies

D = 6
ORDER = [0, 3, 1, 4, 2, 5]  # the channels of "halves" in the order of "interleaved"


def vectors(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def turn(rotary, x, position):
    """x (D,) at one position."""
    return rotary.forward(x[None, None, None], np.array([position]))[0][0, 0, 0]


def test_angles_by_hand():
    """D = 4 and base 100 turn the pairs by 1 and 0.1 radians each position."""
    found = turn(Rotary(4, base=100.0), np.array([1.0, 2.0, 3.0, 5.0]), 3)
    c, s, slow_c, slow_s = math.cos(3), math.sin(3), math.cos(0.3), math.sin(0.3)
    expected = [c - 3 * s, 2 * slow_c - 5 * slow_s, s + 3 * c, 2 * slow_s + 5 * slow_c]
    np.testing.assert_allclose(found, expected, rtol=1e-14)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_score_depends_on_the_distance_and_on_no_absolute_position(layout):
    rotary, (q, k) = Rotary(D, layout=layout), vectors(2, D)
    near = [turn(rotary, q, t + 4) @ turn(rotary, k, t) for t in (0, 1, 9, 200)]
    np.testing.assert_allclose(near, near[0], rtol=1e-12)
    assert abs(turn(rotary, q, 3) @ turn(rotary, k, 0) - near[0]) > 1e-3
    assert abs(turn(rotary, q, 0) @ turn(rotary, k, 4) - near[0]) > 1e-3  # the sign of the distance counts


@pytest.mark.parametrize("layout", LAYOUTS)
def test_position_0_stays_and_lengths_stay_everywhere(layout):
    x = vectors(2, 3, 5, D)
    y, _ = Rotary(D, layout=layout).forward(x, np.arange(5))
    np.testing.assert_array_equal(y[:, :, 0], x[:, :, 0])
    np.testing.assert_allclose((y * y).sum(-1), (x * x).sum(-1), rtol=1e-12)
    assert (np.abs(y - x)[:, :, 1:].max(-1) > 1e-3).all()


def test_both_layouts_are_the_same_up_to_the_order_of_channels():
    x, dy, positions = vectors(2, 3, 5, D), vectors(2, 3, 5, D, seed=1), np.arange(5)
    halves, pairs = (Rotary(D, layout=layout) for layout in ("halves", "interleaved"))
    y, cache = halves.forward(x, positions)
    other, other_cache = pairs.forward(x[..., ORDER], positions)
    np.testing.assert_array_equal(other, y[..., ORDER])
    np.testing.assert_array_equal(pairs.backward(dy[..., ORDER], other_cache), halves.backward(dy, cache)[..., ORDER])


def test_the_backward_is_the_inverse():
    x, rotary = vectors(2, 3, 5, D), Rotary(D)
    y, cache = rotary.forward(x, np.arange(5))
    np.testing.assert_allclose(rotary.backward(y, cache), x, atol=1e-14)


def test_each_row_of_a_batch_can_have_its_own_positions():
    x, rotary, positions = vectors(2, 3, 4, D), Rotary(D), np.array([[0, 0, 1, 2], [7, 8, 9, 10]])
    y, cache = rotary.forward(x, positions)
    dx = rotary.backward(y, cache)
    for row in (0, 1):
        alone, alone_cache = rotary.forward(x[row : row + 1], positions[row])
        np.testing.assert_array_equal(y[row : row + 1], alone)
        np.testing.assert_array_equal(dx[row : row + 1], rotary.backward(alone, alone_cache))


def test_linear_scaling_moves_positions_together():
    x = vectors(D)
    scaled = Rotary(D, scaling={"type": "linear", "factor": 4.0})
    np.testing.assert_allclose(turn(scaled, x, 8), turn(Rotary(D), x, 2), rtol=1e-12)


def test_llama3_scaling_by_hand():
    """θ = 1, 0.1, 0.01, 0.001 are 159, 15.9, 1.59, 0.159 turns within 1000 positions: fast, fast, between, slow."""
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 1000,
    }
    kept = (10 / (2 * math.pi) - 1) / 3  # 0.197
    expected = [1, 0.1, 0.01 * (kept + (1 - kept) / 8), 0.001 / 8]
    np.testing.assert_allclose(rotary_frequencies(8, 10000.0, scaling), expected, rtol=1e-12)


@pytest.mark.parametrize("scaling", [None, {}, {"rope_type": "default"}])
def test_without_scaling_frequencies_are_powers_of_the_base(scaling):
    np.testing.assert_allclose(rotary_frequencies(6, 1000.0, scaling), [1, 0.1, 0.01], rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 5}, "a head must have an even number, got 5"),
        ({"dim": 4, "layout": "pairs"}, "layout must be 'interleaved' or 'halves', got 'pairs'"),
        ({"dim": 4, "scaling": {"rope_type": "yarn", "factor": 2}}, 'the kind "yarn" is not computed here'),
        (
            {"dim": 4, "scaling": {"rope_type": "linear"}},
            'rope_scaling "linear" needs factor, a number above 0, got None',
        ),
        ({"dim": 4, "scaling": {"type": "linear", "factor": 0}}, "needs factor, a number above 0, got 0"),
        ({"dim": 4, "scaling": {"type": "linear", "factor": "2"}}, "needs factor, a number above 0, got '2'"),
        (
            {"dim": 4, "scaling": {"rope_type": "llama3", "factor": 8.0}},
            "needs low_freq_factor, a number above 0, got None",
        ),
        (
            {
                "dim": 4,
                "scaling": {
                    "rope_type": "llama3",
                    "factor": 8.0,
                    "low_freq_factor": 4.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 100,
                },
            },
            "high_freq_factor must be above low_freq_factor=4.0, got 4.0",
        ),
    ],
)
def test_impossible_angles_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Rotary(**arguments)


def test_angles_of_far_positions_are_exact_in_float32():
    """At position 100000, float32 angles would be off by 0.004 radians; they are computed in float64."""
    x, rotary = vectors(D), Rotary(D)
    exact, rough = turn(rotary, x, 100_000), turn(rotary, x.astype(np.float32), 100_000)
    assert rough.dtype == np.float32
    np.testing.assert_allclose(rough, exact, atol=1e-6)
