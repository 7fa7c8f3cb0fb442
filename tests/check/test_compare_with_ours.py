"""``--as``, a student's layer beside ours: parameters are matched, dropout is known by its masks."""

import textwrap

import pytest

from numpylm.check.student import compare, items_to_check
from numpylm.cli.main import main
from tests.check.conftest import reports

ROWS = "rows = lambda a: a.reshape(-1, a.shape[-1])\n\n"


@pytest.fixture
def write(write):
    """As the fixture of this folder, with the function ``rows`` in each file."""
    return lambda code: write(ROWS + textwrap.dedent(code))


LAYER_NORM = """
    class LayerNorm:
        def __init__(self, dim, eps=1e-5):
            self.gain, self.shift, self.eps = Parameter(np.ones(dim)), Parameter(np.zeros(dim)), eps

        def forward(self, x):
            r = 1 / np.sqrt(x.var(-1, keepdims=True, ddof=DDOF) + self.eps)
            xhat = (x - x.mean(-1, keepdims=True)) * r
            return xhat * self.gain.data + self.shift.data, (xhat, r)

        def backward(self, dy, cache):
            xhat, r = cache
            self.gain.grad += (dy * xhat).sum((0, 1))
            self.shift.grad += dy.sum((0, 1))
            g, C = dy * self.gain.data, xhat.shape[-1]
            return r * (g - g.mean(-1, keepdims=True) - xhat * (g * xhat).sum(-1, keepdims=True) / (C - DDOF))
"""


@pytest.mark.slow
def test_a_forward_that_differs_from_ours_is_named(write):
    """Its own gradient is right: only holding it against ours shows the wrong variance."""
    path = write(LAYER_NORM.replace("DDOF", "1"))
    assert reports(path)["LayerNorm"].ok
    report = compare(items_to_check(path)[0], "LayerNorm")
    assert not report.ok
    assert "unbiased variance" in report.row("forward").hint
    assert compare(items_to_check(write(LAYER_NORM.replace("DDOF", "0")))[0], "LayerNorm").ok


def test_cs231n_style_is_held_against_ours_with_parameters_as_arguments(write):
    code = """
        def layernorm_forward(x, gamma, beta, eps=1e-5):
            r = 1 / np.sqrt(x.var(-1, keepdims=True) + eps)
            xhat = (x - x.mean(-1, keepdims=True)) * r
            return xhat * gamma + beta, (xhat, r, gamma)

        def layernorm_backward(dy, cache):
            xhat, r, gamma = cache
            g = dy * gamma
            dx = r * (g - g.mean(-1, keepdims=True) - xhat * (g * xhat).mean(-1, keepdims=True))
            return dx, (dy * xhat).sum((0, 1)), dy.sum((0, 1))
    """
    report = compare(items_to_check(write(code))[0], "LayerNorm")
    assert report.ok, str(report)
    assert [row.name for row in report.rows] == ["forward", "x", "gamma", "beta"]


def test_weights_as_in_torch_are_recognized(write):
    code = """
        class Linear:
            def __init__(self, n_in, n_out):
                self.weight, self.bias = Parameter(np.zeros((n_out, n_in))), Parameter(np.zeros(n_out))

            def forward(self, x):
                return x @ self.weight.data.T + self.bias.data, x

            def backward(self, dy, x):
                self.weight.grad += dy.reshape(-1, dy.shape[-1]).T @ x.reshape(-1, x.shape[-1])
                self.bias.grad += dy.sum((0, 1))
                return dy @ self.weight.data
    """
    report = compare(items_to_check(write(code))[0], "Linear")
    assert report.ok, str(report)
    assert "transpose" in str(report)


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
