"""The retrieval baseline: it finds the similar turn, and copies what this customer wrote into the answer."""

import pytest

from numpylm.corpora import SERVICE
from numpylm.tasks.retrieval_chat import Retrieval

TRAIN = [
    (("user", "Where is order #123456?"), ("assistant", "Order #123456 is on its way.")),
    (("user", "I lost my card ending in 4821."), ("assistant", "The card ending in 4821 is blocked.")),
    (
        ("system", "Be brief."),
        ("user", "Please cancel my order."),
        ("assistant", "What is the number?"),
        ("user", "It's 654321. I'm Maria Lopez."),
        ("assistant", "I have canceled 654321, Maria Lopez."),
    ),
]


def ask(*turns):
    roles = ("user", "assistant") * len(turns)
    return Retrieval(TRAIN).answer(tuple(zip(roles, turns, strict=False)))


def test_slots_of_the_customer_are_copied():
    assert ask("Where is my order #777777?") == "Order #777777 is on its way."
    assert ask("My card ending in 0007 is gone.") == "The card ending in 0007 is blocked."
    assert ask("Cancel my order please.", "Number?", "It's 222222. I'm Ann Lee.") == "I have canceled 222222, Ann Lee."


def test_the_last_value_of_a_slot_counts_and_a_missing_one_keeps_the_answer_found():
    assert ask("Order 111111.", "What about it?", "Where is order 333333?") == "Order 333333 is on its way."
    assert ask("Where is my order?") == "Order #123456 is on its way."


def test_the_turn_before_decides_between_equal_turns():
    talks = [
        (("user", "I lost my card."), ("assistant", "Sorry."), ("user", "How long?"), ("assistant", "A week.")),
        (("user", "I want a refund."), ("assistant", "Sure."), ("user", "How long?"), ("assistant", "Two days.")),
    ]
    retrieval = Retrieval(talks)
    for talk in talks:
        assert retrieval.answer(talk[:3]) == talk[3][1]


def test_nothing_known_gives_an_empty_answer_and_nothing_to_learn_is_refused():
    assert ask("xyzzy") == ""
    for train in ([], [(("user", "Hello!"),)], [(("assistant", "Hello!"),)]):
        with pytest.raises(ValueError, match="expected conversations with an answer"):
            Retrieval(train)


@pytest.mark.slow
def test_it_is_good_but_not_perfect_on_customer_service():
    retrieval = Retrieval(SERVICE.conversations(300))
    found = [
        (talk[:n], retrieval.answer(talk[:n]))
        for talk in SERVICE.conversations(40, held_out=True)
        for n in range(1, len(talk), 2)
    ]
    right = sum(SERVICE.kind_of_answer(answer) == SERVICE.kind(history) for history, answer in found)
    assert 0.5 < right / len(found) < 0.95
