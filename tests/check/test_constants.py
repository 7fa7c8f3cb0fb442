"""Arrays on a layer that are no weights: masks, also those that the forward only compares with a number."""

import numpy as np
import pytest

from numpylm import gradcheck

X = np.random.default_rng(0).standard_normal((2, 5, 12))


class Attention:
    """nanoGPT's attention without weights: one array, x, holds queries, keys and values; ``bias`` is its mask."""

    def __init__(self, size=6, start=0):
        self.bias = np.tril(np.ones((size, size))).reshape(1, 1, size, size) + start

    def hide(self, scores):
        n = scores.shape[-1]
        return np.where(self.bias[:, :, :n, :n] == 0, -np.inf, scores)

    def forward(self, x):
        self.x, scores = x[:, None], self.hide((x @ x.swapaxes(-1, -2))[:, None])
        e = np.exp(scores - scores.max(-1, keepdims=True))
        self.p = e / e.sum(-1, keepdims=True)
        return (self.p @ self.x)[:, 0]

    def backward(self, d):
        d, p, x = d[:, None], self.p, self.x
        dp = d @ x.swapaxes(-1, -2)
        ds = p * (dp - (dp * p).sum(-1, keepdims=True))
        return (ds @ x + ds.swapaxes(-1, -2) @ x + p.swapaxes(-1, -2) @ d)[:, 0]


class KeptWhereOne(Attention):
    def hide(self, scores):
        n = scores.shape[-1]
        return np.where(self.bias[:, :, :n, :n] == 1, scores, -1e9)


class Ages(Attention):
    """Its mask holds distances and not only 0 and 1."""

    def __init__(self):
        self.bias = (np.arange(6.0)[:, None] - np.arange(6))[None, None]

    def hide(self, scores):
        n = scores.shape[-1]
        return np.where(self.bias[:, :, :n, :n] < 0, -np.inf, scores)


class Truth(Attention):
    """Its mask holds 0 and 2 and is used as a condition."""

    def __init__(self):
        self.bias = 2 * np.tril(np.ones((6, 6)))

    def hide(self, scores):
        n = scores.shape[-1]
        return np.where(self.bias[:n, :n], scores, -1e9)


class Block:
    def __init__(self):
        self.attention = Attention()

    def forward(self, x):
        return x + self.attention.forward(x)

    def backward(self, d):
        return d + self.attention.backward(d)


@pytest.mark.parametrize("layer", [Attention, KeptWhereOne, Ages, Truth, Block])
def test_a_mask_that_is_only_compared_with_a_number_is_no_weight(layer):
    report = gradcheck(layer(), X)
    assert report.ok, str(report)
    assert [row.name for row in report.rows] == ["x"]
    assert any("bias was taken for a constant" in note for note in report.notes)


class Added(Attention):
    """A bias that is added to the scores: a weight."""

    def __init__(self):
        self.bias = np.random.default_rng(1).standard_normal((1, 1, 6, 6))

    def hide(self, scores):
        n = scores.shape[-1]
        return scores + self.bias[:, :, :n, :n]


class Thresholds(Attention):
    """Its bias has a step and a slope: the slope needs a gradient."""

    def __init__(self):
        self.bias = np.abs(np.random.default_rng(1).standard_normal((1, 1, 6, 6))) + 0.1

    def hide(self, scores):
        n = scores.shape[-1]
        return np.where(self.bias[:, :, :n, :n] > 0.5, scores * self.bias[:, :, :n, :n], scores)


@pytest.mark.parametrize("layer", [Added, Thresholds])
def test_a_weight_whose_gradient_is_forgotten_is_no_mask(layer):
    report = gradcheck(layer(), X)
    assert report.row("bias").causes[0].kind == "never-written"
