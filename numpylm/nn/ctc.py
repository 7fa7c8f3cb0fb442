"""Connectionist temporal classification (CTC): the loss of all alignments of a short text with a long sound."""

from typing import NamedTuple

import numpy as np

from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.module import Array, Cache


class Alignment(NamedTuple):
    """What the recursions need to know about the targets of a batch."""

    labels: Array  # l', int (B, 2S + 1): a blank before, between and after the labels
    lengths: Array  # frames of each sound, int (B,)
    last: Array  # the last place of each l', int (B,): twice the number of its labels


def ctc_loss(
    logits: Array,
    targets: Array,
    lengths: Array | None = None,
    ignore_index: int = IGNORE_INDEX,
    count: int | None = None,
    blank: int = 0,
    zero_infinity: bool = False,
) -> tuple[float, Cache]:
    """Negative log-likelihood of label sequences that are shorter than the sequence of frames, in nats per label.

        L = -1/n Σ_b ln p(l_b | x_b),    p(l | x) = Σ over all paths π with B(π) = l of Π_t y_t(π_t)    (equation 3)

    y_t = softmax(logits_t). A path has one label or blank for each frame. B merges repeated labels, then removes the
    blanks: B(aa-ab) = aab.

    Parameters
    ----------
    logits : array (B, T, V), floating point
        Unnormalized log-probabilities of V - 1 labels and the blank, for each frame. Not changed.
    targets : int array (B, S)
        l, padded at its end with ``ignore_index``. A row may be empty.
    lengths : int array (B,), optional
        The number of real frames of each row, 1 … T. Default: all are real.
    count : int, optional
        n, as in `cross_entropy`. Default: the number of labels in ``targets``.
    blank : int
        The id of the blank. The default is torch's.
    zero_infinity : bool
        A target is impossible if it has more labels than there are frames, where a label that repeats its neighbor
        counts twice (it needs a blank before it). Then p = 0. False: the loss is inf, and the gradient of this row is
        NaN. True: the row adds 0 to the loss and has gradient 0, as in torch.

    Returns
    -------
    loss : float
    cache : array, logits' shape
        dL/dlogits; 0 for the frames after a row's length.

    Raises
    ------
    ValueError
        If shapes do not match, a length lies outside 1 … T, or a target is no label.

    Notes
    -----
    Let l' be l with a blank before, between and after its labels. α_t(s) is the probability of all paths through frames
    1 … t that end at l'_s. A path stays, moves by one place, or skips a blank between two different labels:

        α_t(s) = y_t(l'_s) (α_{t-1}(s) + α_{t-1}(s-1) + [l'_s ≠ blank, l'_s ≠ l'_{s-2}] α_{t-1}(s-2))  (equations 6, 7)

    It begins with the first blank or the first label, and ends with the last label or the last blank (equation 8).
    β_t(s), of the frames t … T, is the α of the reversed problem: the last frame and the last place come first
    (equations 10, 11). Both contain y_t, so each frame gives p(l | x) = Σ_s α_t(s) β_t(s) / y_t(l'_s) (equation 14).

    The gradient: ∂p/∂y_t(k) sums α β / y² over the places with l'_s = k, since each of its paths has the factor y_t(k)
    once at frame t. Let γ_t(s) = α_t(s) β_t(s) / (y_t(l'_s) p(l | x)), the probability that the path is at s. Then
    -∂ln p/∂ln y_t(k) = -Σ_{l'_s = k} γ_t(s). With ∂ln y(k)/∂z(j) = [j = k] - y(j), and Σ_s γ_t(s) = 1,

        ∂(-ln p)/∂z_t(k) = y_t(k) - Σ_{l'_s = k} γ_t(s)    (equation 16).

    All products are sums of logarithms, in float64: the probability of a path of 300 frames is below the smallest
    float32. The paper scales α and β at each frame instead.
    """
    lengths = np.full(len(logits), logits.shape[1]) if lengths is None else np.asarray(lengths)
    _check(logits, targets, lengths, ignore_index, blank)
    n = int((targets != ignore_index).sum()) if count is None else count
    a = _alignment(targets, lengths, ignore_index, blank)
    log_y = logits - logits.max(axis=-1, keepdims=True).astype(np.float64)
    log_y -= np.log(np.exp(log_y).sum(axis=-1, keepdims=True))  # (B, T, V)
    log_p, occupied = _occupancy(log_y, a)  # (B,), (B, T, 2S + 1)
    possible = np.isfinite(log_p)
    loss = float(-log_p[possible | (not zero_infinity)].sum()) / max(n, 1)
    grad = np.exp(log_y) - occupied @ np.eye(logits.shape[-1])[a.labels]  # (B, T, V)
    grad /= max(n, 1)
    grad[np.arange(logits.shape[1]) >= lengths[:, None]] = 0
    grad[~possible] = 0 if zero_infinity else np.nan
    return loss, grad.astype(logits.dtype)


def ctc_loss_backward(dloss: float, cache: Cache) -> Array:
    """Gradient of `ctc_loss`: dlogits = dloss · (y - Σ γ) / n, which the forward has already computed."""
    return cache if dloss == 1 else cache * cache.dtype.type(dloss)


def _occupancy(log_y: Array, a: Alignment) -> tuple[Array, Array]:
    """ln p(l | x) (B,), and γ (B, T, 2S + 1): the probability that a path with these labels is at s in frame t."""
    B, T, _ = log_y.shape
    rows, frames, places = np.arange(B), np.arange(T), np.arange(a.labels.shape[1])
    emitted = np.take_along_axis(log_y, a.labels[:, None], axis=2)  # ln y_t(l'_s), (B, T, 2S + 1)
    # The way back: frames and places in reverse order, each row within its own length. Padding stays where it is.
    real_frame, real_place = frames < a.lengths[:, None], places <= a.last[:, None]
    t_back = np.where(real_frame, a.lengths[:, None] - 1 - frames, frames)  # (B, T)
    s_back = np.where(real_place, a.last[:, None] - places, places)  # (B, 2S + 1)
    back = rows[:, None, None], t_back[:, :, None], s_back[:, None]
    both_ways = np.concatenate([emitted, emitted[back]])  # (2B, T, 2S + 1), one recursion for α and β
    labels = np.concatenate([a.labels, np.take_along_axis(a.labels, s_back, axis=1)])
    before, after = np.split(_arrivals(both_ways, labels), 2)
    after = after[back]  # ln β_t(s) - ln y_t(l'_s)
    alpha = before + emitted
    ends = alpha[rows, a.lengths - 1]  # (B, 2S + 1)
    last_label = np.where(a.last > 0, ends[rows, a.last - 1], -np.inf)  # an empty target has only the blank
    log_p = np.logaddexp(ends[rows, a.last], last_label)
    gamma = np.exp(alpha + after - np.where(np.isfinite(log_p), log_p, 0)[:, None, None])
    return log_p, gamma * (real_frame[:, :, None] & real_place[:, None])


def _arrivals(emitted: Array, labels: Array) -> Array:
    """ln α_t(s) - ln y_t(l'_s), the sum in the recursion before the factor of frame t: (B, T, S')."""
    skip = np.full(labels.shape, -np.inf)
    skip[:, 3::2] = np.where(labels[:, 3::2] == labels[:, 1:-2:2], -np.inf, 0.0)  # labels have odd places
    arrive = np.full(emitted.shape, -np.inf)
    arrive[:, 0, :2] = 0
    for t in range(1, emitted.shape[1]):
        alpha = arrive[:, t - 1] + emitted[:, t - 1]  # (B, S')
        now = alpha.copy()
        now[:, 1:] = np.logaddexp(now[:, 1:], alpha[:, :-1])
        now[:, 2:] = np.logaddexp(now[:, 2:], alpha[:, :-2] + skip[:, 2:])
        arrive[:, t] = now
    return arrive


def _alignment(targets: Array, lengths: Array, ignore_index: int, blank: int) -> Alignment:
    """The labels with blanks between them. Places after the end of a row hold blanks, too."""
    labels = np.full((len(targets), 2 * targets.shape[1] + 1), blank)
    labels[:, 1::2] = np.where(targets == ignore_index, blank, targets)
    return Alignment(labels, lengths, 2 * (targets != ignore_index).sum(axis=1))


def _check(logits: Array, targets: Array, lengths: Array, ignore_index: int, blank: int) -> None:
    """Raise ValueError for arrays that do not fit together."""
    if logits.ndim != 3 or targets.ndim != 2 or len(targets) != len(logits) or lengths.shape != (len(logits),):
        raise ValueError(
            f"ctc_loss needs logits (B, T, V), targets (B, S) and lengths (B,), got {logits.shape}, {targets.shape} "
            f"and {lengths.shape}"
        )
    T, V = logits.shape[1:]
    if not 0 <= blank < V:
        raise ValueError(f"ctc_loss: blank must be one of the {V} ids of the logits, got {blank}")
    if (lengths < 1).any() or (lengths > T).any():
        raise ValueError(f"ctc_loss: lengths must lie in 1 … {T}, the number of frames, got {lengths.tolist()}")
    counted = targets != ignore_index
    bad = counted & ((targets < 0) | (targets >= V) | (targets == blank))
    if bad.any():
        raise ValueError(
            f"ctc_loss: target {targets[bad][0]} is no label: labels lie in [0, {V}) and are not the blank, {blank}"
        )
    if (counted[:, 1:] & ~counted[:, :-1]).any():
        raise ValueError(f"ctc_loss: padding ({ignore_index}) must follow the labels of a row, not stand between them")
