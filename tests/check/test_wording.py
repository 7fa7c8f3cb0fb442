"""The sentences of a report are true as they are printed, stand at the right row, and are said once."""

import re
import textwrap

import numpy as np
import pytest

from numpylm import Linear, Module, Parameter, gradcheck
from numpylm.check.inner import products
from numpylm.cli.main import main
from tests.check.test_pinpoint import backward_of

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 7, 6))


def best(report, name):
    return max(report.row(name).causes, key=lambda cause: cause.confidence)


# ------------------------------------------------------------------------------------------- formulas as printed


@pytest.mark.parametrize("factor", [-1.0, 0.3, -0.3])
@pytest.mark.parametrize(
    "formula",
    [
        "q - q.mean(-1, keepdims=True)",
        "q - p * q.sum(-1, keepdims=True)",
        "p * (q - (q * p).sum(-1, keepdims=True))",
        "p * q",
    ],
)
def test_a_formula_is_true_as_it_is_printed(formula, factor):
    known = {"p": RNG.random((4, 5)), "q": RNG.standard_normal((4, 5))}
    wanted = factor * eval(formula, {}, known)
    for upstream in (None, 0.7):
        said = products.explain(wanted, known, upstream)
        value = eval(said.replace("the upstream gradient", "u"), {}, known | {"u": upstream})
        np.testing.assert_allclose(value, wanted, rtol=1e-3, atol=1e-3)


def test_a_coefficient_is_a_multiple_of_a_random_upstream_gradient():
    q = RNG.standard_normal((4, 5))
    wanted = 0.8578 * 0.25 * (q - q.mean(-1, keepdims=True))
    assert (
        products.explain(wanted, {"q": q}, 0.8578) == "0.25 * the upstream gradient * (q - q.mean(-1, keepdims=True))"
    )
    assert products.explain(0.8578 * q * q, {"q": q}, 0.8578) == "the upstream gradient * q * q"


# --------------------------------------------------------------------------------------------------- rows of ids


class Padded(Module):
    """Vectors of id 2 are hidden in forward; ``hide`` says whether in backward, too."""

    def __init__(self, add=True, hide=False):
        self.weight = Parameter(RNG.standard_normal((7, 4)))
        self.add, self.hide = add, hide

    def forward(self, ids):
        keep = (ids != 2)[..., None]
        return self.weight.data[ids] * keep, (ids, keep)

    def backward(self, dout, cache):
        ids, keep = cache
        d = dout * keep if self.hide else dout
        if self.add:
            np.add.at(self.weight.grad, ids, d)
        else:
            self.weight.grad[ids] += d


PADDED = np.array([[1, 1, 3, 2, 2], [4, 5, 4, 2, 2]])


def test_padding_that_gets_a_gradient():
    report = gradcheck(Padded(), PADDED)
    assert best(report, "weight").kind == "mask"
    assert "padding" in str(report)
    assert "(2)" in str(report)
    assert "np.add.at" not in str(report)


def test_repeated_ids_that_are_lost_beside_a_padding_that_is_right():
    report = gradcheck(Padded(add=False, hide=True), PADDED)
    assert best(report, "weight").kind == "repeated-ids"
    assert gradcheck(Padded(hide=True), PADDED).ok


# ------------------------------------------------------------------------------------------------- inner outputs


class Scaled(Module):
    """x + gain * linear(x); backward forgets the gain on its way into linear."""

    def __init__(self):
        self.gain, self.inner = Parameter(np.full(6, 0.1)), Linear(6, 6)

    def forward(self, x):
        y, cache = self.inner.forward(x)
        return x + self.gain.data * y, (cache, y)

    def backward(self, dout, cache):
        inner, y = cache
        self.gain.grad += (dout * y).sum((0, 1))
        return dout + self.inner.backward(dout, inner)


def test_a_gain_that_is_forgotten_at_an_inner_output():
    report = gradcheck(Scaled(), X)
    assert best(report, "x").kind == "missing-factor"
    assert "the output of inner lacks a factor: multiplied elementwise by gain" in best(report, "x").text


# -------------------------------------------------------------------------------------------------- small errors


class Norm:
    """x / (σ + ε), and a backward that divides by something else; keeps its cache on itself if it is asked to."""

    def __init__(self, kept, slip):
        self.kept, self.slip = kept, slip

    def forward(self, x):
        m = x - x.mean(-1, keepdims=True)
        s = np.sqrt((m * m).mean(-1, keepdims=True))
        self.cache = (m / (s + 1e-5), s)
        return self.cache[0], self.cache

    def backward(self, dout, cache):
        z, s = self.cache if self.kept else cache
        true = s + 1e-5
        inner = z * true / s * (dout * z).mean(-1, keepdims=True)
        return (dout - dout.mean(-1, keepdims=True) - inner) / (true * (1 + self.slip) if self.slip else s)


def test_an_epsilon_in_another_place_is_named_by_its_size():
    report = gradcheck(Norm(kept=False, slip=0.0), X)
    assert best(report, "x").kind == "epsilon"
    assert "almost right" in str(report)
    assert "1000 times smaller" in str(report)
    for false in ("times the true one", "initial values", "follows its forward directly"):
        assert false not in str(report)


def test_a_small_error_that_is_no_epsilon_is_said_to_be_small_and_no_more():
    report = gradcheck(Norm(kept=False, slip=2e-5), X)
    assert not report.ok
    assert "almost right: wrong by 2" in str(report)
    assert "1000 times smaller" not in str(report)
    assert "times the true one" not in str(report)


# ----------------------------------------------------------------------------------------- one fault, many rows


class Gate(Module):
    """tanh(x @ Wg + b) * (x @ Wh); the slope of tanh is wrong."""

    def __init__(self):
        self.Wg, self.Wh = (Parameter(np.random.default_rng(k).standard_normal((6, 6))) for k in (1, 2))
        self.b = Parameter(np.zeros(6))

    def forward(self, x):
        g, h = np.tanh(x @ self.Wg.data + self.b.data), x @ self.Wh.data
        return g * h, (x, g, h)


Gate.backward = backward_of(
    """
def backward(self, dout, cache):
    x, g, h = cache
    dg = dout * h * (1 - np.abs(g) ** 2.5)
    dh = dout * g
    self.Wg.grad += x.reshape(-1, 6).T @ dg.reshape(-1, 6)
    self.Wh.grad += x.reshape(-1, 6).T @ dh.reshape(-1, 6)
    self.b.grad += dg.sum((0, 1))
    dx = dg @ self.Wg.data.T
    return dx + dh @ self.Wh.data.T
""",
    np=np,
)


def test_the_nearest_finding_stands_for_the_others():
    report = gradcheck(Gate(), X)
    assert best(report, "x").text.endswith("first and look again.")
    lines = [row.causes[0].text for row in report.rows if row.name != "x" and not row.ok]
    assert all("dg = dout * h" in text for text in lines), lines
    assert all("Look at line 4 first: x, Wg and b have it in common." in text for text in lines), lines


def test_nothing_is_said_of_lengths_where_nothing_was_cut():
    def wrong(x):
        return x**2, x

    for shape, cut in (((2, 3, 5, 4), False), ((4, 3, 5, 4), True)):
        report = gradcheck((wrong, lambda dout, x: dout * np.sin(x)), RNG.standard_normal(shape))
        assert ("looked at the first" in str(report)) is cut


def test_the_note_on_habits_takes_one_line():
    assert len([line for line in str(gradcheck(Norm(kept=True, slip=0.0), X)).splitlines() if "keeps" in line]) < 2


# ------------------------------------------------------------------------------------------------------ windows


class Window(Module):
    """A weighted mean over the last ``width`` positions, of which backward takes another number."""

    def __init__(self, off):
        self.off = off

    def matrix(self, T, width):
        d = np.subtract.outer(np.arange(T), np.arange(T))
        return np.where((d >= 0) & (d < width), np.cos(d + 0.3 * np.arange(T)), 0.0)

    def forward(self, x):
        return np.einsum("ts,bsc->btc", self.matrix(x.shape[1], 3), x), None

    def backward(self, dout, cache):
        return np.einsum("ts,btc->bsc", self.matrix(dout.shape[1], 3 + self.off), dout)


@pytest.mark.parametrize(("off", "said"), [(1, "off by one"), (-1, "off by one"), (9, "window's mask is missing")])
def test_a_window_that_is_another_one_in_backward(off, said):
    report = gradcheck(Window(off), X)
    assert best(report, "x").kind == "causal"
    assert said in str(report)
    assert gradcheck(Window(0), X).ok


# --------------------------------------------------------------------------------------------------------- --as

LINEAR = """
    class Dense:
        def __init__(self, n_in, n_out):
            self.W = np.zeros((n_in, n_out))
            self.b = np.zeros(n_out)

        def forward(self, x):
            self.x = x
            return {sign}x @ self.W - self.b

        def backward(self, dout):
            self.dW = {sign}self.x.reshape(-1, self.x.shape[-1]).T @ dout.reshape(-1, dout.shape[-1])
            self.db = -dout.sum((0, 1))
            return {sign}dout @ self.W.T
"""
LOSS = """
    def my_ce(logits, targets):
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        return -np.log(p[np.arange(len(targets)), targets]).{how}(), (p, targets)

    def my_ce_backward(dout, cache):
        p, targets = cache
        d = p.copy()
        d[np.arange(len(targets)), targets] -= 1
        return d * dout / (len(targets) if "{how}" == "mean" else 1)
"""
NORM_231 = """
    def layernorm_forward(x, gamma, beta):
        inv = 1 / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        xhat = (x - x.mean(-1, keepdims=True)) * inv
        return gamma * xhat + beta, (xhat, inv, gamma)

    def layernorm_backward(dout, cache):
        xhat, inv, gamma = cache
        g = dout * gamma
        dx = inv * (g - g.mean(-1, keepdims=True) - xhat * (g * xhat).mean(-1, keepdims=True))
        return dx, (dout * xhat).sum(axis=0), dout.sum(axis=0)
"""
EXAMPLES = {
    LOSS: "\n    def my_ce_example(rng):\n        return rng.standard_normal((4, 9)), rng.integers(0, 9, 4)\n",
    NORM_231: "\n    def layernorm_example(rng):\n        return rng.standard_normal((5, 8)), np.ones(8), np.ones(8)\n",
}


def held_against(capsys, path, like):
    code = main(["gradcheck", "--file", str(path), "--as", like])
    return code, re.sub(r"\s+", " ", capsys.readouterr().out)


@pytest.mark.slow
def test_as_names_the_sign_that_is_turned(write, capsys):
    code, said = held_against(capsys, write(LINEAR.format(sign="")), "Linear")
    assert code
    assert "with the sign of b turned" in said


@pytest.mark.slow
@pytest.mark.parametrize("example", [False, True])
@pytest.mark.parametrize(("code", "like"), [(LOSS, "cross_entropy"), (NORM_231, "LayerNorm")])
def test_as_takes_rows_and_the_example_of_the_file(write, capsys, code, like, example):
    text = code.format(how="mean") if code is LOSS else code
    status, said = held_against(capsys, write(text + (EXAMPLES[code] if example else "")), like)
    assert not status, said
    if code is NORM_231:
        assert ("5×8" in said) is example
    if code is LOSS:
        _, said = held_against(capsys, write(code.format(how="sum")), like)
        assert "the sum over the tokens instead of the mean" in said


@pytest.mark.slow
def test_as_knows_a_post_norm_block(write, capsys):
    code = """
        from numpylm import LayerNorm, MLP, CausalSelfAttention

        class MyBlock:
            def __init__(self, dim, heads):
                self.ln1, self.ln2 = LayerNorm(dim), LayerNorm(dim)
                self.attn, self.mlp = CausalSelfAttention(dim, heads), MLP(dim)

            def forward(self, x):
                a, ca = self.attn.forward(x)
                h, c1 = self.ln1.forward(x + a)
                m, cm = self.mlp.forward(h)
                y, c2 = self.ln2.forward(h + m)
                return y, (ca, c1, cm, c2)

            def backward(self, dout, cache):
                ca, c1, cm, c2 = cache
                d = self.ln2.backward(dout, c2)
                d = self.ln1.backward(d + self.mlp.backward(d, cm), c1)
                return d + self.attn.backward(d, ca)
    """
    assert "(post-norm" in held_against(capsys, write(textwrap.dedent(code)), "Block")[1]


# ----------------------------------------------------------------------------------------------------- examples

SQUARE = """
    class Square:
        @staticmethod
        def forward(ctx, x):
            ctx.x = x
            return x * x

        @staticmethod
        def backward(ctx, dout):
            return 2 * ctx.x * dout

    def Square_example(rng):
        return {returned}
"""


@pytest.mark.parametrize("before", ["", "Square, ", "Square(), "])
def test_an_example_may_name_the_class(write, capsys, before):
    path = write(SQUARE.format(returned=before + "rng.standard_normal((2, 3))"))
    assert main(["gradcheck", "--file", str(path)]) == 0, capsys.readouterr().out


def test_an_example_with_too_many_inputs_is_to_blame_itself(write, capsys):
    path = write(SQUARE.format(returned="rng.standard_normal(3), 3, 4"))
    assert main(["gradcheck", "--file", str(path)])
    said = re.sub(r"\s+", " ", capsys.readouterr().out)
    assert "Square_example(rng) gives 3 inputs" in said
    assert "forward stopped" not in said
