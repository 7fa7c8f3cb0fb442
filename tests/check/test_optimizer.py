"""Checks of optimizers and of clipping: right ones pass, whatever their style; wrong ones are named."""

import numpy as np
import pytest

from numpylm import AdamW, check_clipping, check_optimizer, clip_grad_norm
from numpylm.check.student import check_file


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


# ------------------------------------------------------------------------- optimizers that are handed the gradients

HANDED = """import numpy as np


class SGD:
    def __init__(self, lr=0.01):
        self.lr = lr

    def update(self, params, grads):
        for key in params.keys():
            params[key] -= self.lr * grads[key]


class Momentum:
    def __init__(self, lr=0.01, momentum=0.9):
        self.lr, self.momentum, self.v = lr, momentum, None

    def update(self, params, grads):
        if self.v is None:
            self.v = [np.zeros_like(p) for p in params]
        for i in range(len(params)):
            self.v[i] = self.momentum * self.v[i] SIGN self.lr * grads[i]
            params[i] += self.v[i]


class AdaGrad:
    def __init__(self, lr=0.01):
        self.lr, self.h = lr, {}

    def step(self, params, grads):
        made = {}
        for key, g in grads.items():
            self.h[key] = self.h.get(key, 0) + g * g
            made[key] = params[key] - self.lr * g / (np.sqrt(self.h[key]) + 1e-7)
        return made


class Adam:
    def __init__(self, lr=0.001, beta1=0.9, beta2=0.999):
        self.lr, self.beta1, self.beta2, self.iter, self.m, self.v = lr, beta1, beta2, 0, None, None

    def update(self, params, grads):
        if self.m is None:
            self.m, self.v = ({key: np.zeros_like(val) for key, val in params.items()} for _ in range(2))
        self.iter += 1
        lr_t = self.lr * np.sqrt(1.0 - self.beta2**self.iter) / (1.0 - self.beta1**self.iter)
        for key in params.keys():
            self.m[key] += (1 - self.beta1) * (grads[key] - self.m[key])
            self.v[key] += (1 - self.beta2) * (grads[key]POWER - self.v[key])
            params[key] -= lr_t * self.m[key] / (np.sqrt(self.v[key]) + 1e-7)


class Odd:
    def update(self, params, grads):
        params.move(grads)


def rmsprop(w, dw, config=None):
    config = {} if config is None else config
    config.setdefault("decay_rate", 0.99)
    config.setdefault("cache", np.zeros_like(w))
    config["cache"] = config["decay_rate"] * config["cache"] + (1 - config["decay_rate"]) * dw**2
    return w - config["learning_rate"] * dw / (np.sqrt(config["cache"]) + 1e-8), config


def get_lr(it, warmup=10):
    return min(1, it / warmup)


class CosineLR:
    def __init__(self, top):
        self.top = top

    def __call__(self, step):
        return self.top * np.cos(step)
"""


def handed(tmp_path, sign="-", power="**2"):
    path = tmp_path / "handed.py"
    path.write_text(HANDED.replace("SIGN", sign).replace("POWER", power), encoding="utf-8")
    return {report.title: report for report in check_file(path)}


def test_optimizers_that_are_handed_parameters_and_gradients_are_checked(tmp_path):
    found = handed(tmp_path)
    assert list(found) == ["SGD", "Momentum", "AdaGrad", "Adam", "Odd", "rmsprop", "get_lr", "CosineLR"]
    assert [name for name, report in found.items() if report.ok] == ["SGD", "Momentum", "AdaGrad", "Adam", "rmsprop"]
    assert "neither as two dicts nor as two lists" in found["Odd"].unchecked
    assert all("schedule" in found[name].unchecked for name in ("get_lr", "CosineLR"))


def test_an_error_in_an_update_that_no_arguments_would_mend_is_wrong(tmp_path):
    found = handed(tmp_path, power="**two")
    assert found["Adam"].problems[0].startswith("Adam.update stopped. NameError: name 'two' is not defined")


def test_faults_of_optimizers_that_are_handed_parameters_and_gradients_are_found(tmp_path):
    found = handed(tmp_path, sign="+", power="")
    assert [name for name, report in found.items() if not report.ok and not report.unchecked] == ["Momentum", "Adam"]
