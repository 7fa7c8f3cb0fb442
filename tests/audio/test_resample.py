"""The resampler: its filter's response, no aliases, and the same result for a stream as at once."""

import numpy as np
import pytest

from numpylm.audio import Resampler, resample
from numpylm.audio.resample import lowpass

RATES = [(44100, 16000), (8000, 16000), (48000, 16000), (11025, 16000), (16000, 22050), (16001, 16000), (3, 2)]


def tone(hz, rate, seconds=0.5):
    return np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate).astype(np.float32)


def decibels(x):
    return 20 * np.log10(np.maximum(np.abs(x), 1e-12))


@pytest.mark.parametrize(("up", "down"), [(160, 441), (2, 1), (1, 3), (640, 441)])
def test_the_filter_passes_low_frequencies_and_stops_those_above_nyquist(up, down):
    h = lowpass(up, down)
    response = decibels(np.fft.rfft(h, 1 << 20) / up)
    frequency = np.linspace(0, 1, len(response)) * max(up, down)  # 1 is half the lower rate
    assert np.abs(response[frequency <= 0.89]).max() < 0.01
    assert response[frequency >= 1].max() < -80


def test_a_tone_below_nyquist_keeps_its_size_and_phase_and_one_above_vanishes():
    kept = resample(tone(6000, 44100), 44100, 16000)
    middle = slice(500, -500)  # the ends are edges: the sound begins there suddenly
    np.testing.assert_allclose(kept[middle], tone(6000, 16000)[: len(kept)][middle], atol=1e-3)
    for hz in (8100, 10000, 15000, 20000):
        assert decibels(resample(tone(hz, 44100), 44100, 16000)[middle]).max() < -79, hz


def test_more_samples_have_no_image_of_the_tone():
    spectrum = np.abs(np.fft.rfft(resample(tone(3000, 8000), 8000, 16000)[500:-500] * np.hanning(7000)))
    image = round(5000 / 16000 * 7000)  # 3000 Hz mirrored at half the old rate
    assert decibels(spectrum[image - 50 : image + 50].max() / spectrum.max()) < -79


@pytest.mark.parametrize(("old", "new"), RATES)
def test_a_stream_gives_what_resampling_at_once_gives(old, new):
    if old == 16001:
        old, new = 161, 160  # the same difficulty with a shorter filter
    rng = np.random.default_rng(0)
    x = rng.standard_normal(5003).astype(np.float32)
    whole = resample(x, old, new)
    assert len(whole) == -(-5003 * new // old)
    resampler, parts = Resampler(old, new), []
    for part in np.split(x, [1, 1, 400, 407, 4000]):
        parts.append(resampler.push(part))
    parts.append(resampler.finish())
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=5e-6)


@pytest.mark.parametrize("length", [1, 2, 50])
def test_short_sounds_have_the_right_length(length):
    for old, new in RATES[:4]:
        out = resample(np.ones(length, np.float32), old, new)
        assert out.shape == (-(-length * new // old),)
        assert out.dtype == np.float32


def test_a_constant_stays_the_same():
    out = resample(np.ones(4000, np.float32), 44100, 16000)
    np.testing.assert_allclose(out[400:-400], 1, atol=1e-3)


def test_impossible_rates_are_refused():
    with pytest.raises(ValueError, match="must be positive, not 0 and 16000"):
        Resampler(0, 16000)
    with pytest.raises(ValueError, match=r"cannot resample by 16000/100003: .* taps"):
        Resampler(100_003, 16000)
    with pytest.raises(ValueError, match="more than 100 times"):
        Resampler(2_000_000, 16000)
