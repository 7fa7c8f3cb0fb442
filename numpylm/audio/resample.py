"""Changing the sampling rate by a rational factor: a windowed-sinc filter in polyphase form, for streams too"""

import functools
import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

ZEROS = 48  # zero crossings of the sinc on each side, at the lower of the two rates
STOPBAND = 82.0  # dB by which everything that would alias is damped; Kaiser's formula may miss it by 1 dB
COLUMNS = 128  # outputs of one matrix product, at most
COPIED = 1 << 19  # inputs that are copied for one product: 2 MB
LONGEST = 1 << 23  # taps of a filter; coprime rates above 87 kHz would need more
FURTHEST = 100  # times one rate may be the other, which bounds the size of the matrices


@functools.lru_cache(maxsize=8)
def lowpass(up: int, down: int) -> np.ndarray:
    """The filter between inserting ``up - 1`` zeros after each sample and keeping one sample in ``down``.

    A sampled sound holds only frequencies below half its rate (Nyquist). Whatever lies above half the *lower* rate
    would appear at a wrong frequency (alias), so it is filtered out. The ideal filter is a sinc of infinite length. We
    multiply it by a Kaiser window, whose parameter β sets the damping A, and whose length sets the width of the
    transition (Kaiser 1974; Oppenheim & Schafer, Discrete-Time Signal Processing, section 7.6):

        β = 0.1102 (A - 8.7),    Δω = (A - 7.95) / (2.285 L)    for L taps.

    With 48 zero crossings on each side and A = 82 dB, the filter passes 89 % of the band and stops all above it.

    Returns
    -------
    float64 array of shape (2 K + 1,), K = 48 max(up, down)
        Symmetric, so that it delays nothing. Its sum is ``up``.
    """
    wide = max(up, down)
    K = ZEROS * wide
    if 2 * K + 1 > LONGEST:
        raise ValueError(
            f"cannot resample by {up}/{down}: the filter would have {2 * K + 1:,} taps. Resample to a usual rate first"
        )
    n = np.arange(-K, K + 1)
    transition = (STOPBAND - 7.95) / (2.285 * 2 * ZEROS) / math.pi  # as a share of the lower band
    cutoff = (1 - transition / 2) / wide  # the stopband begins at the Nyquist frequency of the lower rate
    taps = np.sinc(cutoff * n) * np.kaiser(2 * K + 1, 0.1102 * (STOPBAND - 8.7))
    return taps * (up / taps.sum())


@functools.lru_cache(maxsize=8)
def polyphase(up: int, down: int) -> tuple[list[tuple[int, np.ndarray]], int]:
    """The filter as a few matrices that give one period of outputs.

    Output m lies at position m · down on the grid of the ``up``-fold rate, on which input i lies at i · up:

        y[m] = Σ_i h[m · down - i · up] x[i]

    So h is needed at one phase in ``up`` only, and zeros are never multiplied. Since y[m + up] uses the same weights as
    y[m], but ``down`` inputs later, a period of outputs is a matrix product with a piece of the input.

    Returns
    -------
    matrices : list of (first, weights)
        ``weights`` (S, P) gives P outputs from S inputs. ``first`` is the first of these inputs, relative to the
        input at which the period begins. It may be negative.
    repeats : int
        A period has ``repeats · up`` outputs and ``repeats · down`` inputs.
    """
    h = lowpass(up, down)
    K = len(h) // 2
    repeats = max(1, COLUMNS // up)
    matrices = []
    for begin in range(0, repeats * up, COLUMNS):
        m = np.arange(begin, min(begin + COLUMNS, repeats * up))
        first, last = -((K - m[0] * down) // up), (m[-1] * down + K) // up
        at = m[None, :] * down - np.arange(first, last + 1)[:, None] * up  # (S, P)
        weights = np.where(np.abs(at) <= K, h[np.clip(at + K, 0, 2 * K)], 0)
        matrices.append((int(first), weights.astype(np.float32)))
    return matrices, repeats


class Resampler:
    """Resample a sound that comes in pieces. The result is that of resampling it at once.

    Parameters
    ----------
    from_rate, to_rate : int
        Samples a second. Only their ratio matters.
    """

    def __init__(self, from_rate: int, to_rate: int) -> None:
        if from_rate < 1 or to_rate < 1:
            raise ValueError(f"sampling rates must be positive, not {from_rate} and {to_rate}")
        if max(from_rate, to_rate) > FURTHEST * min(from_rate, to_rate):
            raise ValueError(
                f"cannot resample from {from_rate} to {to_rate} Hz: more than {FURTHEST} times the other rate"
            )
        divisor = math.gcd(from_rate, to_rate)
        self.up, self.down = to_rate // divisor, from_rate // divisor
        self.matrices, self.repeats = polyphase(self.up, self.down)
        self.before = max(-first for first, _ in self.matrices)  # inputs before a period that it needs
        self.after = max(first + len(weights) for first, weights in self.matrices)  # inputs from its start on
        self.kept = np.zeros(self.before, dtype=np.float32)  # inputs that are still needed; zeros before the first
        self.received = self.given = 0

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Take in samples, and return the outputs that they complete: float32, shapes (n,) and (m,)."""
        self.received += len(samples)
        return self._outputs(samples)

    def finish(self) -> np.ndarray:
        """The remaining outputs: as many as bring the total to ⌈received · up / down⌉."""
        total = -(-self.received * self.up // self.down)
        zeros = np.zeros(self.after + self.repeats * self.down, dtype=np.float32)
        return self._outputs(zeros, total - self.given)

    def _outputs(self, samples: np.ndarray, most: int | None = None) -> np.ndarray:
        self.kept = np.concatenate([self.kept, samples.astype(np.float32, copy=False)])
        step, width = self.repeats * self.down, self.before + self.after
        periods = max(0, (len(self.kept) - width) // step + 1)
        if not periods:
            return np.zeros(0, dtype=np.float32)
        out = np.empty((periods, self.repeats * self.up), dtype=np.float32)
        windows = sliding_window_view(self.kept, width)[: periods * step : step]  # (periods, width), a view
        rows = max(1, COPIED // width)
        for row in range(0, periods, rows):  # rows overlap, so that the product needs a copy
            inputs, column = np.ascontiguousarray(windows[row : row + rows]), 0
            for first, weights in self.matrices:
                begin, (S, P) = self.before + first, weights.shape
                np.matmul(inputs[:, begin : begin + S], weights, out=out[row : row + rows, column : column + P])
                column += P
        self.kept = self.kept[periods * step :].copy()
        flat = out.reshape(-1)[:most]
        self.given += len(flat)
        return flat


def resample(samples: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Change the sampling rate of a sound.

    Parameters
    ----------
    samples : float array of shape (N,)
    from_rate, to_rate : int
        Samples a second before and after.

    Returns
    -------
    float32 array of shape (⌈N · to_rate / from_rate⌉,)
    """
    if from_rate == to_rate:
        return samples.astype(np.float32, copy=False)
    resampler = Resampler(from_rate, to_rate)
    return np.concatenate([resampler.push(samples), resampler.finish()])
