"""Augmentation: each change does what its numbers say, keeps its input, and is the same for the same generator."""

import numpy as np
import pytest

from numpylm.audio import augmentation as aug

RNG = np.random.default_rng(0)
TONE = np.sin(2 * np.pi * 1000 * np.arange(8000) / 16000).astype(np.float32) * 0.5
FEATURES = RNG.standard_normal((80, 120)).astype(np.float32)


def rng():
    return np.random.default_rng(3)


def test_a_faster_sound_is_shorter_and_higher():
    fast = aug.change_speed(TONE, 1.25)
    assert fast.shape == (6400,)
    assert np.abs(np.fft.rfft(fast)).argmax() * 16000 / 6400 == 1250


@pytest.mark.parametrize("snr", [20, 0, -6])
@pytest.mark.parametrize("noise", [None, RNG.standard_normal(3000) * 7])
def test_the_noise_has_the_ratio_that_was_asked_for(snr, noise):
    noisy = aug.add_noise(TONE, snr, rng(), noise)
    added = noisy - TONE
    assert 10 * np.log10(np.mean(TONE**2) / np.mean(added**2)) == pytest.approx(snr, abs=0.01)
    if noise is not None:  # repeated, from a random start
        np.testing.assert_allclose(added[:3000], added[3000:6000], atol=1e-5)


def test_shifts_go_both_ways_and_leave_zeros():
    found = set()
    for seed in range(20):
        shifted = aug.shift_time(np.arange(1, 1601, dtype=np.float32), 0.01, np.random.default_rng(seed))
        by = int(shifted[800] - 801)
        expected = np.arange(1, 1601) + by
        np.testing.assert_array_equal(shifted, np.where((expected >= 1) & (expected <= 1600), expected, 0))
        found.add(np.sign(by))
        assert abs(by) <= 160
    assert {-1, 1} <= found


def test_volume_stays_inside_its_limits_and_clips():
    factors = [aug.change_volume(TONE, 6, np.random.default_rng(n))[4] / TONE[4] for n in range(50)]
    assert 10 ** (-6 / 20) <= min(factors) < 0.7
    assert 1.4 < max(factors) <= 10 ** (6 / 20)
    assert max(np.abs(aug.change_volume(TONE, 40, np.random.default_rng(n))).max() for n in range(9)) == 1


def test_masks_hide_whole_bands_and_times_with_the_mean():
    masked = aug.spec_augment(FEATURES, rng(), 1, 40, 1, 15)
    hidden = masked != FEATURES
    rows, columns = hidden.all(axis=1), hidden.all(axis=0)
    np.testing.assert_array_equal(hidden, rows[:, None] | columns[None, :])
    assert 0 < rows.sum() <= 15
    assert 0 < columns.sum() <= 24  # 20 % of the frames
    np.testing.assert_allclose(masked[hidden], FEATURES.mean(), rtol=1e-5)
    assert (np.diff(np.flatnonzero(rows)) == 1).all()
    assert (np.diff(np.flatnonzero(columns)) == 1).all()


def test_masks_reach_both_ends_and_every_width():
    intervals = [aug.interval(10, 3, np.random.default_rng(n)) for n in range(300)]
    assert {end - start for start, end in intervals} == {0, 1, 2, 3}
    assert {start for start, end in intervals if end - start == 3} == set(range(8))


def test_no_masks_change_nothing_and_short_sounds_can_be_masked():
    np.testing.assert_array_equal(aug.spec_augment(FEATURES, rng(), 0, 40, 0, 15), FEATURES)
    assert aug.spec_augment(FEATURES[:3, :2], rng()).shape == (3, 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda g: aug.add_noise(TONE, 10, g),
        lambda g: aug.shift_time(TONE, 0.1, g),
        lambda g: aug.change_volume(TONE, 6, g),
        lambda g: aug.spec_augment(FEATURES, g),
    ],
)
def test_a_generator_decides_and_the_input_stays(change):
    before, features = TONE.copy(), FEATURES.copy()
    first = change(rng())
    np.testing.assert_array_equal(first, change(rng()))
    assert not np.array_equal(first, change(np.random.default_rng(4)))
    assert first.dtype == np.float32
    np.testing.assert_array_equal(TONE, before)
    np.testing.assert_array_equal(FEATURES, features)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: aug.change_speed(TONE, 0), "between 0.25 and 4"),
        (lambda: aug.add_noise(np.zeros(5), 10, rng()), "not silent"),
        (lambda: aug.add_noise(TONE, 10, rng(), np.zeros(0)), "noise must be one channel"),
        (lambda: aug.shift_time(TONE, -1, rng()), "a number of at least 0"),
        (lambda: aug.change_volume(TONE, -1, rng()), "a number of at least 0"),
        (lambda: aug.spec_augment(TONE, rng()), "mel bands, frames"),
        (lambda: aug.spec_augment(FEATURES, rng(), most=2), "between 0 and 1"),
        (lambda: aug.change_speed(TONE.astype(np.int16), 1.1), "must be floats"),
    ],
)
def test_bad_settings_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
