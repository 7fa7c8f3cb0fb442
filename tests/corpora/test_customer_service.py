"""The customer-service conversations: exact P(answer | history), kinds and slots of right answers, clean turns."""

import functools
import itertools
import json
import math
import re
import sys
from collections import Counter

import numpy as np
import pytest

from numpylm.corpora import SERVICE, __main__, customer_service, service_questions, service_slots, service_talk
from numpylm.corpora.customer_service import TURNS, _Talk, kinds
from numpylm.corpora.known_entropy import Writer
from numpylm.corpora.service_rules import SITUATIONS, Act, State, phrases, state_after, tell, understand, wordings
from numpylm.corpora.templates import SLOT, expand
from tests.corpora.test_customer_messages import outcomes

LOST = (("user", "I lost my card ending in 4821."),)
STATUS = (("user", "Hi. This is Maria Lopez. Where is my order? Thanks."),)
GIVEN = (*STATUS, ("assistant", "What is your order number?"), ("user", "It's #714919."))


@pytest.fixture(scope="module")
def talks():
    return SERVICE.conversations(1600)


def histories(talks):
    """(history, answer) of each turn of the assistant."""
    return [(talk[:n], talk[n][1]) for talk in talks for n in range(1, len(talk), 2)]


# ------------------------------------------------------------------------------------------ probability


@pytest.mark.slow
@pytest.mark.parametrize(
    "history", [LOST, STATUS, GIVEN, (("user", "Hello!"),), (("user", "Is it legal to record a phone call?"),)]
)
def test_probabilities_of_all_answers_add_up_to_one(history):
    state = state_after(history)
    texts = set()
    for wording in wordings(state.kind, state.lead):
        texts |= set(outcomes(functools.partial(tell, wording, state.words)))
    assert len(texts) > 8
    assert sum(math.exp(-SERVICE.answer_nats(history, text.removesuffix("\n"))) for text in texts) == pytest.approx(1)


def test_a_text_that_arises_in_two_ways_has_the_sum_of_their_probabilities(monkeypatch):
    monkeypatch.setattr(customer_service, "wordings", lambda kind, lead: ("On {day:weekdays}.\n", "On Monday.\n"))
    assert SERVICE.answer_nats(LOST, "On Monday.") == pytest.approx(-math.log(1 / 2 * 1 / 6 + 1 / 2))
    assert SERVICE.answer_nats(LOST, "On Friday.") == pytest.approx(-math.log(1 / 12))
    assert SERVICE.answer_nats(LOST, "On Sunday.") == math.inf


@pytest.mark.slow
def test_nats_are_those_of_the_picks_that_wrote_an_answer(talks):
    for n, (history, _) in enumerate(histories(talks[:60])):
        state, rng = state_after(history), np.random.default_rng([3, n])
        ways = wordings(state.kind, state.lead)
        writer = Writer(rng)
        tell(ways[rng.integers(len(ways))], state.words, writer)
        expected = math.log(len(ways)) + writer.nats
        assert SERVICE.answer_nats(history, writer.text.removesuffix("\n")) == pytest.approx(expected)


@pytest.mark.slow
def test_answers_come_as_often_as_their_probability_says(talks):
    for kind in ("greeting", "thanks", "good-bye"):
        found = [
            (talk[n - 1], answer)
            for talk in talks
            for n, (role, answer) in enumerate(talk)
            if role == "assistant" and answer in {w[:-1] for w in wordings(kind, "")}
        ]
        counts = Counter(answer for _, answer in found)
        for (_, user), answer in found[:20]:
            p = math.exp(-SERVICE.answer_nats((("user", user),), answer))
            assert abs(counts[answer] - p * len(found)) < 4.5 * math.sqrt(p * len(found)), (answer, counts[answer])


def test_mean_nats_are_stated_and_are_the_entropy(talks):
    found = histories(talks[:150])
    total = sum(SERVICE.nats(talk) for talk in talks[:150])
    entropy = sum(len_of(history) for history, _ in found)
    stated = float(re.search(r"which is ([\d.]+) nats", customer_service.__doc__)[1])
    assert total / len(found) == pytest.approx(stated, abs=0.2)
    assert abs(total - entropy) < 4 * math.sqrt(len(found))  # one answer's nats vary by less than 1


def len_of(history):
    """The entropy of the answers to a history: the wordings are equally likely, and a weekday adds log 6."""
    state = state_after(history)
    ways = wordings(state.kind, state.lead)
    return math.log(len(ways)) + sum(way.count(":weekdays}") for way in ways) / len(ways) * math.log(6)


def test_nats_of_a_conversation_are_the_sum_over_its_answers(talks):
    talk = max(talks[:50], key=len)
    assert SERVICE.nats(talk) == pytest.approx(sum(SERVICE.answer_nats(h, a) for h, a in histories([talk])))
    assert SERVICE.nats((("system", "You are a helpful assistant."), *talk)) == pytest.approx(SERVICE.nats(talk))
    assert SERVICE.nats((*talk[:-1], ("assistant", talk[-1][1] + "!"))) == math.inf


def test_foreign_answers_and_answers_with_wrong_slots_are_impossible():
    assert SERVICE.possible(LOST, "I have blocked the card ending in 4821. A new one is on its way.")
    assert not SERVICE.possible(LOST, "I have blocked the card ending in 4822. A new one is on its way.")
    assert not SERVICE.possible(LOST, "I have blocked the card ending in 4821. A new one is on its")
    assert not SERVICE.possible(LOST, "")
    assert not SERVICE.possible(STATUS, "Order #714919 has shipped.")
    assert not SERVICE.possible((("user", "Nobody says this."),), "Hello! How may I help you?")


# --------------------------------------------------------------------------------------- kinds and slots


def test_a_missing_slot_is_asked_for_and_then_copied():
    assert SERVICE.kind(STATUS) == "ask order number"
    assert SERVICE.slots(STATUS) == {}
    assert SERVICE.kind(GIVEN) == "order status"
    assert SERVICE.slots(GIVEN) == {"order": "#714919"}
    assert SERVICE.possible(GIVEN, "Got it. Order #714919 is on its way and should arrive on Friday.")
    again = (*GIVEN, ("assistant", "Order #714919 has shipped."), ("user", "Thanks. I want to close my account."))
    assert SERVICE.kind(again) == "close account"
    assert SERVICE.slots(again) == {"name": "Maria Lopez"}


def test_a_follow_up_means_the_last_request():
    question = ("user", "OK. How long will that take?")
    assert SERVICE.kind((*LOST, ("assistant", ""), question)) == "new card time"
    twice = (("user", "I was charged $45.90 twice on May 3rd."), ("assistant", ""), question)
    assert SERVICE.kind(twice) == "refund time"
    with pytest.raises(ValueError, match="no customer of the bundled conversations says this here"):
        SERVICE.kind((("user", "Hello!"), ("assistant", "Hi!"), question))


def test_a_history_must_end_with_the_user(talks):
    for history in ((), talks[0]):
        with pytest.raises(ValueError, match="must end with a turn of the user"):
            SERVICE.kind(history)


@pytest.mark.parametrize("held_out", [False, True])
def test_reading_finds_what_the_generator_did(held_out):
    """Each turn can be read in one way only, so the right answer is never in doubt."""
    for n in range(100):
        talk = _Talk(np.random.default_rng([8, n]), held_out)
        turns = talk.conversation()
        state = State()
        for (_, text), act in zip(turns[::2], talk.acts, strict=True):
            ways = understand(state, text)
            assert {way for way, _ in ways} == {act}, text
            assert all(words == ways[0][1] for _, words in ways)
            state = state.after(*ways[0])
        assert state == talk.state


def test_every_wording_of_a_customer_is_read_as_what_it_is():
    """All requests and questions, not only those that a sample happens to contain."""
    rng = np.random.default_rng(0)
    every = [Act("request", name) for name in SITUATIONS] + [Act("outside", name) for name in service_questions.OUTSIDE]
    for act in every + [Act(name) for name in service_talk.SMALL_TALK]:
        for template in phrases(act):
            text, _ = _Talk(rng, False)._fill(expand(template)[-1])
            assert {way for way, _ in understand(State(), text)} == {act}, text


def test_the_answers_have_the_kind_and_the_slots(talks):
    for history, answer in histories(talks[:60]):
        assert SERVICE.kind_of_answer(answer) == SERVICE.kind(history)
        assert all(value in answer for value in SERVICE.slots(history).values())
        assert SERVICE.possible(history, answer)
    assert SERVICE.kind_of_answer("I have blocked the card ending in 9. A new one is on its way.") == "card lost"
    assert SERVICE.kind_of_answer("Something else.") is None


def test_kinds_have_different_names_and_wordings():
    assert len(set(kinds())) == len(kinds()) == 80
    expressions = customer_service._expressions_of_answers()
    for kind in kinds():
        for lead in service_talk.LEADS:
            wording = SLOT.sub("x", wordings(kind, lead)[0].removesuffix("\n"))
            fitting = [name for name in kinds() if any(e.fullmatch(wording) for e in expressions[name])]
            assert fitting == [kind], wording


def test_each_answer_of_a_situation_contains_all_its_slots():
    for name, situation in SITUATIONS.items():
        for wording in wordings(name, situation.mood):
            used = {slot for slot, _, table in SLOT.findall(wording) if not table}
            assert used == set(situation.needs), wording


def test_situations_have_enough_wordings():
    assert len(SITUATIONS) >= 30
    for name, situation in SITUATIONS.items():
        assert len(situation.requests) >= 6, name
        assert len(situation.answers) >= 2, name
        given = [
            {slot for slot, _, _ in SLOT.findall(text)} for request in situation.requests for text in expand(request)
        ]
        assert any(set(situation.needs) <= slots for slots in given), name  # the last turn must have all
        assert not situation.needs or any(not set(situation.needs) <= slots for slots in given), name  # some ask
        questions = [service_questions.FOLLOW_UPS[kind][0] for kind in situation.then]
        assert len({text for texts in questions for text in texts}) == sum(map(len, questions)), name
    for slot in service_talk.ASKS:
        assert sum(len(expand(text)) for text in service_talk.ASKS[slot][2]) >= 6


# ----------------------------------------------------------------------------------------------- slots


def values(slot, held_out):
    rng = np.random.default_rng([1, held_out])
    return {service_slots.draw(slot, rng, held_out).removeprefix("#") for _ in range(400)}


@pytest.mark.parametrize("slot", service_slots.PATTERNS)
def test_held_out_slots_never_occur_in_training_draws(slot):
    train, held_out = values(slot, False), values(slot, True)
    assert len(held_out) >= 4
    assert not train & held_out
    assert all(re.fullmatch(service_slots.PATTERNS[slot], value) for value in train | held_out)


def test_held_out_names_have_no_word_of_the_training_names():
    train, held_out = ({word for name in values("name", held) for word in name.split()} for held in (False, True))
    assert not train & held_out
    assert len(train) > 200


def test_held_out_conversations_have_new_slots_only(talks):
    seen = Counter()
    for held_out, of in ((False, talks[:120]), (True, SERVICE.conversations(120, held_out=True))):
        for talk in of:
            words = state_after(talk[:-1]).words
            seen.update(
                {(slot, words[slot].removeprefix("#"), held_out) for slot in words if slot in service_slots.PATTERNS}
            )
    assert len(seen) > 150
    for slot, value, held_out in seen:
        assert (slot, value, not held_out) not in seen


def test_no_customer_begins_with_a_slot():
    """There a word is another token than behind a space, and copying it is another task."""
    moves = [Act("request", name) for name in SITUATIONS] + [Act("give", slot) for slot in service_talk.ASKS]
    for act in moves:
        assert not [text for template in phrases(act) for text in expand(template) if text.startswith("{")], act


def test_dictations_repeat_training_draws():
    found = SERVICE.dictations(300)
    assert found == SERVICE.dictations(300)
    assert found != SERVICE.dictations(300, seed=5)
    for (user, said), (assistant, repeated) in found:
        assert (user, assistant) == ("user", "assistant")
        assert said.removeprefix("Please repeat: ") == repeated.removeprefix("You said: ")
    names = {word for (_, said), _ in found for word in re.findall(r"(?<=[:,] )[A-Z][a-z]+ [A-Z][a-z]+(?=[,.])", said)}
    assert len(names) > 50
    assert not any(service_slots.is_held_out_word(word) for name in names for word in name.split())


def test_an_unknown_slot_is_refused():
    with pytest.raises(ValueError, match="unknown slot: 'color'"):
        service_slots.draw("color", np.random.default_rng(0))


# ---------------------------------------------------------------------------------------------- the turns


def test_conversations_are_reproducible(talks):
    assert SERVICE.conversations(20) == talks[:20]
    assert SERVICE.conversation(777) == talks[777]
    assert SERVICE.conversations(5, seed=0) != SERVICE.conversations(5, seed=1) != talks[:5]


def test_roles_alternate_and_the_user_begins(talks):
    lengths = Counter(len(talk) for talk in talks)
    assert set(lengths) == {2 * n for n in range(1, TURNS + 1)}
    assert min(lengths.values()) > 50
    for talk in talks:
        assert [role for role, _ in talk] == ["user", "assistant"] * (len(talk) // 2)


def test_turns_are_well_formed(talks):
    for _, text in itertools.chain(*talks):
        assert not set("{}[]|\n_") & set(text), text
        assert text == " ".join(text.split())
        assert text[-1] in ".?!", text
        for sentence in re.split(r"(?<=[.?!]) (?!to|in|every|on)(?![^.]*p\.m)", text):
            assert re.match(r"[A-Z$\d#]", sentence), text
            assert len(sentence) <= 200
        assert not re.search(r"[.?!,][.?!,]|\b[Aa] [aeio]", text.replace("p.m.", "")), text
        words = text.lower().split()
        assert not [a for a, b in itertools.pairwise(words) if a == b], text


@pytest.mark.slow
def test_situations_and_kinds_occur_about_equally_often(talks):
    counts = Counter(SERVICE.kind(history) for history, _ in histories(talks[:500]))
    assert sum(counts[name] >= 4 for name in SITUATIONS) == len(SITUATIONS)
    assert 0.04 < counts["outside"] / sum(counts.values()) < 0.1


@pytest.mark.slow
def test_all_situations_and_topics_occur(talks):
    """Found by their words, and not by the rules that wrote them."""
    found = {SERVICE.kind_of_answer(answer) for talk in talks[:1200] for _, answer in talk[1::2]}
    assert found >= set(kinds())
    text = " ".join(answer for talk in talks for _, answer in talk[1::2])
    assert all(f"help with {topic}" in text or f"help you with {topic}" in text for topic in service_questions.OUTSIDE)


def test_the_command_writes_json_lines(tmp_path, monkeypatch, talks):
    out = tmp_path / "service.jsonl"
    monkeypatch.setattr(sys, "argv", ["corpora", "service", "--count", "30", "--out", str(out)])
    __main__.main()
    lines = [json.loads(line)["messages"] for line in out.read_text(encoding="utf-8").splitlines()]
    assert [tuple((turn["role"], turn["content"]) for turn in line) for line in lines] == talks[:30]
