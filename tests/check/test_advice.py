"""Advice after an error: the sentence for the message, and none where it would mislead."""

import numpy as np
import pytest

from numpylm.check.advice import (
    SAY_LOST_AXIS,
    SAY_ONE_HOT,
    SAY_PAIR,
    SAY_PARAMETER,
    SAY_TRANSPOSED,
    SAY_UNPACKED,
    advice,
)
from numpylm.nn.module import Parameter

X, ROW, W = np.ones((3, 4)), np.ones(4), Parameter(np.ones((4, 5)))


def unpack():
    a, b = (1, 2, 3)
    return a, b


CASES = {
    "x - x.mean(axis=-1)": (lambda: X - X.mean(axis=-1), SAY_LOST_AXIS),
    "(p - y) / N": (lambda: X - np.arange(3), SAY_ONE_HOT),
    "x @ w": (lambda: X @ X, SAY_TRANSPOSED),
    "x @ self.weight": (lambda: X @ W, SAY_PARAMETER),
    "x * self.weight": (lambda: X * W, SAY_PARAMETER),
    "out.reshape(2, 2)": (lambda: (X, None).reshape(2, 2), SAY_PAIR),
    "q, k = cache": (unpack, SAY_UNPACKED),
    "a + b": (lambda: X + np.ones((2, 4)), ""),  # neither has lost an axis
    "d['a']": (lambda: {}["a"], ""),
}


@pytest.mark.parametrize("code", CASES)
def test_each_message_gets_its_sentence(code):
    run, expected = CASES[code]
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the kinds differ
        run()
    assert advice(str(caught.value), code) == expected
