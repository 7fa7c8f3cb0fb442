"""Gradient check: is backward the derivative of forward, and if not, what is wrong with it?

The analytic gradient is compared with differences of the forward alone, in float64. Wrong gradients hide in five
places, and the check covers all of them. Initial values are special, so parameters are random here. Dropout is often
switched off: give the layer p > 0, and every forward here uses the same dropout mask. Upstream gradients of ones hide
faults, so they are random here. Absolute tolerances hide small gradients, so the tolerance is relative. Parameters are
often not checked at all: here every parameter is.

`numpylm.check.explain` explains each failure in plain sentences.
"""

import time
from typing import Any

import numpy as np

from numpylm.check.confidence import UNUSABLE
from numpylm.check.explain import explain
from numpylm.check.limits import TOLERANCE
from numpylm.check.measure.trial import Setup
from numpylm.check.measure.verdict import Verdicts
from numpylm.check.report import Cause, Report
from numpylm.check.subject.calls import CheckError
from numpylm.check.subject.subject import Subject


def gradcheck(
    layer: Any,
    *inputs: Any,
    rng: np.random.Generator | None = None,
    tolerance: float = TOLERANCE,
    diagnose: bool = True,
    **options: Any,
) -> Report:
    """Compare a layer's backward with differences of its forward, and say what is wrong.

    Parameters
    ----------
    layer : object with ``forward`` and ``backward``, a pair of functions, or an autograd-style class
        ``out, cache = forward(*inputs)`` and ``grads = backward(dout, cache)``, where grads is one array or a
        tuple with one for each floating-point input, in order. Also accepted: a class with static
        ``forward(ctx, …)`` and ``backward(ctx, dout)``; a layer that keeps its cache on itself (``dx =
        backward(dout)``); and weights in any style that `numpylm.check.subject.survey` knows, such as ``W`` with ``dW``
        beside it. The layer itself is not changed: a float64 copy with random parameters is checked.
    *inputs : arrays
        Floating-point arrays are differentiated; ids, targets, masks and plain numbers are passed on as they are.
        A gradient of None marks its input as a constant.
    rng : numpy.random.Generator, optional
        Draws parameters, upstream gradient and coordinates. The default gives the same check every time.
    tolerance : float
        The worst relative error that passes.
    diagnose : bool
        Whether to look for the cause of what fails.
    **options
        Passed on to the forward by name (for example ``mask=…``).

    Returns
    -------
    report : Report
        With a row for each input and each parameter; ``print(report)`` shows it. ``report.causes`` lists what
        was found, most likely first.

    Raises
    ------
    TypeError
        If ``layer`` is none of the above. An error *inside* the layer is not raised: it is in the report, with
        its own file and line.

    Notes
    -----
    With u = dL/dout random and L = Σ u · out, the derivative along a coordinate or a direction e is

        [8 (L(h) - L(-h)) - (L(2h) - L(-2h))] / 12h,     L(s) = L(θ + s e),

    whose error is h⁴ L⁽⁵⁾ / 30 plus rounding of about 1e-16 |L| / h: both near 1e-12 at h = 1e-3. The relative
    error of analytic a against numerical n is |a - n| / max(|a|, |n|, floor). The floor, 1e-4 of the largest
    gradient in the same array or 1e7 times the rounding, keeps gradients that are exactly zero (a key's bias
    in softmax attention) from being compared with noise.

    Gradients start at random values, not at zero. So a backward that assigns (=) instead of adding (+=) fails. The
    forward runs once more on other values before the backward, which reveals state kept on the layer. The backward
    runs twice on one cache, which reveals changes of the cache.
    """
    start = time.perf_counter()
    rng = rng or np.random.default_rng(0)
    title = Subject(layer).name
    report = Report(title, [])
    generator = np.random.get_state()  # noqa: NPY002  # the layer may draw from it; put back below
    try:
        setup = Setup.make(layer, inputs, options, int(rng.integers(2**32)))
        verdicts = Verdicts(setup, rng, tolerance)
        report.rows = [verdicts.row(target) for target in verdicts.trial.targets]
        report.notes = verdicts.all_notes()
        report.findings = verdicts.findings
        if diagnose and not report.ok and report.rows:
            with np.errstate(all="ignore"):  # patterns divide and take logs of all numbers
                explain(report, verdicts.trial, gradcheck)
    except CheckError as error:
        report.findings = [Cause("error", str(error), UNUSABLE, title, detail=error.raised)]
    finally:
        np.random.set_state(generator)  # noqa: NPY002
    report.seconds = time.perf_counter() - start
    return report
