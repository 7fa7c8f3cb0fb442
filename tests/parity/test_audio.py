"""Sound, compared with scipy's resampler, transformers' feature extractor of Whisper, and soundfile's WAV files"""

import math

import numpy as np
import pytest

from numpylm.audio import log_mel, pad_or_trim, read_wav, resample
from numpylm.audio.resample import lowpass

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("old", "new"), [(44100, 16000), (8000, 16000), (48000, 16000), (16000, 11025), (10, 11)])
def test_the_resampler_equals_scipys_with_the_same_filter(old, new):
    signal = pytest.importorskip("scipy.signal")
    x, divisor = RNG.standard_normal(5001), math.gcd(old, new)
    up, down = new // divisor, old // divisor
    expected = signal.resample_poly(x, up, down, window=lowpass(up, down) / up)
    np.testing.assert_allclose(resample(x, old, new), expected, atol=1e-5)


def test_the_resampler_agrees_with_scipys_own_filter_on_low_tones():
    signal = pytest.importorskip("scipy.signal")
    x = np.sin(2 * np.pi * 1000 * np.arange(22050) / 44100)
    ours, theirs = resample(x, 44100, 16000), signal.resample_poly(x, 160, 441)
    np.testing.assert_allclose(ours[200:-200], theirs[200:-200], atol=2e-3)


@pytest.fixture(scope="module")
def extractors():
    whisper = pytest.importorskip("transformers").WhisperFeatureExtractor
    return {n_mels: whisper(feature_size=n_mels) for n_mels in (80, 128)}


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("length", [5000, 16000 * 7 + 33, 480_000, 480_000 + 70_001])
def test_log_mel_equals_that_of_whisper(extractors, n_mels, length):
    """A sound that swells and fades, so that some frames are quieter than the limit of 80 dB."""
    x = RNG.standard_normal(length) * 0.2 * np.abs(np.sin(np.arange(length) / 9000)) ** 6
    x = x.astype(np.float32)
    options = {"sampling_rate": 16000, "return_tensors": "np"}
    expected = extractors[n_mels](x, **options).input_features[0]
    np.testing.assert_allclose(log_mel(pad_or_trim(x), n_mels), expected, atol=1e-4)
    if length > 480_000:
        expected = extractors[n_mels](x, truncation=False, **options).input_features[0]
        np.testing.assert_allclose(log_mel(x, n_mels), expected, atol=1e-4)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("form", ["WAV", "WAVEX"])
def test_wav_files_of_soundfile_are_read_as_it_reads_them(tmp_path, subtype, form):
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "sound.wav"
    soundfile.write(path, RNG.uniform(-1, 1, (501, 2)), 22050, subtype, format=form)
    expected, _ = soundfile.read(path, dtype="float32")
    samples, rate = read_wav(path)
    assert rate == 22050
    np.testing.assert_allclose(samples, expected.mean(axis=1), atol=1e-7)
