"""Which arrays are constants: by their names, by their values, or because a forward depends on them only in steps."""

import re
from collections.abc import Callable

import numpy as np

from numpylm.check.subject.calls import CheckError
from numpylm.nn.module import Array

CONSTANT = re.compile(
    r"(^|_)(tril|triu|causal|pe|cos|sin|freqs?|inv_?freq|running|moving|buffers?|targets?|labels?|y_?true|lengths?|"
    r"pos_?enc|sinusoids?|rope|angles?|alibi|const|constants?|noise)($|_|\d)|mask|one_?hot|positional_?enc",
    re.IGNORECASE,
)


def constant_name(name: str) -> bool:
    """Whether an array has the name of a constant: a mask, a table of cosines, targets, running means."""
    return bool(CONSTANT.search(name.split(".")[-1]))


def mask_values(values: Array) -> bool:
    """Whether an array holds zeros and one other number, ±1 or a very negative one: one-hot rows, a mask."""
    distinct = np.unique(values)
    if len(distinct) != 2 or 0 not in distinct:
        return False
    other = float(distinct[distinct != 0][0])
    return abs(other) == 1 or other <= -1e3


def constant_values(values: Array) -> bool:
    """Whether an array has the values of a constant: a mask, or sines and cosines of multiples of 0, 1, 2 …"""
    if values.ndim > 2 and values.shape[0] == 1:
        return constant_values(values[0])  # a mask (1, 1, T, T) for batches and heads
    if values.ndim < 2 or values.shape[0] < 2:
        return False
    if mask_values(values):
        return not (
            values.shape[0] == values.shape[-1] and np.array_equal(values, np.eye(len(values)))
        )  # an identity matrix may be an initial W
    return bool(np.ptp(values) and np.isin(values[0], (0, 1)).all() and np.abs(values).max() <= 1)


def only_in_steps(values: Array, forward: Callable[[Array], Array]) -> bool:
    """Whether an output depends on an array only in steps, as on a mask that is compared with a number.

    Then a change of some entries gives the same output as twice that change. For a weight it gives another one. Only
    half of the entries are changed each time, because a mask without any 0 or 1 may give NaN everywhere.
    """
    rng = np.random.default_rng(2)
    for sign in (1, -1, 1, -1):
        half = sign * (rng.random(values.shape) < 0.5) * (0.5 + rng.random(values.shape)) * 1e-2
        try:
            near, far = forward(values + half), forward(values + 2 * half)
        except CheckError:
            return False
        if not np.isfinite(near).any() or not np.array_equal(near, far, equal_nan=True):
            return False
    return True
