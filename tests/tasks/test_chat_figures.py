"""The figures of answers: right answers get 100 %, and each kind of mistake lowers the figure that is about it."""

import numpy as np
import pytest

from numpylm.corpora import SERVICE
from numpylm.corpora.service_slots import is_held_out, is_held_out_word
from numpylm.tasks.chat_answers import Answer, Turn, turns_of
from numpylm.tasks.chat_figures import (
    by_retrieval,
    contains,
    general_figures,
    service_conversations,
    service_figures,
    service_report,
    table,
    word_f1,
)
from numpylm.text.conversation import as_conversation

TALK = as_conversation(
    [
        ("user", "I'd like to know the status of order #714919."),
        ("assistant", "I can help with that. I just checked, and order #714919 will arrive on Thursday."),
        ("user", "Thanks. Should taxes be higher?"),
        ("assistant", "I'm sorry, but I can't help with politics. I only know about our store and our bank."),
    ]
)
RIGHT = [Answer(turn.answer) for turn in turns_of([TALK])]


def test_each_turn_has_its_true_history():
    assert turns_of([TALK]) == [Turn(TALK[:1], TALK[1].content), Turn(TALK[:3], TALK[3].content)]


def test_the_right_answers_are_right_in_every_sense():
    figures = service_figures(turns_of([TALK]), RIGHT)
    assert figures == dict.fromkeys(("kind", "slots", "ended", "outside", "possible"), 1.0)


@pytest.mark.parametrize(
    ("number", "answer", "wrong"),
    [
        (0, Answer(RIGHT[0].text.replace("714919", "714918")), {"slots", "possible"}),
        (0, Answer(RIGHT[0].text, ended=False), {"ended"}),
        (0, RIGHT[1], {"kind", "slots", "possible"}),
        (1, Answer("Hello! How may I help you?"), {"kind", "outside", "possible"}),
        (1, Answer(RIGHT[1].text.replace("politics", "sports")), {"possible"}),
    ],
)
def test_a_mistake_lowers_its_figures(number, answer, wrong):
    answers = [*RIGHT]
    answers[number] = answer
    figures = service_figures(turns_of([TALK]), answers)
    assert {name for name, value in figures.items() if value < 1} == wrong


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("order 1234.", True),
        ("(1234)", True),
        ("order 12345", False),
        ("#1234", False),
        ("01234", False),
        ("1234.50", False),
        ("1234, and", True),
    ],
)
def test_a_value_must_be_there_exactly(text, found):
    assert contains(text, "1234") == found


def test_words_in_common():
    assert word_f1("The order, is HERE", "the order is here!") == 1
    assert word_f1("order", "the order is here") == pytest.approx(2 * 1 * 0.25 / 1.25)
    assert word_f1("a a a a", "a b") == pytest.approx(2 / 6)  # a word counts as often as both have it
    assert word_f1("", "hello") == 0
    assert word_f1("…", "!") == 1
    turns = [Turn((), "yes sir"), Turn((), "no")]
    assert general_figures(turns, [Answer("yes"), Answer("no", False)]) == {
        "ended": 0.5,
        "word_f1": pytest.approx((2 / 3 + 1) / 2),
    }


def test_the_judged_conversations_are_of_new_customers():
    talks = service_conversations(turns=25)
    turns = turns_of(talks)
    assert len(turns) == 25
    assert [service_conversations(turns=9)[-1][-1].role, service_conversations(seed=1, turns=9) == talks[:4]] == [
        "assistant",
        False,
    ]
    for history, _ in turns:
        slots = SERVICE.slots(history)
        assert "order" not in slots or is_held_out(int(slots["order"].removeprefix("#")))
        assert "name" not in slots or all(map(is_held_out_word, slots["name"].split()))


def test_the_report_compares_model_and_retrieval(capsys):
    training = [as_conversation(talk) for talk in SERVICE.conversations(60)]
    talks = service_conversations(turns=20)
    nats = sum(map(SERVICE.nats, talks)) + 5.0
    right = {turn.history: Answer(turn.answer) for turn in turns_of(talks)}
    figures = service_report(talks, lambda histories: [right[history] for history in histories], nats, training)
    assert figures["model"]["above_source"] == pytest.approx(5 / 20)
    assert figures["model"]["possible"] == 1 > figures["retrieval"]["possible"]
    out = capsys.readouterr().out
    assert "to 20 turns" in out
    assert "0.250 nats" in out


def test_the_table_has_a_column_for_each_system():
    lines = table({"model": {"word_f1": 0.5, "ended": 1.0}, "retrieval": {"word_f1": 0.25}})
    assert [line.split()[-2:] for line in lines] == [
        ["model", "retrieval"],
        ["themselves", "100.0%"],
        ["50.0%", "25.0%"],
    ]


def test_retrieval_answers_from_the_training_conversations():
    (turn,) = turns_of([as_conversation([("user", "the status of order #555555 please"), ("assistant", "…")])])
    (answer,) = by_retrieval([TALK], [turn])
    assert answer == Answer("I can help with that. I just checked, and order #555555 will arrive on Thursday.")
    assert np.isclose(word_f1(answer.text, RIGHT[0].text), 14 / 15)
