"""Faults in CTC: the recursions over all alignments, and the gradient that they give."""

import numpy as np

from numpylm.check.mutants import World
from numpylm.zoo.fault import Fault
from numpylm.zoo.faulty_layers import B, Case, Rng, V

FRAMES, BLANK = 7, 3


def _ctc(world: World, rng: Rng) -> Case:
    """The first row has a repeated label and padded frames, the second row one label less and all frames."""
    pair, logits = (world.ctc_loss, world.ctc_loss_backward), rng.standard_normal((B, FRAMES, V))
    targets, lengths = np.array([[5, 5, 8], [2, 7, -100]]), np.array([FRAMES - 1, FRAMES])
    return pair, (logits, targets), {"lengths": lengths, "blank": BLANK}


GRADIENT = "grad = np.exp(log_y) - occupied @ np.eye(logits.shape[-1])[a.labels]  # (B, T, V)"
LABELS = "labels = np.concatenate([a.labels, np.take_along_axis(a.labels, s_back, axis=1)])"
GAMMA = "gamma = np.exp(alpha + after - np.where(np.isfinite(log_p), log_p, 0)[:, None, None])"

CTC_FAULTS = (
    Fault(
        "auklet",
        "ctc-without-the-softmax",
        "ctc",
        "ctc_loss",
        GRADIENT,
        "grad = -occupied @ np.eye(logits.shape[-1])[a.labels]",
        "The gradient is that of the log-probabilities: y, the part that softmax adds, is missing.",
        "Each entry pushes in the right direction, and labels that do not occur have gradient zero.",
        "missing-term",
        "logits",
        _ctc,
    ),
    Fault(
        "bunting",
        "ctc-counts-a-label-once",
        "ctc",
        "ctc_loss",
        GRADIENT,
        "grad = np.exp(log_y)\nrows, frames = np.ix_(range(len(grad)), range(grad.shape[1]))\n"
        "grad[rows[..., None], frames[..., None], a.labels[:, None]] -= occupied",
        "A label that occurs at several places of l' counts once: the blank nearly always does.",
        "Labels that occur once get the right gradient.",
        "missing-term",
        "logits",
        _ctc,
    ),
    Fault(
        "fieldfare",
        "ctc-learns-padding",
        "ctc",
        "ctc_loss",
        "grad[np.arange(logits.shape[1]) >= lengths[:, None]] = 0",
        "pass",
        "The frames after the end of a sound get a gradient.",
        "Without padding there are no such frames.",
        "missing-term",
        "logits",
        _ctc,
    ),
    Fault(
        "goosander",
        "ctc-gradient-of-the-sum",
        "ctc",
        "ctc_loss",
        "grad /= max(n, 1)",
        "pass",
        "The loss is a mean over labels, its gradient that of the sum.",
        "Adam is not affected by the scale; clipping is.",
        "factor",
        "logits",
        _ctc,
    ),
    Fault(
        "hobby",
        "ctc-must-end-with-a-label",
        "ctc",
        "_occupancy",
        "log_p = np.logaddexp(ends[rows, a.last], last_label)",
        "log_p = np.where(a.last > 0, last_label, ends[rows, a.last])",
        "The paths that end with the blank are left out of p(l | x), but not on the way back.",
        "The loss is only slightly too high.",
        "missing-term",
        "logits",
        _ctc,
    ),
    Fault(
        "merganser",
        "ctc-skips-between-equal-labels",
        "ctc",
        "_occupancy",
        LABELS,
        "labels = np.concatenate([a.labels, np.arange(a.labels.size).reshape(a.labels.shape)])",
        "On the way back, the blank between two equal labels may be skipped.",
        "Only texts with a double letter are affected.",
        "missing-term",
        "logits",
        _ctc,
    ),
    Fault(
        "gadwall",
        "ctc-way-back-from-the-padding",
        "ctc",
        "_occupancy",
        "t_back = np.where(real_frame, a.lengths[:, None] - 1 - frames, frames)",
        "t_back = np.broadcast_to(T - 1 - frames, (B, T))",
        "The way back begins at the last frame of the batch and not at the last one of the row.",
        "For the longest sound of each batch it is right.",
        "missing-term",
        "logits",
        _ctc,
    ),
    Fault(
        "phalarope",
        "ctc-counts-a-frame-twice",
        "ctc",
        "_occupancy",
        GAMMA,
        "gamma = np.exp(alpha + after + emitted - np.where(np.isfinite(log_p), log_p, 0)[:, None, None])",
        "α and β both contain the probability of frame t, and one of them must be divided out.",
        "γ is largest at the right places, only too small.",
        "missing-term",
        "logits",
        _ctc,
    ),
    Fault(
        "wigeon",
        "ctc-ignores-upstream",
        "ctc",
        "ctc_loss_backward",
        "return cache if dloss == 1 else cache * cache.dtype.type(dloss)",
        "return cache",
        "The upstream gradient of the loss is not multiplied in.",
        "It is 1 if the loss is the last step.",
        "upstream",
        "logits",
        _ctc,
    ),
)
