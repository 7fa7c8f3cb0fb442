"""Many answers at once are the answers that a conversation gives one at a time."""

import numpy as np
import pytest

from numpylm import GPT, GPTConfig
from numpylm.inference.chat import ChatSession
from numpylm.tasks import chat_answers
from numpylm.tasks.chat_answers import write_answers
from numpylm.text.chat_template import END, train_chat_tokenizer
from numpylm.text.conversation import as_conversation
from numpylm.training.parallel import DataParallel

TOKENIZER = train_chat_tokenizer(["red rot blue blau green grün cat Katze"], 280)


def gpt(block_size=64):
    """A model with large random weights, whose answers differ and sometimes end."""
    model = GPT(GPTConfig(TOKENIZER.vocab_size, block_size, 1, 2, 16), np.random.default_rng(0), np.float64)
    for p in model.parameters():
        p.data *= 8
    return model


@pytest.mark.parametrize("workers", [1, 2])
def test_the_answers_are_those_of_single_conversations(workers, monkeypatch):
    monkeypatch.setattr(chat_answers, "TOKENS_AT_ONCE", 60)  # several batches
    model, questions = gpt(), ["red", "blue cat", "g", "cat " * 5, "rot rot", "?"]
    histories = [as_conversation([("user", question)]) for question in questions]
    found = write_answers(DataParallel(model, workers), TOKENIZER, histories, 8)
    for question, answer in zip(questions, found, strict=True):
        session = ChatSession(model, TOKENIZER)
        assert answer.text == "".join(session.answer(question, 8, temperature=0)).strip()
        assert answer.ended == (0 < session.stats.tokens < 8)


def test_an_answer_ended_if_it_is_not_empty_and_its_end_was_written(monkeypatch):
    """Untrained models with tied embeddings repeat the last mark of the prompt: that is no answer."""
    histories, end = [as_conversation([("user", "red")])], TOKENIZER.special_tokens[END]
    (x,) = TOKENIZER.encode("x")
    for ids, answer in (([x, end], ("x", True)), ([x, x, x], ("xxx", False)), ([end], ("", False))):
        monkeypatch.setattr(chat_answers, "generate_batch", lambda *_, ids=ids, **__: [ids])
        assert write_answers(DataParallel(gpt(), 1), TOKENIZER, histories, 3) == [answer]


def test_a_long_history_leaves_room_for_the_answer():
    turns = [(role, f"red {n}") for n in range(20) for role in ("user", "assistant")]
    calls = []
    long = as_conversation([("system", "cat"), *turns, ("user", "blue")])
    (answer,) = write_answers(DataParallel(gpt(32), 1), TOKENIZER, [long], 10, lambda: calls.append(1))
    shorter = as_conversation([("system", "cat"), *turns[-2:], ("user", "blue")])
    assert answer == write_answers(DataParallel(gpt(32), 1), TOKENIZER, [shorter], 10)[0]
    assert calls == [1]
