"""A formant synthesizer that speaks the ten digits (after Klatt 1980): source, vocal tract, and how both change"""

from collections.abc import Sequence

import numpy as np

from numpylm.audio.formant_filter import HOP, cascade, filtered, resonator
from numpylm.audio.mel import RATE
from numpylm.audio.phones import PHONES, WORDS, Phone
from numpylm.audio.voices import Voice, check_voice

HIGHER = ((3400, 250), (4400, 300), (5300, 400), (6300, 500), (7200, 600))  # formants 4 to 8, equal in all sounds
NOSE = (270.0, 100.0)  # frequency and bandwidth of the resonance of the nose
FULL = 60.0  # dB of amplitude 1
PAUSES = 0.4  # the share of words with a pause before the next
RETURN = 0.01  # of a period: how fast the vocal folds close; with it, our spectra have the slope of real ones


def speak(words: Sequence[str], voice: Voice | None = None, rng: np.random.Generator | None = None) -> np.ndarray:
    """Say digits.

    Speech has a source and a filter (Fant 1960). The vocal folds give a buzz, whose pitch is the melody; a narrow place
    in the mouth gives a hiss. The vocal tract above the source has resonances, the formants. Tongue and lips move them,
    and their frequencies distinguish one vowel from another.

    Parameters
    ----------
    words : sequence of str
        "zero" to "nine".
    voice : Voice
    rng : Generator
        Noise and small variations; without it they are the same in every call.

    Returns
    -------
    float32 array of shape (N,)
        16 kHz; the largest amplitude is 0.5.

    Raises
    ------
    ValueError
        If there are no words, a word is not one of the ten digits, or the voice is impossible.
    """
    voice = voice or Voice()
    check_voice(voice)
    rng = rng or np.random.default_rng(0)
    tracks = Tracks(phones_of(words, rng), voice, rng)
    buzz = glottal_source(tracks, voice, rng)
    hiss = rng.standard_normal(len(buzz)).astype(np.float32) * tracks.samples(amplitude(tracks.hiss))
    sound = filtered([buzz, hiss], [vocal_tract(tracks, voice), front_of_the_mouth(tracks, voice)])
    sound *= 0.5 / np.abs(sound).max()
    sound += rng.normal(0, 0.5 * voice.noise, len(sound)).astype(np.float32)
    return sound


def phones_of(words: Sequence[str], rng: np.random.Generator) -> list[Phone]:
    """All sounds of the words. There is a pause before the first word, after the last, and after some of the others."""
    if isinstance(words, str) or not words:
        raise ValueError(f'expected words to say, such as ["three", "one"], not {words!r}')
    if unknown := [word for word in words if word not in WORDS]:
        raise ValueError(f"the synthesizer says only {', '.join(WORDS)}; it cannot say {unknown[0]!r}")
    phones = [pause(rng)]
    for n, word in enumerate(words, start=1):
        phones += [PHONES[name] for name in WORDS[word].split()]
        if n == len(words) or rng.random() < PAUSES:
            phones.append(pause(rng))
    return phones


def pause(rng: np.random.Generator) -> Phone:
    """Silence of 0.5 to 2 times the usual length."""
    return PHONES[" "]._replace(ms=PHONES[" "].ms * float(2 ** rng.uniform(-1, 1)))


class Tracks:
    """The parameters of the synthesizer over time, a value for each frame of 8 ms.

    At the border between two phones the formants move in a straight line from one to the other. That takes the mean of
    the two phones' ``glide``, so the mouth is on its way for much of the time, as in real speech (coarticulation).
    Levels change in the mean of their ``fade``.
    """

    def __init__(self, phones: Sequence[Phone], voice: Voice, rng: np.random.Generator) -> None:
        ms = np.array([phone.ms for phone in phones]) / voice.speed  # (P,)
        ms *= np.exp(rng.normal(0, 3 * voice.care, len(ms)))
        borders = np.concatenate([[0], np.cumsum(ms)])  # (P + 1,)
        T = int(borders[-1] * RATE / 1000) // HOP + 2
        self.times = np.arange(T) * (1000 * HOP / RATE)  # ms
        factors = np.exp(rng.normal(0, voice.care, (len(phones), 3))) / voice.tract
        starts = np.array([phone.start for phone in phones]) * factors  # (P, 3)
        ends = np.array([phone.end for phone in phones]) * factors
        widths = np.array([phone.width for phone in phones])
        glide, fade = (changes([getattr(phone, name) for phone in phones], ms) for name in ("glide", "fade"))
        self.formants = [self._line(borders, glide, starts[:, i], ends[:, i]) for i in range(3)]
        self.widths = [self._line(borders, glide, widths[:, i], widths[:, i]) for i in range(3)]
        rest = np.array([(p.voice, p.breath, p.hiss, *p.place, p.zero) for p in phones])  # (P, 6)
        lines = [self._line(borders, fade, values, values) for values in rest.T]
        self.voice, self.breath, self.hiss, self.place, self.place_width, self.zero = lines

    def _line(self, borders: np.ndarray, change: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """A phone reaches ``start`` half a change after it begins, and leaves ``end`` half a change before its end."""
        times = np.stack([borders[:-1] + change[:-1] / 2, borders[1:] - change[1:] / 2], axis=1)  # (P, 2)
        return np.interp(self.times, times.reshape(-1), np.stack([start, end], axis=1).reshape(-1))  # (T,)

    @staticmethod
    def samples(values: np.ndarray) -> np.ndarray:
        """Values of frames (T,) to values of samples (128 (T - 1),), by straight lines."""
        share = np.arange(HOP, dtype=np.float32) / HOP
        values = values.astype(np.float32)
        return (values[:-1, None] * (1 - share) + values[1:, None] * share).reshape(-1)


def changes(each: Sequence[float], ms: np.ndarray) -> np.ndarray:
    """The ms of a change at each border, (P + 1,): the mean of both phones, at most the length of the shorter one."""
    pairs = np.stack([each[:-1], each[1:]])
    return np.pad(np.minimum(pairs.mean(axis=0), np.minimum(ms[:-1], ms[1:])), 1)


def amplitude(decibels: np.ndarray) -> np.ndarray:
    """dB to amplitude, where 60 dB is 1 and 0 dB is silence."""
    return np.where(decibels > 0, 10 ** ((decibels - FULL) / 20), 0)


def glottal_source(tracks: Tracks, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """The change of the air flow through the vocal folds, and the noise of breath there.

    In the open part of a period the flow is x² - x³ (Rosenberg 1971; KLGLOTT88 of Klatt & Klatt 1990). The lips
    radiate its derivative, 2x - 3x², which falls to -1 when the folds close and then returns exponentially to 0 (as in
    the LF model of Fant, Liljencrants & Lin 1985). This sudden closing has the high frequencies that excite formants.
    """
    T = len(tracks.times)
    place = tracks.times / tracks.times[-1]  # (T,) from 0 to 1
    melody = 1 + voice.range * (0.6 - 1.2 * place + 0.5 * np.sin(2 * np.pi * (1.3 * place + 0.1)))  # falls, with a wave
    wander = 1 + voice.jitter * rng.standard_normal(T)
    phase = np.cumsum(tracks.samples(voice.pitch * melody * wander).astype(np.float64)) / RATE
    period = phase.astype(np.int64)
    x = (phase - period) / voice.open
    closing = -np.exp(-np.maximum(x - 1, 0) * voice.open / RETURN)
    pulse = np.where(x < 1, 2 * x - 3 * x * x, closing) + RETURN
    pulse *= (1 + 2 * voice.jitter * rng.standard_normal(period[-1] + 1))[period]  # shimmer: loudness changes too
    noise = rng.standard_normal(len(pulse))
    voiced = tracks.samples(amplitude(tracks.voice))
    breath = tracks.samples(amplitude(tracks.breath)) + voice.breath * voiced * np.where(x < 1, 1, 0.3)
    return (voiced * pulse + 0.5 * breath * noise).astype(np.float32)


def vocal_tract(tracks: Tracks, voice: Voice) -> tuple[np.ndarray, np.ndarray]:
    """The filter of eight formants, the nose, and the softness of the voice: numerators and denominators."""
    T = len(tracks.times)
    sections = [resonator(F, W) for F, W in zip(tracks.formants, tracks.widths, strict=True)]
    sections += [resonator(np.full(T, F / voice.tract), np.full(T, W)) for F, W in HIGHER if F / voice.tract < RATE / 2]
    sections += [resonator(np.full(T, NOSE[0]), np.full(T, NOSE[1]))]
    sections += [np.tile([1 / (1 - voice.tilt), -voice.tilt / (1 - voice.tilt)], (T, 1))]
    return resonator(tracks.zero, np.full(T, NOSE[1])), cascade(sections)


def front_of_the_mouth(tracks: Tracks, voice: Voice) -> tuple[np.ndarray, np.ndarray]:
    """One broad resonance with gain 1 at its peak and none at 0 Hz: numerators and denominators."""
    center = np.minimum(tracks.place / voice.tract, 0.47 * RATE)
    denominator = resonator(center, tracks.place_width)
    z = np.exp(-2j * np.pi * center / RATE)[:, None] ** np.arange(3)
    gain = np.abs((denominator * z).sum(axis=1)) / np.abs(1 - z[:, 1])
    return gain[:, None] * np.array([1.0, -1.0]), denominator
