"""Checking a student's file: everything in it is found and judged, and errors are shown as the student's own."""

import pytest

from numpylm.check.student import compare, items_to_check
from numpylm.cli.main import main
from tests.check.conftest import reports

PAIRS = """
    def affine_forward(x, w, b):
        return x @ w + b, (x, w)

    def affine_backward(dout, cache):
        x, w = cache
        return dout @ w.T, x.reshape(-1, x.shape[-1]).T @ dout.reshape(-1, dout.shape[-1]), dout.sum((0, 1))

    def sigmoid(x):
        s = 1 / (1 + np.exp(-x))
        return s, s

    def sigmoid_backward(dout, s):
        return dout * s

    class Square:
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        def backward(ctx, dout):
            (x,) = ctx.saved_tensors
            return 3 * dout * x

    class Old:
        def __init__(self, n_in, n_out):
            self.W = np.random.randn(n_in, n_out)
            self.b = np.zeros(n_out)

        def forward(self, x):
            self.x = x
            return x @ self.W + self.b

        def backward(self, dout):
            self.dW = self.x.reshape(-1, self.x.shape[-1]).T @ dout.reshape(-1, dout.shape[-1])
            self.db = dout.mean((0, 1))
            return dout @ self.W.T

    class SGD:
        def __init__(self, params, lr=0.1):
            self.params, self.lr = params, lr

        def step(self):
            for p in self.params:
                p.data += self.lr * p.grad

    def clip_gradients(params, limit):
        for p in params:
            np.clip(p.grad, -limit, limit, out=p.grad)
"""


def test_everything_in_a_file_is_found_and_judged(write):
    found = reports(write(PAIRS))
    assert list(found) == ["affine", "sigmoid", "Square", "Old", "SGD", "clip_gradients"]
    assert found["affine"].ok, str(found["affine"])
    assert "multiplied elementwise by (1 - s)" in found["sigmoid"].row("x").hint
    assert found["Square"].causes[0].kind == "factor"
    assert "1.5 times" in str(found["Square"])
    assert found["Old"].row("W").ok
    assert found["Old"].row("x").ok
    assert "of x together" in found["Old"].row("b").hint  # 1 / (B T)
    assert found["SGD"].causes[0].kind == "sign"
    assert "each number is cut off" in str(found["clip_gradients"])


def test_the_command_says_what_is_wrong_and_counts(write, capsys):
    assert main(["gradcheck", "--file", str(write(PAIRS))]) == 1
    assert "6 checked, wrong: sigmoid, Square, Old, SGD." in capsys.readouterr().out
    assert main(["gradcheck", "--file", str(write(PAIRS)), "--only", "affine"]) == 0


def test_two_names_for_one_thing_are_checked_once_and_texts_are_no_gradients(write):
    code = """
        class MyLinear:
            def __init__(self, n_in, n_out):
                self.W = Parameter(np.zeros((n_in, n_out)))

            def forward(self, x):
                return x @ self.W.data, x

            def backward(self, d, x):
                self.W.grad += np.einsum("bti,btj->ij", x, d)
                return d @ self.W.data.T

        Linear = MyLinear

        def clip_text(text, n):
            return text[:n]
    """
    assert list(reports(write(code))) == ["MyLinear"]


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
            return d @ w.T, np.einsum("bti,btj->ij", d, x)

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


ATTENTION = """
    class MyAttention:
        def __init__(self, d_model, n_heads):
            self.h = n_heads
            for name in ("Wq", "Wk", "Wv", "Wo"):
                setattr(self, name, Parameter(np.random.randn(d_model, d_model)))

        def forward(self, x):
            B, T, C = x.shape
            split = lambda a: a.reshape(B, T, self.h, C // self.h).transpose(0, 2, 1, 3)
            q, k, v = (split(x @ w.data) for w in (self.Wq, self.Wk, self.Wv))
            s = q @ k.transpose(0, 1, 3, 2) / np.sqrt(C // self.h)
            s = np.where(np.tri(T, dtype=bool), s, -1e9)
            p = np.exp(s - s.max(-1, keepdims=True))
            p /= p.sum(-1, keepdims=True)
            o = (p @ v).transpose(0, 2, 1, 3).reshape(B, T, C)
            return o @ self.Wo.data, (x, q, k, v, p, o)

        def backward(self, dy, cache):
            x, q, k, v, p, o = cache
            B, T, C = x.shape
            flat = lambda a: a.reshape(-1, C)
            merge = lambda a: a.transpose(0, 2, 1, 3).reshape(B, T, C)
            self.Wo.grad += flat(o).T @ flat(dy)
            do = (dy @ self.Wo.data.T).reshape(B, T, self.h, C // self.h).transpose(0, 2, 1, 3)
            dv = p.transpose(0, 1, 3, 2) @ do
            dp = do @ v.transpose(0, 1, 3, 2)
            ds = p * (dp - (dp * p).sum(-1, keepdims=True)) / np.sqrt(C // self.h)
            dq, dk = ds @ k, KEYS
            dx = 0
            for w, d in ((self.Wq, dq), (self.Wk, dk), (self.Wv, dv)):
                w.grad += flat(x).T @ flat(merge(d))
                dx = dx + merge(d) @ w.data.T
            return dx
"""


RIGHT_KEYS, WRONG_KEYS = "ds.transpose(0, 1, 3, 2) @ q", "(q.transpose(0, 1, 3, 2) @ ds).reshape(k.shape)"


def test_keys_that_were_reshaped_inside_one_big_layer_are_named(write):
    """There is no inner layer to look at: dK is computed from the gradient of Wk."""
    report = reports(write(ATTENTION.replace("KEYS", WRONG_KEYS)))["MyAttention"]
    assert [row.name for row in report.rows if not row.ok] == ["x", "Wk"]
    assert report.causes[0].kind == "reshaped"
    assert report.causes[0].place == "Wk"
    assert "3 heads of 4" in report.row("Wk").hint
    assert "cosine" in report.row("Wk").hint.lower()
    assert "(Computed from the gradient of Wk: dWk = xᵀ d, solved for d.)" in report.row("Wk").hint


def test_a_right_attention_passes_and_equals_ours(write):
    path = write(ATTENTION.replace("KEYS", RIGHT_KEYS))
    report = compare(items_to_check(path)[0], "CausalSelfAttention")
    assert report.ok, str(report)
    assert report.row("forward").max_rel_error < 1e-12
    assert any("largest relative difference" in note for note in report.notes)


def test_numbers_are_the_same_every_time(write):
    path = write(ATTENTION.replace("KEYS", WRONG_KEYS))
    first, second = (reports(path)["MyAttention"] for _ in range(2))
    assert [row.max_rel_error for row in first.rows] == [row.max_rel_error for row in second.rows]
    assert first.causes == second.causes


PATHS = """
    class CrossAttention:
        def __init__(self, d_model):
            self.Wq, self.Wk, self.Wv = (Parameter(np.zeros((d_model, d_model))) for _ in range(3))

        def forward(self, x, context):
            q, k, v = x @ self.Wq.data, context @ self.Wk.data, context @ self.Wv.data
            e = np.exp(q @ k.transpose(0, 2, 1) / 3)
            p = e / e.sum(-1, keepdims=True)
            return p @ v, (x, context, q, k, v, p)

        def backward(self, dout, cache):
            x, context, q, k, v, p = cache
            dv = p.transpose(0, 2, 1) @ dout
            dp = dout @ v.transpose(0, 2, 1)
            ds = p * (dp - (dp * p).sum(-1, keepdims=True)) / 3
            dq, dk = ds @ k, ds.transpose(0, 2, 1) @ q
            for W, a, d in ((self.Wq, x, dq), (self.Wk, context, dk), (self.Wv, context, DV)):
                W.grad += np.einsum("bti,btj->ij", a, d)
            return dq @ self.Wq.data.T, CONTEXT
"""


BOTH = "dk @ self.Wk.data.T + dv @ self.Wv.data.T"


def test_a_lost_path_through_one_of_two_weights_is_named(write):
    right = PATHS.replace("DV", "dv").replace("CONTEXT", BOTH)
    assert reports(write(right))["CrossAttention"].ok
    lost = PATHS.replace("DV", "dv").replace("CONTEXT", "dv @ self.Wv.data.T")
    assert "lacks the path through Wk" in reports(write(lost))["CrossAttention"].row("context").hint
    twice = PATHS.replace("DV", "dv").replace("CONTEXT", f"{BOTH} + dk @ self.Wk.data.T")
    assert "counts the path through Wk" in reports(write(twice))["CrossAttention"].row("context").hint


def test_what_stands_in_the_place_of_an_inner_gradient_is_named(write):
    code = """
        class Gated:
            def __init__(self, dim, hidden):
                self.W1, self.W2 = (Parameter(np.zeros((dim, hidden))) for _ in range(2))

            def forward(self, x):
                a, b = x @ self.W1.data, x @ self.W2.data
                h = np.tanh(a)
                return h * b, (x, h, b)

            def backward(self, dout, cache):
                x, h, b = cache
                da, db = dout * b * (1 - h), dout
                self.W1.grad += np.einsum("bti,btj->ij", x, da)
                self.W2.grad += np.einsum("bti,btj->ij", x, db)
                return da @ self.W1.data.T + db @ self.W2.data.T
    """
    report = reports(write(code))["Gated"]
    assert "multiplied elementwise by (1 + h)" in report.row("W1").hint
    assert "multiplied elementwise by h" in report.row("W2").hint
    assert "fix" in report.row("x").hint


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("def f(x):\n    return x.foo, x\n\ndef f_backward(d, x):\n    return d\n", "line 5, in f"),
        ("class Layer:\n    def forward(self, x):\n        return x\n    def backward(self, d, c):\n        return d\n", "the pair (out, cache)"),
        ("def f(x):\n    return x * 2, x\n\ndef f_backward(d, x):\n    return d.swapaxes(0, 1) * 2\n", "expected (2, 5, 12), got (5, 2, 12): transposed?"),
        ("def f(x):\n    return x * 2, x\n\ndef f_backward(d, x):\n    raise RuntimeError('not yet')\n", "not yet"),
        ("class Odd:\n    def __init__(self, path):\n        path.open()\n    def forward(self, x):\n        return x, x\n    def backward(self, d, c):\n        return d\n", "Odd_example(rng)"),
        ("def f(x, zebra):\n    return x * zebra['stripes'], x\n\ndef f_backward(d, x):\n    return d\n", "f_example(rng)"),
    ],
)  # fmt: skip
def test_errors_are_the_students_own(write, code, said, capsys):
    path = write(code)
    assert main(["gradcheck", "--file", str(path)]) == 1
    out = capsys.readouterr().out
    assert said in out
    assert "checker" not in out  # no file of ours


def test_an_example_of_ones_own_is_used(write):
    code = """
        class Odd:
            def __init__(self, table):
                self.table = Parameter(table)

            def forward(self, zebra):
                return zebra * self.table.data, zebra

            def backward(self, d, zebra):
                self.table.grad += d * zebra
                return d * self.table.data

        def Odd_example(rng):
            return Odd(np.ones((3, 2))), rng.standard_normal((3, 2))
    """
    report = reports(write(code))["Odd"]
    assert report.ok, str(report)
    assert report.row("zebra").shape == (3, 2)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--file", "missing.py"], "is not a file"),
        (["--file", "{empty}"], "holds nothing to check"),
        (["--file", "{broken}"], "line 4"),
        (["--file", "{raises}"], "line 4"),
        (["--file", "{text}"], "must end in .py"),
        (["--file", "{pair}", "--as", "Lineer"], "known are Linear"),
        (["--file", "{pair}", "--only", "g"], "there is: f"),
    ],
)
def test_unusable_files_get_one_message(write, tmp_path, argv, said, capsys):
    pair = "def f(x):\n    return x, x\n\ndef f_backward(d, x):\n    return d\n"
    names = {
        "empty": write("x = 1\n", "empty.py"),
        "broken": write("def f(:\n", "broken.py"),
        "raises": write("1 / 0\n", "raises.py"),
        "text": write("hello\n", "text.txt"),
        "pair": write(pair, "pair.py"),
    }
    assert main(["gradcheck", *(word.format(**names) for word in argv)]) == 1
    assert said in capsys.readouterr().err
