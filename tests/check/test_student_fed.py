"""What a student's code is fed: the sizes that it needs, modules beside it, and what is said if nobody can feed it."""

import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from numpylm.check.student import check_file, check_found, fit, items_to_check
from numpylm.cli.main import main


def reports(path):
    return {report.title: report for report in check_file(path)}


def said(report):
    return " ".join(str(report).split())


# ------------------------------------------------------------------------------------------ sizes that are needed

CONV = """
    def conv_forward(x, w, b):
        F, k = w.shape[0], w.shape[-1]
        out = np.zeros((len(x), F, x.shape[2] - k + 1, x.shape[3] - k + 1))
        for f in range(F):
            for i in range(out.shape[2]):
                for j in range(out.shape[3]):
                    out[:, f, i, j] = (x[:, :, i : i + k, j : j + k] * w[f]).sum((1, 2, 3)) + b[f]
        return out, (x, w, b)

    def conv_backward(dout, cache):
        x, w, b = cache
        dx, dw, k = np.zeros_like(x), np.zeros_like(w), w.shape[-1]
        for f in range(len(w)):
            for i in range(dout.shape[2]):
                for j in range(dout.shape[3]):
                    d = dout[:, f, i, j].reshape(-1, 1, 1, 1)
                    dw[f] += (d * x[:, :, i : i + k, j : j + k]).sum(0)
                    dx[:, :, i : i + k, j : j + k] += d * w[f]
        return dx, dw, DB
"""


@pytest.mark.parametrize("db", ["dout.sum((0, 2, 3))", "np.zeros_like(b) + dout.sum((0, 2, 3))"])
def test_a_bias_is_not_longer_than_the_filters_that_use_it(write, db):
    report = reports(write(CONV.replace("DB", db)))["conv"]
    assert report.ok, str(report)
    assert report.row("b").shape == (4,)


def test_a_bias_whose_gradient_has_another_length_is_wrong(write):
    report = reports(write(CONV.replace("DB", "dout.sum((0, 1, 3))")))["conv"]
    assert "wrong shape: expected" in report.row("b").hint


def test_what_a_forward_never_reads_is_cut_off():
    def forward(x, table, b):
        return x + table[: x.shape[1]] + b[:3], None

    inputs = (np.ones((2, 5, 3)), np.ones((6, 3)), np.ones(4))
    shapes = [value.shape for value in fit.trimmed((forward, lambda d, cache: d), inputs, {})]
    assert shapes == [(2, 5, 3), (6, 3), (3,)]  # how much of the table is read, the data decide


@pytest.mark.parametrize(
    ("dpos", "ok"),
    [
        ("np.pad(dout.sum(0), ((0, n - T), (0, 0)))", True),
        ("dout.sum(0)", False),  # of the positions that were used, not of the table
    ],
)
def test_a_table_may_be_longer_than_the_sequence(write, dpos, ok):
    code = f"""
        def positions_forward(x, pos):
            return x + pos[: x.shape[1]], (x.shape[1], len(pos))

        def positions_backward(dout, cache):
            T, n = cache
            return dout, {dpos}
    """
    report = reports(write(code))["positions"]
    assert report.ok == ok, str(report)
    assert report.row("pos").shape == (6, 12)


def test_an_array_whose_name_says_nothing_gets_the_shape_under_which_the_code_is_right(write):
    code = """
        def place_forward(x, zebra):
            return x + zebra[: x.shape[1]], (x.shape[1], zebra.shape)

        def place_backward(dout, cache):
            T, shape = cache
            dzebra = np.zeros(shape)
            dzebra[:T] = FACTOR * dout.sum(0)
            return dout, dzebra
    """
    report = reports(write(code.replace("FACTOR", "1")))["place"]
    assert report.ok, str(report)
    assert "with shape (2, 5, 12), (2, 5, 12), the gradients would be wrong" in said(report)
    assert not reports(write(code.replace("FACTOR", "3")))["place"].ok


def test_a_bias_may_have_axes_of_length_1_and_a_slope_may_be_a_number(write):
    code = """
        def affine(x, w, b):
            return x @ w + b, (x, w)

        def affine_backward(d, cache):
            x, w = cache
            return d @ w.T, x.T @ d, d.sum(axis=0, keepdims=True)

        def leaky(x, slope):
            return np.where(x > 0, x, slope * x), (x, slope)

        def leaky_backward(d, cache):
            x, slope = cache
            return np.where(x > 0, d, slope * d), (d * np.minimum(x, 0)).sum()
    """
    found = reports(write(code))
    assert found["affine"].ok, str(found["affine"])
    assert found["affine"].row("b").shape == (1, 9)
    assert found["leaky"].ok, str(found["leaky"])
    assert found["leaky"].row("slope").shape == ()


# ---------------------------------------------------------------------------------------------------- not checked

UNUSUAL = """
    def warp_forward(x, theta):
        if theta.shape != (2, 3):
            raise ValueError("theta must have shape (2, 3)")
        return x * theta.sum(), (x, theta)

    def warp_backward(dout, cache):
        x, theta = cache
        return dout * theta.sum(), np.full((2, 3), (dout * x).sum())

    class Stretch:
        def __init__(self, path):
            self.factor = float(path.read_text())

        def forward(self, x):
            return self.factor * x, None

        def backward(self, dout, cache):
            return self.factor * dout
"""
TWICE = """
    def twice(x):
        return 2 * x, None

    def twice_backward(d, cache):
        return FACTOR * d
"""


@pytest.mark.parametrize(
    ("code", "code_of_exit", "last"),
    [
        (UNUSUAL + TWICE.replace("FACTOR", "2"), 0, "1 checked, all right. Not checked: warp, Stretch."),
        (UNUSUAL + TWICE.replace("FACTOR", "3"), 1, "1 checked, wrong: twice. Not checked: warp, Stretch."),
        (UNUSUAL, 1, "0 checked. Not checked: warp, Stretch."),
    ],
)
def test_code_that_nobody_can_feed_is_not_checked_and_not_wrong(write, capsys, code, code_of_exit, last):
    assert main(["gradcheck", "--file", str(write(code))]) == code_of_exit
    text = capsys.readouterr().out
    assert text.splitlines()[-1] == last
    assert "  Not checked: warp.forward stopped. ValueError: theta must have shape (2, 3)\n" in text
    assert "add a function warp_example(rng)" in " ".join(text.split())


@pytest.mark.parametrize(
    "line", ["return np.sofmax(x), x", "return self.wieght * x, x", "return weight * x, x", "import nump"]
)
def test_an_error_that_no_input_would_mend_is_wrong(write, line):
    code = f"""
        class Layer:
            def forward(self, x):
                {line}

            def backward(self, d, x):
                return d
    """
    report = reports(write(code))["Layer"]
    assert not report.unchecked
    assert report.causes[0].kind == "error"


def test_the_students_own_example_is_wrong_if_the_code_stops_on_it(write):
    code = textwrap.dedent(UNUSUAL) + "\ndef warp_example(rng):\n    return np.ones(3), np.ones((3, 2))\n"
    assert not reports(write(code))["warp"].unchecked


def test_a_base_class_is_not_checked_for_its_heirs(write):
    code = """
        class Layer:
            def forward(self, x):
                raise NotImplementedError

            def backward(self, d):
                raise NotImplementedError

        class Double(Layer):
            def forward(self, x):
                return 2 * x

            def backward(self, d):
                return 2 * d

        class Later:
            def forward(self, x):
                raise NotImplementedError

            def backward(self, d):
                raise NotImplementedError
    """
    found = reports(write(code))
    assert list(found) == ["Double", "Later"]
    assert found["Double"].ok
    assert not found["Later"].unchecked  # nobody inherits from it: it is unfinished


# ----------------------------------------------------------------------------------------------------- neighbors


def test_modules_of_a_package_are_found(tmp_path):
    package = tmp_path / "my_package"
    package.mkdir()
    for name, text in (("__init__", ""), ("numbers_of_mine", "TWO = 2\n")):
        (package / f"{name}.py").write_text(text, encoding="utf-8")
    code = """
        from .numbers_of_mine import TWO

        def f(x):
            from my_package import numbers_of_mine
            return numbers_of_mine.TWO * x, None

        def f_backward(d, cache):
            return TWO * d
    """
    file = package / "layers.py"
    file.write_text(textwrap.dedent(code), encoding="utf-8")
    assert main(["gradcheck", "--file", str(file)]) == 0


def test_a_folder_that_the_file_itself_puts_on_the_path_stays_there(write, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "hammer_of_mine.py").write_text("TWO = 2\n", encoding="utf-8")
    code = """
        import sys
        from pathlib import Path

        sys.path.append(str(Path(__file__).parent / "tools"))

        def f(x):
            from hammer_of_mine import TWO
            return TWO * x, None

        def f_backward(d, cache):
            return 2 * d
    """
    before = list(sys.path)
    assert main(["gradcheck", "--file", str(write(code))]) == 0
    assert sys.path == [*before, str(tmp_path / "tools")]


def test_a_module_that_forward_imports_is_found_with_as_too(write, tmp_path):
    (tmp_path / "roots_of_mine.py").write_text("def root(x):\n    return x**0.5\n", encoding="utf-8")
    code = """
        class LayerNorm:
            def __init__(self, dim):
                self.weight, self.bias = Parameter(np.ones(dim)), Parameter(np.zeros(dim))

            def forward(self, x):
                from roots_of_mine import root
                s = root(x.var(-1, keepdims=True) + 1e-5)
                h = (x - x.mean(-1, keepdims=True)) / s
                return h * self.weight.data + self.bias.data, (h, s)

            def backward(self, d, cache):
                h, s = cache
                self.weight.grad += (d * h).sum((0, 1))
                self.bias.grad += d.sum((0, 1))
                g = d * self.weight.data
                return (g - g.mean(-1, keepdims=True) - h * (g * h).mean(-1, keepdims=True)) / s
    """
    path = str(write(code))
    assert main(["gradcheck", "--file", path]) == 0
    assert main(["gradcheck", "--file", path, "--as", "LayerNorm"]) == 0


# ------------------------------------------------------------------------------ arrays that a layer is made with

GIVEN = {item.name: item for item in items_to_check(Path(__file__).parent / "students" / "given_arrays.py")}
WEIGHTS = {
    "Affine": {"W": 2, "b": 1},
    "MatMul": {"params.0": 2},
    "Table": {"vectors": 2},
    "TorchLinear": {"weight": 2, "bias": 1},
    "RNN": {"params.0": 2, "params.1": 2, "params.2": 1},
    "BatchNormalization": {"gamma": 1, "beta": 1},
    "Swish": {},
    "Weighted": {},
    "Projection": {},
    "Sine": {},
}


@pytest.mark.parametrize("name", GIVEN)
def test_a_layer_that_is_made_with_arrays_gets_arrays(name):
    report = check_found(GIVEN[name])
    assert report.ok, str(report)
    weights = {row.name: len(row.shape) for row in report.rows if row.name not in ("x", "h_prev")}
    assert weights == WEIGHTS[name]


def test_a_wrong_layer_that_is_made_with_arrays_is_wrong(write):
    code = """
        class Affine:
            def __init__(self, W, b):
                self.W, self.b = W, b
            def forward(self, x):
                self.x = x
                return np.dot(x, self.W) + self.b
            def backward(self, dout):
                self.dW = 2 * np.dot(self.x.T, dout)
                self.db = dout.sum(axis=0)
                return np.dot(dout, self.W)
        """
    assert not reports(write(code))["Affine"].unchecked
    report = reports(write(code.replace("self.W)\n    ", "self.W.T)\n    ")))["Affine"]
    assert [row.name for row in report.rows if not row.ok] == ["W"], str(report)


def test_a_weight_that_is_handed_over_and_gets_no_gradient_is_wrong(write):
    path = write("""
        class Affine:
            def __init__(self, W, b):
                self.W, self.b = W, b
            def forward(self, x):
                self.x = x
                return np.dot(x, self.W) + self.b
            def backward(self, dout):
                self.db = dout.sum(axis=0)
                return np.dot(dout, self.W.T)
        """)
    assert reports(path)["Affine"].row("W").causes[0].kind == "never-written"


def test_a_wrong_gradient_is_not_hidden_by_a_number_in_place_of_an_array(write):
    path = write("""
        class Gain:
            def __init__(self, w):
                self.w = w
            def forward(self, x):
                self.x = x
                return x * self.w
            def backward(self, dout):
                self.dw = 2 * (dout * self.x).reshape(-1, self.x.shape[-1]).sum(0)
                return dout * self.w
        """)
    assert not reports(path)["Gain"].row("w").ok


def test_a_backward_that_stops_on_a_guessed_number_is_not_checked(write, capsys):
    path = write("""
        class Times:
            def __init__(self, thing):
                self.thing = thing
            def forward(self, x):
                return x * self.thing
            def backward(self, dout):
                return dout * self.thing.numbers
        """)
    report = reports(path)["Times"]
    assert "has no attribute 'numbers'" in report.unchecked
    assert main(["gradcheck", "--file", str(path)]) == 1
    assert "wrong" not in capsys.readouterr().out.splitlines()[-1]
