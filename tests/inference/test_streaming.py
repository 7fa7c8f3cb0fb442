"""Tokens that become text: characters and stop strings, however they are cut into tokens."""

import itertools

import numpy as np
import pytest

from numpylm.inference.streaming import TextStream, stream_text
from numpylm.system.shell import printable

TEXT = "naïve 漢字 🙂!"


def cuts(data):
    """Every way to cut bytes into tokens."""
    for marks in itertools.product((False, True), repeat=len(data) - 1):
        borders = [0, *(i + 1 for i, mark in enumerate(marks) if mark), len(data)]
        yield [data[a:b] for a, b in itertools.pairwise(borders)]


def random_cuts(data, count, rng):
    for _ in range(count):
        borders = np.flatnonzero(np.r_[True, rng.random(len(data) - 1) < rng.random(), True])
        yield [data[a:b] for a, b in itertools.pairwise(borders)]


def streamed(tokens, stop=()):
    return list(stream_text(range(len(tokens)), tokens.__getitem__, stop))


def ended(text, stop):
    """The text up to the first stop string to be complete, found letter by letter."""
    for n in range(len(text) + 1):
        if starts := [n - len(s) for s in stop if text[:n].endswith(s)]:
            return text[: min(starts)]
    return text


def test_streaming_never_shows_half_a_character():
    for tokens in random_cuts(TEXT.encode("utf-8"), 200, np.random.default_rng(0)):
        assert "".join(streamed(tokens)) == TEXT
        assert "\ufffd" not in "".join(streamed(tokens))
    assert streamed(["🙂".encode()[:2]]) == ["\ufffd"]


@pytest.mark.parametrize(
    "stop",
    [
        ["字 🙂"],
        ["!"],
        [TEXT],
        ["na"],
        ["not there", "ve 漢!", "🙂!?"],  # only beginnings of these
        ["ïve 漢字", "e"],  # the shorter one begins later and is complete first
        ["漢字", "字"],  # complete at the same place: before the longer one
        ["v", "ïve"],
    ],
)
def test_stop_strings_are_found_however_the_text_is_cut(stop):
    for tokens in random_cuts(TEXT.encode("utf-8"), 100, np.random.default_rng(1)):
        assert "".join(streamed(tokens, stop)) == ended(TEXT, stop)


@pytest.mark.parametrize("stop", [["aab"], ["aabaac"], ["abaa", "baac"], ["aaaa"], ["b", "aabaa"], ["x", "aabaacx"]])
def test_beginnings_of_stop_strings_that_come_to_nothing_are_shown(stop):
    """Every cut of a text in which beginnings overlap: after aab comes a, and aab may begin in what was held back."""
    for tokens in cuts(b"aaabaabaac"):
        assert "".join(streamed(tokens, stop)) == ended("aaabaabaac", stop)


def test_what_may_begin_a_stop_string_is_held_back_and_nothing_else():
    stream = TextStream(lambda i: bytes([i]), ["<end>", "d<"])
    given = [stream.push(byte) for byte in b"a<enx<en"]
    assert given == ["a", "", "", "", "<enx", "", "", ""]
    assert stream.close() == "<en"
    assert stream.close() == ""
    assert not stream.stopped


def test_after_a_stop_string_nothing_comes_and_no_token_is_asked_for():
    asked = []

    def tokens():
        for byte in b"one. two.":
            asked.append(byte)
            yield byte

    assert list(stream_text(tokens(), lambda i: bytes([i]), ["."])) == ["o", "n", "e"]
    assert bytes(asked) == b"one."
    stream = TextStream(lambda i: b"one. two", ["."])
    assert [stream.push(0), stream.push(0), stream.close()] == ["one", "", ""]
    assert stream.stopped


def test_half_a_character_after_a_beginning_of_a_stop_string_is_not_lost():
    assert "".join(streamed([b"a<e", "漢".encode()[:2]], ["<end>"])) == "a<e\ufffd"
    assert "".join(streamed([b"a<", "漢".encode()[:2]], ["<\ufffd"])) == "a"


def test_one_string_is_one_stop_string_and_an_empty_one_is_refused():
    assert "".join(streamed([b"one two"], "two")) == "one "
    with pytest.raises(ValueError, match="must not be empty"):
        TextStream(bytes, ["a", ""])


def test_a_terminal_is_not_commanded():
    assert printable("a\x1b[2J\tb\n\x07é") == "a\ufffd[2J\tb\n\ufffdé"
