"""Reading sound: windows are equal to reading at once, other formats need soundfile, an hour needs little memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from numpylm.audio import audio_windows, read_audio, read_wav, resample, write_wav
from numpylm.audio.read_audio import soundfile_blocks
from numpylm.audio.wav import BLOCK
from tests.audio.wav_bytes import chunk, fmt, riff, wav

RNG = np.random.default_rng(0)


@pytest.fixture
def sound(tmp_path):
    path = tmp_path / "sound.wav"
    write_wav(path, RNG.uniform(-0.5, 0.5, 44100), 44100)
    return path


@pytest.fixture
def long_sound(tmp_path):
    """Three blocks, which the resampler gets one after the other."""
    path, samples = tmp_path / "long.wav", RNG.uniform(-0.5, 0.5, 2 * BLOCK + 1000)
    path.write_bytes(wav(samples, 3, 32, 44100))
    return path


def test_a_sound_is_resampled_to_16_khz(sound):
    samples, rate = read_wav(sound)
    np.testing.assert_array_equal(read_audio(sound), resample(samples, rate, 16000))
    np.testing.assert_array_equal(read_audio(sound, rate=44100), samples)


def test_windows_are_the_sound_in_pieces(long_sound):
    samples, rate = read_wav(long_sound)
    whole = resample(samples, rate, 16000)
    assert len(samples) == 2 * BLOCK + 1000
    for seconds in (0.3, 5, 30):
        windows = list(audio_windows(long_sound, seconds))
        length = round(16000 * seconds)
        assert [len(window) for window in windows[:-1]] == [length] * (len(whole) // length)
        np.testing.assert_allclose(np.concatenate(windows), whole, atol=5e-6)


def test_a_sound_that_fills_its_windows_has_no_empty_last_one(sound):
    assert [len(window) for window in audio_windows(sound, 0.5)] == [8000, 8000]


def test_a_window_without_samples_is_refused(sound):
    with pytest.raises(ValueError, match="at least one sample"):
        next(audio_windows(sound, 0))


def test_a_wav_file_with_another_name_is_read_without_soundfile(sound, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    renamed = sound.rename(tmp_path / "sound.dat")
    assert len(read_audio(renamed)) == 16000


def test_without_soundfile_other_formats_name_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    path = tmp_path / "song.flac"
    path.write_bytes(b"fLaC" + bytes(50))
    with pytest.raises(ModuleNotFoundError, match=r"song\.flac.*soundfile.*speech"):
        read_audio(path)


def test_flac_is_read_through_soundfile(sound, tmp_path):
    soundfile = pytest.importorskip("soundfile")
    samples, rate = read_wav(sound)
    stereo = np.stack([samples, samples], axis=1)
    soundfile.write(tmp_path / "sound.flac", stereo, rate)
    np.testing.assert_allclose(read_audio(tmp_path / "sound.flac"), read_audio(sound), atol=1e-4)


@pytest.mark.parametrize("data", [b"fLaC" + bytes(50), b"nothing that is a sound"])
def test_a_broken_file_of_another_format_gets_one_error(tmp_path, data):
    pytest.importorskip("soundfile")
    path = tmp_path / "song.mp3"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"song\.mp3 cannot be read as sound"):
        read_audio(path)


def test_an_empty_file_is_refused_whatever_its_name(tmp_path):
    (tmp_path / "song.mp3").touch()
    with pytest.raises(ValueError, match="is empty"):
        read_audio(tmp_path / "song.mp3")


LONG = """
import sys
from pathlib import Path
from numpylm.audio import audio_windows
total = sum(len(window) for window in audio_windows(sys.argv[1]))
status = Path("/proc/self/status").read_text()
print(total, next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc")
def test_an_hour_of_stereo_sound_needs_little_memory(tmp_path):
    """A sparse file: zeros that take no space on the disk."""
    path, size = tmp_path / "hour.wav", 3600 * 44100 * 4
    with path.open("wb") as file:
        file.write(riff(fmt(1, 2, 44100, 16), chunk(b"data", b"", size), size=size + 36))
        file.truncate(44 + size)
    out = subprocess.run([sys.executable, "-c", LONG, path], capture_output=True, text=True, check=True).stdout
    total, kilobytes = map(int, out.split())
    assert total == 3600 * 16000
    assert kilobytes < 400_000


class Sound:
    """As an open file of soundfile: ``frames`` in the header, fewer that can be read."""

    samplerate = 16000

    def __init__(self, frames, there):
        self.frames, self.left = frames, there

    def read(self, frames, dtype, always_2d):
        n = min(frames, self.left)
        self.left -= n
        return np.zeros((n, 2), dtype)


def test_a_file_that_ends_before_its_header_says_so(tmp_path):
    path = tmp_path / "cut.mp3"
    with pytest.raises(ValueError, match=r"cut\.mp3 is cut off: it ends after 2\.0 s, 1\.0 s"):
        list(soundfile_blocks(Sound(48000, 32000), path, allow_truncated=False))
    assert sum(map(len, soundfile_blocks(Sound(48000, 32000), path, allow_truncated=True))) == 32000
    assert sum(map(len, soundfile_blocks(Sound(2**63 - 1, 32000), path, allow_truncated=False))) == 32000
    assert sum(map(len, soundfile_blocks(Sound(32000, 31000), path, allow_truncated=False))) == 31000
