"""Positions as angles: sinusoidal vectors that are added (2017), and rotary ones that turn queries and keys (2021)."""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numpylm.nn.module import Array, Cache, Module

LAYOUTS = ("interleaved", "halves")


def sinusoidal(
    length: int,
    n_embd: int,
    layout: str = "interleaved",
    dtype: DTypeLike = np.float32,
    *,
    longest_included: bool = False,
) -> Array:
    """The vectors that are added to the token embeddings: array (length, C).

        PE[t, 2i] = sin(t / 10000^(2i/C)),    PE[t, 2i+1] = cos(t / 10000^(2i/C))

    Parameters
    ----------
    length : int
        Number of positions, t = 0 … length - 1.
    n_embd : int
        C; must be even.
    layout : {"interleaved", "halves"}
        "interleaved" is the paper's formula. In "halves", all sines come first and then all cosines, as in Marian's
        files. The channels are the same, in another order.
    longest_included : bool
        Whisper's variant: the wavelengths grow up to 10000 · 2π itself, with 2i/(C-2) as the exponent.

    Notes
    -----
    The wavelengths grow from 2π to 10000 · 2π. A shift by k positions rotates each pair (sin, cos) by a fixed angle:

        sin((t + k) w) = sin(t w) cos(k w) + cos(t w) sin(k w)

    so relative positions are linear functions of these vectors. They are constants: nothing is learned, and adding them
    passes a gradient on unchanged.
    """
    if n_embd % 2:
        raise ValueError(f"sinusoidal positions are pairs of channels: n_embd must be even, got {n_embd}")
    _check_layout(layout)
    span = max(n_embd - 2, 1) if longest_included else n_embd
    wavelengths = 10000 ** (np.arange(0, n_embd, 2) / span)  # (C/2,), divided by 2π
    angles = np.arange(length)[:, None] / wavelengths  # (length, C/2)
    pairs = np.stack([np.sin(angles), np.cos(angles)], axis=-1 if layout == "interleaved" else 1)
    return pairs.reshape(length, n_embd).astype(dtype)


class Rotary(Module):
    """Rotary positions: turn each pair of channels by an angle that grows with the position (RoPE: Su et al. 2021).

        [y_1]   [cos a  -sin a] [x_1]
        [y_2] = [sin a   cos a] [x_2],      a = t θ_i at position t, for pair i   (arXiv:2104.09864, equation 34)

    Queries and keys are turned before their dot products are taken. A turn by a of one and by b of the other changes
    their dot product exactly as a turn by a - b of one alone: (R_a q)·(R_b k) = (R_{a-b} q)·k. So the score of query t
    and key s depends on the distance t - s, and on no absolute position.

    Parameters
    ----------
    dim : int
        D, channels of one head; must be even.
    base : float
        θ_i = base^(-2i/D). The first pair turns fastest, by one radian each position.
    layout : {"halves", "interleaved"}
        Which channels are a pair: i and i + D/2, as in transformers' Llama; or 2i and 2i + 1, as in the paper and in
        Meta's own Llama files.
    scaling : dict, optional
        Slower angles for texts longer than those of the training; see `rotary_frequencies`.

    Notes
    -----
    y = R x with a rotation R for each position. R has no parameters, and its transpose is its inverse. So

        dx = Rᵀ dy:        dx_1 = cos a dy_1 + sin a dy_2,    dx_2 = -sin a dy_1 + cos a dy_2.

    The backward is the same rotation by the opposite angle.
    """

    constants = ("frequencies",)  # not trained: gradcheck expects no gradient for it

    def __init__(
        self, dim: int, base: float = 10000.0, layout: str = "halves", scaling: Mapping[str, Any] | None = None
    ) -> None:
        _check_layout(layout)
        self.layout = layout
        self.frequencies = rotary_frequencies(dim, base, scaling)  # θ (D/2,)

    def forward(self, x: Array, positions: Array) -> tuple[Array, Cache]:
        """x (B, H, T, D), positions int (T,) or (B, T) -> y (B, H, T, D)."""
        different, which = positions, None
        if positions.ndim == 2:  # rows share most of their positions: each cosine is computed once
            different, which = np.unique(positions, return_inverse=True)  # (N,) with N <= B T
            which = which.reshape(len(positions), 1, -1)  # (B, 1, T)
        angles = different[:, None] * self.frequencies  # (T, D/2) or (N, D/2)
        cos, sin = np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)
        if which is not None:
            cos, sin = cos[which], sin[which]  # (B, 1, T, D/2)
        return rotated(x, cos, sin, self.layout), (cos, sin)

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dy (B, H, T, D) -> dx: the rotation by the opposite angle."""
        cos, sin = cache
        return rotated(dy, cos, -sin, self.layout)


def rotated(x: Array, cos: Array, sin: Array, layout: str) -> Array:
    """Turn the pairs of channels of x (..., T, D) by angles with these cosines and sines (..., T, D/2)."""
    half = x.shape[-1] // 2
    first, second = (slice(half), slice(half, None)) if layout == "halves" else (slice(0, None, 2), slice(1, None, 2))
    y = np.empty_like(x)
    y[..., first] = x[..., first] * cos - x[..., second] * sin
    y[..., second] = x[..., first] * sin + x[..., second] * cos
    return y


def rotary_frequencies(dim: int, base: float = 10000.0, scaling: Mapping[str, Any] | None = None) -> Array:
    """θ (D/2,), in radians per position.

    ``scaling`` is what config.json calls rope_scaling. Two kinds are computed here:

    - "linear" divides all angles by ``factor``, as if positions were closer together (Chen et al. 2023,
      arXiv:2306.15595, equation 4);
    - "llama3" divides only slow ones, those with a wavelength above original_max_position_embeddings / low_freq_factor.
      Fast ones, with a wavelength below original_max_position_embeddings / high_freq_factor, stay. In between, the two
      are mixed (Llama 3.1's published code).

    Raises
    ------
    ValueError
        If ``dim`` is odd, the kind of scaling is another one, or one of its numbers is missing or impossible.
    """
    if dim % 2:
        raise ValueError(f"rotary positions turn pairs of channels: a head must have an even number, got {dim}")
    theta = base ** (-np.arange(0, dim, 2) / dim)  # (D/2,)
    scaling = scaling or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind == "default":
        return theta
    if kind == "linear":
        (factor,) = _numbers(scaling, kind, "factor")
        return theta / factor
    if kind != "llama3":
        raise ValueError(f'rope_scaling of the kind "{kind}" is not computed here; there are "linear" and "llama3"')
    names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    factor, low, high, old_length = _numbers(scaling, kind, *names)
    if high <= low:
        raise ValueError(f'rope_scaling "llama3": high_freq_factor must be above low_freq_factor={low}, got {high}')
    turns = old_length * theta / (2 * math.pi)  # full turns within the old context
    kept = np.clip((turns - low) / (high - low), 0, 1)  # 1: fast, unchanged; 0: slow, divided
    return kept * theta + (1 - kept) * theta / factor


def _numbers(scaling: Mapping[str, Any], kind: str, *names: str) -> list[float]:
    """The numbers of a scaling. Raise ValueError if one is missing or not above 0."""
    for name in names:
        value = scaling.get(name)
        if not isinstance(value, Real) or isinstance(value, bool) or not 0 < float(value) < math.inf:
            raise ValueError(f'rope_scaling "{kind}" needs {name}, a number above 0, got {value!r}')
    return [float(scaling[name]) for name in names]


def _check_layout(layout: str) -> None:
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be {' or '.join(map(repr, LAYOUTS))}, got {layout!r}")
