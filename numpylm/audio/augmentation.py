"""Augmentation: random changes of a sound that keep its words, so that a model learns from more than was recorded"""

import math
from fractions import Fraction

import numpy as np

from numpylm.audio.mel import RATE
from numpylm.audio.resample import resample
from numpylm.audio.wav import check_samples


def change_speed(samples: np.ndarray, factor: float) -> np.ndarray:
    """Play a sound faster or slower, so that its pitch and formants change too (Ko et al. 2015, "Audio augmentation").

    The sound is resampled as if it had been recorded at ``factor`` times its rate. The factor is rounded to hundredths,
    which keeps the resampler's filter short.

    Parameters
    ----------
    samples : float array of shape (N,)
    factor : float
        From 0.25 to 4; 1.1 is 10 % faster and about 10 % shorter.

    Returns
    -------
    float32 array of shape (⌈N / factor⌉,)
    """
    samples = check_samples(samples)
    if not 0.25 <= factor <= 4:
        raise ValueError(f"the speed must be between 0.25 and 4 times the original, not {factor}")
    ratio = Fraction(round(100 * factor), 100)
    return resample(samples, ratio.numerator, ratio.denominator)


def add_noise(samples: np.ndarray, snr: float, rng: np.random.Generator, noise: np.ndarray | None = None) -> np.ndarray:
    """Add noise at a given signal-to-noise ratio.

        SNR = 10 log10(mean x² / mean n²) dB,   so   n is scaled by √(mean x² / mean n² · 10^(-SNR/10)).

    Parameters
    ----------
    samples : float array of shape (N,)
    snr : float
        dB: at 20 noise is heard but does not disturb, at 0 it is as loud as the sound.
    rng : Generator
    noise : float array of shape (M,), optional
        A recording, of which a random part is used; it is repeated if it is too short. By default white noise.

    Returns
    -------
    float32 array of shape (N,)
    """
    samples = check_samples(samples)
    if not math.isfinite(snr):
        raise ValueError(f"the ratio of signal to noise must be a number, and it is {snr} dB")
    N = len(samples)
    if noise is None:
        noise = rng.standard_normal(N)
    else:
        start = int(rng.integers(len(check_samples(noise, "noise"))))
        noise = np.take(noise, np.arange(start, start + N), mode="wrap")
    power, noise_power = np.mean(np.square(samples, dtype=np.float64)), np.mean(np.square(noise, dtype=np.float64))
    if not power or not noise_power:
        raise ValueError("a ratio of signal to noise needs sound and noise that are not silent")
    return (samples + noise * np.sqrt(power / noise_power * 10 ** (-snr / 10))).astype(np.float32)


def shift_time(samples: np.ndarray, most: float, rng: np.random.Generator) -> np.ndarray:
    """Move a sound by up to ``most`` seconds, earlier or later. Zeros take the place that becomes free.

    Parameters
    ----------
    samples : float array of shape (N,), 16 kHz

    Returns
    -------
    float32 array of shape (N,); what is moved out is lost
    """
    samples = check_samples(samples)
    if not 0 <= most < math.inf:
        raise ValueError(f"the largest shift must be a number of at least 0, and it is {most} seconds")
    limit = min(round(most * RATE), len(samples))
    by = int(rng.integers(-limit, limit + 1))
    out = np.zeros(len(samples), dtype=np.float32)
    if by >= 0:
        out[by:] = samples[: len(samples) - by]
    else:
        out[:by] = samples[-by:]
    return out


def change_volume(samples: np.ndarray, decibels: float, rng: np.random.Generator) -> np.ndarray:
    """Make a sound louder or quieter by up to ``decibels``, and clip it at ±1 as a recorder would."""
    samples = check_samples(samples)
    if not 0 <= decibels < math.inf:
        raise ValueError(f"the largest change of volume must be a number of at least 0, and it is {decibels} dB")
    return np.clip(samples * 10 ** (rng.uniform(-decibels, decibels) / 20), -1, 1).astype(np.float32)


def spec_augment(
    features: np.ndarray,
    rng: np.random.Generator,
    time_masks: int = 2,
    time_width: int = 40,
    frequency_masks: int = 2,
    frequency_width: int = 15,
    most: float = 0.2,
) -> np.ndarray:
    """SpecAugment: hide bands of time and of frequency (Park et al. 2019, arXiv:1904.08779, section 2).

    The model must then use what it hears before, after, above and below. For each mask the width is drawn from 0 to a
    maximum, then its place. A mask of time covers at most the share ``most`` of the frames (the paper's p), so that a
    short word is not hidden. What is hidden gets the mean of the spectrogram. The paper's time warping is left out: it
    helped least there, and `change_speed` does a similar thing.

    Parameters
    ----------
    features : float array of shape (M, T)
        A log-mel spectrogram. It is not changed.
    rng : Generator
    time_masks, time_width : int
        How many, and frames of the widest (the paper's T).
    frequency_masks, frequency_width : int
        How many, and bands of the widest (the paper's F).
    most : float

    Returns
    -------
    array of shape (M, T), with the dtype of ``features``
    """
    if features.ndim != 2:
        raise ValueError(f"features must have the shape (mel bands, frames), not {features.shape}")
    if min(time_masks, time_width, frequency_masks, frequency_width) < 0 or not 0 <= most <= 1:
        raise ValueError("numbers and widths of masks must not be negative, and `most` must be between 0 and 1")
    out, mean = features.copy(), features.mean()
    M, T = features.shape
    for _ in range(frequency_masks):
        start, end = interval(M, min(frequency_width, M), rng)
        out[start:end] = mean
    for _ in range(time_masks):
        start, end = interval(T, min(time_width, int(most * T)), rng)
        out[:, start:end] = mean
    return out


def interval(length: int, widest: int, rng: np.random.Generator) -> tuple[int, int]:
    """A random interval inside ``range(length)``: first its width, from 0 to ``widest``, then its start."""
    width = int(rng.integers(widest + 1))
    start = int(rng.integers(length - width + 1))
    return start, start + width
