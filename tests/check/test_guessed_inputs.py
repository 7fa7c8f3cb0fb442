"""The inputs that are guessed for a student's code: their shapes, sizes and ranges."""

import numpy as np
import pytest

from numpylm.check.student import fit
from tests.check.conftest import reports


def said(report):
    return " ".join(str(report).split())


CONV = """
    def conv_forward(x, w, b):
        F, k = w.shape[0], w.shape[-1]
        out = np.zeros((len(x), F, x.shape[2] - k + 1, x.shape[3] - k + 1))
        for f in range(F):
            for i in range(out.shape[2]):
                for j in range(out.shape[3]):
                    out[:, f, i, j] = (x[:, :, i : i + k, j : j + k] * w[f]).sum((1, 2, 3)) + b[f]
        return out, (x, w, b)

    def conv_backward(dout, cache):
        x, w, b = cache
        dx, dw, k = np.zeros_like(x), np.zeros_like(w), w.shape[-1]
        for f in range(len(w)):
            for i in range(dout.shape[2]):
                for j in range(dout.shape[3]):
                    d = dout[:, f, i, j].reshape(-1, 1, 1, 1)
                    dw[f] += (d * x[:, :, i : i + k, j : j + k]).sum(0)
                    dx[:, :, i : i + k, j : j + k] += d * w[f]
        return dx, dw, DB
"""


@pytest.mark.parametrize("db", ["dout.sum((0, 2, 3))", "np.zeros_like(b) + dout.sum((0, 2, 3))"])
def test_a_bias_is_not_longer_than_the_filters_that_use_it(write, db):
    report = reports(write(CONV.replace("DB", db)))["conv"]
    assert report.ok, str(report)
    assert report.row("b").shape == (4,)


def test_a_bias_whose_gradient_has_another_length_is_wrong(write):
    report = reports(write(CONV.replace("DB", "dout.sum((0, 1, 3))")))["conv"]
    assert "wrong shape: expected" in report.row("b").hint


def test_what_a_forward_never_reads_is_cut_off():
    def forward(x, table, b):
        return x + table[: x.shape[1]] + b[:3], None

    inputs = (np.ones((2, 5, 3)), np.ones((6, 3)), np.ones(4))
    shapes = [value.shape for value in fit.trimmed((forward, lambda d, cache: d), inputs, {})]
    assert shapes == [(2, 5, 3), (6, 3), (3,)]  # how much of the table is read, the data decide


@pytest.mark.parametrize(
    ("dpos", "ok"),
    [
        ("np.pad(dout.sum(0), ((0, n - T), (0, 0)))", True),
        ("dout.sum(0)", False),  # of the positions that were used, not of the table
    ],
)
def test_a_table_may_be_longer_than_the_sequence(write, dpos, ok):
    code = f"""
        def positions_forward(x, pos):
            return x + pos[: x.shape[1]], (x.shape[1], len(pos))

        def positions_backward(dout, cache):
            T, n = cache
            return dout, {dpos}
    """
    report = reports(write(code))["positions"]
    assert report.ok == ok, str(report)
    assert report.row("pos").shape == (6, 12)


def test_an_array_whose_name_says_nothing_gets_the_shape_under_which_the_code_is_right(write):
    code = """
        def place_forward(x, zebra):
            return x + zebra[: x.shape[1]], (x.shape[1], zebra.shape)

        def place_backward(dout, cache):
            T, shape = cache
            dzebra = np.zeros(shape)
            dzebra[:T] = FACTOR * dout.sum(0)
            return dout, dzebra
    """
    report = reports(write(code.replace("FACTOR", "1")))["place"]
    assert report.ok, str(report)
    assert "with shape (2, 5, 12), (2, 5, 12), the gradients would be wrong" in said(report)
    assert not reports(write(code.replace("FACTOR", "3")))["place"].ok


def test_a_bias_may_have_axes_of_length_1_and_a_slope_may_be_a_number(write):
    code = """
        def affine(x, w, b):
            return x @ w + b, (x, w)

        def affine_backward(d, cache):
            x, w = cache
            return d @ w.T, x.T @ d, d.sum(axis=0, keepdims=True)

        def leaky(x, slope):
            return np.where(x > 0, x, slope * x), (x, slope)

        def leaky_backward(d, cache):
            x, slope = cache
            return np.where(x > 0, d, slope * d), (d * np.minimum(x, 0)).sum()
    """
    found = reports(write(code))
    assert found["affine"].ok, str(found["affine"])
    assert found["affine"].row("b").shape == (1, 9)
    assert found["leaky"].ok, str(found["leaky"])
    assert found["leaky"].row("slope").shape == ()


CS231N = """
    def layernorm_forward(x, gamma, beta, ln_param):
        mean, eps = x.mean(axis=1, keepdims=True), ln_param.get("eps", 1e-5)
        std = np.sqrt(((x - mean) ** 2).mean(axis=1, keepdims=True) + eps)
        xhat = (x - mean) / std
        return gamma * xhat + beta, (xhat, std, gamma)

    def layernorm_backward(dout, cache):
        xhat, std, gamma = cache
        d = dout * gamma
        dx = (d - d.mean(1, keepdims=True) - xhat * (d * xhat).mean(1, keepdims=True)) / std
        return dx, (dout * xhat).sum(axis=0), dout.sum(axis=0)

    def scale(x, gamma):
        return x * gamma, (x, gamma)

    def scale_backward(dout, cache):
        x, gamma = cache
        return dout * gamma, (dout * x).sum(axis=0)

    def batchnorm_forward(x, gamma, beta, bn_param):
        mean, std = x.mean(0), np.sqrt(x.var(0) + bn_param.get("eps", 1e-5))
        xhat = (x - mean) / std
        return gamma * xhat + beta, (xhat, std, gamma)

    def batchnorm_backward(dout, cache):
        xhat, std, gamma = cache
        d = dout * gamma
        return (d - d.mean(0) - xhat * (d * xhat).mean(0)) / std, (dout * xhat).sum(0), dout.sum(0)

    def batchnorm_backward_alt(dout, cache):
        dx, dgamma, dbeta = batchnorm_backward(dout, cache)
        return 2 * dx, dgamma, dbeta

    def rnn_step_forward(x, prev_h, Wx, Wh, b):
        next_h = np.tanh(x @ Wx + prev_h @ Wh + b)
        return next_h, (x, prev_h, Wx, Wh, next_h)

    def rnn_step_backward(dnext_h, cache):
        x, prev_h, Wx, Wh, next_h = cache
        da = dnext_h * (1 - next_h**2)
        return da @ Wx.T, da @ Wh.T, x.T @ da, prev_h.T @ da, da.sum(0)

    def conv_forward_naive(x, w, b, conv_param):
        pad, stride = conv_param["pad"], conv_param["stride"]
        F, C, k, _ = w.shape
        N, _, H, W = x.shape
        padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        out = np.zeros((N, F, 1 + (H + 2 * pad - k) // stride, 1 + (W + 2 * pad - k) // stride))
        for i in range(out.shape[2]):
            for j in range(out.shape[3]):
                patch = padded[:, :, i * stride : i * stride + k, j * stride : j * stride + k]
                out[:, :, i, j] = np.tensordot(patch, w, ((1, 2, 3), (1, 2, 3))) + b
        return out, (padded, w, stride, pad)

    def conv_backward_naive(dout, cache):
        padded, w, stride, pad = cache
        k, dx, dw = w.shape[-1], np.zeros_like(padded), np.zeros_like(w)
        for i in range(dout.shape[2]):
            for j in range(dout.shape[3]):
                place = np.s_[:, :, i * stride : i * stride + k, j * stride : j * stride + k]
                dw += np.tensordot(dout[:, :, i, j], padded[place], (0, 0))
                dx[place] += np.tensordot(dout[:, :, i, j], w, (1, 0))
        return dx[:, :, pad:-pad, pad:-pad], dw, dout.sum((0, 2, 3))

    def softmax_loss(x, y):
        p = np.exp(x - x.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        n = np.arange(len(x))
        loss = -np.log(p[n, y]).mean()
        dx = p.copy()
        dx[n, y] -= 1
        return loss, dx / len(x)
"""


def test_functions_in_the_way_of_cs231n_are_recognized_and_fed(write):
    found = reports(write(CS231N))
    right = ["layernorm", "scale", "batchnorm", "rnn_step", "conv_naive", "softmax_loss"]
    assert sorted(found) == sorted([*right, "batchnorm_backward_alt"])
    for name in right:
        assert found[name].ok, str(found[name])
    assert found["layernorm"].row("x").shape == (6, 12)
    assert "would have shape (5, 12)" in " ".join(str(found["layernorm"]).split())
    assert found["conv_naive"].row("w").shape == (4, 3, 3, 3)
    assert "2 times" in found["batchnorm_backward_alt"].row("x").hint


def test_a_sum_that_is_forgotten_altogether_fits_no_inputs(write):
    code = "def shift(x, b):\n    return x + b, None\n\ndef shift_backward(d, cache):\n    return d, d\n"
    report = reports(write(code))["shift"]
    assert "not summed over the first 2 axes" in report.row("b").hint


def test_a_sum_over_the_wrong_axes_beside_a_right_one_is_found(write):
    code = """
        def affine(x, w, b):
            return x @ w + b, (x, w)

        def affine_backward(d, cache):
            x, w = cache
            return d @ w.T, np.einsum("bti,btj->ij", x, d), d.sum(0)

        def norm(x, gamma, beta):
            return x * gamma + beta, (x, gamma)

        def norm_backward(d, cache):
            x, gamma = cache
            return d * gamma, (d * x).sum((0, 1)), d.sum(0)
    """
    found = reports(write(code))
    assert "not summed over the first axis" in found["norm"].row("beta").hint
    assert "not summed over the first axis" in found["affine"].row("b").hint


def test_a_layer_for_single_vectors_is_fed_with_one(write):
    code = """
        class Outer:
            def __init__(self, n_in, n_out):
                self.W = np.zeros((n_in, n_out))

            def forward(self, x):
                self.x = x
                return x @ self.W

            def backward(self, d):
                self.dW = np.einsum("i,j->ij", self.x, d)
                return d @ self.W.T
    """
    report = reports(write(code))["Outer"]
    assert report.ok, str(report)
    assert report.row("x").shape == (12,)


def test_functions_of_positive_numbers_are_fed_with_such(write):
    code = """
        def log(x):
            return np.log(x), x

        def log_backward(d, x):
            return d / x

        def logit(x):
            return np.log(x / (1 - x)), x

        def logit_backward(d, x):
            return d / (x * (1 - x))
    """
    found = reports(write(code))
    assert found["log"].ok, str(found["log"])
    assert found["logit"].ok, str(found["logit"])
    assert "positive inputs" in str(found["log"])
    assert "between 0 and 1" in str(found["logit"])
