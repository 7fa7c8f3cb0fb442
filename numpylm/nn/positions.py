"""Sinusoidal positions: each position as sines and cosines of many wavelengths (Vaswani et al. 2017, section 3.5)."""

import numpy as np
from numpy.typing import DTypeLike

from numpylm.nn.module import Array


def sinusoidal(length: int, n_embd: int, layout: str = "interleaved", dtype: DTypeLike = np.float32) -> Array:
    """The vectors that are added to the token embeddings: array (length, C).

        PE[t, 2i] = sin(t / 10000^(2i/C)),    PE[t, 2i+1] = cos(t / 10000^(2i/C))

    Parameters
    ----------
    length : int
        Number of positions, t = 0 … length - 1.
    n_embd : int
        C; must be even.
    layout : {"interleaved", "halves"}
        "interleaved" is the paper's formula. In "halves", all sines come first and then all cosines, as in the authors'
        code and in Marian's files. The channels are the same, in another order.

    Notes
    -----
    The wavelengths grow from 2π to 10000 · 2π. A shift by k positions rotates each pair (sin, cos) by a fixed angle:

        sin((t + k) w) = sin(t w) cos(k w) + cos(t w) sin(k w)

    so relative positions are linear functions of these vectors. They are constants: nothing is learned, and adding them
    passes a gradient on unchanged.
    """
    if n_embd % 2:
        raise ValueError(f"sinusoidal positions are pairs of channels: n_embd must be even, got {n_embd}")
    if layout not in ("interleaved", "halves"):
        raise ValueError(f'layout must be "interleaved" or "halves", got {layout!r}')
    wavelengths = 10000 ** (np.arange(0, n_embd, 2) / n_embd)  # (C/2,), divided by 2π
    angles = np.arange(length)[:, None] / wavelengths  # (length, C/2)
    pairs = np.stack([np.sin(angles), np.cos(angles)], axis=-1 if layout == "interleaved" else 1)
    return pairs.reshape(length, n_embd).astype(dtype)
