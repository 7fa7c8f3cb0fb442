"""The bundled stories are reproducible and consistent, and their probability is known exactly."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from numpylm.corpora import CORPORA
from numpylm.corpora.known_entropy import Corpus, Reader, Writer
from numpylm.corpora.stories import tell
from numpylm.corpora.story_words import CAST
from numpylm.text.data import join_documents, split_documents

STORIES = CORPORA["stories"]
DATA = Path(__file__).parents[2] / "data"


def coin(t):
    """A source small enough to list all outcomes: toss a coin until heads, at most three times."""
    for _ in range(3):
        if t.pick("H", "T") == 0:
            return


def test_probabilities_of_a_small_source_are_known_and_add_up():
    corpus = Corpus(coin, seed=0)
    nats = {text: corpus.nats(text) for text in ("H", "TH", "TTH", "TTT")}
    assert nats == {"H": math.log(2), "TH": 2 * math.log(2), "TTH": 3 * math.log(2), "TTT": 3 * math.log(2)}
    assert sum(math.exp(-n) for n in nats.values()) == pytest.approx(1)
    assert corpus.nats("HT") == corpus.nats("T") == corpus.nats("") == corpus.nats("X") == math.inf


def test_a_source_that_is_no_prefix_code_is_refused():
    with pytest.raises(ValueError, match="'a' is the beginning of 'ab'"):
        Writer(np.random.default_rng(0)).pick("ab", "a")


def test_reading_a_story_finds_the_picks_that_wrote_it():
    for n in range(500):
        writer = Writer(np.random.default_rng([9, n]))
        tell(writer)
        reader = Reader(writer.text)
        tell(reader)
        assert reader.position == len(writer.text)
        assert reader.nats == pytest.approx(writer.nats, rel=1e-12)


def test_changed_stories_have_no_probability():
    story = STORIES.text(0)
    assert math.isfinite(STORIES.nats(story))
    for changed in (story + " ", story[:-1], story.replace("e", "a", 1), "x" + story, ""):
        assert STORIES.nats(changed) == math.inf


def test_the_first_stories_of_a_longer_corpus_are_the_shorter_one():
    assert STORIES.documents(20_000) == STORIES.documents(100_000)[: len(STORIES.documents(20_000))]


def test_bundled_file_is_what_its_command_makes_byte_for_byte():
    documents = STORIES.documents(1_000_000)
    assert (DATA / "stories.txt").read_bytes() == join_documents(documents).encode("utf-8")
    assert split_documents((DATA / "stories.txt").read_text(encoding="utf-8")) == documents


def test_stories_differ_and_stay_within_their_words():
    documents = STORIES.documents(500_000)
    assert len(set(documents)) == len(documents)
    words = {word.strip('.,!?:";').lower() for document in documents for word in document.split()}
    assert 300 < len(words) < 1000


def test_stories_are_well_formed():
    """No unfilled gap, no doubled space or word, paired quotation marks, and a capital letter after every period."""
    for story in STORIES.documents(300_000):
        assert not set("{}") & set(story), story
        assert "  " not in story
        assert story[0].isupper()
        assert story[-1] in '."!?'
        assert story.count('"') % 2 == 0, story
        words = story.replace("\n", " ").split(" ")
        doubled = [a for a, b in itertools.pairwise(words) if a == b and a.isalpha()]
        assert not doubled, (doubled, story)
        for before, after in itertools.pairwise(words):
            if before[-1] in ".!?" and before[-1:] != '"':
                assert after.lstrip('"')[0].isupper(), (before, after, story)


def test_the_hero_keeps_name_and_pronoun():
    girls = {c.name for c in CAST if c.she == "she"}
    for story in STORIES.documents(300_000):
        names = {c.name for c in CAST if c.name in story}
        assert 1 <= len(names) <= 2, story
        if names <= girls:
            assert not {" he ", " his ", " him "} & {f" {word.strip('.,!?')} " for word in story.split()}, story
