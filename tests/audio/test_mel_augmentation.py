"""Changes of spectrograms: speed and frequencies of a known tone, the level of noise, and the limits of the length."""

import numpy as np
import pytest

from numpylm.audio.mel import RATE, hz_to_mel, log_mel, mel_to_hz
from numpylm.audio.mel_augmentation import MelAugmentation, at_speed, warped, with_noise


def tone(hz, seconds=0.5):
    return np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE)) / RATE).astype(np.float32)


def loudest_hz(mel):
    """The center of the loudest band."""
    return float(mel_to_hz((mel.mean(axis=1).argmax() + 1) * float(hz_to_mel(8000)) / 81))


def test_speed_keeps_what_is_heard_at_each_share_of_the_time():
    mel = np.concatenate([log_mel(tone(500)), log_mel(tone(2000))], axis=1)
    for factor in (0.8, 1.25):
        changed = at_speed(mel, factor)
        assert changed.shape[1] == pytest.approx(mel.shape[1] / factor, abs=1)
        middle = changed.shape[1] // 2
        np.testing.assert_allclose(changed[:, middle // 2], mel[:, mel.shape[1] // 4], atol=0.05)
        np.testing.assert_allclose(changed[:, middle + middle // 2], mel[:, 3 * mel.shape[1] // 4], atol=0.05)


@pytest.mark.parametrize(("factor", "hz"), [(1.0, 1000), (0.8, 1250), (1.25, 800)])
def test_warping_divides_frequencies(factor, hz):
    assert loudest_hz(warped(log_mel(tone(1000)), factor)) == pytest.approx(hz, rel=0.05)


def test_warping_keeps_the_highest_band():
    mel = np.random.default_rng(0).standard_normal((80, 3)).astype(np.float32)
    for factor in (0.8, 1.25):
        np.testing.assert_allclose(warped(mel, factor)[-1], mel[-1], atol=0.3 * np.abs(np.diff(mel[-3:], axis=0)).max())
        assert warped(mel, factor).dtype == np.float32


def test_noise_has_the_level_that_was_asked_for():
    """Powers are added: silence gets the power of the noise, and what is much louder stays."""
    mel = np.full((80, 400), -1.0, np.float32)
    mel[:, 200:] = 2
    noisy = with_noise(mel, 0.5, np.random.default_rng(0))
    power = (10 ** (4 * noisy[:, :200])).mean(axis=1)
    assert np.median(np.log10(power) / 4) == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(noisy[:, 200:], 2, atol=1e-3)


def test_lengths_stay_within_the_limits_and_the_seed_decides():
    mel, change = log_mel(tone(700, 1.0)), MelAugmentation()
    lengths = [change(mel, np.random.default_rng(n), 95, 104).shape[1] for n in range(40)]
    assert min(lengths) >= 95
    assert max(lengths) <= 104
    assert len(set(lengths)) > 5
    one, same, other = (change(mel, np.random.default_rng(n), 1, 999) for n in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert one.shape != other.shape or (one != other).any()


def test_many_changes_are_small():
    """The mean change grows with the strength, which is drawn evenly: a tenth are nearly as they were."""
    mel, change = log_mel(tone(700)), MelAugmentation(speed=0, noise=(9, 9), masks=0)
    rng = np.random.default_rng(0)
    changed = (change(mel, rng, 1, 999) for _ in range(200))
    sizes = np.sort([np.abs((out - out.mean()) - (mel - mel.mean())).mean() for out in changed])
    assert sizes[20] < 0.03 < 0.1 < sizes[180]
