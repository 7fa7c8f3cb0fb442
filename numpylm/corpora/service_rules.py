"""Rules of the customer-service conversations: what a customer's turn means, and what the right answer to it is."""

import functools
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from numpylm.corpora import service_questions, service_slots, service_talk
from numpylm.corpora.known_entropy import LabelledCorpus, Teller
from numpylm.corpora.service_bank_words import BANK
from numpylm.corpora.service_words import SHOP
from numpylm.corpora.templates import beginning, expand, pattern, tell_slots

Conversation = tuple[tuple[str, str], ...]  # (role, text) of each turn; the roles are "user" and "assistant"

SITUATIONS = {**SHOP, **BANK}
REMEMBERED = ("order", "card", "name")  # slots that count for later requests, too


@dataclass(frozen=True)
class Act:
    """What a turn of a customer does, and what it is about."""

    move: str  # "request", "give", "find", "follow", "outside", or a kind of small talk
    about: str = ""  # a situation, slot, follow-up or topic


@dataclass(frozen=True)
class State:
    """What is known after a turn of the customer: what the right answer is about, and what it must say."""

    kind: str = ""
    topic: str = ""  # the situation that is talked about
    words: Mapping[str, str] = field(default_factory=dict)  # slots
    missing: tuple[str, ...] = ()  # slots
    lead: str = ""  # how the answer may begin

    def after(self, act: Act, words: Mapping[str, str]) -> "State":
        match act.move:
            case "request":
                remembered = {slot: self.words[slot] for slot in REMEMBERED if slot in self.words}
                lead = SITUATIONS[act.about].mood
                return State(topic=act.about, words={**remembered, **words}, lead=lead)._look_for_missing()
            case "give":
                return replace(self, words={**self.words, **words}, lead="thanks")._look_for_missing()
            case "find":
                return replace(self, kind=service_talk.FINDS[act.about][0])
            case "follow":
                return replace(self, kind=act.about)
            case "outside":
                advice = service_questions.OUTSIDE[act.about][0]
                known = {**self.words, **words, "topic": act.about, "advice": advice}
                return State(kind="outside", words=known)
        return State(kind=act.move, words={**self.words, **words})

    def _look_for_missing(self) -> "State":
        missing = tuple(slot for slot in SITUATIONS[self.topic].needs if slot not in self.words)
        return replace(self, missing=missing, kind=service_talk.ASKS[missing[0]][0] if missing else self.topic)


# ------------------------------------------------------------------------------------- what customers say


@functools.cache
def phrases(act: Act) -> tuple[str, ...]:
    """All templates of what a customer says, without openings and endings."""
    match act.move:
        case "request":
            return SITUATIONS[act.about].requests
        case "give":
            return service_talk.ASKS[act.about][2]
        case "find":
            return service_talk.FINDS[act.about][1]
        case "follow":
            return service_questions.FOLLOW_UPS[act.about][0]
        case "outside":
            return service_questions.OUTSIDE[act.about][1]
    no = service_talk.NO_GOODBYES if act.move == "good-bye" else ()
    return service_talk.SMALL_TALK[act.move][0] + no


def acts(state: State) -> Iterator[Act]:
    """All that a customer can do here."""
    if state.missing:
        yield Act("give", state.missing[0])
        if state.missing[0] in service_talk.FINDS:
            yield Act("find", state.missing[0])
    elif state.topic:
        yield from (Act("follow", kind) for kind in SITUATIONS[state.topic].then)
    yield from (Act("request", situation) for situation in SITUATIONS)
    yield from (Act("outside", topic) for topic in service_questions.OUTSIDE)
    yield from (Act(kind) for kind in service_talk.SMALL_TALK)


@functools.cache
def expressions(act: Act) -> tuple[re.Pattern[str], ...]:
    """Regular expressions for what a customer says, with a named group for each slot."""
    return tuple(_expression(template) for template in phrases(act))


def _expression(template: str) -> re.Pattern[str]:
    number = itertools.count()  # a slot may occur in several alternatives, but a group needs a name of its own
    return re.compile(pattern(template, lambda slot: f"(?P<{slot}_{next(number)}>{service_slots.PATTERNS[slot]})"))


def _slots(match: re.Match[str]) -> dict[str, str]:
    return {name.partition("_")[0]: value for name, value in match.groupdict().items() if value}


@functools.cache
def _openings() -> tuple[re.Pattern[str], ...]:
    return tuple(_expression(opening) for opening in dict.fromkeys(service_talk.ALL_OPENINGS))


def understand(state: State, text: str) -> list[tuple[Act, dict[str, str]]]:
    """All ways to read a turn of a customer: what it does, with the values of its slots."""
    rests = []
    for opening in _openings():
        if start := opening.match(text):
            rests.append((_slots(start), text[start.end() :]))
    for ending in set(service_talk.ENDINGS) - {""}:
        rests += [(words, rest.removesuffix(ending)) for words, rest in rests if rest.endswith(ending)]
    found = []
    for act in acts(state):
        for expression in expressions(act):
            for words, rest in rests:
                if match := expression.fullmatch(rest):
                    found.append((act, {**words, **_slots(match)}))
    return found


def state_after(history: Sequence[tuple[str, str]]) -> State:
    """The state after a history that ends with a turn of the customer.

    Raises
    ------
    ValueError
        If the last turn is not the customer's, or a customer of ours says no such thing at this point.
    """
    if not history or history[-1][0] != "user":
        raise ValueError("a history must end with a turn of the user: (('user', 'Where is my order?'),)")
    state = State()
    for role, text in history:
        if role == "user":
            ways = understand(state, text)
            if not ways:
                raise ValueError(f"no customer of the bundled conversations says this here: {text!r}")
            state = state.after(*ways[0])
    return state


# --------------------------------------------------------------------------------------- what is answered


def answers(kind: str, lead: str) -> list[str]:
    """All templates of the answers of a kind."""
    asks = {name: questions for name, questions, _ in service_talk.ASKS.values()}
    finds = {name: told for name, _, told in service_talk.FINDS.values()}
    more = service_talk.ANYTHING_ELSE
    if kind in asks:
        return [service_talk.LEADS[lead] + question for question in asks[kind]]
    if kind in SITUATIONS:
        return [service_talk.LEADS[lead] + answer + more for answer in SITUATIONS[kind].answers]
    if kind in service_questions.FOLLOW_UPS:
        return [answer + more for answer in service_questions.FOLLOW_UPS[kind][1]]
    if kind == "outside":
        return [answer + more for answer in service_questions.OUTSIDE_ANSWERS]
    return list(finds[kind] if kind in finds else service_talk.SMALL_TALK[kind][1])


@functools.cache
def wordings(kind: str, lead: str) -> tuple[str, ...]:
    """All wordings of a kind, with slots but without brackets. They are equally likely."""
    return tuple(dict.fromkeys(text + LabelledCorpus.END for answer in answers(kind, lead) for text in expand(answer)))


def tell(wording: str, words: Mapping[str, str], t: Teller) -> None:
    """Write an answer."""
    t.say(beginning(wording))
    tell_slots(t, wording, service_talk.TABLES, dict(words))
