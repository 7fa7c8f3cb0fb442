"""Faults that Llama's layers brought up: signs, pairs, a factor for each row, and keywords of an inner backward."""

import re

import numpy as np
import pytest

from numpylm import Linear, Module, gradcheck, zoo
from numpylm.check.measure.evidence import Evidence
from numpylm.check.numbers.patterns import row_factors

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 5, 6))
ANGLES = np.linspace(0.3, 1.2, 15).reshape(5, 3)  # (T, D/2)


def said(subject, *inputs):
    report = gradcheck(subject, *inputs)
    assert not report.ok
    return report.causes[0].kind, re.sub(r"\s+", " ", report.causes[0].text)


def turned(x, sin_1=-1.0, sin_2=1.0, first=slice(0, 3), second=slice(3, 6)):
    """Pairs of channels turned by ANGLES, with these signs of the two sines."""
    y = np.empty_like(x)
    y[..., first] = x[..., first] * np.cos(ANGLES) + sin_1 * x[..., second] * np.sin(ANGLES)
    y[..., second] = sin_2 * x[..., first] * np.sin(ANGLES) + x[..., second] * np.cos(ANGLES)
    return y


def rotation(backward):
    return (lambda x: (turned(x), None)), (lambda dy, cache: backward(dy))


def test_a_right_rotation_passes():
    assert gradcheck(rotation(lambda dy: turned(dy, 1.0, -1.0)), X).ok


def test_one_wrong_sign_in_a_rotation_is_called_a_sign():
    kind, text = said(rotation(lambda dy: turned(dy, 1.0, 1.0)), X)
    assert kind == "sign"
    assert "30 of 120 have the wrong sign" in text  # 2 texts, 5 positions, 3 sines; 4 entries in each of 30 pairs


def test_a_turn_in_the_wrong_direction_is_still_a_transposed_matrix():
    assert said(rotation(turned), X)[0] == "transposed"


def test_an_elementwise_function_with_a_wrong_sign_keeps_its_slope():
    """|x| with the slope 1 everywhere: no signs of a matrix."""
    kind, text = said(((lambda x: (np.abs(x), x)), (lambda dy, x: dy)), X)
    assert kind == "slope"
    assert "the slope is -1" in text


def test_other_pairs_in_backward_are_named():
    even, odd = slice(0, None, 2), slice(1, None, 2)
    kind, text = said(rotation(lambda dy: turned(dy, 1.0, -1.0, even, odd)), X)
    assert kind == "mixing"
    assert "output 0 is made of inputs 0 and 3, and sends its gradient to 0 and 1" in text


def test_a_factor_for_each_row_is_noticed_although_its_array_is_unknown():
    rows = np.array([2.0, 0.5, 1.0, 3.0])[:, None]
    true = RNG.standard_normal((4, 6))
    found = row_factors(Evidence("", "x", rows * true, true))
    assert found.kind == "missing-factor"
    assert "the rows are 2, 0.5, 1, 3 times the true ones" in found.text
    forgotten, constant, turned_row = rows * true, 2 * true, rows * true
    forgotten[1], turned_row[1] = 0, turned_row[1, ::-1]
    assert not any(row_factors(Evidence("", "x", given, true)) for given in (forgotten, constant, turned_row))


class Inner(Linear):
    """A Linear whose backward takes a keyword, as a mixture of experts does."""

    def backward(self, dy, cache, *, scale=1.0):
        return super().backward(scale * dy, cache)


class TwoLayers(Module):
    """y = upper(lower(x)) / 2; the backward forgets the lower layer."""

    def __init__(self):
        self.lower, self.upper = Linear(6, 4), Inner(4, 3)

    def forward(self, x):
        h, lower = self.lower.forward(x)
        y, upper = self.upper.forward(h)
        return y / 2, (lower, upper)

    def backward(self, dy, cache):
        dh = self.upper.backward(dy, cache[1], scale=0.5)
        return dh @ self.lower.weight.data.T


def test_inner_layers_are_followed_when_their_backward_takes_a_keyword():
    kind, text = said(TwoLayers(), X)
    assert kind == "call-count"
    assert "lower.forward runs once, lower.backward never" in text


@pytest.mark.slow
def test_a_gradient_that_fails_is_never_taken_for_right():
    """gate.weight fails as well as x, so nothing may be called right because gate.weight is made of it."""
    report = zoo.check(zoo.get("experts-half-a-quotient-rule"))
    assert not report.row("gate.weight").ok
    text = re.sub(r"\s+", " ", str(report))
    assert "made of it, is right" not in text
    assert "`dkept = dweights / total`: dweights (the true gradient of weights) is still right, dkept is not" in text
