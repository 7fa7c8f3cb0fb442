"""Customer messages: short messages to an online shop, each with one of 20 intents, for classification.

A message is a greeting, one sentence and an ending. Half of the customers write carefully, the others in lower case
with few commas and apostrophes, and some of these with common typos. There are three kinds of sentences:

- plain ones, which only one intent has;
- contrasts, such as "The refund has arrived, but the order has not arrived." The same words in another order mean
  another intent, so counting words is not enough;
- vague ones, which several intents have with known, different probabilities.

Because of the vague ones nobody can always be right. The best possible accuracy is 0.969: the probability that the
most likely intent given the text is the true one. The entropy of the intent given the text is 0.06 nats.
"""

import functools
import re
from collections.abc import Callable, Collection, Iterator

from numpylm.corpora import customer_words as words
from numpylm.corpora.known_entropy import LabelledCorpus, Teller
from numpylm.corpora.templates import Words, beginning, tell_slots

CONTRASTS = 0.18  # share of the messages of an intent that are contrasts, if it has any

TYPOS = {
    "address": "adress",
    "received": "recieved",
    "receipt": "reciept",
    "which": "wich",
    "because": "becuase",
    "delivery": "delivry",
    "again": "agian",
    "password": "pasword",
    "please": "pls",
}
Style = Callable[[str], str]


def careful(text: str) -> str:
    return text


def casual(text: str) -> str:
    """Lower case, without commas and apostrophes."""
    return text.lower().replace(",", "").replace("'", "")


def hasty(text: str) -> str:
    """Like casual, with typos."""
    return re.sub(r"\w+", lambda word: TYPOS.get(word[0], word[0]), casual(text))


GREETINGS: tuple[tuple[str, Style], ...] = (
    ("", careful),
    ("Hello, ", careful),
    ("Hi, ", careful),
    ("Hi there, ", careful),
    ("Good morning, ", careful),
    ("Dear team, ", careful),
    ("", casual),
    ("hi ", casual),
    ("hello ", casual),
    ("hey ", casual),
    ("hey guys ", hasty),
    ("hi team ", hasty),
)
ENDINGS: dict[str, dict[Style, tuple[str, ...]]] = {  # by the mark at the end of the sentence, and by style
    "?": {
        careful: ("?", "? Thank you.", "? Thanks!", "? Please let me know."),
        casual: ("", "?", "??", "? thanks", "? thx", " pls"),
    },
    ".": {
        careful: (".", ". Thank you.", ". Thanks!", ". Please help."),
        casual: ("", ".", "!!", " thanks", " thx", " pls help"),
    },
}
ORDER_NUMBERS: dict[Style, str] = {careful: " My order number is {order}.", casual: " its order {order}"}


def tell(template: str, t: Teller) -> None:
    """Write a message with a sentence from a template."""
    picked: Words = {}
    _, style = GREETINGS[t.pick(*_starts(template))]
    tell_slots(t, template[:-1], words.TABLES, picked, style)
    ending = t.choose(_endings(template, careful if style is careful else casual), beginning)
    tell_slots(t, ending, words.TABLES, picked)


@functools.cache
def _starts(template: str) -> list[str]:
    """Each greeting with the sentence up to its first slot. After a greeting, only "I" keeps its capital letter."""
    first = beginning(template[:-1])
    lower = first if re.match(r"I\b", first) else first[0].lower() + first[1:]
    return [greeting + style(lower if greeting else first) for greeting, style in GREETINGS]


@functools.cache
def _endings(template: str, style: Style) -> list[str]:
    """What can follow the sentence. A message about an order that does not give its number may give it at the end."""
    mark = template[-1]
    endings = list(ENDINGS[mark][style])
    if "order" in template and "{a:" not in template:
        endings.append(spelled_out((mark if style is careful else "") + ORDER_NUMBERS[style]))
    return [ending + LabelledCorpus.END for ending in endings]


def spelled_out(template: str) -> str:
    """Replace short slots such as {order}."""
    for short, slots in words.SHORT.items():
        template = template.replace(short, slots)
    return template


def contrasts(intent: str) -> Iterator[str]:
    """Sentences with this intent that name another intent as well."""
    for states in words.STATES:
        for other in _others(intent, states):
            fine, problem = states[other][0], states[intent][1]
            yield from (f"{fine}, but {problem}.", f"{problem}, but {fine}.")
    for other in _others(intent, words.ARRIVALS):
        here, where = words.ARRIVALS[other][0], words.ARRIVALS[intent][1]
        yield from (f"{here}, but {where}", f"{where} {here}.")
    for wishes in words.WISHES:
        for other in _others(intent, wishes):
            yes, no = wishes[intent], wishes[other]
            yield from (
                f"I want to {yes}, not {no}.",
                f"I don't want to {no}, I want to {yes}.",
                f"How can I {yes}? I don't want to {no}.",
                f"I wanted to {no}, but now I want to {yes}.",
            )
    for other in _others(intent, words.QUESTIONS):
        open_question, answered = words.QUESTIONS[intent], words.QUESTIONS[other]
        yield from (
            f"I know {answered}, but I don't know {open_question}.",
            f"You told me {answered}, but not {open_question}.",
            f"I did not ask {answered}, I asked {open_question}.",
        )


def _others(intent: str, group: Collection[str]) -> list[str]:
    """The other intents of a group; none if this intent is not in the group."""
    return [other for other in group if other != intent] if intent in group else []


def sentences(intent: str) -> list[tuple[float, str]]:
    """All sentences with this intent and their probabilities, which sum to 1."""
    vague = [(p[intent], sentence) for sentence, p in words.VAGUE.items() if intent in p]
    mixed = [(CONTRASTS, sentence[0].upper() + sentence[1:]) for sentence in contrasts(intent)]
    mixed = [(share / len(mixed), sentence) for share, sentence in mixed]
    rest = 1 - sum(p for p, _ in vague + mixed)
    plain = [(rest / len(words.ASKS[intent]), sentence) for sentence in words.ASKS[intent]]
    return [(p, spelled_out(sentence)) for p, sentence in plain + mixed + vague]


SOURCES = {
    intent: [(p, functools.partial(tell, sentence)) for p, sentence in sentences(intent)] for intent in words.ASKS
}
