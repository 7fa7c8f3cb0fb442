"""The bundled speaker is understood by a published recognizer, in voices on which its sounds were not tuned"""

import numpy as np
import pytest

from benchmarks.speaker import Recognizer, our_digits


@pytest.mark.slow
def test_digits_of_held_out_voices_are_recognized():
    pytest.importorskip("pocketsphinx")
    recognizer = Recognizer()
    right = [recognizer.words(samples) == word for _, word, samples in our_digits(range(8), True)]
    assert np.mean(right) >= 0.9


def test_the_recognizer_hears_the_word_and_not_the_noise():
    """The test above could not fail if the recognizer guessed: it must hear one voice's digits, and no others."""
    pytest.importorskip("pocketsphinx")
    recognizer = Recognizer()
    heard = {word: recognizer.words(samples) for _, word, samples in our_digits(range(3, 4), True)}
    assert sum(word == found for word, found in heard.items()) >= 8
    noise = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    assert sum(recognizer.words(noise) == word for word in heard) <= 1
