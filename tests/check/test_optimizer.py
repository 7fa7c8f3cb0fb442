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


class Fused(AdamW):
    """Decay and step in one line: right, for both take the weights before the step."""

    def step(self):
        self.t += 1
        b1, b2 = self.betas
        for p, m, v in zip(self.parameters, self.m, self.v, strict=True):
            m[...] = b1 * m + (1 - b1) * p.grad
            v[...] = b2 * v + (1 - b2) * p.grad**2
            m_hat, v_hat = m / (1 - b1**self.t), v / (1 - b2**self.t)
            decay = self.weight_decay if p.data.ndim >= 2 else 0
            p.data -= self.lr * (m_hat / (np.sqrt(v_hat) + self.eps) + decay * p.data)


class DecaysAfter(AdamW):
    def step(self):
        decay, self.weight_decay = self.weight_decay, 0.0
        super().step()
        self.weight_decay = decay
        for p in self.parameters:
            p.data *= 1 - self.lr * decay


class CountsTooLate(Adam):
    def step(self):
        self.t -= self.t == 0
        super().step()
        self.t += self.t == 0


class Blows(Adam):
    def step(self):
        super().step()
        if self.t == 3:
            self.params[1].data[2] = np.inf


class ForgetsTheSquare(Adam):
    def step(self):
        self.t += 1
        for p, s in zip(self.params, self.state, strict=True):
            s[0] = self.b1 * s[0] + (1 - self.b1) * p.grad
            s[1] = self.b2 * s[1] + (1 - self.b2) * p.grad
            p.data = p.data - self.lr * self.m(s) / (np.sqrt(s[1] / (1 - self.b2**self.t)) + self.e)


class WithoutTime(Adam):
    def m(self, s):
        return s[0] / (1 - self.b1)


class TimesTime(Adam):
    def m(self, s):
        return s[0] / (1 - self.b1 * self.t)


class CorrectsInPlace(Adam):
    def m(self, s):
        s[0] = s[0] / (1 - self.b1**self.t)
        return s[0]


class Crashes(Adam):
    def step(self):
        raise KeyError("nothing")


@pytest.mark.parametrize("factory", [AdamW, Adam, Momentum, DecaysEverything, Fused])
def test_right_optimizers_pass(factory):
    report = check_optimizer(factory)
    assert report.ok, str(report)


@pytest.mark.parametrize(
    ("factory", "kind", "said"),
    [
        (NoCorrection, "bias-correction", "correction of m is missing"),
        (OnlyTheFirst, "step", "vector does not move"),
        (Crashes, "error", "in Crashes.step"),
        (DecaysAfter, "weight-decay", "it must come first"),
        (CountsTooLate, "not-finite", "nan in step 1, all of them"),
        (ForgetsTheSquare, "not-finite", "exactly where the gradient is negative"),
        (Blows, "not-finite", "infinite in step 3"),
        (WithoutTime, "bias-correction", "1 - β₁ instead of 1 - β₁ᵗ"),
        (TimesTime, "bias-correction", "a power is meant"),
        (CorrectsInPlace, "bias-correction", "corrected in place"),
    ],
)
def test_wrong_optimizers_are_named(factory, kind, said):
    with np.errstate(all="ignore"):
        report = check_optimizer(factory)
    assert not report.ok
    assert report.causes[0].kind == kind
    assert said in " ".join(str(report).split())


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

    def norm_of_the_weights(parameters, limit):
        norm = float(np.sqrt(sum((p.data**2).sum() for p in parameters)))
        for p in parameters:
            p.grad *= min(1, limit / norm)

    def a_tenth_of_the_norm(parameters, limit):
        return clip_grad_norm(parameters, 10 * limit) / 10

    assert "of the parameters (p.data)" in str(check_clipping(norm_of_the_weights))
    assert "the norm is that of something else" in str(check_clipping(a_tenth_of_the_norm))
    assert "each number is cut off" in str(check_clipping(by_value))
    assert "returns the norm after clipping" in str(check_clipping(returns_the_limit))
    assert not check_clipping(lambda parameters, limit: 1 / 0).ok
