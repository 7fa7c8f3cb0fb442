"""The customer messages: exact P(text | intent), a known best accuracy, and wording that overlaps."""

import itertools
import math
import re
from collections import Counter

import numpy as np
import pytest

from numpylm.corpora import MESSAGES, customer_messages
from numpylm.corpora import customer_words as words
from numpylm.corpora.customer_messages import SOURCES, sentences, tell
from numpylm.corpora.known_entropy import LabelledCorpus, Reader, Writer, _Teller

COUNT = 4000


@pytest.fixture(scope="module")
def messages():
    return MESSAGES.messages(COUNT)


@pytest.fixture(scope="module")
def posteriors(messages):
    return [MESSAGES.posterior(text) for text, _ in messages[:150]]


class Listing(_Teller):
    """Picks what a list says, then always the first phrase; remembers how many phrases there were."""

    def __init__(self, path):
        super().__init__()
        self.path, self.sizes = path, []

    def decide(self, phrases):
        self.sizes.append(len(phrases))
        return self.path[len(self.sizes) - 1] if len(self.sizes) <= len(self.path) else 0


def outcomes(tell):
    """All texts of a small generator with their probabilities: {text: P}."""
    found, path = Counter(), []
    while path is not None:
        listing = Listing(path)
        tell(listing)
        found["".join(listing.parts)] += math.exp(-listing.nats)
        full = path + [0] * (len(listing.sizes) - len(path))
        while full and full[-1] == listing.sizes[len(full) - 1] - 1:
            full.pop()
        path = full[:-1] + [full[-1] + 1] if full else None
    return found


# ------------------------------------------------------------------------------------------ probability


def test_probabilities_of_a_small_source_follow_from_bayes_rule():
    """Two labels: a coin with heads or tails, and a mixture of "heads" and that coin."""

    def coin(t):
        t.pick("heads\n", "tails\n")

    def heads(t):
        t.say("heads\n")

    corpus = LabelledCorpus({"fair": [(1.0, coin)], "mixed": [(0.5, coin), (0.5, heads)]}, seed=0)
    assert corpus.probability("heads", "mixed") == pytest.approx(0.75)
    assert corpus.posterior("heads") == pytest.approx({"fair": 0.4, "mixed": 0.6})
    assert corpus.posterior("tails") == pytest.approx({"fair": 2 / 3, "mixed": 1 / 3})
    assert corpus.posterior("head") == corpus.posterior("") == corpus.posterior("heads\n") == {}
    assert {text for text, _ in corpus.messages(20)} == {"heads", "tails"}


def test_weights_of_each_intent_add_up_to_one():
    assert len(SOURCES) == len(MESSAGES.labels) == 20
    for intent, source in SOURCES.items():
        assert sum(weight for weight, _ in source) == pytest.approx(1, rel=1e-12), intent
        assert min(weight for weight, _ in source) > 0


def test_every_sentence_is_a_prefix_code():
    for n, template in enumerate({template for intent in SOURCES for _, template in sentences(intent)}):
        writer = Writer(np.random.default_rng([4, n]))
        tell(template, writer)  # raises ValueError if a pick is no prefix code
        reader = Reader(writer.text)
        tell(template, reader)
        assert reader.position == len(writer.text)
        assert reader.nats == pytest.approx(writer.nats, rel=1e-12)


def test_probabilities_of_all_messages_with_one_sentence_add_up_to_its_weight():
    template = "Please delete my account."
    weight = dict(map(reversed, sentences("delete_account")))[template]
    texts = outcomes(lambda t: tell(template, t))
    assert len(texts) == 6 * 4 + 6 * 6  # greetings times endings, careful and not
    total = sum(MESSAGES.probability(text.removesuffix("\n"), "delete_account") for text in texts)
    assert total == pytest.approx(weight)


@pytest.mark.slow
def test_sentences_come_as_often_as_their_probability_says(messages):
    texts = [text.lower() for text, label in messages if label == "order_status"]
    for part, expected in (("not here yet", 0.08), ("email for order", 0.04), (r"where is my (?!order|refund)", 0.06)):
        found = sum(bool(re.search(part, text)) for text in texts)
        assert abs(found - expected * len(texts)) < 4 * math.sqrt(expected * len(texts)), (part, found)


def test_vague_messages_have_the_probabilities_of_the_table():
    assert MESSAGES.posterior("My mirror is not here yet.") == pytest.approx(
        {"order_status": 0.08 / 0.13, "late_delivery": 0.05 / 0.13}
    )
    vague = MESSAGES.posterior("hey guys order #123456 went wrong pls call me thx")
    assert vague == pytest.approx({"wrong_item": 2 / 11, "late_delivery": 2 / 11, "talk_to_human": 7 / 11})
    assert MESSAGES.posterior("hey guys order #121256 went wrong pls call me thx") == {}  # no pair of digits twice
    assert MESSAGES.posterior("Where is my order #123456?") == {"order_status": 1}


def test_foreign_messages_have_no_label(messages):
    for text, _ in messages[:10]:
        for changed in (text + "x", text[1:], ""):
            assert MESSAGES.posterior(changed) == {}


def test_the_true_label_is_always_possible_and_only_vague_sentences_are_ambiguous(messages, posteriors):
    vague = {re.split(r"[{.?]", sentence)[0].lower()[:14] for sentence in words.VAGUE}
    for (text, label), posterior in zip(messages, posteriors, strict=False):
        assert posterior[label] > 0
        assert sum(posterior.values()) == pytest.approx(1)
        if len(posterior) > 1:
            assert any(start[3:].replace("'", "") in text.lower().replace("'", "") for start in vague), text


def best_accuracy():
    """1 - P(the intent is not the most likely one given the text), from the table of vague sentences."""
    return 1 - sum(sum(p.values()) - max(p.values()) for p in words.VAGUE.values()) / len(words.ASKS)


def test_best_accuracy_is_known_stated_and_reached(messages, posteriors):
    stated = float(re.search(r"best possible accuracy is ([\d.]+):", customer_messages.__doc__)[1])
    assert best_accuracy() == pytest.approx(stated, abs=5e-4)
    assert 0.95 < stated < 0.97
    n = len(posteriors)
    sigma = math.sqrt(stated * (1 - stated) / n)
    assert abs(np.mean([max(p.values()) for p in posteriors]) - stated) < 4 * sigma
    right = [max(p, key=p.__getitem__) == label for p, (_, label) in zip(posteriors, messages, strict=False)]
    assert abs(np.mean(right) - stated) < 4 * sigma


# -------------------------------------------------------------------------------------------- the texts


def naive_bayes_accuracy(train, test):
    """Multinomial naive Bayes with add-one smoothing on counts of words."""
    vocabulary = {}
    for text, _ in train:
        for word in re.findall(r"\w\w+", text.lower()):
            vocabulary.setdefault(word, len(vocabulary))
    counts, prior = np.ones((len(MESSAGES.labels), len(vocabulary))), np.zeros(len(MESSAGES.labels))
    for text, label in train:
        row = MESSAGES.labels.index(label)
        prior[row] += 1
        for word in re.findall(r"\w\w+", text.lower()):
            counts[row, vocabulary[word]] += 1
    log_p = np.log(counts / counts.sum(axis=1, keepdims=True))
    right = 0
    for text, label in test:
        columns = [vocabulary[word] for word in re.findall(r"\w\w+", text.lower()) if word in vocabulary]
        right += MESSAGES.labels[int(np.argmax(np.log(prior) + log_p[:, columns].sum(axis=1)))] == label
    return right / len(test)


def test_counting_words_is_good_but_not_enough(messages):
    accuracy = naive_bayes_accuracy(messages[:3000], messages[3000:])
    assert 0.84 < accuracy < 0.92


def test_messages_are_reproducible_and_their_labels_uniform(messages):
    assert MESSAGES.messages(30) == messages[:30]
    assert MESSAGES.message(777) == messages[777]
    counts = Counter(label for _, label in messages)
    for label in MESSAGES.labels:
        assert abs(counts[label] - COUNT / 20) < 4 * math.sqrt(COUNT / 20), label


def test_messages_are_short_and_well_formed(messages):
    for text, _ in messages:
        assert 3 < len(text.split()) <= 25, text
        assert not set("{}\n") & set(text), text
        assert "  " not in text
        assert text == text.strip()
        assert text.islower() or (text[0].isupper() and text[-1] in ".?!"), text
        doubled = [a for a, b in itertools.pairwise(text.split()) if a == b]
        assert not doubled, text


def test_each_intent_has_more_than_a_million_messages_and_held_out_ones_are_new(messages):
    for intent in MESSAGES.labels:
        with_order = [template for _, template in sentences(intent) if template.count(":pairs}") == 3]
        assert len(with_order) * 12 * 4 * 90 * 89 * 88 > 1e6, intent  # greetings, endings, numbers
    seen = {text for text, _ in messages[:3000]}
    assert np.mean([text not in seen for text, _ in messages[3000:]]) > 0.95
