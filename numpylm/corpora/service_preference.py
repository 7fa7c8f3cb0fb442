"""Preferences for answers of the customer service that a function measures exactly: politeness and brevity.

A pair has two answers of the right kind with the right slots. So both are right, and only the style differs: one says
"Sure." or asks whether there is anything else, or it has fewer words. Nobody has to judge which answer is better.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from numpylm.corpora import service_talk
from numpylm.corpora.customer_service import CustomerService
from numpylm.corpora.known_entropy import LabelledCorpus, Writer
from numpylm.corpora.service_rules import Conversation, State, state_after, tell, wordings
from numpylm.corpora.templates import expand

FIRST = 1_000_000  # the number of the first conversation: training a chat does not use so many
TRIES = 20  # draws of a second answer before another turn is taken
FRIENDLY = tuple(sorted({text for lead in service_talk.LEADS.values() for text in expand(lead)} - {""}))
OFFERS = tuple(sorted(set(expand(service_talk.ANYTHING_ELSE)) - {""}))


def politeness(answer: str) -> int:
    """0 to 2: one point for a friendly beginning ("Sure."), one for an offer at the end ("… anything else?")."""
    return int(answer.startswith(FRIENDLY)) + int(answer.endswith(OFFERS))


def brevity(answer: str) -> int:
    """Minus the number of words."""
    return -len(answer.split())


MEASURES: dict[str, Callable[[str], int]] = {"politeness": politeness, "brevity": brevity}


class ServicePair(NamedTuple):
    """Two right answers to a history that ends with the customer's turn."""

    history: Conversation
    chosen: str  # the one with the higher measure
    rejected: str
    usual: str  # a third right answer, drawn without any preference: an opponent for the model's own


def service_pairs(
    service: CustomerService, preference: str, count: int, seed: int, first: int = FIRST
) -> list[ServicePair]:
    """Pairs from ``count`` conversations beginning with number ``first``, at most one from each.

    The two answers of a pair are drawn as the service draws its answers, until their measures differ. Some
    conversations have no turn where these can differ, such as a greeting: they give no pair.
    """
    measure = MEASURES[preference]
    found = (_pair(service.conversation(n, seed=seed), measure, n, seed) for n in range(first, first + count))
    return [pair for pair in found if pair]


def _pair(talk: Conversation, measure: Callable[[str], int], n: int, seed: int) -> ServicePair | None:
    rng = np.random.default_rng([seed, n])
    for turn in 2 * rng.permutation(len(talk) // 2):
        history, usual = talk[: turn + 1], talk[turn + 1][1]
        state = state_after(history)
        one = _draw(state, rng)
        for _ in range(TRIES):
            other = _draw(state, rng)
            if measure(other) != measure(one):
                rejected, chosen = sorted((one, other), key=measure)
                return ServicePair(history, chosen, rejected, usual)
    return None


def _draw(state: State, rng: np.random.Generator) -> str:
    """An answer of the right kind, all wordings equally likely."""
    ways, writer = wordings(state.kind, state.lead), Writer(rng)
    tell(ways[int(rng.integers(len(ways)))], state.words, writer)
    return writer.text.removesuffix(LabelledCorpus.END)


def is_right(service: CustomerService, history: Conversation, answer: str) -> bool:
    """Whether an answer has the right kind, in one of the service's wordings, and repeats the customer's slots."""
    same = service.kind_of_answer(answer) == service.kind(history)
    return same and all(word in answer for word in service.slots(history).values())
