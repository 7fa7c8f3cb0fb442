"""Reading sound at 16 kHz: at once, or in windows of 30 seconds so that an hour needs little memory"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.audio.mel import RATE, SECONDS
from numpylm.audio.resample import Resampler
from numpylm.audio.riff import OTHER_FORMS, read_header
from numpylm.audio.wav import BLOCK, LOUDEST, wav_blocks
from numpylm.system.optional_packages import needed

WAV_NAMES = (".wav", ".wave")
CODEC_FRAMES = 4096  # an MP3 may lose a few blocks of 1,152 samples at its ends, and is still whole
UNKNOWN_FRAMES = 2**62  # libsndfile's length of a stream without one is near 2⁶³
WAV_STARTS = (b"RIFF", *OTHER_FORMS)


def read_audio(path: Path | str, rate: int = RATE, allow_truncated: bool = False) -> np.ndarray:
    """Read a sound as one channel.

    WAV files need NumPy only. All other formats (FLAC, MP3, Ogg) need the package soundfile, ``numpylm[speech]``.

    Parameters
    ----------
    path : path
    rate : int
        Samples a second of the result; the sound is resampled.
    allow_truncated : bool
        Accept a file that is cut off.

    Returns
    -------
    float32 array of shape (N,), in about [-1, 1]

    Raises
    ------
    ValueError
        If the file is empty, cut off, damaged, of an unknown kind, or without samples.
    ModuleNotFoundError
        If it is no WAV file, and soundfile is not installed.
    """
    return np.concatenate(list(resampled_blocks(Path(path), rate, allow_truncated)))


def audio_windows(
    path: Path | str, seconds: float = SECONDS, rate: int = RATE, allow_truncated: bool = False
) -> Iterator[np.ndarray]:
    """Read a sound in windows, which together are the result of `read_audio`.

    Yields
    ------
    float32 arrays of shape (seconds · rate,); the last one may be shorter
    """
    length = round(seconds * rate)
    if length < 1:
        raise ValueError(f"a window must have at least one sample, not {seconds} seconds at {rate} Hz")
    waiting = np.zeros(0, dtype=np.float32)
    for block in resampled_blocks(Path(path), rate, allow_truncated):
        waiting = np.concatenate([waiting, block])
        while len(waiting) >= length:
            yield waiting[:length].copy()
            waiting = waiting[length:]
    if len(waiting):
        yield waiting


def resampled_blocks(path: Path, rate: int, allow_truncated: bool) -> Iterator[np.ndarray]:
    """The samples of a file at the wanted rate, a piece at a time."""
    with open_audio(path, allow_truncated) as (from_rate, blocks):
        if from_rate == rate:
            yield from blocks
        else:
            try:
                resampler = Resampler(from_rate, rate)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
            for block in blocks:
                yield resampler.push(block)
            yield resampler.finish()


@contextmanager
def open_audio(path: Path, allow_truncated: bool) -> Iterator[tuple[int, Iterator[np.ndarray]]]:
    """Open a file of any kind: its rate, and its samples in blocks of shape (frames,)."""
    with path.open("rb") as file:
        start = file.read(4)
        if path.suffix.lower() in WAV_NAMES or start in (b"", *WAV_STARTS):
            form = read_header(file, path, allow_truncated)
            yield form.rate, wav_blocks(file, form, path)
            return
        soundfile = needed("soundfile", "speech", f"reading {path.name}, which is not a WAV file,")
        file.seek(0)
        try:
            with soundfile.SoundFile(file) as sound:
                yield sound.samplerate, soundfile_blocks(sound, path, allow_truncated)
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{path} cannot be read as sound: {error.error_string}") from None


def soundfile_blocks(sound: Any, path: Path, allow_truncated: bool) -> Iterator[np.ndarray]:
    """The samples of an open file of the package soundfile, as one channel.

    Its own ``blocks`` trusts the length in the header, and repeats old samples where a file is cut off. So we count.
    """
    found = 0
    while len(block := sound.read(BLOCK, dtype="float32", always_2d=True)):  # (frames, channels)
        found += len(block)
        if not (np.abs(block) < LOUDEST).all():
            raise ValueError(f"{path} has samples that are NaN, infinite or far above 1: it is damaged")
        yield block.mean(axis=1)
    if not found:
        raise ValueError(f"{path} has no samples")
    if found < sound.frames - CODEC_FRAMES and sound.frames < UNKNOWN_FRAMES and not allow_truncated:
        seconds, missing = found / sound.samplerate, (sound.frames - found) / sound.samplerate
        raise ValueError(
            f"{path} is cut off: it ends after {seconds:.1f} s, {missing:.1f} s are missing; copy it again"
        )
