"""Choosing the next token from a model's logits, and choosing many in a row.

Nothing here knows what a GPT is: any ``logits, cache = model.forward(ids)`` will do.
"""

import codecs
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Protocol

import numpy as np

from numpylm.functional import softmax
from numpylm.module import Array, Cache


class LanguageModel(Protocol):
    """What `generate` needs of a model."""

    def forward(self, ids: Array) -> tuple[Array, Cache]: ...


def next_token_probabilities(
    logits: Array, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Array:
    """The distribution that the next token is drawn from.

    Parameters
    ----------
    logits : array (V,)
    temperature : float >= 0
        Logits are divided by it: below 1 sharpens, above 1 flattens, 0 puts all weight on the largest.
    top_k : int >= 1, optional
        Keep only the k likeliest tokens.
    top_p : float in (0, 1], optional
        Nucleus sampling (Holtzman et al. 2020, arXiv:1904.09751, equations 2-3): after temperature and top_k,
        keep the smallest set of likeliest tokens whose probabilities reach p, the one that crosses included.

    Returns
    -------
    p : float64 array (V,)
        Sums to 1; equal logits are kept in the order of their ids.
    """
    if not (temperature >= 0 and np.isfinite(temperature)):
        raise ValueError(f"temperature must be a number >= 0, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must lie in (0, 1], got {top_p}")
    z = logits.astype(np.float64)
    if not np.isfinite(z).all():
        raise ValueError("the model's logits are not finite: has its training diverged?")
    if temperature == 0:
        temperature, top_k = 1.0, 1
    order = np.argsort(-z, kind="stable")  # likeliest first
    kept = order[:top_k]
    p, _ = softmax(z[kept] / temperature)
    if top_p is not None and top_p < 1:
        before = np.cumsum(p) - p  # probability of everything likelier; 0 for the first, which always stays
        p = p[before < top_p]
        p, kept = p / p.sum(), kept[: len(p)]
    full = np.zeros_like(z)
    full[kept] = p
    return full


def generate(
    model: LanguageModel,
    ids: Iterable[int],
    max_new_tokens: int,
    block_size: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    rng: np.random.Generator | None = None,
    stop_ids: Collection[int] = (),
) -> Iterator[int]:
    """Yield new tokens one at a time, each conditioned on all before it that fit in the window.

    A prompt longer than ``block_size`` is cut at its left end, and the window slides as tokens are added.
    Generation ends after ``max_new_tokens``, or after a token in ``stop_ids`` (which is yielded).
    """
    window = [int(i) for i in ids][-block_size:]
    if not window:
        raise ValueError("generate needs at least one token to start from")
    next_token_probabilities(np.zeros(2), temperature, top_k, top_p)  # complain now, not at the first token
    rng = rng or np.random.default_rng()

    def stream() -> Iterator[int]:
        context = list(window)
        for _ in range(max_new_tokens):
            logits, _ = model.forward(np.array([context[-block_size:]]))  # (1, T, V)
            p = next_token_probabilities(logits[0, -1], temperature, top_k, top_p)
            token = int(rng.choice(len(p), p=p))
            yield token
            if token in stop_ids:
                return
            context.append(token)

    return stream()


def stream_text(tokens: Iterable[int], token_bytes: Callable[[int], bytes]) -> Iterator[str]:
    """Turn tokens into text as they come, holding back bytes of a character that is not complete yet.

    The pieces join to exactly what decoding all tokens at once would give.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in tokens:
        if piece := decoder.decode(token_bytes(token)):
            yield piece
    if piece := decoder.decode(b"", final=True):
        yield piece


def printable(text: str) -> str:
    """Text that is safe for a terminal: control characters, but for line ends and tabs, become U+FFFD.

    A model that has not learnt much yet may well write an escape sequence that clears the screen.
    """
    return "".join(c if c in "\n\t" or not unicodedata.category(c).startswith("C") else "\ufffd" for c in text)
