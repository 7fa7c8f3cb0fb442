"""A wrong pointer is worse than none: what the checker must not say, and what it says instead."""

import re
from typing import NamedTuple

import numpy as np
import pytest

from numpylm import CausalSelfAttention, LayerNorm, Linear, Module, Parameter, gradcheck
from numpylm.check.measure.evidence import fewer_rows
from numpylm.check.measure.sizes import known_sizes
from numpylm.check.measure.trial import Setup, Trial
from numpylm.nn.functional import softmax

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 5, 12))


def softmax_of(x):
    p, _ = softmax(x)
    return p, p


def said(subject, *inputs, **options):
    report = gradcheck(subject, *inputs, **options)
    assert not report.ok
    return re.sub(r"\s+", " ", str(report))


def test_rows_that_sum_to_zero_by_nature_are_not_misplaced():
    def backward(dout, p):
        return p * (dout * 2 - (dout * p).sum(-1, keepdims=True) - (dout * p).mean(-1, keepdims=True))

    assert "places" not in said((softmax_of, backward), X)


def test_values_at_other_places_are():
    def shift(x):
        return np.concatenate([np.zeros_like(x[:, :1]), 2 * x[:, :-1]], axis=1), None

    def backward(dout, cache):
        dx = np.zeros_like(dout)
        dx[:, 2:] = 2 * dout[:, 1:-1]
        return dx

    text = said((shift, backward), X)
    assert "right values at the wrong places along axis 1" in text
    assert "causal" not in text


def test_a_copy_to_several_places_is_no_move():
    def top(x):
        return x.max(1), x == x.max(1, keepdims=True)

    assert "wrong places" not in said((top, lambda dout, m: dout[:, None] * np.ones_like(m)), X)


class Dropped:
    """Inverted dropout from the global generator, whose backward forgets to divide by 1 - p."""

    def __init__(self, p=0.3):
        self.p = p

    def forward(self, x):
        self.m = np.random.rand(*x.shape) > self.p  # noqa: NPY002
        return x * self.m / (1 - self.p)

    def backward(self, dout):
        return dout * self.m


def dropped(x, p=0.3):
    m = np.random.rand(*x.shape) > p  # noqa: NPY002
    return x * m / (1 - p), m


def dropped_by(x, param):
    m = np.random.rand(*x.shape) < param["keep"]  # noqa: NPY002
    return x * m / param["keep"], m


@pytest.mark.parametrize(
    ("subject", "inputs", "name"),
    [
        (Dropped(), (X,), "1 - p"),
        ((dropped, lambda dout, m: dout * m), (X,), "1 - p"),
        ((dropped_by, lambda dout, m: dout * m), (X, {"keep": 0.7}), "keep"),
    ],
)
def test_a_factor_is_the_same_for_other_numbers_although_the_mask_is_another(subject, inputs, name):
    text = said(subject, *inputs)
    assert f"0.7 times the true one everywhere: {name}" in text
    assert "computed from the data" not in text


def test_all_else_is_right_only_where_all_was_measured():
    class Wide(Linear):
        def backward(self, dy, cache):
            before = self.weight.grad.copy()
            dx = super().backward(dy, cache)
            self.weight.grad[:, :20] = before[:, :20] + np.roll(self.weight.grad[:, :20] - before[:, :20], 1, 0) ** 2
            return dx

    text = said(Wide(60, 40, np.random.default_rng(0)), RNG.standard_normal((7, 60)))
    assert "ll else is right" not in text


@pytest.mark.parametrize(
    ("factor", "named"),
    [(5.0, False), (1 / np.sqrt(12), True), (2.0, True), (12.0, True)],
    ids=["T by chance", "root of C", "two", "C"],
)
def test_a_factor_has_a_name_only_if_it_is_so_at_other_sizes(factor, named):
    def forward(x):
        return np.tanh(x), np.tanh(x)

    def backward(dout, t):
        given = {5.0: 5.0, 2.0: 2.0, 12.0: t.shape[-1]}.get(factor, 1 / np.sqrt(t.shape[-1]))
        return given * dout * (1 - t * t)

    text = said((forward, backward), X)
    assert ("none of the sizes" in text) is not named, text


class Scaled(Module):
    def __init__(self):
        self.alpha, self.w = Parameter(np.array(0.7)), Parameter(np.ones(12))

    def forward(self, x):
        h = np.tanh(x * self.w.data)
        return self.alpha.data * h, (x, h)

    def backward(self, dout, cache):
        x, h = cache
        self.alpha.grad += (dout * x).sum()
        d = dout * (1 - h * h)
        self.w.grad += (d * x).sum((0, 1))
        return d * self.alpha.data * self.w.data


def test_a_scalar_parameter_is_a_factor_and_a_scalar_gradient_has_none():
    report = gradcheck(Scaled(), X)
    assert "1 / (alpha)" in report.row("w").hint
    assert "times the true one" not in report.row("alpha").hint
    assert "dout * h" in report.row("alpha").hint


def test_the_size_of_a_head_is_known_from_heads_and_channels():
    trial = Trial(Setup.make(CausalSelfAttention(12, 3), (X,), {}, 0))
    assert any(value == 4 and "size of a head" in name for name, value in known_sizes(trial).items())


def test_an_odds_ratio_of_dropout_is_named():
    class Drop(Module):
        def __init__(self):
            self.p = 0.3

        def forward(self, x, rng=None):
            keep = np.ones(x.shape) if rng is None else rng.random(x.shape) > self.p
            return x * keep / (1 - self.p), keep

        def backward(self, dout, keep):
            return dout * keep / self.p

    assert "(1 - p) / (p)" in said(Drop(), X)


def test_a_number_in_a_named_tuple_is_called_by_its_field():
    class Cache(NamedTuple):
        x: np.ndarray
        temperature: float

    def forward(x):
        return np.sin(x) / 1.7, Cache(x, 1.7)

    def backward(dout, cache):
        return dout * np.cos(cache.x)

    assert "temperature" in said((forward, backward), X)


@pytest.mark.parametrize("fresh", [True, False])
def test_a_mask_drawn_anew_is_called_that(fresh):
    class Drop(Module):
        def forward(self, x, rng=None):
            rng = rng or np.random.default_rng(0)
            return x * (rng.random(x.shape) > 0.3), rng

        def backward(self, dout, rng):
            return dout * ((np.random.default_rng() if fresh else rng).random(dout.shape) > 0.3)

    text = said(Drop(), X)
    assert "draws random numbers of its own" in text
    assert "proportional" not in text
    assert "p *= d" not in text


def attention(x, transpose):
    T = x.shape[1]
    s = np.where(np.tri(T, dtype=bool), x @ x.swapaxes(1, 2), -1e30)
    p = np.exp(s - s.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return p, transpose


def test_a_matrix_between_positions_that_is_not_transposed_is_no_missing_mask():
    def forward(x, v):
        p, _ = attention(x, None)
        return p @ v, (x, v, p)

    def backward(dout, cache):
        x, v, p = cache
        dp = dout @ v.swapaxes(1, 2)
        ds = p * (dp - (dp * p).sum(-1, keepdims=True))
        return ds @ x + ds.swapaxes(1, 2) @ x, p @ dout

    text = said((forward, backward), X, RNG.standard_normal((2, 5, 4)))
    assert "mask is" not in text
    assert "transpose" in text or "pᵀ" in text


def test_the_wrong_count_of_a_masked_mean_is_no_missing_mask():
    def pool(x, mask):
        m = mask[..., None] * 1.0
        return (x * m).sum(1) / m.sum(1), m

    def backward(dout, m):
        return (dout / m.shape[1])[:, None] * m, None

    mask = np.ones((3, 5), bool)
    mask[0, 3:] = False
    mask[1, 1:] = False
    text = said((pool, backward), RNG.standard_normal((3, 5, 4)), mask)
    assert "the share of True in each row of mask" in text


def test_twice_as_much_of_the_only_path_is_a_factor():
    def forward(x, w):
        return x @ w, (x, w)

    def backward(dout, cache):
        x, w = cache
        return 2 * dout @ w.T, np.einsum("bti,btj->ij", x, dout)

    text = said((forward, backward), X, RNG.standard_normal((12, 4)))
    assert "counts the path" not in text
    assert "2 times the true one" in text


@pytest.mark.parametrize(
    ("wrong", "how"), [(lambda w: w, "transposed"), (lambda w: w[::-1].T, "reversed along axis 0")], ids=["T", "flip"]
)
def test_a_weight_in_another_orientation_is_recognized_behind_other_layers(wrong, how):
    def forward(x, w):
        h = np.tanh(x)
        return h * h @ w, (h, w)

    def backward(dout, cache):
        h, w = cache
        return (dout @ wrong(w)) * 2 * h * (1 - h * h), np.einsum("bti,btj->ij", h * h, dout)

    assert f"in which w is {how}" in said((forward, backward), X, RNG.standard_normal((12, 12)))


class Parallel(Module):
    """y = x + a(n) + b(n), n = norm(x): two branches on one input."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.norm, self.a, self.b = LayerNorm(12), Linear(12, 12, rng), Linear(12, 12, rng)

    def forward(self, x):
        n, c1 = self.norm.forward(x)
        a, c2 = self.a.forward(n)
        b, c3 = self.b.forward(n)
        return x + a + b, (c1, c2, c3)

    def backward(self, dy, cache):
        c1, c2, c3 = cache
        dn = self.b.backward(dy, c3)
        return dy + self.norm.backward(dn + self.a.backward(dn, c2), c1)


@pytest.mark.slow
def test_a_branch_that_is_given_the_gradient_of_another():
    text = said(Parallel(), X)
    assert "a.backward is given what b.backward returned, and should be given the upstream gradient" in text
    assert "does something between" not in text


def test_long_inputs_are_cut_for_the_diagnosis_only():
    class Raw(Module):
        def __init__(self):
            self.W = Parameter(np.random.default_rng(0).standard_normal((12, 12)))

        def forward(self, x):
            h = (x @ self.W.data).reshape(*x.shape[:2], 3, 4).swapaxes(1, 2)
            return np.tanh(h), (x, h)

        def backward(self, dout, cache):
            x, h = cache
            dh = dout * (1 - np.tanh(h) ** 2)
            d = dh.reshape(x.shape)
            self.W.grad += np.einsum("bti,btj->ij", x, d)
            return d @ self.W.data.T

    long = np.random.default_rng(1).standard_normal((4, 30, 12))
    text = said(Raw(), long)
    assert "the diagnosis looked at the first 2×5×12 of 4×30×12" in text
    assert "reshape" in text
    short = Trial(Setup.make(Raw(), (X,), {}, 0))
    assert fewer_rows(short, ["x"]) == (short, "")


def test_nothing_is_said_to_follow_from_an_input():
    class Two(Module):
        def __init__(self):
            self.W = Parameter(np.random.default_rng(0).standard_normal((12, 12)))

        def forward(self, x):
            return np.sin(x @ self.W.data), x

        def backward(self, dout, x):
            self.W.grad += np.random.default_rng(3).standard_normal((12, 12)) * dout.sum()
            return -dout * np.cos(x @ self.W.data) @ self.W.data.T

    assert "follow from what is said of x" not in said(Two(), X)


def test_a_gate_that_is_shut_at_first_proves_nothing_about_initial_values():
    class Gate(Scaled):
        def __init__(self):
            super().__init__()
            self.alpha.data = np.array(0.0)

        def backward(self, dout, cache):
            x, h = cache
            self.alpha.grad += (dout * h).sum()
            d = dout * self.alpha.data * (1 + h * h)
            self.w.grad += (d * x).sum((0, 1))
            return d * self.w.data

    assert "initial values" not in said(Gate(), X)


def test_axes_of_large_arrays_have_lengths_of_their_own():
    """Axes without letters: five lengths, although another array has axes with letters."""

    def f(v, x):
        return v.sum() * x, None

    def f_backward(dout, cache):
        return dout, dout

    rng = np.random.default_rng(0)
    trial = Trial(
        Setup.make((f, f_backward), (rng.standard_normal((7, 5)), rng.standard_normal((2, 3, 4, 5, 6))), {}, 0)
    )
    assert {2.0, 3.0, 4.0, 6.0} <= set(known_sizes(trial).values())
