"""Layers that are made with arrays, as in ``Affine(W, b)``: they get arrays of the right shapes, and are judged."""

from pathlib import Path

import pytest

from numpylm.check.student import check_found, items_to_check
from numpylm.cli.main import main
from tests.check.conftest import reports

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
