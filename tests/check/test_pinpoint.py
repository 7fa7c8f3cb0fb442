"""The line of a student's backward in which a gradient goes wrong, and what should stand there."""

import re
import sys

import numpy as np
import pytest

from numpylm import Module, Parameter, gradcheck
from numpylm.check.inner import products
from numpylm.check.inner.flow import Flow, relaid
from numpylm.check.inner.lines import code_of, lines_of
from numpylm.check.inner.pinpoint import watch_lines
from numpylm.check.measure.trial import Setup, Trial

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 5, 6))


def rows(x):
    return x.reshape(-1, x.shape[-1])


def matrix(*shape):
    return Parameter(np.random.default_rng(1).standard_normal(shape))


def backward_of(source, **names):
    """A backward method with its source at hand, as a student's file has it."""
    import linecache

    filename = f"<lesson {abs(hash(source))}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    space = {"np": np, "rows": rows} | names
    exec(compile(source, filename, "exec"), space)
    return space["backward"]


class Gated(Module):
    """y = (tanh(x Wg) * (x Wu)) Wd"""

    SOURCE = """def backward(self, dy, cache):
    x, gate, up, act, h = cache
    self.Wd.grad += rows(h).T @ rows(dy)
    dh = dy @ self.Wd.data.T
    dact = dh * up
    dup = dh * act
    dgate = dact * (1 - act ** 2)
    self.Wg.grad += rows(x).T @ rows(dgate)
    self.Wu.grad += rows(x).T @ rows(dup)
    return dgate @ self.Wg.data.T + dup @ self.Wu.data.T
"""

    def __init__(self):
        self.Wg, self.Wu, self.Wd = matrix(6, 4), matrix(6, 4), matrix(4, 6)

    def forward(self, x):
        gate = x @ self.Wg.data
        up = x @ self.Wu.data
        act = np.tanh(gate)
        h = act * up
        return h @ self.Wd.data, (x, gate, up, act, h)


class Attention(Module):
    SOURCE = """def backward(self, dy, cache):
    x, q, k, v, p, o = cache
    do = dy
    dv = p.swapaxes(1, 2) @ do
    dp = do @ v.swapaxes(1, 2)
    ds = p * (dp - (dp * p).sum(-1, keepdims=True))
    dq = ds @ k * 0.3
    dk = ds.swapaxes(1, 2) @ q * 0.3
    d = np.concatenate([dq, dk, dv], axis=-1)
    self.W.grad += rows(x).T @ rows(d)
    return d @ self.W.data.T
"""

    def __init__(self):
        self.W = matrix(6, 12)

    def forward(self, x):
        qkv = x @ self.W.data
        q, k, v = qkv[..., :4], qkv[..., 4:8], qkv[..., 8:]
        s = q @ k.swapaxes(1, 2) * 0.3
        p = np.exp(s - s.max(-1, keepdims=True))
        p = p / p.sum(-1, keepdims=True)
        o = p @ v
        return o, (x, q, k, v, p, o)


class Recurrent(Module):
    SOURCE = """def backward(self, dout, cache):
    x, h = cache
    dx, dnext = np.zeros_like(x), 0
    for t in reversed(range(x.shape[1])):
        dh = dout[:, t] + dnext
        da = dh * (1 - h[:, t] ** 2)
        before = h[:, t - 1] if t else np.zeros_like(h[:, 0])
        self.Wx.grad += x[:, t].T @ da
        self.Wh.grad += before.T @ da
        dx[:, t] = da @ self.Wx.data.T
        dnext = da @ self.Wh.data.T
    return dx
"""

    def __init__(self):
        self.Wx, self.Wh = matrix(6, 4), matrix(4, 4)

    def forward(self, x):
        state, h = np.zeros((len(x), 4)), np.zeros((*x.shape[:2], 4))
        for t in range(x.shape[1]):
            state = np.tanh(x[:, t] @ self.Wx.data + state @ self.Wh.data)
            h[:, t] = state
        return h, (x, h)


class Windows(Module):
    SOURCE = """def backward(self, dout, cache):
    x = cache
    dx = np.zeros_like(x)
    for t in range(dout.shape[1]):
        dx[:, t:t + 2] += dout[:, t, None] * self.w.data[:, None]
        self.w.grad += np.einsum("bc,bkc->k", dout[:, t], x[:, t:t + 2])
    return dx
"""

    def __init__(self):
        self.w = matrix(2)

    def forward(self, x):
        out = np.stack([(x[:, t : t + 2] * self.w.data[:, None]).sum(1) for t in range(x.shape[1] - 1)], axis=1)
        return out, x


class Distances(Module):
    SOURCE = """def backward(self, dout, cache):
    x, far = cache
    ds = dout * x[..., :5]
    np.add.at(self.table.grad, far, ds.sum(0))
    dx = np.zeros_like(x)
    dx[..., :5] = dout * self.table.data[far]
    return dx
"""

    def __init__(self):
        self.table = matrix(6)

    def forward(self, x):
        far = np.abs(np.arange(5)[:, None] - np.arange(5))
        s = self.table.data[far]
        return x[..., :5] * s, (x, far)


CASES = [
    (Gated, "rows(h).T", "rows(act).T", "line 3.*Right would be hᵀ @ dy.*Here it is actᵀ @ dy"),
    (Gated, "dup = dh * act", "dup = dh * gate", "line 6.*dh \\(the true gradient of h\\).*Here it is gate \\* dh"),
    (Gated, "(1 - act ** 2)", "(1 - act)", r"line 7.*Right would be dact \* \(1 - act²\)"),
    (Attention, "ds.swapaxes(1, 2) @ q", "ds.swapaxes(1, 2) @ k", "line 8.*Right would be 0.3 \\* dsᵀ @ q"),
    (Attention, "p.swapaxes(1, 2) @ do", "p @ do", "line 4.*Right would be pᵀ @ d"),
    (Attention, "(dp - (dp * p).sum(-1, keepdims=True))", "dp", r"line 6.*Right would be \(?p \* \(dp - \(dp \* p\)"),
    (Recurrent, "h[:, t - 1] if t else np.zeros_like(h[:, 0])", "h[:, t]", "one step earlier"),
    (Recurrent, "dnext = da @ self.Wh.data.T", "dnext = dh @ self.Wh.data.T", "dh is not the gradient of state"),
    (Windows, "dx[:, t:t + 2] +=", "dx[:, t:t + 2] =", "line 5.*overwrites"),
    (Distances, "np.add.at(self.table.grad, far, ds.sum(0))", "self.table.grad[far] += ds.sum(0)", "each use adds"),
]


@pytest.mark.parametrize(("layer", "right", "wrong", "said"), CASES)
def test_the_line_and_what_should_stand_there(layer, right, wrong, said):
    layer.backward = backward_of(layer.SOURCE)
    assert gradcheck(layer(), X).ok
    assert layer.SOURCE.count(right) == 1
    layer.backward = backward_of(layer.SOURCE.replace(right, wrong))
    report = gradcheck(layer(), X)
    assert not report.ok
    assert any(re.search(said, row.hint) for row in report.rows), str(report)


def test_helper_functions_of_the_student_are_followed():
    source = """def half(self, dh, up):
    return 0.7 * dh * up

""" + Gated.SOURCE.replace("dact = dh * up", "dact = self.half(dh, up)")
    names = {}
    Gated.backward = backward_of(source, names=names)
    Gated.half = Gated.backward.__globals__["half"]
    report = gradcheck(Gated(), X)
    assert "`dact = self.half(dh, up)`" in str(report).replace("\n      ", " "), str(report)


def test_what_goes_through_a_dict_or_a_list_is_part_of_the_place():
    source = Gated.SOURCE.replace("dact = dh * up", "g = {}\n    g['act'] = dh * up * up").replace(
        "dact *", "g['act'] *"
    )
    Gated.backward = backward_of(source)
    text = str(gradcheck(Gated(), X))
    assert re.search(r"lines? .*6", text), text


def test_the_forward_is_as_before_and_no_trace_function_stays():
    Gated.backward = backward_of(Gated.SOURCE)
    before = sys.gettrace()
    trial = Trial(Setup.make(Gated(), (X,), {}, 0))
    flow = watch_lines(trial)
    assert isinstance(flow, Flow)
    assert sys.gettrace() is before
    found = {value.name: owner.name for value, owner in flow.truth.items()}
    assert found | {"dh": "h", "dact": "act", "dup": "up", "dgate": "gate"} == found
    assert not flow.unexplained
    np.testing.assert_array_equal(trial.value(), trial.out)
    owner = next(made for made in flow.slopes if made.name == "up")
    true = next(value.array for value in flow.truth if value.name == "dup")
    np.testing.assert_allclose(flow.true_gradient(owner), true, atol=1e-7)


def test_code_without_source_is_left_alone():
    space = {"np": np}
    exec("def forward(x):\n    return np.tanh(x), x\ndef backward(d, x):\n    return d * x\n", space)
    pair = (space["forward"], space["backward"])
    assert code_of(Trial(Setup.make(pair, (X,), {}, 0)), "forward") is not None
    assert not gradcheck(pair, X).ok


A, B, M = (RNG.standard_normal(shape) for shape in ((2, 5, 4), (2, 5, 4), (4, 4)))
P = np.exp(B) / np.exp(B).sum(-1, keepdims=True)
INDEX = np.array([[0, 2, 2, 1, 0], [3, 3, 0, 1, 2]])
SCATTERED = np.zeros((4, 4))
np.add.at(SCATTERED, INDEX, A)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (A, "A"),
        (-A, "-A"),
        (A.sum((0, 1)), "the sum over the first 2 axes of A"),
        (A * B, "A * B"),
        (A * (1 - B * B), "A * (1 - B²)"),
        ((A * B).sum((0, 1)), "the sum over the first 2 axes of A * B"),
        (rows(A).T @ rows(B), "Aᵀ @ B (over all rows)"),
        (A @ M.T, "A @ Mᵀ"),
        (0.25 * A @ M, "0.25 * A @ M"),
        (np.einsum("bti,btj->ij", A[:, :-1], B[:, 1:]), "(A, one step earlier)ᵀ @ B"),
        (rows(A).T @ rows(B) + rows(B).T @ rows(B), "Aᵀ @ B + Bᵀ @ B (over all rows)"),
        (P * (A - (A * P).sum(-1, keepdims=True)), "P * (A - (A * P).sum(-1, keepdims=True))"),
        (A - P * A.sum(-1, keepdims=True), "A - P * A.sum(-1, keepdims=True)"),
        (A * B * P, "A * B * P"),
        (SCATTERED, "np.add.at with the index INDEX and (A): each use adds"),
        (RNG.standard_normal((2, 5, 4)), ""),
        (RNG.standard_normal((4, 4)), ""),
        (np.zeros((4, 4)), ""),
    ],
)
def test_products(wanted, said):
    assert products.explain(wanted, {"A": A, "B": B, "M": M, "P": P, "INDEX": INDEX}) == said


def test_arrays_with_axes_in_another_order_are_known_again():
    split = A.reshape(2, 5, 2, 2).transpose(0, 2, 1, 3)
    assert any(np.array_equal(view, A) for view in relaid(split, A.shape))
    raw = A.reshape(2, 2, 5, 2)  # reshaped only: its numbers stand elsewhere
    assert not any(np.array_equal(view, A) for view in relaid(raw, A.shape))


def test_a_forward_that_refuses_other_values_is_still_explained():
    class Strict(Gated):
        def forward(self, x):
            gate = x @ self.Wg.data
            up = x @ self.Wu.data
            act = np.tanh(gate)
            assert np.array_equal(act, np.tanh(gate)), "changed behind my back"
            h = act * up
            return h @ self.Wd.data, (x, gate, up, act, h)

    Strict.backward = backward_of(Gated.SOURCE.replace("rows(h).T", "rows(up).T"))
    text = str(gradcheck(Strict(), X))
    assert "Right would be hᵀ @ dy" in text
    assert "stopped" not in text


def test_what_makes_a_right_gradient_of_a_matrix_is_trusted():
    class Mixed(Module):
        def __init__(self):
            self.A, self.B = matrix(6, 6), matrix(6, 6)

        def forward(self, x):
            return np.sin(x @ self.A.data) + np.cos(x @ self.B.data), x

    source = """def backward(self, dout, x):
    one = dout * np.cos(x @ self.A.data)
    two = -dout * np.sin(x @ self.B.data)
    self.A.grad += rows(x).T @ rows(one)
    self.B.grad += rows(x).T @ rows(two)
    return one @ self.A.data.T - two @ self.B.data.T
"""
    Mixed.backward = backward_of(source)
    report = gradcheck(Mixed(), X[:1, :4])
    assert not report.row("x").ok
    assert report.row("A").ok
    Mixed.backward = backward_of(source.replace("one @", "2 * one @"))
    text = re.sub(r"\s+", " ", str(gradcheck(Mixed(), X[:1, :4])))
    assert "line 6" in text
    assert "one (the gradient of A, made of it, is right) and two" in text


class Three:
    """Attention with one fault, in the line of ds: the softmax backward sums over the wrong axis."""

    def __init__(self):
        for name in "qkv":
            setattr(self, f"W{name}", np.random.default_rng(ord(name)).standard_normal((6, 6)) / 2)
        self.grads = {}

    def forward(self, x):
        self.x, self.q, self.k, self.v = x, 2 * (x @ self.Wq), 2 * (x @ self.Wk), 2 * (x @ self.Wv)
        a = np.exp(self.q @ self.k.swapaxes(-1, -2) / 8)
        self.a = a / a.sum(-1, keepdims=True)
        return self.a @ self.v


THREE = """def backward(self, dy):
    f = lambda d: np.einsum("bti,btj->ij", self.x, d)
    da, dv = dy @ self.v.swapaxes(-1, -2), self.a.swapaxes(-1, -2) @ dy
    ds = self.a * (da - (da * self.a).sum(-2, keepdims=True)) / 8
    dq, dk = ds @ self.k, ds.swapaxes(-1, -2) @ self.q
    dq, dk, dv = 2 * dq, 2 * dk, 2 * dv
    LOOP
    return dq @ self.Wq.T + dk @ self.Wk.T + dv @ self.Wv.T
"""
LOOPS = {
    "zip in one line": 'for n, d in zip("qkv", (dq, dk, dv)): self.grads["W" + n] = f(d)',
    "zip": """dq, dk, dv = dq * 1, dk * 1, dv * 1
    for n, d in zip("qkv", (dq, dk, dv)):
        self.grads["W" + n] = f(d)""",
    "enumerate": """dq, dk, dv = [1 * d for d in (dq, dk, dv)]
    for i, d in enumerate((dq, dk, dv)):
        self.grads["W" + "qkv"[i]] = f(d)""",
    "items": """for n, d in {"Wq": dq, "Wk": dk, "Wv": dv}.items():
        self.grads[n] = f(d)""",
    "new values": """for n, d in zip("qkv", [1 * d for d in (dq, dk, dv)]):
        self.grads["W" + n] = f(d)""",
    "comprehension": 'self.grads.update({"W" + n: f(d) for n, d in zip("qkv", (dq, dk, dv))})',
    "list": """gs = [dq * 1, dk * 1, dv * 1]
    for i in range(3):
        self.grads["W" + "qkv"[i]] = f(gs[i])""",
    "stack": """g = np.stack([dq, dk, dv])
    self.grads["Wq"] = f(g[0])
    self.grads["Wk"] = f(g[1])
    self.grads["Wv"] = f(g[2])""",
    "tuple": 'self.grads["Wq"], self.grads["Wk"], self.grads["Wv"] = (f(d) for d in (dq, dk, dv))',
    "split": """g = np.concatenate([dq, dk, dv], -1)
    self.grads["Wq"], self.grads["Wk"], self.grads["Wv"] = np.split(f(g), 3, -1)""",
    "two statements": """gv = dv * 1; gq = dq * 1
    self.grads["Wq"] = f(gq)
    self.grads["Wk"] = f(dk * 1)
    self.grads["Wv"] = f(gv)""",
}


@pytest.mark.parametrize(
    "loop", [pytest.param(name, marks=pytest.mark.slow if i else ()) for i, name in enumerate(LOOPS)]
)
def test_what_a_loop_or_a_tuple_mixes_is_not_called_right(loop):
    Three.backward = backward_of(THREE.replace("LOOP", LOOPS[loop]))
    report = gradcheck(Three(), np.random.default_rng(3).standard_normal((1, 5, 6)))
    assert [row.name for row in report.rows if row.ok] == ["Wv"], str(report)
    traced = [cause for cause in report.causes if cause.source == "lines"]
    assert all(4 in cause.lines for cause in traced), str(report)  # the line of ds
    assert "made of it, is right" not in str(report)
    assert not re.search(r"\bd[qks] (of line \d+ )?\([^)]*\)(, | and |\s+)*(is|are) still right", str(report))


def test_a_loop_in_one_line_is_quoted_as_it_is_written():
    three = backward_of(THREE.replace("LOOP", LOOPS["zip in one line"]))
    quoted = {line.text for line in lines_of(three.__code__).values()}
    assert "for (n, d) in zip('qkv', (dq, dk, dv)): self.grads['W' + n] = f(d)" in quoted


CHANGES = [
    (" + ", " - "),
    (" - ", " + "),
    (".T", ""),
    (" * ", " / "),
    (" ** 2", " ** 3"),
    ("-1, keepdims", "-2, keepdims"),
]


def mutants():
    """(layer, changed source, line that was changed) for each small change to each line."""
    for layer in (Gated, Attention, Recurrent, Windows, Distances):
        lines = layer.SOURCE.splitlines()
        for number, line in enumerate(lines[2:], 3):
            for old, new in CHANGES:
                if old in line:
                    changed = lines[: number - 1] + [line.replace(old, new, 1)] + lines[number:]
                    yield layer, "\n".join(changed) + "\n", number


@pytest.mark.slow
def test_the_line_that_was_changed_is_among_those_that_are_named():
    said = 0
    for layer, source, number in mutants():
        layer.backward = backward_of(source)
        report = gradcheck(layer(), X)
        for cause in report.causes:
            where = re.search(r"goes wrong in (?:backward, )?lines? (.*?): ", cause.text)
            if where and "more" not in where.group(1):
                said += 1
                numbers = re.findall(r"\b\d+\b", re.sub(r"`.*?`", "", where.group(1)))
                assert str(number) in numbers, f"line {number} of\n{source}\n{report}"
    assert said > 12
