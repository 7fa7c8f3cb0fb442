"""Customer service: conversations between a customer and a store with a bank, and P(answer | conversation so far).

What the customer has said so far decides what the right answer is about (its kind) and which of the customer's words it
must repeat (its slots): see `numpylm.corpora.service_rules`. All wordings of that kind are equally likely, and so are
the words of a table. Several ways may give the same text, so all of them count:

    P(answer | history) = (1/n) Σ_k P_k(answer)      over the n wordings k of the right kind,

where P_k is the prefix code of `numpylm.corpora.known_entropy`. No model can be expected to have a lower loss on the
answers than the mean of -log P, which is 3.5 nats an answer.
"""

import functools
import math
import re
from collections.abc import Sequence

import numpy as np

from numpylm.corpora import service_questions, service_slots, service_talk
from numpylm.corpora.known_entropy import LabelledCorpus, Writer, read_picks
from numpylm.corpora.service_rules import (
    SITUATIONS,
    Act,
    Conversation,
    State,
    answers,
    phrases,
    state_after,
    tell,
    wordings,
)
from numpylm.corpora.templates import SLOT, expand, pattern

DICTATIONS = 1_000_000_007  # for random numbers of their own
TURNS = 4  # of the customer, at most
TOGETHER = ("order", "parcel")  # not in one conversation: an order is on its way, or it has arrived


class CustomerService:
    """An endless, reproducible sequence of conversations, with the probability of each answer.

    Parameters
    ----------
    seed : int
        The n-th conversation depends only on (seed, n, held_out).
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def conversation(self, n: int, held_out: bool = False, seed: int | None = None) -> Conversation:
        """The n-th conversation: (role, text) of each turn, beginning with the user and ending with the assistant."""
        rng = np.random.default_rng([self.seed if seed is None else seed, n, held_out])
        return _Talk(rng, held_out).conversation()

    def conversations(self, count: int, seed: int | None = None, held_out: bool = False) -> list[Conversation]:
        """The first conversations. Held-out ones have names, numbers, ... that never occur in the others."""
        return [self.conversation(n, held_out, seed) for n in range(count)]

    def dictations(self, count: int, seed: int | None = None) -> list[Conversation]:
        """Exercises in copying: the user dictates one to five slots of training draws, the assistant repeats them.

        In a conversation, few words of the assistant are copies; here, nearly all are. So a model that trains on
        both learns much earlier to copy. No customer says this, so it is neither held out nor judged.
        """
        rng = np.random.default_rng([self.seed if seed is None else seed, DICTATIONS])
        slots = list(service_slots.PATTERNS)
        found: list[Conversation] = []
        for _ in range(count):
            names = rng.choice(slots, rng.integers(1, 6))
            words = ", ".join(service_slots.draw(name, rng) for name in names)
            found.append((("user", f"Please repeat: {words}."), ("assistant", f"You said: {words}.")))
        return found

    def nats(self, conversation: Sequence[tuple[str, str]]) -> float:
        """-log P(all turns of the assistant | all turns of the user), in nats; infinite if that is impossible."""
        total = 0.0
        for n, (role, text) in enumerate(conversation):
            if role == "assistant":
                total += self.answer_nats(conversation[:n], text)
        return total

    def answer_nats(self, history: Sequence[tuple[str, str]], answer: str) -> float:
        """-log P(answer | history) in nats, including its end; infinite if that is impossible."""
        try:
            state = state_after(history)
        except ValueError:
            return math.inf
        ways = wordings(state.kind, state.lead)
        text = answer + LabelledCorpus.END
        found = [read_picks(functools.partial(tell, wording, state.words), text)[0] for wording in ways]
        p = sum(math.exp(-nats) for nats in found) / len(ways)
        return -math.log(p) if p else math.inf

    def possible(self, history: Sequence[tuple[str, str]], answer: str) -> bool:
        """Whether the assistant can give this answer."""
        return math.isfinite(self.answer_nats(history, answer))

    def kind(self, history: Sequence[tuple[str, str]]) -> str:
        """What the right answer is about: a situation, "ask order number", "outside", "good-bye", ..."""
        return state_after(history).kind

    def slots(self, history: Sequence[tuple[str, str]]) -> dict[str, str]:
        """The words of the customer that the right answer must contain."""
        state = state_after(history)
        needs = SITUATIONS[state.kind].needs if state.kind in SITUATIONS else ()
        return {slot: state.words[slot] for slot in needs}

    def kind_of_answer(self, answer: str) -> str | None:
        """The kind that has this wording, with any words in its slots; None if there is none."""
        for kind, expressions in _expressions_of_answers().items():
            if any(expression.fullmatch(answer) for expression in expressions):
                return kind
        return None


def kinds() -> tuple[str, ...]:
    """All kinds of answers."""
    asks = (kind for kind, _, _ in service_talk.ASKS.values())
    finds = (kind for kind, _, _ in service_talk.FINDS.values())
    return (*SITUATIONS, *asks, *finds, *service_questions.FOLLOW_UPS, "outside", *service_talk.SMALL_TALK)


@functools.cache
def _expressions_of_answers() -> dict[str, list[re.Pattern[str]]]:
    texts = {kind: {text for lead in service_talk.LEADS for text in answers(kind, lead)} for kind in kinds()}
    return {kind: [re.compile(pattern(text, lambda _: ".{1,60}?")) for text in sorted(texts[kind])] for kind in texts}


class _Talk:
    """A conversation that is being written."""

    def __init__(self, rng: np.random.Generator, held_out: bool) -> None:
        self.rng = rng
        self.held_out = held_out
        self.state = State()
        self.acts: list[Act] = []
        self.turns: list[tuple[str, str]] = []

    def conversation(self) -> Conversation:
        for left in range(TURNS - 1, -1, -1):  # turns of the customer after this one
            act = self._next(left)
            if act is None:
                break
            self._say(act, left)
        return tuple(self.turns)

    def _pick(self, weights: dict[Act | None, float]) -> Act | None:
        p = np.array(list(weights.values()))
        return list(weights)[self.rng.choice(len(p), p=p / p.sum())]

    def _any(self, things: Sequence[str]) -> str:
        return things[int(self.rng.integers(len(things)))]

    def _next(self, left: int) -> Act | None:
        """What the customer does next; None at the end."""
        state, outside = self.state, Act("outside", self._any(list(service_questions.OUTSIDE)))
        if not self.turns:
            return self._pick({self._request(): 8, outside: 1, Act("greeting"): 1.2 if left else 0})
        if state.missing:
            find = Act("find", state.missing[0])
            can_find = state.missing[0] in service_talk.FINDS and find not in self.acts and left >= len(state.missing)
            return self._pick({Act("give", state.missing[0]): 8, find: 1.5 if can_find else 0})
        if state.kind == "greeting":
            return self._pick({self._request(): 9, outside: 1})
        if state.kind == "good-bye":
            return None
        thanks = 0 if state.kind in ("thanks", "outside") or not left else 1
        weights: dict[Act | None, float] = {self._request(): 2, outside: 0.7, Act("thanks"): thanks}
        weights |= {Act("good-bye"): 4, None: 2}
        open_questions = [act for act in self._follow_ups() if act not in self.acts]
        return self._pick(weights | {act: 3 / len(open_questions) for act in open_questions})

    def _follow_ups(self) -> list[Act]:
        return [Act("follow", kind) for kind in SITUATIONS[self.state.topic].then] if self.state.topic else []

    def _request(self) -> Act:
        """A request that goes together with the earlier ones."""
        groups = {SITUATIONS[act.about].group for act in self.acts if act.move == "request"}
        if groups & set(TOGETHER):
            groups |= set(TOGETHER)
        return Act("request", self._any([name for name, at in SITUATIONS.items() if at.group not in groups]))

    def _say(self, act: Act, left: int) -> None:
        """Write a turn of the customer and the answer to it."""
        while True:
            text, words = self._fill(self._template(act))
            after = self.state.after(act, words)
            if len(after.missing) <= left:
                break
        self.state = after
        self.acts.append(act)
        ways = wordings(after.kind, after.lead)
        writer = Writer(self.rng)
        tell(ways[self.rng.integers(len(ways))], after.words, writer)
        self.turns += [("user", text), ("assistant", writer.text.removesuffix(LabelledCorpus.END))]

    def _template(self, act: Act) -> str:
        """What the customer says, with slots but without brackets."""
        asked = bool(self.turns) and self.turns[-1][1].endswith("?")
        ways = phrases(act)
        if act.move == "good-bye":
            count = len(service_talk.NO_GOODBYES)
            ways = ways[-count:] if asked and self.rng.random() < 0.5 else ways[:-count]
        template = self._any(expand(self._any(ways)))
        if act.move not in ("request", "outside", "follow"):
            return template
        openings = self._openings(act, asked)
        if "{name}" in template:
            openings = [opening for opening in openings if "{name}" not in opening]
        opening = self._any(expand(self._any(openings)))
        needs_something = act.move == "request" and SITUATIONS[act.about].needs
        ending = self._any(service_talk.ENDINGS) if needs_something and "hank" not in opening else ""
        return opening + template + ending

    def _openings(self, act: Act, asked: bool) -> Sequence[str]:
        if not self.turns:
            return service_talk.OPENINGS
        if self.state.kind == "greeting":
            return ("",)
        if act.move == "follow":
            return service_talk.FOLLOWING
        return service_talk.TRANSITIONS + (service_talk.TRANSITIONS_AFTER_QUESTION if asked else ())

    def _fill(self, template: str) -> tuple[str, dict[str, str]]:
        """Draw the slots of a template."""
        slots = dict.fromkeys(slot for slot, _, _ in SLOT.findall(template))
        words = {slot: service_slots.draw(slot, self.rng, self.held_out) for slot in slots}
        return template.format(**words), words
