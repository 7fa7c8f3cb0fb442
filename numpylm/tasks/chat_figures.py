"""How good answers are: kind, slots and ending for customer service, words in common with the right answer for any."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import regex

from numpylm.corpora import SERVICE
from numpylm.tasks.chat_answers import Answer, Turn, turns_of
from numpylm.tasks.retrieval_chat import Retrieval
from numpylm.text.conversation import Conversation, as_conversation

JUDGED = 500  # held-out turns of the customers
WORDS = regex.compile(r"\p{Han}|[\p{L}\p{M}\p{N}]+")
MEANING = {  # what the figures are, in the order of the table
    "kind": "right kind of answer",
    "slots": "the customer's words copied exactly, where the answer needs them",
    "ended": "answers that end by themselves",
    "outside": "outside questions declined",
    "possible": "answers that the assistant of the source can give, word for word",
    "word_f1": "words in common with the right answer (F1)",
}


def service_conversations(seed: int | None = None, turns: int = JUDGED) -> list[Conversation]:
    """Bundled conversations with ``turns`` turns of customers, whose names, numbers, ... never occur in training."""
    found: list[Conversation] = []
    left, n = turns, 0
    while left:
        talk = SERVICE.conversation(n, held_out=True, seed=seed)[: 2 * left]  # user and assistant take turns
        found.append(as_conversation(talk))
        left, n = left - len(talk) // 2, n + 1
    return found


def service_figures(turns: Sequence[Turn], answers: Sequence[Answer]) -> dict[str, float]:
    """Shares of the answers to turns of the bundled customer service that are right in each sense of `MEANING`.

    "slots" counts the turns whose right answer must contain words of the customer, and all of them must be there;
    "outside" counts the turns that ask what no store or bank can answer.
    """
    right: dict[str, list[bool]] = {name: [] for name in ("kind", "slots", "ended", "outside", "possible")}
    for (history, _), (text, ended) in zip(turns, answers, strict=True):
        kind, slots = SERVICE.kind(history), SERVICE.slots(history)
        is_right = SERVICE.kind_of_answer(text) == kind
        right["kind"].append(is_right)
        right["ended"].append(ended)
        right["possible"].append(SERVICE.possible(history, text))
        if slots:
            right["slots"].append(all(contains(text, value) for value in slots.values()))
        if kind == "outside":
            right["outside"].append(is_right)
    return {name: sum(found) / len(found) for name, found in right.items() if found}


def contains(text: str, value: str) -> bool:
    """Whether a text contains a value exactly: 1234 is in "order 1234.", but not in "order 12345" or "#1234"."""
    return re.search(rf"(?<![\w#$]){re.escape(value)}(?![\w]|[.,]\d)", text) is not None


def general_figures(turns: Sequence[Turn], answers: Sequence[Answer]) -> dict[str, float]:
    """The share of answers that end by themselves, and their mean `word_f1`, for turns of any conversations."""
    found = [word_f1(answer.text, turn.answer) for turn, answer in zip(turns, answers, strict=True)]
    return {"ended": sum(answer.ended for answer in answers) / len(answers), "word_f1": sum(found) / len(found)}


def word_f1(text: str, right: str) -> float:
    """The harmonic mean of precision and recall of the words of a text, as in SQuAD (Rajpurkar et al. 2016, section 6).

    Words and numbers count in lower case, as often as they occur; punctuation does not. A Chinese character is a word.
    Two texts without words are equal: 1.
    """
    ours, theirs = (Counter(WORDS.findall(one.lower())) for one in (text, right))
    if not ours and not theirs:
        return 1.0
    return 2 * (ours & theirs).total() / (ours.total() + theirs.total())


def service_report(
    conversations: Sequence[Conversation],
    answer: Callable[[list[Conversation]], list[Answer]],
    nats: float,
    training: Sequence[Conversation],
) -> dict[str, dict[str, float]]:
    """Print and return how a model that ``answer``s, and retrieval from the training conversations, serve customers.

    ``nats`` is the model's loss on all answers of the conversations together. Per answer, what it has above the entropy
    of the source is added as "above_source".
    """
    turns = turns_of(conversations)
    above = (nats - sum(map(SERVICE.nats, conversations))) / len(turns)
    figures = {
        "model": service_figures(turns, answer([history for history, _ in turns])),
        "retrieval": service_figures(turns, by_retrieval(training, turns)),
    }
    print(f"answers     to {len(turns)} turns of new customers, whose names and numbers never occur in training:")
    print("\n".join(f"  {line}" for line in table(figures)))
    print(f"  loss of the right answers: {above:.3f} nats an answer above the entropy of the source")
    figures["model"]["above_source"] = above
    return figures


def table(columns: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Lines of a table of figures, a column for each system."""
    names = [name for name in MEANING if any(name in column for column in columns.values())]
    width = max(len(MEANING[name]) for name in names)
    lines = [" " * width + "".join(f"  {system:>9}" for system in columns)]
    for name in names:
        shares = (f"{column[name]:9.1%}" if name in column else f"{'':9}" for column in columns.values())
        lines.append(f"{MEANING[name]:{width}}" + "".join(f"  {share}" for share in shares))
    return lines


def by_retrieval(conversations: Sequence[Conversation], turns: Sequence[Turn]) -> list[Answer]:
    """The answers of `Retrieval` from the training conversations."""
    retrieval = Retrieval(conversations)
    return [Answer(retrieval.answer(history)) for history, _ in turns]
