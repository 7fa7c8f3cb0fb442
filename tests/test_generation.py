"""Sampling: the distribution each option makes, and streaming without broken characters."""

import numpy as np
import pytest

from numpylm import GPT, GPTConfig
from numpylm.generation import next_token_probabilities, stream_text

P = np.array([0.4, 0.1, 0.3, 0.2])
LOGITS = np.log(P).astype(np.float32)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, P),
        ({"temperature": 0}, [1, 0, 0, 0]),
        ({"temperature": 0.5}, P**2 / (P**2).sum()),
        ({"top_k": 1}, [1, 0, 0, 0]),
        ({"top_k": 2}, [4 / 7, 0, 3 / 7, 0]),
        ({"top_k": 99}, P),
        ({"top_p": 0.39}, [1, 0, 0, 0]),
        ({"top_p": 0.41}, [4 / 7, 0, 3 / 7, 0]),
        ({"top_p": 1.0}, P),
        ({"top_k": 3, "top_p": 0.5}, [4 / 7, 0, 3 / 7, 0]),
        ({"temperature": 1e-4}, [1, 0, 0, 0]),
    ],
)
def test_distribution(options, expected):
    np.testing.assert_allclose(next_token_probabilities(LOGITS, **options), expected, atol=1e-6)


@pytest.mark.parametrize(
    "bad", [{"temperature": -1}, {"temperature": np.nan}, {"top_k": 0}, {"top_p": 0}, {"top_p": 1.1}]
)
def test_impossible_options_are_refused_at_once(bad):
    gpt = GPT(GPTConfig(5, 4, 1, 1, 4))
    with pytest.raises(ValueError, match=next(iter(bad))):
        gpt.generate([1], 3, **bad)


def test_logits_that_are_not_finite_are_explained():
    with pytest.raises(ValueError, match="diverged"):
        next_token_probabilities(np.array([0.0, np.nan]))


@pytest.fixture
def gpt():
    return GPT(GPTConfig(9, 5, 2, 2, 8), np.random.default_rng(0))


def test_greedy_is_argmax_of_the_last_position_and_the_window_slides(gpt):
    ids = [1, 2, 3]
    for token in gpt.generate([1, 2, 3], 6, temperature=0):
        assert token == gpt.forward(np.array([ids[-5:]]))[0][0, -1].argmax()
        ids.append(token)
    assert len(ids) == 9


def test_a_prompt_longer_than_the_window_is_cut_at_its_left(gpt):
    long, short = ([7, 7, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    assert list(gpt.generate(long, 4, temperature=0)) == list(gpt.generate(short, 4, temperature=0))


def test_a_seed_repeats_a_text(gpt):
    one, two = (list(gpt.generate([1], 20, rng=np.random.default_rng(3))) for _ in range(2))
    assert one == two
    assert one != list(gpt.generate([1], 20, rng=np.random.default_rng(4)))


def test_generation_stops_after_a_stop_token(gpt):
    tokens = list(gpt.generate([1], 200, rng=np.random.default_rng(0), stop_ids={4}))
    assert tokens[-1] == 4
    assert 4 not in tokens[:-1]


def test_an_empty_prompt_is_refused(gpt):
    with pytest.raises(ValueError, match="at least one token"):
        gpt.generate([], 3)


def test_streaming_never_shows_half_a_character():
    text = "naïve 漢字 🙂!"
    data = text.encode("utf-8")
    pieces = list(stream_text(range(len(data)), lambda i: data[i : i + 1]))
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)
    cut = list(stream_text([0], lambda i: "🙂".encode()[:2]))
    assert cut == ["\ufffd"]
