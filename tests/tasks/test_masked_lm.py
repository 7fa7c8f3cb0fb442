"""Masking: BERT's 80/10/10, whole words, and targets only where something was chosen."""

import numpy as np
import pytest

from numpylm.tasks.masked_lm import mask_tokens, word_starts
from numpylm.text.encoder_input import SPECIAL, EncoderTokens
from numpylm.text.tokenizer import Tokenizer

SPECIAL_IDS = EncoderTokens(first=100, last=101, pad=102, mask=103)
ORDINARY = np.arange(100)


def many(fraction=0.15, count=400, starts=None):
    rng = np.random.default_rng(0)
    row = np.concatenate([[100], rng.integers(0, 100, 200), [101]])
    return row, [mask_tokens(row, SPECIAL_IDS, ORDINARY, fraction, rng, starts) for _ in range(count)]


def test_the_shares_of_bert():
    row, made = many()
    ids, targets = (np.array(part) for part in zip(*made, strict=True))
    chosen = targets != -100
    assert chosen[:, 1:-1].mean() == pytest.approx(0.15, abs=0.005)
    hidden = (ids == 103)[chosen].mean()
    kept = (ids == row)[chosen].mean()
    assert hidden == pytest.approx(0.8, abs=0.01)
    assert kept == pytest.approx(0.1 + 0.1 / 100, abs=0.01)  # a random token is the right one in 1 of 100
    np.testing.assert_array_equal((targets == row)[chosen], True)
    np.testing.assert_array_equal((ids == row)[~chosen], True)


def test_the_special_tokens_are_never_chosen_and_something_always_is():
    row = np.array([100, 7, 101])
    for seed in range(50):
        ids, targets = mask_tokens(row, SPECIAL_IDS, ORDINARY, 0.01, np.random.default_rng(seed))
        assert targets.tolist() == [-100, 7, -100]
        assert (ids[0], ids[2]) == (100, 101)


def test_whole_words_are_chosen_together():
    starts = np.zeros(104, bool)
    starts[50:] = True  # tokens below 50 continue a word
    row, made = many(starts=starts)
    words = np.cumsum(starts[row[1:-1]])
    for _, targets in made:
        chosen = targets[1:-1] != -100
        for word in np.unique(words):
            assert len(set(chosen[words == word])) == 1


def test_words_begin_with_a_space_or_a_mark():
    tok = Tokenizer.train("the cats sat, the cat sat. " * 5, 300, SPECIAL)
    starts = word_starts(tok)
    pieces = {tok.decode([i]): starts[i] for i in range(tok.vocab_size)}
    assert pieces[" the"]
    assert pieces[","]
    assert not pieces["t"]


def test_a_chinese_character_is_a_word():
    tok = Tokenizer.train("我的猫在家里，你的猫在外面。" * 5, 320, SPECIAL, whole_characters=2)
    starts = word_starts(tok)
    ids = tok.encode("我的猫在外面")
    assert starts[ids].all()
