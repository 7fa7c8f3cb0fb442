"""The optimizer against the formulas on paper, and the schedule's corners."""

import itertools
import math

import numpy as np
import pytest

from numpylm import AdamW, Parameter, clip_grad_norm, warmup_cosine


def parameter(*values, grad=None):
    p = Parameter(np.array(values, np.float64))
    p.grad[...] = 0 if grad is None else grad
    return p


def test_the_first_step_is_lr_times_the_sign():
    p = parameter(1.0, 2.0, grad=[0.3, -5.0])
    AdamW([p], lr=0.1).step()
    np.testing.assert_allclose(p.data, [0.9, 2.1], atol=1e-8)


def test_two_steps_by_hand():
    p = parameter(1.0, grad=[0.5])
    optimizer = AdamW([p], lr=0.1, betas=(0.8, 0.9), eps=0.01)
    optimizer.step()
    p.grad[...] = -1.0
    optimizer.step()
    first = 1 - 0.1 * 0.5 / (0.5 + 0.01)
    m = (0.8 * 0.2 * 0.5 - 0.2 * 1) / (1 - 0.64)
    v = (0.9 * 0.1 * 0.25 + 0.1 * 1) / (1 - 0.81)
    assert p.data[0] == pytest.approx(first - 0.1 * m / (math.sqrt(v) + 0.01), rel=1e-14)


def test_decay_shrinks_matrices_and_leaves_vectors():
    matrix, vector = Parameter(np.ones((2, 2))), Parameter(np.ones(2))
    AdamW([matrix, vector], lr=0.1, weight_decay=0.5).step()
    np.testing.assert_allclose(matrix.data, 0.95)
    np.testing.assert_array_equal(vector.data, 1)


def test_a_step_keeps_float32_and_the_gradient():
    p = Parameter(np.ones((2, 2), np.float32))
    p.grad[...] = 2
    optimizer = AdamW([p], lr=np.float64(0.1))
    optimizer.step(lr=warmup_cosine(1, 0, 10, 0.1, 0.01))
    assert p.data.dtype == optimizer.m[0].dtype == optimizer.v[0].dtype == np.float32
    np.testing.assert_array_equal(p.grad, 2)


def test_state_round_trip_continues_identically():
    rng = np.random.default_rng(0)
    grads = rng.standard_normal((6, 3))
    through = parameter(1.0, 2.0, 3.0)
    optimizer = AdamW([through], lr=0.1)
    for i, grad in enumerate(grads):
        if i == 3:
            other = Parameter(through.data.copy())
            saved = {key: value.copy() for key, value in optimizer.state_dict().items()}
        through.grad[...] = grad
        optimizer.step()
    resumed = AdamW([other], lr=0.1)
    resumed.load_state_dict(saved)
    for grad in grads[3:]:
        other.grad[...] = grad
        resumed.step()
    np.testing.assert_array_equal(through.data, other.data)


def test_state_of_other_parameters_is_refused():
    state = AdamW([parameter(1.0, 2.0)]).state_dict()
    with pytest.raises(ValueError, match=r"other parameters: m\.0, v\.0"):
        AdamW([parameter(1.0)]).load_state_dict(state)


def test_clipping_scales_all_together_and_returns_the_norm():
    a, b = parameter(0.0, grad=[3.0]), parameter(0.0, grad=[4.0])
    assert clip_grad_norm([a, b], 1.0) == pytest.approx(5.0)
    assert math.hypot(a.grad[0], b.grad[0]) == pytest.approx(1.0, rel=1e-6)
    assert a.grad[0] / b.grad[0] == pytest.approx(0.75)


def test_clipping_leaves_small_gradients_alone():
    a = parameter(0.0, grad=[0.3])
    assert clip_grad_norm([a], 1.0) == pytest.approx(0.3)
    assert a.grad[0] == 0.3


def test_clipping_reports_infinity_and_scales_nothing():
    a, b = parameter(0.0, grad=[np.inf]), parameter(0.0, grad=[1.0])
    assert clip_grad_norm([a, b], 1.0) == math.inf
    assert b.grad[0] == 1.0


def test_the_schedule():
    lr = [warmup_cosine(step, 4, 12, 1.0, 0.1) for step in range(15)]
    np.testing.assert_allclose(lr[:4], [0.2, 0.4, 0.6, 0.8])
    assert lr[4] == 1.0
    assert lr[8] == pytest.approx(0.55)
    assert all(a > b for a, b in itertools.pairwise(lr[4:13]))
    assert lr[12:] == [0.1] * 3
    assert warmup_cosine(0, 0, 0, 1.0, 0.1) == 0.1


@pytest.mark.parametrize("bad", [{"lr": -1}, {"betas": (0.9, 1.0)}, {"eps": 0}, {"weight_decay": -0.1}])
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ValueError, match="AdamW needs"):
        AdamW([parameter(1.0)], **bad)


@pytest.mark.parametrize("shape", [(3,), (50_000,), (300, 250), (3, 40_000), (5, 200, 100), ()])
def test_adamw_in_pieces_is_adamw_on_the_whole(shape):
    rng = np.random.default_rng(0)
    whole, copy = (np.asfortranarray(rng.standard_normal(shape)) for _ in range(2))  # rows need not be contiguous
    copy[...] = whole
    p, lr, (beta1, beta2), decay = Parameter(whole), 0.01, (0.9, 0.95), 0.1 if len(shape) >= 2 else 0
    optimizer = AdamW([p], lr=lr, betas=(beta1, beta2), weight_decay=0.1)
    m, v = np.zeros(shape), np.zeros(shape)
    for t in (1, 2):
        p.grad[...] = g = rng.standard_normal(shape)
        optimizer.step()
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * (g * g)
        copy = copy * (1 - lr * decay)
        copy = copy - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + 1e-8)
    np.testing.assert_allclose(p.data, copy, rtol=1e-12, atol=1e-15)
