"""Changed copies of log-mel spectrograms for training, without a new analysis: speeds, voices, microphones, noise"""

from dataclasses import dataclass

import numpy as np

from numpylm.audio.augmentation import spec_augment
from numpylm.audio.mel import hz_to_mel, mel_to_hz

SCALE = 4  # a spectrogram holds (log10 power + 4) / 4: see `log_mel`
LOUDER = 0.1  # the loudness is changed by up to 4 dB
HIGHEST_FORMANT = 4800.0  # Hz; below it, all frequencies are warped by the same factor
NYQUIST = 8000.0  # Hz


@dataclass(frozen=True)
class MelAugmentation:
    """How strongly spectrograms are changed. Everything happens in the spectrogram, so that sound is analyzed once.

    Each spectrogram draws a strength from 0 to 1, which multiplies all limits below. So many are changed a little, from
    which a model finds its first alignments, and some are changed much, from which it learns what does not matter. (If
    all are changed much, CTC learns nothing for a long time.)

    Attributes
    ----------
    speed : float
        The speed is multiplied by a number from exp(-speed) to exp(speed), drawn evenly on the logarithmic scale. The
        pitch stays.
    warp : float
        The same for frequencies: a longer or shorter vocal tract, and with it another voice (vocal tract length
        perturbation: Jaitly & Hinton 2013).
    tilt : float
        Standard deviation of each of four cosines along the frequencies that are added, in units of 40 dB: another
        microphone or room.
    noise : (float, float)
        Steady noise lies this far below the loudest value, in units of 40 dB: the first number at strength 0, the
        second at strength 1. It is louder at one end of the frequencies. Half of all spectrograms get noise.
    masks : int
        As many bands of frequencies and as many stretches of time are hidden: see `spec_augment`.
    mask_bands, mask_time : float
        The widest mask of frequencies as a share of the bands, and the longest mask of time as a share of the frames.
    """

    speed: float = 0.3
    warp: float = 0.25
    tilt: float = 0.12
    noise: tuple[float, float] = (1.8, 0.6)
    masks: int = 2
    mask_bands: float = 0.2
    mask_time: float = 0.1

    def __call__(self, mel: np.ndarray, rng: np.random.Generator, shortest: int, longest: int) -> np.ndarray:
        """A changed copy of mel (M, T). It has ``shortest`` to ``longest`` frames, if mel has."""
        mel, strength = mel.astype(np.float32), rng.random()
        M, T = mel.shape
        speed, warp = np.exp(strength * rng.uniform((-self.speed, -self.warp), (self.speed, self.warp)))
        mel = at_speed(mel, min(max(float(speed), T / longest), T / shortest))
        mel = warped(mel, float(warp))
        height = np.arange(M, dtype=np.float32) / M
        for k in range(1, 5):
            wave = np.cos(np.pi * k * height) / np.sqrt(k)
            mel += np.float32(strength * rng.normal(0, self.tilt)) * wave.astype(np.float32)[:, None]
        if rng.random() < 0.5:
            far, near = self.noise
            mel = with_noise(mel, float(mel.max()) - far + strength * (far - near), rng)
        mel += np.float32(rng.uniform(-LOUDER, LOUDER))
        np.maximum(mel, mel.max() - 8 / SCALE, out=mel)  # the same 80 dB as in `log_mel`
        bands, share = round(strength * self.mask_bands * M), strength * self.mask_time
        return spec_augment(mel, rng, self.masks, mel.shape[1], self.masks, bands, share)


def at_speed(mel: np.ndarray, factor: float) -> np.ndarray:
    """The spectrogram (M, T) at another speed, (M, T / factor): values between two frames are interpolated."""
    T = mel.shape[1]
    return _between(mel, np.arange(max(round(T / factor), 1)) * factor, axis=1)


def warped(mel: np.ndarray, factor: float) -> np.ndarray:
    """The spectrogram with all frequencies divided by ``factor``: at f, the result shows what was at f · factor.

    Above 4800 Hz a second straight line leads to 8000 Hz, which stays where it is. So no band is lost.
    """
    M = len(mel)
    step = float(hz_to_mel(NYQUIST)) / (M + 1)  # between the centers of two bands, in mel
    hz = mel_to_hz((np.arange(M) + 1) * step)
    knee = HIGHEST_FORMANT * min(factor, 1.0)  # where the first line ends, on the axis of the original
    slope = (NYQUIST - knee) / (NYQUIST - knee / factor)
    source = np.where(hz <= knee / factor, hz * factor, NYQUIST - slope * (NYQUIST - hz))
    return _between(mel, hz_to_mel(source) / step - 1, axis=0)


def with_noise(mel: np.ndarray, level: float, rng: np.random.Generator) -> np.ndarray:
    """The spectrogram with steady noise of this level, added as powers; its level has a slope along frequencies."""
    slope = rng.normal(0, 0.15) * np.linspace(-1, 1, len(mel))[:, None]
    power = rng.exponential(size=mel.shape)  # of a band of noise, which is a sum of two squared normal numbers
    noise = 10 ** (SCALE * (level + slope)) * power
    return (np.log10(10 ** (SCALE * mel) + noise) / SCALE).astype(np.float32)


def _between(x: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    """Linear interpolation of x along an axis; places before the first and after the last entry get its value."""
    last = x.shape[axis] - 1
    places = np.clip(places, 0, last)
    low = np.minimum(places.astype(int), max(last - 1, 0))
    share = (places - low).astype(x.dtype)
    share = share if axis == 1 else share[:, None]
    return np.take(x, low, axis) * (1 - share) + np.take(x, np.minimum(low + 1, last), axis) * share
