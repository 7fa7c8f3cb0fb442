"""Padding and drawing texts of similar length."""

import numpy as np
import pytest

from numpylm.text.encoder_input import SPECIAL, EncoderTokens, encoder_input
from numpylm.text.padding import SimilarLengths, in_batches, padded
from numpylm.text.tokenizer import Tokenizer


def test_padded_rows():
    ids, mask = padded([[5, 6, 7], [8], []], 9)
    np.testing.assert_array_equal(ids, [[5, 6, 7], [8, 9, 9], [9, 9, 9]])
    np.testing.assert_array_equal(mask, [[1, 1, 1], [1, 0, 0], [0, 0, 0]])


def test_all_texts_are_drawn_equally_often():
    """A batch of long texts has fewer rows. Without a correction, long texts would be drawn four times less often."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 40, 2000)
    draws = SimilarLengths(lengths, 600)
    counts = np.zeros(2000)
    for _ in range(6000):
        numbers = draws.draw(rng)
        assert len(set(numbers)) == len(numbers)
        assert lengths[numbers].max() * len(numbers) <= 600
        counts[numbers] += 1
    short, long = counts[lengths < 12].mean(), counts[lengths > 32].mean()
    assert 0.8 < short / long < 1.25


def test_little_is_padded():
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 40, 2000)
    draws = SimilarLengths(lengths, 600)
    used = [lengths[n].sum() / (lengths[n].max() * len(n)) for n in (draws.draw(rng) for _ in range(200))]
    assert np.mean(used) > 0.9


@pytest.mark.parametrize("lengths", [[7], [700], [3, 700, 5]])
def test_a_text_that_is_longer_than_a_batch_is_a_batch_of_its_own(lengths):
    rng = np.random.default_rng(0)
    for _ in range(20):
        numbers = SimilarLengths(np.array(lengths), 100).draw(rng)
        assert len(numbers) == 1 or max(lengths[n] for n in numbers) * len(numbers) <= 100


def test_every_text_is_in_exactly_one_batch():
    lengths = np.random.default_rng(0).integers(1, 50, 300)
    batches = list(in_batches(lengths, 200))
    assert sorted(np.concatenate(batches)) == list(range(300))
    assert all(lengths[n].max() * len(n) <= 200 for n in batches)


def test_the_form_of_an_encoders_input():
    tok = Tokenizer.train("a b c d", 300, SPECIAL)
    special = EncoderTokens.of(tok)
    rows, cut = encoder_input(tok, ["a b", "", "a b c d a b c d"], 6)
    assert [row[0] for row in rows] == [special.first] * 3
    assert [row[-1] for row in rows] == [special.last] * 3
    assert rows[1] == [special.first, special.last]
    assert (len(rows[2]), cut) == (6, 1)
    with pytest.raises(ValueError, match=r"needs the special tokens \[CLS\]"):
        encoder_input(Tokenizer.train("a b", 258), ["a"], 6)
