"""Spoken numbers: reproducible one by one, of one to five digits, other voices when held out; and written as files."""

import sys

import numpy as np
import pytest

from numpylm.audio import read_wav
from numpylm.corpora import __main__ as command
from numpylm.corpora import spoken_numbers


def test_the_first_of_more_are_the_same():
    few, more = list(spoken_numbers(2, seed=5)), list(spoken_numbers(4, seed=5))
    for (samples, text), (again, same) in zip(few, more, strict=False):
        np.testing.assert_array_equal(samples, again)
        assert text == same
    assert more[0][1] != next(iter(spoken_numbers(1, seed=6)))[1]


def test_texts_are_one_to_five_digits_and_longer_texts_take_longer():
    lengths = {}
    for samples, text in spoken_numbers(20):
        assert samples.dtype == np.float32
        assert 0.15 < len(samples) / 16000 / len(text.split()) < 1.3
        lengths.setdefault(len(text.split()), []).append(len(samples))
    assert set(lengths) == {1, 2, 3, 4, 5}

    assert np.mean(lengths[1]) < np.mean(lengths[3]) < np.mean(lengths[5])


def test_held_out_voices_are_never_used_in_training(monkeypatch):
    used = {False: set(), True: set()}
    module = sys.modules["numpylm.corpora.spoken_numbers"]

    def note(words, voice, rng):
        used[held_out].add(voice)
        return np.zeros(1, np.float32)

    monkeypatch.setattr(module, "speak", note)
    for held_out in (False, True):
        list(spoken_numbers(400, held_out=held_out))
    assert not used[False] & used[True]
    assert len(used[False]) > 60
    assert len(used[True]) == 16


def test_a_negative_number_is_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        next(spoken_numbers(-1))


def test_the_command_writes_sounds_and_their_words(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["corpora", "numbers", "--count", "2", "--held-out", "--out", str(tmp_path)])
    command.main()
    rows = [line.split("\t") for line in (tmp_path / "words.tsv").read_text().splitlines()]
    expected = list(spoken_numbers(2, held_out=True))
    assert rows == [[f"0000{n}.wav", text] for n, (_, text) in enumerate(expected)]
    samples, rate = read_wav(tmp_path / "00001.wav")
    assert rate == 16000
    np.testing.assert_allclose(samples, expected[1][0], atol=1e-4)


def test_the_command_needs_a_folder_for_sounds(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["corpora", "numbers"])
    with pytest.raises(SystemExit):
        command.main()
    assert "--out" in capsys.readouterr().err
