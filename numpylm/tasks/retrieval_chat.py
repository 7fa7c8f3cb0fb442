"""Chat that needs no network: the answer to the most similar training turn, with its numbers and names replaced."""

import re
from collections.abc import Iterator, Sequence

from numpylm.tasks.translation_baselines import Nearest

MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
SLOTS = {  # what is copied from the customer's words; at each position, the first pattern that fits is taken
    "amount": r"\$\d[\d,]*(?:\.\d\d)?",
    "phone": r"\b\d{3}-\d{3}-\d{4}\b",
    "date": rf"\b(?:{MONTHS}) \d\d?(?:st|nd|rd|th)?\b",
    "address": r"\b\d+ [A-Z]\w+ (?:Street|Road|Avenue|Drive|Lane)\b",
    "order": r"#?\b\d{5,}\b",
    "card": r"\b\d{4}\b",
    "code": r"\b[A-Z]{3,}\d+\b",
    "person": r"(?:(?<=I'm )|(?<=[Nn]ame is )|(?<=[Tt]his is )|(?<=[Ii]t's ))[A-Z]\w+ [A-Z]\w+",
    "city": r"(?:(?<=\bin )|(?<=\bto )|(?<=\byour ))[A-Z]\w+(?: [A-Z]\w+)?",
}
ANY_SLOT = re.compile("|".join(f"(?P<{name}>{expression})" for name, expression in SLOTS.items()))
Turns = Sequence[tuple[str, str]]  # (role, content)


class Retrieval:
    """Answers with the answer to the most similar history of the training conversations.

    A history is compared by the TF-IDF vector of the customer's last two turns, of which the last one counts twice.
    Slots are masked in it, so that two customers with different order numbers are similar. In the answer found, each
    value that its own customer wrote is replaced by the last value of the same slot that this customer wrote.
    """

    def __init__(self, conversations: Sequence[Turns]) -> None:
        pairs = []
        self.found: list[tuple[dict[str, str], str]] = []  # the values of the slots in the history, and the answer
        for turns in conversations:
            for n, (role, content) in enumerate(turns):
                if role == "assistant" and any(role == "user" for role, _ in turns[:n]):
                    pairs.append((_masked(turns[:n]), str(len(self.found))))
                    self.found.append((dict(_slots(turns[:n])), content))
        if not pairs:
            raise ValueError("expected conversations with an answer of the assistant to the user, got none")
        self.nearest = Nearest(pairs)

    def answer(self, history: Turns) -> str:
        """The answer to a history, which ends with a turn of the user. If no word of it is known, an empty text."""
        number = self.nearest.translate(_masked(history))
        if not number:
            return ""
        theirs, answer = self.found[int(number)]
        ours = dict(_slots(history))
        change = {value: ours.get(name, value) for name, value in theirs.items()}
        longest_first = sorted(change, key=len, reverse=True)
        known = re.compile("|".join(map(re.escape, longest_first)))
        return known.sub(lambda found: change[found[0]], answer) if change else answer


def _masked(history: Turns) -> str:
    """The customer's last two turns as one text, the last one twice, with the names of slots for their values."""
    said = [content for role, content in history if role == "user"][-2:]
    return ANY_SLOT.sub(lambda found: f"slot_{found.lastgroup}", " ".join([*said, *said[-1:]]))


def _slots(history: Turns) -> Iterator[tuple[str, str]]:
    """(slot, value) of all that the customer wrote, in order."""
    for role, content in history:
        if role == "user":
            for found in ANY_SLOT.finditer(content):
                yield str(found.lastgroup), found[0]
