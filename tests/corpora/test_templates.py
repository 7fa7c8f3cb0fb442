"""Templates are told and read back, and alternatives are written out, each once."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from numpylm.corpora.known_entropy import Reader, Writer
from numpylm.corpora.templates import beginning, expand, fill, tell_slots


@dataclass(frozen=True)
class Animal:
    en: str
    plural: str
    zh: str = ""


TABLES = {"animals": (Animal("cat", "cats"), Animal("cattle dog", "cattle dogs"), Animal("mouse", "mice"))}
TEMPLATE = "{one:animals} saw two {many.plural:animals} and a {one}."


def told(seed):
    writer, words = Writer(np.random.default_rng(seed)), {}
    tell_slots(writer, TEMPLATE, TABLES, words)
    return writer, words


def test_reading_a_told_template_finds_the_same_words():
    for seed in range(20):
        writer, words = told(seed)
        reader, again = Reader(writer.text), {}
        tell_slots(reader, TEMPLATE, TABLES, again)
        assert again == words
        assert reader.position == len(writer.text)
        assert reader.nats == writer.nats == pytest.approx(math.log(3) + math.log(2))


def test_a_word_may_begin_another_one_and_no_word_is_picked_twice():
    texts = {told(seed)[0].text for seed in range(60)}
    assert "cat saw two cattle dogs and a cat." in texts
    assert "cattle dog saw two mice and a cattle dog." in texts
    assert len(texts) == 6
    assert not any(text.startswith("cat saw two cats") for text in texts)


def test_a_style_changes_every_picked_word_but_not_the_picks():
    writer = Writer(np.random.default_rng(0))
    tell_slots(writer, TEMPLATE, TABLES, {}, str.upper)
    assert writer.text == told(0)[0].text.upper()


def test_filling_writes_the_form_that_the_slot_or_the_caller_names():
    words = {"x": Animal("mouse", "mice", "老鼠"), "y": Animal("cat {x}", "cats")}
    assert fill("{x} {x.plural} {x.zh}", words) == "mouse mice 老鼠"
    assert fill("{x}", words, "zh") == "老鼠"
    assert fill("a {y}", words) == "a cat mouse"  # slots inside a word
    assert beginning("a {y}") == "a "
    assert beginning("none") == "none"


def test_alternatives_are_written_out_also_nested_and_empty_ones_and_each_once():
    assert expand("a") == ["a"]
    assert expand("[a|b]c[d|]") == ["acd", "ac", "bcd", "bc"]
    assert sorted(expand("[x[1|2]|y]")) == ["x1", "x2", "y"]
    assert expand("[a|a]") == ["a"]
