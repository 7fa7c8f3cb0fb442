"""Log-mel spectrograms: each step against its definition. Equality with Whisper's is tested in tests/parity."""

import numpy as np
import pytest

from numpylm.audio import log_mel, pad_or_trim
from numpylm.audio.mel import hz_to_mel, mel_filters, mel_to_hz, power_spectrum

RNG = np.random.default_rng(0)


def test_the_mel_scale_is_linear_then_logarithmic_and_can_be_inverted():
    np.testing.assert_allclose(hz_to_mel([0, 200, 1000, 6400]), [0, 3, 15, 42])
    hz = np.linspace(0, 8000, 50)
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz)), hz, atol=1e-9)


def test_filters_have_equal_areas_and_overlap_by_halves():
    filters = mel_filters(20, n_fft=4000)
    np.testing.assert_allclose(filters.sum(axis=1) * 4, 1, atol=0.01)  # bins of 4 Hz
    assert (np.diff(filters.argmax(axis=1)) > 0).all()
    assert ((filters > 0).sum(axis=0) <= 2).all()


def test_the_spectrum_is_the_sum_of_its_definition():
    samples = RNG.standard_normal(400 + 160 * 3).astype(np.float32)
    n, k = np.arange(400), np.arange(201)[:, None]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / 400)
    for t in (0, 3):
        X = np.exp(-2j * np.pi * k * n / 400) @ (window * samples[160 * t : 160 * t + 400])
        bands = power_spectrum(samples, np.eye(201, dtype=np.float32))
        np.testing.assert_allclose(bands[:, t], np.abs(X) ** 2, rtol=1e-3, atol=1e-3)


def test_a_tone_is_loudest_in_the_band_of_its_frequency():
    for hz in (300, 1000, 4000):
        bands = log_mel(np.sin(2 * np.pi * hz * np.arange(16000) / 16000))
        centers = mel_to_hz(np.linspace(0, hz_to_mel(8000), 82))[1:-1]
        assert (np.abs(bands[:, 10:90].argmax(axis=0) - np.abs(centers - hz).argmin()) <= 1).all(), hz


def test_a_click_is_seen_in_the_frames_around_it():
    samples = np.zeros(16000)
    samples[160 * 50] = 1
    loud = np.flatnonzero(log_mel(samples).max(axis=0) > log_mel(samples).min() + 1)
    assert loud.tolist() == [49, 50, 51]


def test_values_end_80_decibels_below_the_loudest():
    samples = RNG.standard_normal(16000) * np.repeat([1, 1e-6], 8000)
    bands = log_mel(samples)
    assert bands.max() - bands.min() == pytest.approx(8 / 4)
    half = log_mel(samples / 10)  # 20 dB less: log10 of the power falls by 2
    np.testing.assert_allclose(half, bands - 2 / 4, atol=1e-4)


def test_each_sound_of_a_batch_is_scaled_alone():
    batch = RNG.standard_normal((2, 1600)).astype(np.float32) * [[1], [1e-3]]
    both = log_mel(batch, 128)
    assert both.shape == (2, 128, 10)
    np.testing.assert_array_equal(both[1], log_mel(batch[1], 128))


def test_padding_and_trimming():
    assert pad_or_trim(np.ones((2, 5)), 8).sum(axis=1).tolist() == [5, 5]
    assert pad_or_trim(np.arange(9), 4).tolist() == [0, 1, 2, 3]
    assert pad_or_trim(np.ones(3, np.float32)).shape == (480_000,)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(16000, np.int16), "int16.*divide"),
        (np.zeros(200), "more than 200 samples"),
        (np.zeros((1, 2, 500)), "shape"),
        (np.full(500, np.nan), "NaN"),
    ],
)
def test_bad_samples_are_refused(samples, message):
    with pytest.raises(ValueError, match=message):
        log_mel(samples)


def test_no_bands_are_refused():
    with pytest.raises(ValueError, match="n_mels must be at least 1"):
        mel_filters(0)
