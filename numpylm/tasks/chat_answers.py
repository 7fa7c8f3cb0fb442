"""Answering many conversations at once, each with the most likely answer, on all cores."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from numpylm.inference.generate_text import readable
from numpylm.inference.generation import generate_batch
from numpylm.text.chat_template import chat_end_ids, chat_ids
from numpylm.text.conversation import ASSISTANT, Conversation, without_oldest_turn
from numpylm.text.padding import in_batches
from numpylm.training.parallel import DataParallel

TOKENS_AT_ONCE = 4000  # of prompts and answers in a batch


class Turn(NamedTuple):
    """What was said up to a turn of the user, and the right answer to it."""

    history: Conversation
    answer: str


class Answer(NamedTuple):
    """What a model or a baseline answers."""

    text: str
    ended: bool = True  # whether it is not empty, and ended by itself and not because it was too long


def turns_of(conversations: Sequence[Conversation]) -> list[Turn]:
    """All turns of some conversations. Each history is the true one, not the model's own answers."""
    return [
        Turn(conversation[:n], message.content)
        for conversation in conversations
        for n, message in enumerate(conversation)
        if message.role == ASSISTANT
    ]


def write_answers(
    workers: DataParallel,
    tokenizer: Any,
    histories: Sequence[Conversation],
    longest: int,
    between: Callable[[], object] | None = None,
) -> list[Answer]:
    """The most likely answer to each history, token by token.

    Parameters
    ----------
    workers : DataParallel
        Of the model that answers. They share the histories.
    tokenizer
        With the form of a chat.
    histories : sequence of Conversation
        Each ends with a message of the user. Of one that does not leave room for an answer, the oldest turns are
        dropped.
    longest : int
        Tokens of an answer, at most.
    between : callable, optional
        Called between batches. An exception that it raises ends the work.
    """
    block_size = workers.model.config.block_size
    prompts = [_prompt(tokenizer, history, block_size - min(longest, block_size // 2)) for history in histories]
    return continue_prompts(workers, tokenizer, prompts, longest, chat_end_ids(tokenizer), between)


def continue_prompts(
    workers: DataParallel,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    longest: int,
    stop: Collection[int],
    between: Callable[[], object] | None = None,
) -> list[Answer]:
    """The most likely text after each prompt, token by token, until one of the ``stop`` tokens."""
    lengths = np.array([len(prompt) + longest for prompt in prompts])
    batches = list(in_batches(lengths, TOKENS_AT_ONCE))
    answers = [Answer("", False)] * len(prompts)
    parts = (([prompts[n] for n in some], longest, stop) for some in batches)
    for some, written in zip(batches, workers.map(_most_likely, parts), strict=True):
        for n, ids in zip(some, written, strict=True):
            ended = len(ids) > 1 and ids[-1] in stop  # an end mark alone is no answer: untrained models write that
            answers[n] = Answer(_text(tokenizer, [i for i in ids if i not in stop]), ended)
        if between:
            between()
    return answers


def _prompt(tokenizer: Any, history: Conversation, room: int) -> list[int]:
    ids = chat_ids(tokenizer, history)
    while len(ids) > room and (shorter := without_oldest_turn(history)):
        history, ids = shorter, chat_ids(tokenizer, shorter)
    return ids


def _most_likely(model: Any, prompts: list[list[int]], longest: int, stop: Collection[int]) -> list[list[int]]:
    """In the worker, which may be another process."""
    return generate_batch(model, prompts, longest, stop_ids=stop, temperature=0)


def _text(tokenizer: Any, ids: Sequence[int]) -> str:
    return b"".join(map(readable(tokenizer), ids)).decode("utf-8", "replace").strip()
