"""Choosing one token from a model's logits: temperature, top-k, top-p, min-p and repetition penalty."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from numpylm.nn.functional import softmax
from numpylm.nn.module import Array


def next_token_probabilities(
    logits: Array,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    previous: Sequence[int] = (),
) -> Array:
    """The distribution that the next token is drawn from. The options act in the order given here.

    Parameters
    ----------
    logits : array (V,)
    repetition_penalty : float > 0
        Logits of tokens in ``previous`` are divided by it where positive and multiplied by it where negative:
        above 1, the text repeats itself less (Keskar et al. 2019, arXiv:1909.05858, section 4.1).
    temperature : float >= 0
        Logits are divided by it: below 1 sharpens, above 1 flattens, 0 puts all weight on the largest.
    top_k : int >= 1, optional
        Keep only the k likeliest tokens.
    top_p : float in (0, 1], optional
        Nucleus sampling (Holtzman et al. 2020, arXiv:1904.09751, equations 2-3): keep the smallest set of
        likeliest tokens whose probabilities reach p, the one that crosses included.
    min_p : float in [0, 1], optional
        Keep the tokens that are at least ``min_p`` times as likely as the likeliest (Nguyen et al. 2024,
        arXiv:2407.01082, section 3): many where the model is unsure, few where it is certain.
    previous : sequence of int
        Tokens of the text so far, for the repetition penalty.

    Returns
    -------
    p : float64 array (V,)
        Sums to 1; equal logits are kept in the order of their ids.
    """
    check_sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    z = penalised(logits, previous, repetition_penalty)
    if temperature == 0:
        temperature, top_k = 1.0, 1
    kept = np.arange(len(z)) if top_k is None else largest(z, int(top_k))
    p, _ = softmax(z[kept] / temperature)
    if top_p is not None and top_p < 1:
        inside = nucleus(p, top_p)
        kept, p = kept[inside], p[inside]
    if min_p is not None:
        inside = p >= min_p * p.max()
        kept, p = kept[inside], p[inside]
    full = np.zeros_like(z)
    full[kept] = p / p.sum()
    return full


def check_sampling(
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
) -> None:
    """Raise ValueError for an option that means nothing."""
    if not (temperature == 0 or 1e-6 <= temperature < math.inf):
        raise ValueError(f"temperature must be 0 or a number from 1e-6 on, got {temperature}")
    if top_k is not None and (top_k < 1 or top_k != int(top_k)):
        raise ValueError(f"top_k must be a whole number of at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must lie in (0, 1], got {top_p}")
    if min_p is not None and not 0 <= min_p <= 1:
        raise ValueError(f"min_p must lie in [0, 1], got {min_p}")
    if not 0.01 <= repetition_penalty <= 100:
        raise ValueError(f"repetition_penalty must lie in [0.01, 100] (1: none), got {repetition_penalty}")


def penalised(logits: Array, previous: Sequence[int], penalty: float) -> Array:
    """Logits as float64, with a repetition penalty on the tokens in ``previous``."""
    z = logits.astype(np.float64)
    check_finite(z.max())
    if penalty != 1 and len(previous):
        seen = np.unique(np.asarray(previous, np.intp))
        z[seen] = np.where(z[seen] > 0, z[seen] / penalty, z[seen] * penalty)
    return z


def largest(z: Array, k: int) -> Array:
    """Indices of the k largest of z (V,), in ascending order; of equal ones, the first. Does not sort all of z."""
    if k >= len(z):
        return np.arange(len(z))
    threshold = np.partition(z, -k)[-k]
    above, equal = np.flatnonzero(z > threshold), np.flatnonzero(z == threshold)
    return np.sort(np.concatenate([above, equal[: k - len(above)]]))


def nucleus(p: Array, top_p: float) -> Array:
    """Indices of the smallest set of likeliest tokens whose probabilities p (V,) reach ``top_p``."""
    # All that are below (1 - top_p)/V add up to less than 1 - top_p: none of them is needed. Few are left to sort.
    likely = np.flatnonzero(p >= (1 - top_p) / len(p))
    order = likely[np.argsort(-p[likely], kind="stable")]
    before = np.cumsum(p[order]) - p[order]  # probability of everything likelier; 0 for the first, which always stays
    return np.sort(order[before < top_p])


def choose(logits: Array, previous: Sequence[int], rng: np.random.Generator, **options: Any) -> int:
    """Draw one token; ``options`` are those of `next_token_probabilities`."""
    if options.get("temperature") == 0:  # the likeliest token: no need for probabilities
        if options.get("repetition_penalty", 1.0) != 1:
            logits = penalised(logits, previous, options["repetition_penalty"])
        token = int(logits.argmax())
        check_finite(logits[token])
        return token
    p = next_token_probabilities(logits, previous=previous, **options)
    return int(rng.choice(len(p), p=p))


def check_finite(largest_logit: float) -> None:
    """Complain about NaN, which every comparison takes for the largest, and infinity."""
    if not math.isfinite(largest_logit):
        raise ValueError("the model's logits are not finite: has its training diverged?")
