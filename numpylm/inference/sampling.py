"""Sampling the next token from logits: temperature, top-k, top-p, min-p and repetition penalty."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from numpylm.nn.functional import softmax
from numpylm.nn.module import Array

SAMPLING_OPTIONS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def next_token_probabilities(
    logits: Array,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    previous: Sequence[int] = (),
) -> Array:
    """The distribution from which the next token is sampled. The options apply in the order of this list.

    Parameters
    ----------
    logits : array (V,)
    repetition_penalty : float > 0
        Positive logits of tokens in ``previous`` are divided by it, negative ones are multiplied by it. Above 1, the
        text repeats itself less (Keskar et al. 2019, arXiv:1909.05858, section 4.1).
    temperature : float >= 0
        Logits are divided by it. Below 1 it sharpens the distribution, above 1 it flattens it, and 0 means greedy
        decoding: the most likely token has probability 1.
    top_k : int >= 1, optional
        Keep only the k most likely tokens.
    top_p : float in (0, 1], optional
        Nucleus sampling (Holtzman et al. 2020, arXiv:1904.09751, equations 2-3): keep the smallest set of the most
        likely tokens whose total probability is at least p.
    min_p : float in [0, 1], optional
        Keep the tokens that are at least ``min_p`` times as likely as the most likely token (Nguyen et al. 2024,
        arXiv:2407.01082, section 3). This keeps many tokens when the model is unsure, and few when it is certain.
    previous : sequence of int
        Tokens of the text so far, for the repetition penalty.

    Returns
    -------
    p : float64 array (V,)
        Sums to 1. If top-k or top-p must choose among equal logits, smaller ids are kept.
    """
    check_sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    z = penalized(logits, previous, repetition_penalty)
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
    """Raise ValueError for an invalid option."""
    if not (temperature == 0 or 1e-6 <= temperature < math.inf):
        raise ValueError(f"temperature must be 0 or at least 1e-6, got {temperature}")
    if top_k is not None and (top_k < 1 or top_k != int(top_k)):
        raise ValueError(f"top_k must be a whole number of at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must lie in (0, 1], got {top_p}")
    if min_p is not None and not 0 <= min_p <= 1:
        raise ValueError(f"min_p must lie in [0, 1], got {min_p}")
    if not 0.01 <= repetition_penalty <= 100:
        raise ValueError(f"repetition_penalty must lie in [0.01, 100] (1: none), got {repetition_penalty}")


def penalized(logits: Array, previous: Sequence[int], penalty: float) -> Array:
    """Logits as float64, with a repetition penalty on the tokens in ``previous``."""
    z = logits.astype(np.float64)
    check_largest_logit(z.max())
    if penalty != 1 and len(previous):
        seen = np.unique(np.asarray(previous, np.intp))
        z[seen] = np.where(z[seen] > 0, z[seen] / penalty, z[seen] * penalty)
    return z


def largest(z: Array, k: int) -> Array:
    """Indices of the k largest values of z (V,), in ascending order, without sorting z. Ties keep smaller indices."""
    if k >= len(z):
        return np.arange(len(z))
    threshold = np.partition(z, -k)[-k]
    above, equal = np.flatnonzero(z > threshold), np.flatnonzero(z == threshold)
    return np.sort(np.concatenate([above, equal[: k - len(above)]]))


def nucleus(p: Array, top_p: float) -> Array:
    """Indices of the smallest set of the most likely tokens whose total probability, from p (V,), reaches ``top_p``."""
    # Probabilities below (1 - top_p)/V add up to less than 1 - top_p, so none of these tokens is needed. Only the few
    # others have to be sorted.
    likely = np.flatnonzero(p >= (1 - top_p) / len(p))
    order = likely[np.argsort(-p[likely], kind="stable")]
    before = np.cumsum(p[order]) - p[order]  # total probability of all more likely tokens; 0 for the first, always kept
    return np.sort(order[before < top_p])


def sample_token(logits: Array, previous: Sequence[int], rng: np.random.Generator, **options: Any) -> int:
    """Sample one token; ``options`` are those of `next_token_probabilities`."""
    if options.get("temperature") == 0:  # greedy decoding needs no probabilities
        if options.get("repetition_penalty", 1.0) != 1:
            logits = penalized(logits, previous, options["repetition_penalty"])
        token = int(logits.argmax())
        check_largest_logit(logits[token])
        return token
    p = next_token_probabilities(logits, previous=previous, **options)
    return int(rng.choice(len(p), p=p))


def check_largest_logit(largest_logit: float) -> None:
    """Raise ValueError if the largest logit is NaN or infinite. (NumPy's max is NaN if any value is.)"""
    if not math.isfinite(largest_logit):
        raise ValueError("the model's logits are not finite: has its training diverged?")
