"""Log-mel spectrograms as Whisper computes them: frames, Fourier transform, mel scale, logarithm"""

import functools

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

RATE = 16_000  # samples a second
N_FFT, HOP = 400, 160  # samples of a frame (25 ms) and between the starts of two frames (10 ms)
SECONDS = 30
N_SAMPLES = SECONDS * RATE  # of Whisper's input
BLOCK = 256  # frames that are transformed at once: what they need fits the processor's cache


def hz_to_mel(hz: np.ndarray | float) -> np.ndarray:
    """Frequencies in mel, by the formula of Slaney's Auditory Toolbox (1998).

    The ear separates low tones by their difference in Hz, and high tones by their ratio. So the scale is linear up to
    1000 Hz (15 mel, 200/3 Hz each) and logarithmic above (27 mel for each factor of 6.4).
    """
    hz = np.asarray(hz, dtype=np.float64)
    return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4))


def mel_to_hz(mel: np.ndarray | float) -> np.ndarray:
    """The inverse of `hz_to_mel`."""
    mel = np.asarray(mel, dtype=np.float64)
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((np.maximum(mel, 15) - 15) / 27))


@functools.cache
def mel_filters(n_mels: int = 80, rate: int = RATE, n_fft: int = N_FFT) -> np.ndarray:
    """Triangular filters that collect the bins of a spectrum into mel bands.

    The corners m₀ … mₙ₊₁ are equally spaced in mel from 0 to half the rate. Filter i rises from mᵢ to mᵢ₊₁ and falls to
    mᵢ₊₂ (in Hz). Its height is 2 / (mᵢ₊₂ - mᵢ), so all have the same area, and white noise gives equal bands.

    Returns
    -------
    float32 array of shape (n_mels, n_fft // 2 + 1); it is shared, so it cannot be written to
    """
    if n_mels < 1:
        raise ValueError(f"n_mels must be at least 1 (Whisper: 80 or 128), not {n_mels}")
    corners = mel_to_hz(np.linspace(0, hz_to_mel(rate / 2), n_mels + 2))[:, None]  # (n_mels + 2, 1)
    bins = np.linspace(0, rate / 2, n_fft // 2 + 1)  # (F,)
    left, middle, right = corners[:-2], corners[1:-1], corners[2:]
    rise, fall = (bins - left) / (middle - left), (right - bins) / (right - middle)  # (n_mels, F)
    filters = np.maximum(0, np.minimum(rise, fall)) * 2 / (right - left)
    filters = filters.astype(np.float32)
    filters.flags.writeable = False
    return filters


def pad_or_trim(samples: np.ndarray, length: int = N_SAMPLES) -> np.ndarray:
    """Make the last axis ``length`` long: Whisper reads exactly 30 seconds, and shorter sound is followed by zeros."""
    samples = samples[..., :length]
    missing = length - samples.shape[-1]
    return np.pad(samples, [(0, 0)] * (samples.ndim - 1) + [(0, missing)]) if missing else samples


def power_spectrum(samples: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """The power of each mel band in each frame.

    The short-time Fourier transform (STFT) cuts the sound into overlapping frames and transforms each of them. Within
    25 ms, speech hardly changes, so each frame has one spectrum. A frame that was cut out with sharp edges would have
    energy at all frequencies. The Hann window w[n] = sin²(πn/N) therefore fades each frame in and out.

        X[t, k] = Σ_n w[n] x[160 t + n] exp(-2πi k n / 400),    S[t, m] = Σ_k filters[m, k] |X[t, k]|²

    Parameters
    ----------
    samples : float32 array of shape (N,)
        Padded, so that the first frame begins with sample 0.
    filters : float32 array of shape (M, 201)

    Returns
    -------
    float32 array of shape (M, T), T = (N - 400) // 160 + 1
    """
    frames = sliding_window_view(samples, N_FFT)[::HOP]  # (T, 400), a view
    window = np.sin(np.pi * np.arange(N_FFT) / N_FFT).astype(np.float32) ** 2
    bands = np.empty((len(filters), len(frames)), dtype=np.float32)
    for start in range(0, len(frames), BLOCK):
        spectrum = np.fft.rfft(frames[start : start + BLOCK] * window)  # (t, 201) complex64
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        np.matmul(filters, power.T, out=bands[:, start : start + BLOCK])
    return bands  # (M, T)


def log_mel(samples: np.ndarray, n_mels: int = 80) -> np.ndarray:
    """The log-mel spectrogram of Whisper (Radford et al. 2022, arXiv:2212.04356, section 2.2).

    1. Mirror 200 samples at both ends, so that frame t is centered on sample 160 t.
    2. STFT and mel bands: see `power_spectrum` and `mel_filters`.
    3. log10. Loudness is heard as ratios, and speech covers many powers of ten. The logarithm also turns the product of
       source and vocal tract into a sum.
    4. Everything more than 8 powers of ten (80 dB) below the loudest value of the sound becomes that limit, because
       differences between nearly silent values mean nothing.
    5. (x + 4) / 4 brings the values to about [-1, 1], as a network's inputs should be.

    Parameters
    ----------
    samples : float array of shape (N,) or (B, N)
        16 kHz, in [-1, 1]. For Whisper, apply `pad_or_trim` first. Step 4 is done for each of the B sounds alone.
    n_mels : int
        80, or 128 for Whisper large-v3.

    Returns
    -------
    float32 array of shape (n_mels, N // 160) or (B, n_mels, N // 160)

    Raises
    ------
    ValueError
        If the samples are not floats, have NaN or infinite values, or are fewer than 201, which cannot be mirrored.
    """
    samples = np.asarray(samples)
    if not np.issubdtype(samples.dtype, np.floating):
        raise ValueError(f"samples must be floats in [-1, 1], not {samples.dtype}; divide 16-bit samples by 32768")
    if samples.ndim == 2:
        return np.stack([log_mel(one, n_mels) for one in samples])  # (B, M, T)
    if samples.ndim != 1:
        raise ValueError(f"samples must have the shape (N,) or (B, N), not {samples.shape}")
    if len(samples) <= N_FFT // 2:
        raise ValueError(f"a log-mel spectrogram needs more than {N_FFT // 2} samples at 16 kHz, not {len(samples)}")
    padded = np.pad(samples.astype(np.float32, copy=False), N_FFT // 2, mode="reflect")
    bands = power_spectrum(padded, mel_filters(n_mels))[:, : len(samples) // HOP]  # (M, T); the last frame is left out
    if not np.isfinite(bands).all():
        raise ValueError("samples have values that are NaN, infinite, or far outside [-1, 1]")
    np.log10(np.maximum(bands, 1e-10, out=bands), out=bands)
    np.maximum(bands, bands.max() - 8, out=bands)
    bands += 4
    bands /= 4
    return bands
