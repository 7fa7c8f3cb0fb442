"""The synthesizer: filters resonate where they should, voices have their pitch and formants, and all is repeatable."""

import numpy as np
import pytest

from numpylm.audio import Voice, speak, voice
from numpylm.audio.formant_filter import HOP, cascade, filtered, resonator
from numpylm.audio.phones import PHONES, WORDS
from numpylm.audio.synthesizer import Tracks, front_of_the_mouth, glottal_source, vocal_tract
from numpylm.audio.voices import LIMITS

RNG = np.random.default_rng(0)
PLAIN = Voice(jitter=0, care=0, range=0, breath=0, noise=0)


def response(numerator, denominator):
    """Gains at 0 to 8000 Hz in steps of 1 Hz."""
    return np.abs(np.fft.rfft(numerator, 16000) / np.fft.rfft(denominator, 16000))


@pytest.mark.parametrize(("frequency", "width"), [(500, 60), (2500, 120), (6000, 400)])
def test_a_resonator_peaks_at_its_frequency_and_has_its_bandwidth(frequency, width):
    gain = response([1.0], resonator(np.array([frequency]), np.array([width]))[0])
    assert gain[0] == pytest.approx(1)
    assert abs(int(gain.argmax()) - frequency) <= 0.02 * frequency
    loud = np.flatnonzero(gain > gain.max() / np.sqrt(2))  # half the power
    assert len(loud) == pytest.approx(width, rel=0.05)


def test_a_cascade_multiplies_responses():
    sections = [resonator(np.array([F]), np.array([90.0])) for F in (500, 1500, 2500)]
    product = np.prod([response([1.0], section[0]) for section in sections], axis=0)
    np.testing.assert_allclose(response([1.0], cascade(sections)[0]), product, rtol=1e-6)


def test_a_constant_filter_is_the_recursion_of_its_definition():
    x, T = RNG.standard_normal(HOP * 9).astype(np.float32), 10
    A = resonator(np.full(T, 700.0), np.full(T, 200.0))
    y = np.zeros(len(x) + 2)
    for n in range(len(x)):
        y[n] = (x[n] - A[0, 1] * y[n - 1] - A[0, 2] * y[n - 2]) / A[0, 0]
    out = filtered([x], [(np.ones((T, 1)), A)])
    np.testing.assert_allclose(out, y[:-2], atol=1e-3 * np.abs(y).max())


def test_filters_fade_from_one_frame_to_the_next():
    T = 21
    gains = np.linspace(0, 1, T)[:, None]
    out = filtered([np.ones(HOP * (T - 1))], [(gains, np.ones((T, 1)))])
    assert (np.diff(out) > -1e-6).all()
    np.testing.assert_allclose(out[:: 2 * HOP], gains[:-1:2, 0], atol=1e-5)


def long_vowel(name, voice=PLAIN):
    return Tracks([PHONES[name]._replace(ms=1000)], voice, np.random.default_rng(0))


@pytest.mark.parametrize("pitch", [90, 130, 220])
def test_the_voice_has_its_pitch(pitch):
    spectrum = np.abs(np.fft.rfft(glottal_source(long_vowel("AH"), PLAIN._replace(pitch=pitch), RNG)[:16000]))
    peaks = [n for n in range(50, 1000) if spectrum[n] == max(spectrum[n - 20 : n + 21].max(), 0.02 * spectrum.max())]
    np.testing.assert_allclose(peaks[:4], pitch * np.arange(1, 5), atol=1)


@pytest.mark.parametrize("tract", [0.85, 1.0])
def test_a_shorter_vocal_tract_has_higher_formants(tract):
    voice = PLAIN._replace(tract=tract)
    B, A = vocal_tract(long_vowel("EH", voice), voice)
    gain = response(B[0], A[0])
    peaks = [n for n in range(2, 3500) if gain[n] == gain[n - 2 : n + 3].max() and n > 300]
    np.testing.assert_allclose(peaks[:3], np.array(PHONES["EH"].start) / tract, rtol=0.04)


def test_an_open_nose_has_a_zero_and_a_closed_one_has_none():
    (B, A), (B2, A2) = (vocal_tract(long_vowel(name), PLAIN) for name in ("N", "AH"))
    assert response(B[0], A[0])[550] < response(B[0], A[0])[[350, 800]].min()
    with_nose = response(B2[0], A2[0])
    assert np.abs(np.diff(np.log(with_nose[200:350]))).max() < 0.02  # the zero cancels the resonance at 270 Hz


@pytest.mark.parametrize("name", ["S", "F", "TH", "K!"])
def test_a_hiss_is_loudest_at_its_place_with_gain_one(name):
    B, A = front_of_the_mouth(long_vowel(name), PLAIN)
    center = int(PHONES[name].place[0])
    assert response(B[0], A[0])[center] == pytest.approx(1, rel=1e-4)
    assert response(B[0], A[0])[0] == pytest.approx(0, abs=1e-6)


def test_formants_move_between_phones_and_stay_inside_them():
    tracks = Tracks([PHONES["W"]._replace(ms=200), PHONES["AH"]._replace(ms=200)], PLAIN, RNG)
    F2 = tracks.formants[1]
    at = dict(zip(np.round(tracks.times).astype(int).tolist(), F2.tolist(), strict=True))
    assert at[0] == at[160 - 160 % 8] == 620
    assert at[200] == pytest.approx((620 + 1220) / 2, rel=0.01)
    assert (np.diff(F2) >= -1).sum() > 0.9 * len(F2)


def test_every_word_has_its_phones():
    assert set(" ".join(WORDS.values()).split()) | {" "} == set(PHONES)
    for word in WORDS:
        samples = speak([word])
        assert samples.dtype == np.float32
        assert np.isfinite(samples).all()
        assert 0.25 < len(samples) / 16000 < 1.2
        assert np.abs(samples).max() == pytest.approx(0.5, abs=0.01)


def test_hisses_are_high_and_vowels_are_low():
    spectrum = np.abs(np.fft.rfft(speak(["six"])[:2400])) ** 2  # pause and s
    assert spectrum[: len(spectrum) // 4].sum() < 0.1 * spectrum.sum()
    spectrum = np.abs(np.fft.rfft(speak(["one"]))) ** 2
    assert spectrum[: len(spectrum) // 4].sum() > 0.9 * spectrum.sum()


def test_a_generator_decides_everything():
    first = speak(["three", "one"], voice(3), np.random.default_rng(5))
    np.testing.assert_array_equal(first, speak(["three", "one"], voice(3), np.random.default_rng(5)))
    other = speak(["three", "one"], voice(3), np.random.default_rng(6))
    assert len(first) != len(other) or not np.allclose(first, other)


def test_voices_differ_and_held_out_ones_are_others():
    voices = [voice(n) for n in range(64)]
    held_out = [voice(n, True) for n in range(16)]
    assert len(set(voices + held_out)) == 80
    assert voice(7) == voices[7]
    assert all((v.pitch > 160) == (v.tract < 0.93) for v in voices)


@pytest.mark.parametrize("words", [[], ["ten"], "one", ["one", "One"]])
def test_what_it_cannot_say_is_refused(words):
    with pytest.raises(ValueError, match=r"cannot say|expected words"):
        speak(words)


@pytest.mark.parametrize("change", [{"pitch": 0}, {"tract": 0.1}, {"speed": float("nan")}, {"tilt": 1}, {"noise": -1}])
def test_an_impossible_voice_is_refused(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))} of a voice must be between"):
        speak(["one"], Voice(**change))


def test_extreme_voices_still_give_sound():
    for side in (0, 1):
        samples = speak(["six", "two"], Voice(**{name: limits[side] for name, limits in LIMITS.items()}))
        assert np.isfinite(samples).all()
        assert np.abs(samples).max() > 0.4
