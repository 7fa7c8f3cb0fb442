"""Formants: resonances of the vocal tract as filters that change with time, computed for all frames at once"""

import numpy as np

from numpylm.audio.mel import RATE

HOP, WINDOW, N_FFT = 128, 256, 1024  # samples: a new filter every 8 ms; 48 ms remain for a resonance to die away


def resonator(frequency: np.ndarray, width: np.ndarray) -> np.ndarray:
    """The denominator of a digital resonator (Klatt 1980, equations 1 and 2).

    A formant is a resonance of the air in the vocal tract. After a push it rings at its frequency F, and its amplitude
    falls as exp(-πWt), where W is its bandwidth. At R samples a second, that is a pair of complex poles at r exp(±iθ)
    with r = exp(-πW/R) and θ = 2πF/R:

        H(z) = a / (1 - 2 r cos θ z⁻¹ + r² z⁻²),    a = 1 - 2 r cos θ + r², so that H = 1 at 0 Hz.

    Parameters
    ----------
    frequency, width : float arrays of shape (T,), in Hz

    Returns
    -------
    float array of shape (T, 3): (1, -2 r cos θ, r²) / a
    """
    r = np.exp(-np.pi * width / RATE)
    middle = -2 * r * np.cos(2 * np.pi * frequency / RATE)
    coefficients = np.stack([np.ones_like(r), middle, r * r], axis=-1)  # (T, 3)
    return coefficients / coefficients.sum(axis=-1, keepdims=True)


def cascade(sections: list[np.ndarray]) -> np.ndarray:
    """Multiply polynomials in z⁻¹, frame by frame: sections (T, n) to (T, N). Filters in a row multiply."""
    product = sections[0]
    for section in sections[1:]:
        longer = np.zeros((len(product), product.shape[1] + section.shape[1] - 1))
        for n in range(section.shape[1]):
            longer[:, n : n + product.shape[1]] += product * section[:, n : n + 1]
        product = longer
    return product


def filtered(sources: list[np.ndarray], filters: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Filter sounds, each with its own filter that changes with time, and add the results.

    A source is cut into overlapping frames. Their Hann windows add up to 1. Each frame is multiplied, in the frequency
    domain, by the response of its filter, and the results overlap again (overlap-add). So from one frame to the next a
    filter fades into the other, and no loop over samples is needed.

        y = Σ_t shift_t( irfft( rfft(w · x_t) B_t / A_t ) )

    Parameters
    ----------
    sources : list of float arrays of shape (128 (T - 1),)
    filters : list of (B, A), each of shape (T, n): numerators and denominators

    Returns
    -------
    float32 array of shape (128 (T - 1),)
    """
    T = len(filters[0][0])
    window = np.sin(np.pi * np.arange(WINDOW) / WINDOW).astype(np.float32) ** 2
    spectrum = np.zeros((T, N_FFT // 2 + 1), dtype=np.complex64)
    for source, (numerator, denominator) in zip(sources, filters, strict=True):
        padded = np.zeros((T + 1) * HOP, dtype=np.float32)
        padded[HOP : HOP + len(source)] = source
        frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP] * window  # (T, 256)
        response = np.fft.rfft(numerator, N_FFT) / np.fft.rfft(denominator, N_FFT)  # (T, 513)
        spectrum += np.fft.rfft(frames, N_FFT) * response.astype(np.complex64)
    pieces = np.fft.irfft(spectrum, N_FFT).astype(np.float32)  # (T, 1024)
    blocks = N_FFT // HOP
    out = np.zeros((T + blocks, HOP), dtype=np.float32)
    for n in range(blocks):
        out[n : n + T] += pieces[:, n * HOP : (n + 1) * HOP]
    return out.reshape(-1)[HOP : HOP + (T - 1) * HOP]
