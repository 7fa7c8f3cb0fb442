"""What a layer does beside computing: arrays that it changes or uses again, numbers that it draws."""

import numpy as np
import pytest

from numpylm import gradcheck
from numpylm.cli.main import main

X = np.random.default_rng(0).standard_normal((2, 5, 6))


def rows(a):
    return a.reshape(-1, a.shape[-1])


def said(report):
    return " ".join(str(report).split())


class Doubles:
    def forward(self, x):
        x *= 2
        return x, None

    def backward(self, dout, cache):
        return 2 * dout


class Squares:
    def __init__(self):
        self.w = np.ones(6)

    def forward(self, x):
        self.x = x.copy()
        x *= x
        x *= self.w
        return x

    def backward(self, dout):
        self.dw = rows(dout * self.x**2).sum(0)
        return 2 * dout * self.x * self.w


@pytest.mark.parametrize("layer", [Doubles, Squares])
def test_a_forward_that_changes_its_input_is_said_to_do_that_and_nothing_else(layer):
    report = gradcheck(layer(), X)
    assert [finding.kind for finding in report.findings] == ["writes-input"]
    assert all(row.ok for row in report.rows), str(report)
    assert "generator" not in said(report)


def test_running_means_are_meant_to_be_changed():
    def forward(x, running_mean):
        running_mean[...] = 0.9 * running_mean + 0.1 * x.mean()
        return 2 * x, None

    report = gradcheck((forward, lambda dout, cache: 2 * dout), X, np.ones(3))
    assert report.ok, str(report)


class Buffer:
    """Each forward fills the same array, each backward too."""

    factor = 1

    def __init__(self):
        self.W, self.b, self.out, self.dx = np.ones((6, 4)), np.zeros(4), np.empty((2, 5, 4)), np.empty((2, 5, 6))

    def forward(self, x):
        self.x = x
        np.matmul(x, self.W, out=self.out)
        self.out += self.b
        return self.out

    def backward(self, dout):
        self.dW, self.db = self.factor * rows(self.x).T @ rows(dout), rows(dout).sum(0)
        np.matmul(dout, self.W.T, out=self.dx)
        return self.dx


class BufferAndCache(Buffer):
    def forward(self, x):
        return super().forward(x), x

    def backward(self, dout, x):
        self.x = x
        return super().backward(dout)


class BufferInCache:
    def __init__(self):
        self.out = np.empty((2, 5, 6))

    def forward(self, x):
        np.tanh(x, out=self.out)
        return self.out, self.out

    def backward(self, dout, y):
        return dout * (1 - y * y)


def test_rows_are_right_although_a_buffer_is_used_again():
    report = gradcheck(Buffer(), X)
    assert report.ok, str(report)
    assert "a second forward changes the output of the first. Copy what you keep of it." in said(report)
    report = gradcheck(BufferAndCache(), X)
    assert all(row.ok for row in report.rows), str(report)
    assert [finding.kind for finding in report.findings] == ["reused-output"]  # two calls, two caches: so it is a fault


def test_a_buffer_in_the_cache_that_the_next_forward_fills_is_a_fault():
    report = gradcheck(BufferInCache(), X)
    assert report.row("x").causes[0].kind == "state"


@pytest.mark.parametrize("layer", [Buffer, BufferAndCache])
def test_a_wrong_gradient_beside_a_buffer_is_found(layer, monkeypatch):
    monkeypatch.setattr(Buffer, "factor", 2)
    report = gradcheck(layer(), X)
    assert [row.name for row in report.rows if not row.ok] == ["W"]
    assert "2 times" in report.row("W").hint


class Dropped:
    """Dropout from the global generator before a weight that overwrites its gradient."""

    def __init__(self):
        self.W = np.ones((6, 4))

    def forward(self, x):
        self.h = x * (np.random.rand(*x.shape) > 0.3)  # noqa: NPY002
        self.mask = self.h != 0
        return self.h @ self.W

    def backward(self, dout):
        self.dW = rows(self.h).T @ rows(dout)
        return dout @ self.W.T * self.mask


def test_a_weight_behind_dropout_from_the_global_generator_is_right():
    report = gradcheck(Dropped(), X)
    assert report.ok, str(report)
    assert "global generator" in said(report)


class Centred:
    """Takes its shift from the first input that it sees."""

    def __init__(self):
        self.w, self.shift = np.ones(6), None

    def forward(self, x):
        y = self.w * x - (0 if self.shift is None else self.shift)
        self.shift = x.mean() if self.shift is None else self.shift
        self.x = x
        return y

    def backward(self, dout):
        self.dw = rows(dout * self.x).sum(0)
        return dout * self.w


def test_a_first_call_that_differs_is_not_taken_for_randomness():
    report = gradcheck(Centred(), X)
    assert report.ok, str(report)
    assert "generator" not in said(report)
    assert "another result the first time" in said(report)


SUMMARY = """import numpy as np


class Halves:
    def forward(self, x):
        x *= 0.5
        return x

    def backward(self, dout):
        return 0.5 * dout


class Relu:
    def forward(self, x):
        self.mask = x <= 0
        return np.where(self.mask, 0, x)

    def backward(self, dout):
        dout[self.mask] = 0
        return dout


class Twice:
    def forward(self, x):
        return 2 * x

    def backward(self, dout):
        return FACTOR * dout
"""


@pytest.mark.parametrize(("factor", "verdict"), [(2, "no gradient is wrong"), (3, "wrong: Twice")])
def test_the_summary_says_apart_which_layers_only_change_arrays(tmp_path, capsys, factor, verdict):
    path = tmp_path / "changes.py"
    path.write_text(SUMMARY.replace("FACTOR", str(factor)), encoding="utf-8")
    assert main(["gradcheck", "--file", str(path)]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"3 checked, {verdict}. Right gradients, but changes arrays of its caller: Halves, Relu."
