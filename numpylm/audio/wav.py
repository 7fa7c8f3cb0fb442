"""WAV files: samples of all usual kinds in, block by block, and 16-bit samples out"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from numpylm.audio.riff import RATES, WavFormat, read_header
from numpylm.system.whole_files import write_atomically

LARGEST = (2**32 - 64) // 2  # samples of 16 bits in a file whose size is written as 32 bits
LOUDEST = 1e30  # amplitudes are at most 1; a mean of such large floats would overflow
BLOCK = 1 << 18  # frames that are read at once: 16 seconds at 16 kHz


def decode_samples(data: bytes, form: WavFormat, name: object = "the sound") -> np.ndarray:
    """Convert the bytes of whole frames to one channel of floats in [-1, 1).

    A sample of b bits is an integer n, and the amplitude is n / 2ᵇ⁻¹. Only 8-bit samples are unsigned: there the zero
    line is 128. Several channels become one by their mean.

    Returns
    -------
    float32 array of shape (frames,)

    Raises
    ------
    ValueError
        If a float sample is NaN or infinite, or becomes so as a float of 32 bits.
    """
    if form.bits == 24:  # put a zero byte below each sample: a 32-bit integer with the same amplitude
        wide = np.zeros((len(data) // 3, 4), dtype=np.uint8)
        wide[:, 1:] = np.frombuffer(data, dtype=np.uint8).reshape(-1, 3)
        samples = wide.view("<i4")[:, 0]
    else:
        kind = "f" if form.floating else "u" if form.bits == 8 else "i"
        samples = np.frombuffer(data, dtype=f"<{kind}{form.bits // 8}")
    if form.floating:
        with np.errstate(over="ignore"):
            amplitude = samples.astype(np.float32)
        if not (np.abs(amplitude) < LOUDEST).all():
            raise ValueError(f"{name} has samples that are NaN, infinite or far above 1: it is damaged")
    elif form.bits == 8:
        amplitude = (samples.astype(np.float32) - np.float32(128)) * np.float32(1 / 128)
    else:
        full = 2 ** (31 if form.bits == 24 else form.bits - 1)
        amplitude = samples.astype(np.float32) * np.float32(1 / full)
    if form.channels == 1:
        return amplitude  # (frames,)
    return amplitude.reshape(-1, form.channels).mean(axis=1)  # (frames,)


def wav_blocks(file: BinaryIO, form: WavFormat, name: object, frames: int = BLOCK) -> Iterator[np.ndarray]:
    """Read the samples of an open WAV file, ``frames`` at a time: float32 arrays of shape (frames,)."""
    file.seek(form.start)
    left = form.frames
    while left:
        data = file.read(min(left, frames) * form.frame_bytes)
        if not data:
            raise ValueError(f"{name} became shorter while it was read")
        data = data[: len(data) // form.frame_bytes * form.frame_bytes]
        left -= len(data) // form.frame_bytes
        yield decode_samples(data, form, name)


def read_wav(path: Path | str, allow_truncated: bool = False) -> tuple[np.ndarray, int]:
    """Read a WAV file at its own rate.

    Returns
    -------
    samples : float32 array of shape (N,)
        One channel, in [-1, 1).
    rate : int
        Samples a second.

    Raises
    ------
    ValueError
        If the file is no WAV file or not a whole one: see `numpylm.audio.riff.read_header`.
    """
    with Path(path).open("rb") as file:
        form = read_header(file, path, allow_truncated)
        return np.concatenate(list(wav_blocks(file, form, path))), form.rate


def write_wav(path: Path | str, samples: np.ndarray, rate: int = 16_000) -> None:
    """Write one channel as a WAV file of 16-bit samples, atomically. Amplitudes outside [-1, 1] are clipped.

    Parameters
    ----------
    samples : float array of shape (N,)
    rate : int
        Samples a second.

    Raises
    ------
    ValueError
        If there are no samples or too many, if they are not one channel of floats, if one is NaN or infinite, or if the
        rate is impossible.
    """
    if np.size(samples) > LARGEST:
        raise ValueError(f"a WAV file holds at most 4 GB, {LARGEST:,} samples; there are {np.size(samples):,}")
    samples = check_samples(samples)
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"the rate must be {RATES[0]} to {RATES[1]} samples a second, not {rate}")
    data = np.clip(np.round(samples * 32768.0), -32768, 32767).astype("<i2").tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    header = struct.pack("<4sI4s", b"RIFF", 4 + len(form) + 8 + len(data), b"WAVE") + form
    write_atomically(Path(path), lambda file: file.write(header + struct.pack("<4sI", b"data", len(data)) + data))


def check_samples(samples: np.ndarray, name: str = "samples") -> np.ndarray:
    """Refuse what is not one channel of finite floats.

    Returns
    -------
    The array itself, if it is right: float of shape (N,) with N ≥ 1.
    """
    samples = np.asarray(samples)
    if not np.issubdtype(samples.dtype, np.floating):
        raise ValueError(f"{name} must be floats in [-1, 1], not {samples.dtype}; divide 16-bit samples by 32768")
    if samples.ndim != 1 or not len(samples):
        raise ValueError(f"{name} must be one channel with at least one sample, shape (N,), not {samples.shape}")
    if not np.isfinite(samples).all():
        raise ValueError(f"{name} has values that are NaN or infinite")
    return samples
