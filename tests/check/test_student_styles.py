"""Files of students in the wild: what is recognized in them, what it is fed, and how it is held against ours."""

import textwrap

import pytest

from numpylm.check.student import check_file, compare, items_to_check
from numpylm.cli.main import main

ROWS = "rows = lambda a: a.reshape(-1, a.shape[-1])\n\n"


@pytest.fixture
def write(write):
    """As the fixture of this folder, with the function ``rows`` in each file."""
    return lambda code: write(ROWS + textwrap.dedent(code))


def reports(path):
    return {report.title: report for report in check_file(path)}


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


def test_a_sum_over_the_wrong_axes_beside_a_right_one_is_found(write):
    code = """
        def affine(x, w, b):
            return x @ w + b, (x, w)

        def affine_backward(d, cache):
            x, w = cache
            return d @ w.T, rows(x).T @ rows(d), d.sum(0)

        def norm(x, gamma, beta):
            return x * gamma + beta, (x, gamma)

        def norm_backward(d, cache):
            x, gamma = cache
            return d * gamma, rows(d * x).sum(0), d.sum(0)
    """
    found = reports(write(code))
    assert "not summed over the first axis" in found["norm"].row("beta").hint
    assert "not summed over the first axis" in found["affine"].row("b").hint


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


def test_whatever_one_does_the_next_ones_turn_comes(write, capsys):
    code = """
        class Leaves:
            def forward(self, x):
                return x, x

            def backward(self, d, x):
                exit()

        def linear(x, w):
            return x @ w, (x, w)

        def linear_backward(d, cache):
            x, w = cache
            return d @ w.T, rows(d).T @ rows(x)

        class Loud:
            def forward(self, x):
                print("x is", x)
                raise RuntimeError("boom")

            def backward(self, d, x):
                return d

        class Silent:
            def forward(self, x):
                y = 2 * x

            def backward(self, d, x):
                return 2 * d

        def double(x):
            return 2 * x, None

        def double_backward(d, cache):
            return 2 * d
    """
    assert main(["gradcheck", "--file", str(write(code))]) == 1
    out = capsys.readouterr().out
    assert "5 checked, wrong: Leaves, linear, Loud, Silent." in out
    assert "It calls exit()" in out
    assert "expected (12, 9), got (9, 12): transposed?" in out
    assert "x is" not in out
    assert "\n  Loud.forward stopped. RuntimeError: boom\n" in out  # the cause first
    assert "\n  Silent: forward must return the pair (out, cache), got nothing (None): is a return missing?" in out
    assert "Silent_example" not in out  # no other inputs would help


def test_two_names_for_one_thing_are_checked_once_and_texts_are_no_gradients(write):
    code = """
        class MyLinear:
            def __init__(self, n_in, n_out):
                self.W = Parameter(np.zeros((n_in, n_out)))

            def forward(self, x):
                return x @ self.W.data, x

            def backward(self, d, x):
                self.W.grad += rows(x).T @ rows(d)
                return d @ self.W.data.T

        Linear = MyLinear

        def clip_text(text, n):
            return text[:n]
    """
    assert list(reports(write(code))) == ["MyLinear"]


ATTENTION = """
    class {name}:
        def __init__(self, {arguments}):
            {first}
            self.h = n_heads
            self.Wq, self.Wk, self.Wv, self.Wo = (Parameter(np.random.randn(d_model, d_model)) for _ in range(4))

        def split(self, x):
            B, T, C = x.shape
            return x.reshape(B, T, self.h, C // self.h).swapaxes(1, 2)

        def merge(self, x):
            B, H, T, D = x.shape
            return x.swapaxes(1, 2).reshape(B, T, H * D)

        def forward(self, x):
            q, k, v = (self.split(x @ w.data) for w in (self.Wq, self.Wk, self.Wv))
            s = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
            s = np.where(np.tri(x.shape[1], dtype=bool), s, -1e30)
            p = np.exp(s - s.max(-1, keepdims=True))
            p /= p.sum(-1, keepdims=True)
            y = self.merge(p @ v)
            return y @ self.Wo.data, (x, q, k, v, p, y)

        def backward(self, d, cache):
            x, q, k, v, p, y = cache
            self.Wo.grad += rows(y).T @ rows(d)
            dy = self.split(d @ self.Wo.data.T)
            dp = dy @ v.swapaxes(-1, -2)
            ds = p * (dp - (dp * p).sum(-1, keepdims=True)) / np.sqrt(q.shape[-1])
            dx = 0
            for w, g in ((self.Wq, ds @ k), (self.Wk, ds.swapaxes(-1, -2) @ q), (self.Wv, p.swapaxes(-1, -2) @ dy)):
                w.grad += rows(x).T @ rows(self.merge(g))
                dx = dx + self.merge(g) @ w.data.T
            return dx
"""
NORM = """
    class Norm:
        def __init__(self, {arguments}):
            self.beta, self.gamma = Parameter(np.zeros(dim)), Parameter(np.ones(dim))  # beta first

        def forward(self, x):
            std = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
            xhat = (x - x.mean(-1, keepdims=True)) / std
            return xhat * self.gamma.data + self.beta.data, (xhat, std)

        def backward(self, d, cache):
            xhat, std = cache
            self.gamma.grad += rows(d * xhat).sum(0)
            self.beta.grad += rows(d).sum(0)
            g = d * self.gamma.data
            return (g - g.mean(-1, keepdims=True) - xhat * (g * xhat).mean(-1, keepdims=True)) / std
"""
EMBEDDING = """
    class Emb:
        def __init__(self, {arguments}):
            self.table = Parameter(np.zeros((vocab_size, dim)))

        def forward(self, ids):
            return self.table.data[ids], ids

        def backward(self, d, ids):
            np.add.at(self.table.grad, ids, d)
"""
MLP = """
    class MLP:
        def __init__(self, d_model, d_ff):
            self.W1, self.b1 = Parameter(np.zeros((d_model, d_ff))), Parameter(np.zeros(d_ff))
            self.W2, self.b2 = Parameter(np.zeros((d_ff, d_model))), Parameter(np.zeros(d_model))

        def forward(self, x):
            h = x @ self.W1.data + self.b1.data
            t = np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3))
            a = 0.5 * h * (1 + t)
            return a @ self.W2.data + self.b2.data, (x, h, t, a)

        def backward(self, d, cache):
            x, h, t, a = cache
            self.W2.grad += rows(a).T @ rows(d)
            self.b2.grad += rows(d).sum(0)
            slope = 0.5 * (1 + t) + 0.5 * h * (1 - t * t) * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * h * h)
            g = (d @ self.W2.data.T) * slope
            self.W1.grad += rows(x).T @ rows(g)
            self.b1.grad += rows(g).sum(0)
            return g @ self.W1.data.T
"""
CONFIG = "d_model, n_heads = config.n_embd, config.n_head"


@pytest.mark.parametrize(
    ("code", "like"),
    [
        (EMBEDDING.format(arguments="dim, vocab_size"), "Embedding"),
        (EMBEDDING.format(arguments="vocab_size, dim"), "embedding"),
        (ATTENTION.format(name="Att", arguments="n_heads, d_model", first="pass"), "CausalSelfAttention"),
        (ATTENTION.format(name="Att", arguments="config", first=CONFIG), "causalselfattention"),
        (NORM.format(arguments="*, dim"), "layernorm"),
        (NORM.format(arguments="eps, dim"), "LAYER_NORM"),
        (MLP, "mlp"),
    ],
)
def test_arguments_and_parameters_are_matched_by_name(write, code, like):
    report = compare(items_to_check(write(code))[0], like)
    assert report.ok, str(report)
    assert report.row("forward").max_rel_error < 1e-12
    assert any("largest relative difference" in note for note in report.notes)


DROPOUT = """
    class Drop:
        def __init__(self{arguments}):
            {start}

        def forward(self, x, rng=None):
            if rng is None:
                return x, 1.0
            mask = {mask}
            return x * mask, mask

        def backward(self, d, mask):
            return d * mask
"""


@pytest.mark.parametrize(
    ("arguments", "start", "mask", "said"),
    [
        (", p", "self.p = p", "(rng.random(x.shape) > self.p) / (1 - self.p)", ""),
        (", rate", "self.p = rate", "rng.binomial(1, 1 - self.p, x.shape) / (1 - self.p)", ""),
        ("", "self.p = 0.3", "(rng.random(x.shape) > self.p) / (1 - self.p)", ""),
        (", p", "self.p = p", "(rng.random(x.shape) > self.p) * 1.0", "no division by 1 - p"),
        (", p", "self.p = p", "(rng.random(x.shape) < self.p) / self.p", "p as the probability to keep"),
        (", p", "self.p = p", "1.0", "drops nothing"),
        (", p", "self.p = p / 2", "(rng.random(x.shape) > self.p) / (1 - self.p)", "are zero and the others"),
    ],
)
def test_a_dropout_is_known_by_what_its_mask_does(write, arguments, start, mask, said):
    report = compare(items_to_check(write(DROPOUT.format(arguments=arguments, start=start, mask=mask)))[0], "Dropout")
    assert report.ok == (not said), str(report)
    assert said in " ".join(str(report).split())


def test_torchs_weights_in_a_function(write):
    code = """
        class Linear:
            @staticmethod
            def forward(ctx, x, bias, weight):
                ctx.save_for_backward(x, weight)
                return x @ weight.T + bias

            @staticmethod
            def backward(ctx, d):
                x, weight = ctx.saved_tensors
                return d @ weight, rows(d).sum(0), rows(d).T @ rows(x)
    """
    report = compare(items_to_check(write(code))[0], "Linear")
    assert report.ok, str(report)
    assert "weight is the transpose of our weight" in str(report)


def test_errors_beside_ours_show_the_students_line(write):
    code = """
        class Norm:
            def __init__(self, dim, shape):
                self.gain = Parameter(np.ones(dim) @ shape.T)

            def forward(self, x):
                return x, None

            def backward(self, d, cache):
                return d
    """
    text = str(compare(items_to_check(write(code))[0], "LayerNorm"))
    assert "my_layers.py, line" in text
    assert "compare.py" not in text


def test_names_are_known_in_any_case_and_near_ones_are_suggested(write, capsys):
    path = str(write(NORM.format(arguments="dim")))
    assert main(["gradcheck", "--file", path, "--as", "layernorm"]) == 0
    assert main(["gradcheck", "--file", path, "--as", "LayrNorm"]) == 1
    assert "Did you mean LayerNorm?" in capsys.readouterr().err
    assert main(["gradcheck", "--zoo", "OTTER"]) == 0
