"""However a student keeps weights and gradients, all of them are checked, and none is passed over in silence."""

import numpy as np
import pytest

from numpylm import Linear, Parameter, gradcheck

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 5, 6))


def rows(a):
    return a.reshape(-1, a.shape[-1])


def product(x, d):
    """The gradient of W in x @ W."""
    return rows(x).T @ rows(d)


class Beside:
    """W with dW beside it, the cache on the layer."""

    def __init__(self, dim=6):
        self.W, self.b = RNG.standard_normal((dim, dim)), np.zeros(dim)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, d):
        self.dW, self.db = product(self.x, d), rows(d).sum(0)
        return d @ self.W.T


class GradW(Beside):
    def backward(self, d):
        self.gradW, self.grad_b = product(self.x, d), rows(d).sum(0)
        return d @ self.W.T


class Lists(Beside):
    def __init__(self):
        super().__init__()
        self.params, self.grads = [self.W, self.b], []

    def backward(self, d):
        self.grads = [product(self.x, d), rows(d).sum(0)]
        return d @ self.W.T


class Dicts:
    def __init__(self):
        self.W, self.dW = {"a": RNG.standard_normal((6, 6)), "b": np.zeros(6)}, {}

    def forward(self, x):
        self.x = x
        return x @ self.W["a"] + self.W["b"]

    def backward(self, d):
        self.dW = {"a": product(self.x, d), "b": rows(d).sum(0)}
        return d @ self.W["a"].T


class Returned(Beside):
    def forward(self, x):
        return x @ self.W + self.b, x

    def backward(self, d, x):
        return d @ self.W.T, product(x, d), rows(d).sum(0)


class ReturnedDict(Returned):
    def backward(self, d, x):
        return d @ self.W.T, {"db": rows(d).sum(0), "W": product(x, d)}


class OneDict(Returned):
    def backward(self, d, x):
        return {"x": d @ self.W.T, "dW": product(x, d), "db": rows(d).sum(0)}


class Own:
    def __init__(self, values):
        self.value, self.grad = values, np.zeros_like(values)


class OwnParameter:
    def __init__(self):
        self.W = Own(RNG.standard_normal((6, 6)))

    def forward(self, x):
        return x @ self.W.value, x

    def backward(self, d, x):
        self.W.grad += product(x, d)
        return d @ self.W.value.T


class Mixed:
    def __init__(self):
        self.W, self.b, self.db = Parameter(RNG.standard_normal((6, 6))), np.zeros(6), None

    def forward(self, x):
        return x @ self.W.data + self.b, x

    def backward(self, d, x):
        self.W.grad += product(x, d)
        self.db = rows(d).sum(0)
        return d @ self.W.data.T


class Nested:
    """Layers of the student's in attributes, lists or dicts."""

    def __init__(self, kind=list):
        first, second = Beside(), GradW()
        self.layers = [first, second] if kind is list else {"a": first, "b": second}

    def each(self):
        return list(self.layers.values() if isinstance(self.layers, dict) else self.layers)

    def forward(self, x):
        for layer in self.each():
            x = np.tanh(layer.forward(x))
            layer.y = x
        return x

    def backward(self, d):
        for layer in self.each()[::-1]:
            d = layer.backward(d * (1 - layer.y**2))
        return d


class DictOfOurs:
    def __init__(self):
        self.layers = {"a": Linear(6, 6), "b": Linear(6, 6)}

    def forward(self, x):
        h, first = self.layers["a"].forward(x)
        y, second = self.layers["b"].forward(h)
        return y, (first, second)

    def backward(self, dy, cache):
        return self.layers["a"].backward(self.layers["b"].backward(dy, cache[1]), cache[0])


class Steps(Beside):
    """Backward takes the optimizer's step itself."""

    def backward(self, d, learning_rate):
        dx = d @ self.W.T
        self.W -= learning_rate * product(self.x, d)
        self.b = self.b - learning_rate * rows(d).sum(0)
        return dx


class StepsByDefault(Steps):
    def backward(self, d, lr=0.1):
        return super().backward(d, lr)


STYLES = {
    Beside: ["W", "b"],
    GradW: ["W", "b"],
    Lists: ["W", "b"],
    Dicts: ["W.a", "W.b"],
    Returned: ["W", "b"],
    ReturnedDict: ["W", "b"],
    OneDict: ["W", "b"],
    OwnParameter: ["W"],
    Mixed: ["W", "b"],
    Nested: ["layers.0.W", "layers.0.b", "layers.1.W", "layers.1.b"],
    DictOfOurs: ["layers.a.weight", "layers.a.bias", "layers.b.weight", "layers.b.bias"],
    Steps: ["W", "b"],
    StepsByDefault: ["W", "b"],
}


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.__name__)
def test_every_style_is_recognized_and_right(style):
    report = gradcheck(style(), X)
    assert report.ok, str(report)
    assert [row.name for row in report.rows] == ["x", *STYLES[style]]


@pytest.mark.parametrize("style", [style for style in STYLES if style is not DictOfOurs], ids=lambda s: s.__name__)
def test_in_every_style_a_wrong_weight_is_found(style, monkeypatch):
    right = product
    monkeypatch.setitem(globals(), "product", lambda x, d: 7 * right(x, d))
    report = gradcheck(style(), X)
    wrong = [row for row in report.rows if not row.ok]
    assert [row.name for row in wrong] == [name for name in STYLES[style] if "W" in name and name != "W.b"]
    assert "7 times" in wrong[0].hint


def test_sublayers_in_a_dict_are_found():
    report = gradcheck(Nested(dict), X)
    assert report.ok, str(report)
    assert "layers.b.W" in [row.name for row in report.rows]


class Forgotten(Returned):
    def backward(self, d, x):
        return d @ self.W.T


def test_weights_in_slots_or_on_the_class_are_found_too():
    class Slots:
        __slots__ = ("W", "dW", "x")

        def __init__(self):
            self.W = RNG.standard_normal((6, 6))

        def forward(self, x):
            self.x = x
            return x @ self.W

        def backward(self, d):
            self.dW = 7 * product(self.x, d)
            return d @ self.W.T

    class OnClass(Slots):
        W = RNG.standard_normal((6, 6))

        def __init__(self):
            """Nothing of its own."""

    for layer in (Slots(), OnClass()):
        assert "7 times" in gradcheck(layer, X).row("W").hint


def test_a_weight_without_gradient_is_never_all_right():
    report = gradcheck(Forgotten(), X)
    assert [row.name for row in report.rows if not row.ok] == ["W", "b"]
    assert "never written" in report.row("W").hint
    assert 'constants = ("W",)' in report.row("W").hint


def test_the_same_in_a_sublayer():
    class Outer(Forgotten):
        def __init__(self):
            self.inner = Forgotten()

        def forward(self, x):
            return self.inner.forward(x)

        def backward(self, d, x):
            return self.inner.backward(d, x)

    assert not gradcheck(Outer(), X).row("inner.W").ok


class Table:
    def __init__(self, values):
        self.table = values

    def forward(self, x):
        return x + self.table[: x.shape[1]], None

    def backward(self, d, cache):
        return d


def sinusoids():
    angles = np.arange(9)[:, None] / 100.0 ** (np.arange(3) / 3)
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(9, 6)


def test_constants_are_told_from_weights_by_name_by_values_or_by_a_mark():
    class Named(Table):
        def __init__(self, values):
            self.pe = values

        table = property(lambda self: self.pe)

    class Marked(Table):
        constants = ("table",)

    learned = RNG.standard_normal((9, 6))
    assert not gradcheck(Table(learned), X).ok

    class Outer:
        def __init__(self):
            self.inner = Marked(learned)

        def forward(self, x):
            return self.inner.forward(x)

        def backward(self, d, cache):
            return self.inner.backward(d, cache)

    for layer in (Table(sinusoids()), Table(np.tri(9, 6)), Named(learned), Marked(learned), Outer()):
        report = gradcheck(layer, X)
        assert report.ok, str(report)
        assert any("taken for a constant" in note for note in report.notes)


def test_what_the_forward_writes_itself_is_no_weight():
    layer = Beside()
    layer.forward(X)
    layer.backward(X)  # now x, dW and db stand on it
    assert [row.name for row in gradcheck(layer, X).rows] == ["x", "W", "b"]


@pytest.mark.parametrize("factor", [1, 7])
def test_weights_that_the_first_forward_makes_are_found(factor):
    class Lazy:
        def __init__(self):
            self.W = self.b = self.x = None

        def forward(self, x):
            if self.W is None:
                self.W, self.b = RNG.standard_normal((x.shape[-1], 4)), np.zeros(4)
            self.x = x
            return x @ self.W + self.b

        def backward(self, d):
            self.dW, self.db, self.dx = product(self.x, d), factor * rows(d).sum(0), d @ self.W.T
            return self.dx

    class Two:
        def __init__(self):
            self.layers = [Lazy(), Lazy()]

        def forward(self, x):
            return self.layers[1].forward(self.layers[0].forward(x))

        def backward(self, d):
            return self.layers[0].backward(self.layers[1].backward(d))

    for layer, names in ((Lazy(), ["W", "b"]), (Two(), ["layers.0.W", "layers.0.b", "layers.1.W", "layers.1.b"])):
        report = gradcheck(layer, X)
        assert [row.name for row in report.rows] == ["x", *names]
        wrong = [name for name in names if name.endswith("b")] if factor == 7 else []
        assert [row.name for row in report.rows if not row.ok] == wrong, str(report)


def test_overwriting_is_said_only_of_those_who_do():
    class Adds(Beside):
        def __init__(self):
            super().__init__()
            self.dW, self.db = np.zeros_like(self.W), np.zeros_like(self.b)

        def backward(self, d):
            self.dW += product(self.x, d)
            self.db += rows(d).sum(0)
            return d @ self.W.T

    assert "overwrites its gradients" in str(gradcheck(Beside(), X))
    assert "overwrites its gradients" not in str(gradcheck(Adds(), X))
    assert "overwrites its gradients" not in str(gradcheck(Returned(), X))


class SquaredError:
    def forward(self, pred, target):
        self.gap = pred - target
        return (self.gap**2).mean()

    def backward(self):
        return 2 * self.gap / self.gap.size


class SquaredErrorOnce(SquaredError):
    def backward(self, dout=1.0):
        return dout * super().backward()


@pytest.mark.parametrize("loss", [SquaredError, SquaredErrorOnce])
def test_a_loss_needs_no_upstream_gradient(loss):
    report = gradcheck(loss(), X, RNG.standard_normal(X.shape))
    assert report.ok, str(report)
    assert [row.name for row in report.rows] == ["pred"]
    assert "not checked: target" in str(report)


def test_only_a_loss_may_do_without_an_upstream_gradient():
    class NoLoss(SquaredError):
        def forward(self, pred, target):
            super().forward(pred, target)
            return self.gap**2

    assert "write backward(self, dout)" in " ".join(str(gradcheck(NoLoss(), X, X)).split())


def test_a_layer_may_have_its_own_generator():
    class Drop:
        def __init__(self):
            self.rng = np.random.default_rng(0)

        def forward(self, x):
            mask = (self.rng.random(x.shape) >= 0.3) / 0.7
            return x * mask, mask

        def backward(self, d, mask):
            return d * mask

    class DropAgain(Drop):
        def backward(self, d, mask):
            return d * (self.rng.random(d.shape) >= 0.3) / 0.7

    assert gradcheck(Drop(), X).ok
    assert not gradcheck(DropAgain(), X).ok


def lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b):
    i, f, o, g = np.split(x @ Wx + prev_h @ Wh + b, 4, axis=1)
    i, f, o, g = *(1 / (1 + np.exp(-z)) for z in (i, f, o)), np.tanh(g)
    c = f * prev_c + i * g
    return o * np.tanh(c), c, (x, prev_h, prev_c, Wx, Wh, i, f, o, g, np.tanh(c))


def lstm_step_backward(dnext_h, dnext_c, cache):
    x, h, c, Wx, Wh, i, f, o, g, t = cache
    dc = dnext_c + dnext_h * o * (1 - t * t)
    gates = dc * g * i * (1 - i), dc * c * f * (1 - f), dnext_h * t * o * (1 - o), dc * i * (1 - g * g)
    da = np.concatenate(gates, axis=1)
    return da @ Wx.T, da @ Wh.T, dc * f, x.T @ da, h.T @ da, da.sum(0)


def test_several_outputs_are_checked_together():
    shapes = ((3, 5), (3, 2), (3, 2), (5, 8), (2, 8), (8,))
    inputs = [RNG.standard_normal(shape) for shape in shapes]
    report = gradcheck((lstm_step_forward, lstm_step_backward), *inputs)
    assert report.ok, str(report)
    assert len(report.rows) == 6

    def forgetful(dnext_h, dnext_c, cache):
        return lstm_step_backward(dnext_h, 0 * dnext_c, cache)

    def forgotten(dnext_h, dnext_c, cache):
        return forgetful(dnext_h, dnext_c, cache)

    assert not gradcheck((lstm_step_forward, forgotten), *inputs).row("prev_c").ok
