"""Preferences of the customer service: exact measures, pairs of right answers, and what counts as right."""

import pytest

from numpylm.corpora import SERVICE
from numpylm.corpora.service_preference import FIRST, MEASURES, brevity, is_right, politeness, service_pairs


def test_the_measures_of_some_answers():
    offer = " Can I help you with anything else?"
    body = "Order #714919 is canceled, and nothing will be shipped."
    assert [politeness(text) for text in (body, "Sure. " + body, body + offer, "Sure. " + body + offer)] == [0, 1, 1, 2]
    assert politeness("Surely not.") == 0
    assert politeness(offer.strip()) == 0  # the offer alone is no answer with an offer
    assert brevity("It is free.") == -3


@pytest.mark.parametrize("preference", sorted(MEASURES))
def test_both_answers_are_right_and_only_the_style_differs(preference):
    pairs, measure = service_pairs(SERVICE, preference, 24, seed=1), MEASURES[preference]
    assert len(pairs) > 20
    for pair in pairs:
        assert measure(pair.chosen) > measure(pair.rejected)
        assert all(SERVICE.possible(pair.history, answer) for answer in (pair.chosen, pair.rejected, pair.usual))
        assert is_right(SERVICE, pair.history, pair.chosen)
    assert pairs[7:9] == service_pairs(SERVICE, preference, 24, seed=1, first=FIRST)[7:9]
    assert service_pairs(SERVICE, preference, 5, seed=2) != pairs[:5]


def test_a_wrong_slot_and_a_wrong_kind_are_not_right():
    history = (("user", "I lost my card ending in 4821."),)
    right = "I have blocked the card ending in 4821. A new one is on its way."
    assert is_right(SERVICE, history, right)
    assert not is_right(SERVICE, history, right.replace("4821", "4812"))
    assert not is_right(SERVICE, history, "The new card is free.")
    assert not is_right(SERVICE, history, right + " Bye.")
