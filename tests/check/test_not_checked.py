"""Code for which no inputs can be guessed is not checked, and not called wrong; other errors are."""

import textwrap

import pytest

from numpylm.cli.main import main
from tests.check.conftest import reports

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
