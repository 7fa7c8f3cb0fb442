"""Voices of the bundled speaker: pitch, length of the vocal tract, speed, breath, and how steadily it speaks"""

from typing import NamedTuple

import numpy as np


class Voice(NamedTuple):
    """What makes a speaker. The defaults are a man who speaks calmly."""

    pitch: float = 115  # Hz, at the middle of a sentence
    range: float = 0.12  # how far the pitch moves, as a share of it
    tract: float = 1.0  # the formants are divided by this length of the vocal tract, relative to a man's
    speed: float = 1.0
    breath: float = 0.02  # noise in the voice, as a share of its amplitude
    open: float = 0.6  # the share of a period in which the vocal folds are open
    tilt: float = 0.3  # how soft the voice is: the pole of a lowpass filter, between 0 and 1
    jitter: float = 0.01  # random changes of pitch
    care: float = 0.03  # random changes of formants and three times that of durations, from sound to sound
    noise: float = 0.001  # of the room, as a share of the largest amplitude


LIMITS = {  # of what can be spoken and understood
    "pitch": (40, 500),
    "range": (0, 0.8),
    "tract": (0.6, 1.5),
    "speed": (0.3, 3),
    "breath": (0, 1),
    "open": (0.2, 0.9),
    "tilt": (0, 0.95),
    "jitter": (0, 0.2),
    "care": (0, 0.2),
    "noise": (0, 1),
}


def check_voice(voice: Voice) -> None:
    """Refuse a voice that no vocal tract has."""
    for name, (low, high) in LIMITS.items():
        if not low <= getattr(voice, name) <= high:
            raise ValueError(f"{name} of a voice must be between {low} and {high}, not {getattr(voice, name)}")


def voice(n: int, held_out: bool = False) -> Voice:
    """The n-th of an endless number of voices. The held-out ones are other voices than the rest.

    Odd voices are high, with shorter vocal tracts; even ones are low. In each group the pitch and the length of the
    vocal tract are drawn alone, because people of one size may have any pitch.
    """
    rng = np.random.default_rng([1980, n, held_out])
    high = n % 2
    return Voice(
        pitch=float(rng.uniform(165, 245) if high else rng.uniform(85, 145)),
        range=float(rng.uniform(0.06, 0.2)),
        tract=float(rng.uniform(0.83, 0.92) if high else rng.uniform(0.94, 1.06)),
        speed=float(rng.uniform(0.85, 1.2)),
        breath=float(rng.uniform(0.005, 0.06)),
        open=float(rng.uniform(0.5, 0.7)),
        tilt=float(rng.uniform(0.1, 0.5)),
        jitter=float(rng.uniform(0.003, 0.015)),
        care=float(rng.uniform(0.01, 0.04)),
        noise=float(10 ** rng.uniform(-4, -2)),
    )
