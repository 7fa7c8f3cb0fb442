"""Checks of optimizers and of clipping: right ones pass, whatever their style; wrong ones are named."""

import numpy as np
import pytest

from numpylm import AdamW, check_clipping, check_optimizer, clip_grad_norm


class Adam:
    """Written in another style than ours: beta1, beta2, epsilon; no weight decay."""

    def __init__(self, params, lr=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8):
        self.params, self.lr, self.b1, self.b2, self.e = params, lr, beta1, beta2, epsilon
        self.state = [[np.zeros(p.shape), np.zeros(p.shape)] for p in params]
        self.t = 0

    def step(self):
        self.t += 1
        for p, s in zip(self.params, self.state, strict=True):
            s[0] = self.b1 * s[0] + (1 - self.b1) * p.grad
            s[1] = self.b2 * s[1] + (1 - self.b2) * p.grad**2
            p.data = p.data - self.lr * self.m(s) / (np.sqrt(s[1] / (1 - self.b2**self.t)) + self.e)

    def m(self, s):
        return s[0] / (1 - self.b1**self.t)


class NoCorrection(Adam):
    def m(self, s):
        return s[0]


class OnlyTheFirst(Adam):
    def __init__(self, params, lr=1e-3, beta1=0.9, beta2=0.999):
        super().__init__(params[:1], lr, beta1, beta2)


class Momentum:
    def __init__(self, params, lr=0.1, momentum=0.9):
        self.params, self.lr, self.mu = params, lr, momentum
        self.v = [np.zeros(p.shape) for p in params]

    def step(self):
        for p, v in zip(self.params, self.v, strict=True):
            v *= self.mu
            v += p.grad
            p.data -= self.lr * v


class DecaysEverything(AdamW):
    def step(self, lr=None):
        for p in self.parameters:
            if p.data.ndim < 2:
                p.data *= 1 - self.lr * self.weight_decay
        super().step(lr)


class Crashes(Adam):
    def step(self):
        raise KeyError("nothing")


@pytest.mark.parametrize("factory", [AdamW, Adam, Momentum, DecaysEverything])
def test_right_optimizers_pass(factory):
    report = check_optimizer(factory)
    assert report.ok, str(report)


@pytest.mark.parametrize(
    ("factory", "kind", "said"),
    [
        (NoCorrection, "bias-correction", "correction of m is missing"),
        (OnlyTheFirst, "step", "vector does not move"),
        (Crashes, "error", "in Crashes.step"),
    ],
)
def test_wrong_optimizers_are_named(factory, kind, said):
    report = check_optimizer(factory)
    assert not report.ok
    assert report.causes[0].kind == kind
    assert said in str(report)


def test_two_faults_at_once_are_named_together():
    class Both(Adam):
        def step(self):
            super().step()
            self.t = 0  # the correction of the first step for ever

        def m(self, s):
            return -s[0] / (1 - self.b1**self.t)

    report = check_optimizer(Both)
    assert "must subtract" in str(report)
    assert "t stays at 1" in str(report)


def test_clipping():
    assert check_clipping(clip_grad_norm).ok

    def by_value(parameters, limit):
        for p in parameters:
            np.clip(p.grad, -limit, limit, out=p.grad)

    def returns_the_limit(parameters, limit):
        return min(clip_grad_norm(parameters, limit), limit)

    assert "each number is cut off" in str(check_clipping(by_value))
    assert "returns the norm after clipping" in str(check_clipping(returns_the_limit))
    assert not check_clipping(lambda parameters, limit: 1 / 0).ok
