"""Spoken numbers: strings of one to five digits, said by the bundled speaker in many voices, with their words"""

from collections.abc import Iterator

import numpy as np

from numpylm.audio.phones import DIGITS
from numpylm.audio.synthesizer import speak
from numpylm.audio.voices import voice

VOICES, HELD_OUT_VOICES = 64, 16
LONGEST = 5  # digits
SEED = 2028


def spoken_numbers(count: int, seed: int = SEED, held_out: bool = False) -> Iterator[tuple[np.ndarray, str]]:
    """Say random numbers, digit by digit. The n-th one depends only on (seed, n, held_out).

    Parameters
    ----------
    count : int
    seed : int
    held_out : bool
        Use 16 voices that are not among the 64 others. A model that was trained on those has never heard them.

    Yields
    ------
    samples : float32 array of shape (N,)
        16 kHz, a third of a second to about three seconds.
    text : str
        The words, such as "three one four".
    """
    if count < 0:
        raise ValueError(f"the number of recordings must not be negative, and it is {count}")
    for n in range(count):
        rng = np.random.default_rng([seed, n, held_out])
        words = [DIGITS[digit] for digit in rng.integers(10, size=rng.integers(1, LONGEST + 1))]
        speaker = voice(int(rng.integers(HELD_OUT_VOICES if held_out else VOICES)), held_out)
        yield speak(words, speaker, rng), " ".join(words)
