"""The loss of DPO on pairs of answers, and the log-probability of an answer, each with its backward."""

import numpy as np

from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.module import Array, Cache


def dpo_loss(
    policy_chosen: Array,
    policy_rejected: Array,
    reference_chosen: Array,
    reference_rejected: Array,
    beta: float = 0.1,
    count: int | None = None,
) -> tuple[float, Cache]:
    """The loss of direct preference optimization (Rafailov et al. 2023, arXiv:2305.18290, equation 7).

        L = -1/n Σ log σ(h),    h = β [(log π(y_w) - log π_ref(y_w)) - (log π(y_l) - log π_ref(y_l))]

    y_w is the chosen answer of a pair and y_l the rejected one, both to the same prompt. π is the model that is
    trained (the policy), π_ref the model that it began with. β times a difference in the round brackets is the
    implicit reward of an answer, so h is the margin between two rewards.

    Parameters
    ----------
    policy_chosen, policy_rejected : float array (P,)
        log π of the whole answers: sums over their tokens, not means. See `answer_log_prob`.
    reference_chosen, reference_rejected : float array (P,)
        log π_ref of the same answers. These are constants.
    beta : float
        β. The larger it is, the less the policy moves away from the reference.
    count : int, optional
        Divide by this instead of P: for a part of a batch, the number of pairs in the whole batch.

    Returns
    -------
    loss : float
        Nats per pair. It is log 2 while policy and reference are equal.
    cache

    Notes
    -----
    log σ(h) = -log(1 + exp(-h)), which logaddexp computes without overflow. Its derivative is σ(-h), so

        dh = -σ(-h) / n,    d log π(y_w) = β dh,    d log π(y_l) = -β dh.

    σ(-h) is near 1 for a pair in the wrong order and near 0 for one that is far apart already: a pair counts as much
    as it is wrong.
    """
    shapes = {np.shape(a) for a in (policy_chosen, policy_rejected, reference_chosen, reference_rejected)}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise ValueError(f"dpo_loss: four arrays (P,) with a number for each pair are needed, got {sorted(shapes)}")
    h = beta * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))  # (P,)
    n = len(h) if count is None else count
    return float(np.logaddexp(0, -h).sum()) / max(n, 1), (h, beta, n)


def dpo_loss_backward(dloss: float, cache: Cache) -> tuple[Array, Array]:
    """Gradient of `dpo_loss`: d policy_chosen and d policy_rejected, both (P,). The reference has none."""
    h, beta, n = cache
    dh = -np.exp(-np.logaddexp(0, h)) * (dloss / max(n, 1))  # exp(-log(1 + exp h)) = σ(-h)
    return beta * dh, -beta * dh


def answer_log_prob(logits: Array, targets: Array) -> tuple[Array, Cache]:
    """The log-probability of each row's counted targets: s_b = Σ_t log p[b, t, y_bt],    p = softmax(logits).

    Parameters
    ----------
    logits : float array (B, T, V)
    targets : int array (B, T)
        y, each in [0, V), or -100 where the token does not belong to the answer.

    Returns
    -------
    s : float64 array (B,)
        Nats. Sums of many tokens are added in float64, because DPO subtracts two of them that are nearly equal.
    cache

    Raises
    ------
    ValueError
        If shapes do not match or a target lies outside [0, V).

    Notes
    -----
    log p_y = z_y - log Σ_j exp z_j, so with the upstream gradient ds (B,)

        dz[b, t, j] = ds_b ([j = y_bt] - p[b, t, j])    where a target is counted, and 0 elsewhere.
    """
    V = logits.shape[-1]
    if logits.shape[:-1] != targets.shape or targets.ndim != 2:
        raise ValueError(f"answer_log_prob: logits (B, T, V) and targets (B, T), got {logits.shape}, {targets.shape}")
    counted = targets != IGNORE_INDEX  # (B, T)
    y = targets[counted]  # (N,)
    if y.size and (y.min() < 0 or y.max() >= V):
        bad = y[(y < 0) | (y >= V)][0]
        raise ValueError(f"answer_log_prob: target {bad} is outside [0, {V}); use {IGNORE_INDEX} for targets to ignore")
    z = logits[counted]  # (N, V), a copy of the rows that count
    z -= z.max(axis=-1, keepdims=True)
    z_y = z[np.arange(len(y)), y]
    p = np.exp(z, out=z)
    total = p.sum(axis=-1, keepdims=True)  # (N, 1)
    p /= total
    log_p = z_y - np.log(total[:, 0])
    rows = np.nonzero(counted)[0]  # (N,), the row of each counted target
    return np.bincount(rows, log_p, len(targets)), (p, y, counted, rows)


def answer_log_prob_backward(ds: Array, cache: Cache) -> Array:
    """Gradient of `answer_log_prob`: ds (B,) -> dlogits (B, T, V)."""
    p, y, counted, rows = cache
    weight = ds[rows].astype(p.dtype)  # (N,)
    dz = -weight[:, None] * p
    dz[np.arange(len(y)), y] += weight
    dlogits = np.zeros((*counted.shape, p.shape[-1]), p.dtype)
    dlogits[counted] = dz
    return dlogits
