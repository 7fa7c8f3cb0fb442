"""ChatSession: a conversation with a model, which keeps the key/value cache from turn to turn."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.inference.generate_text import readable
from numpylm.inference.generation import PREFILL, can_use_kv_cache
from numpylm.inference.sampling import check_sampling, sample_token
from numpylm.inference.streaming import stream_text
from numpylm.nn.module import Array
from numpylm.system.shell import shown
from numpylm.system.whole_files import write_text
from numpylm.text.any_tokenizer import common_prefix
from numpylm.text.chat_template import chat_end_ids, chat_ids
from numpylm.text.conversation import (
    ASSISTANT,
    SYSTEM,
    USER,
    Conversation,
    Message,
    as_conversation,
    read_conversations,
    without_oldest_turn,
)

USUAL_SAMPLING: dict[str, Any] = {"temperature": 0.7, "top_p": 0.9}
ROOM = 4  # when turns are dropped, at least this share of the window becomes free: 1 / ROOM


@dataclass
class Stats:
    """What a session has done so far.

    Attributes
    ----------
    tokens : int
        Tokens that the model has written.
    seconds : float
        Time that writing and reading took.
    read, reused : int
        Tokens of the prompts that were read, and that were in the cache already.
    used, window : int
        Tokens in the window, and how many fit.
    dropped : int
        Oldest turns that the model no longer sees.
    """

    window: int
    tokens: int = 0
    seconds: float = 0.0
    read: int = 0
    reused: int = 0
    used: int = 0
    dropped: int = 0

    @property
    def tokens_per_second(self) -> float:
        """Tokens written in a second, with the time for reading the prompts; 0 before the first."""
        return self.tokens / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        return (
            f"{self.tokens:,} tokens written, {self.tokens_per_second:.1f} a second; {self.read:,} tokens of prompts "
            f"read, {self.reused:,} kept from before; window {self.used:,} of {self.window:,} tokens"
            + (f", without the {self.dropped:,} oldest turns" if self.dropped else "")
        )


class ChatSession:
    """A conversation with a model.

    Parameters
    ----------
    model : GPT, Llama, or any model with ``logits, cache = model.forward(ids)`` and ``config.block_size``
    tokenizer
        With the form of a chat, see `numpylm.text.chat_template`.
    system : str
        The system message; "" for none.

    Attributes
    ----------
    messages : tuple of Message
        All that was said. An answer that was interrupted is kept as far as it was written. A turn without an answer is
        not kept.
    stats : Stats
    full : bool
        Whether the last answer ended because it filled the window.

    Raises
    ------
    ValueError
        If the tokenizer has no form of a chat.

    Notes
    -----
    The ids of a turn begin with the ids of the turns before. So only the new ones are read: the cache is cropped to
    the ids that are the same. If the conversation outgrows the window, the oldest turns are dropped, but never the
    system message, and what is left is read again.
    """

    def __init__(self, model: Any, tokenizer: Any, system: str = "") -> None:
        self.model, self.tokenizer = model, tokenizer
        self.messages: Conversation = as_conversation([(SYSTEM, system)] if system.strip() else [])
        self.stats = Stats(model.config.block_size)
        self.full = False
        self._stop = chat_end_ids(tokenizer)
        self._seen = self.messages  # those of the messages that the model still sees
        self._past = model.new_past() if can_use_kv_cache(model) else None
        self._cached: list[int] = []  # the ids whose keys and values are in the cache

    # -------------------------------------------------------------------------------------------- answering

    def answer(
        self, text: str, max_new_tokens: int = 512, rng: np.random.Generator | None = None, **sampling: Any
    ) -> Iterator[str]:
        """Yield the answer to a text, in pieces as it is written.

        Parameters
        ----------
        text : str
        max_new_tokens : int
        rng : numpy.random.Generator, optional
        **sampling
            temperature, top_k, ...: see `numpylm.inference.sampling.next_token_probabilities`. Default:
            `USUAL_SAMPLING`.

        Raises
        ------
        ValueError
            At once: for an empty text, an invalid option, or a text that is longer than the window.
        """
        sampling = sampling or USUAL_SAMPLING
        check_sampling(**sampling)
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
        as_conversation([(USER, text)])
        prompt, seen = self._fitting((*self._seen, Message(USER, text)), 1)
        if not prompt:
            raise ValueError(
                f"this message has {len(chat_ids(self.tokenizer, seen))} tokens with its marks"
                f"{' and the system message' if seen[0].role == SYSTEM else ''}; the model reads "
                f"{self.stats.window - 1} at most"
            )
        return self._answer(text, max_new_tokens, rng or np.random.default_rng(), sampling)

    def _answer(self, text: str, most: int, rng: np.random.Generator, sampling: dict[str, Any]) -> Iterator[str]:
        asked = Message(USER, text)
        pieces: list[str] = []
        begin = time.perf_counter()
        tokens = self._tokens(asked, most, rng, sampling)
        try:
            for piece in stream_text(tokens, readable(self.tokenizer)):
                # some tokenizers put a space before each text
                piece = piece if pieces or not getattr(self.tokenizer, "prefix", False) else piece.removeprefix(" ")
                pieces.append(piece)
                yield piece
        finally:
            self.stats.seconds += time.perf_counter() - begin
            said = "".join(pieces)
            if said.strip():
                turn = (asked, Message(ASSISTANT, said))
                self.messages, self._seen = (*self.messages, *turn), (*self._seen, *turn)

    def _tokens(self, asked: Message, most: int, rng: np.random.Generator, sampling: dict[str, Any]) -> Iterator[int]:
        """The tokens of the answer, without the end of turn."""
        self.full = False
        prompt, seen = self._fitting((*self._seen, asked), 1)
        self._drop_to(seen)
        new: list[int] = []
        while len(new) < most:
            if len(prompt) + len(new) > self.stats.window:
                shorter, seen = self._fitting((*self._seen, asked), len(new))
                if not shorter:
                    self.full = True
                    return
                prompt = shorter
                self._drop_to(seen)
            ids = prompt + new
            token = sample_token(self._next_logits(ids, not new), ids, rng, **sampling)
            if token in self._stop:
                return
            new.append(token)
            self.stats.tokens += 1
            yield token

    def _fitting(self, messages: Conversation, room: int) -> tuple[list[int], Conversation]:
        """The ids of the newest messages that leave ``room`` for an answer, and these messages; no ids if none fit.

        If the oldest turns must be dropped, so many are dropped that a part of the window becomes free.
        """
        window = self.stats.window
        ids = chat_ids(self.tokenizer, messages)
        fits = ids if len(ids) + room <= window else []
        wanted = window if fits else window - window // ROOM
        while len(ids) + room > wanted and (shorter := without_oldest_turn(messages)):
            messages = shorter
            ids = chat_ids(self.tokenizer, messages)
        return (ids if len(ids) + room <= window else []), messages

    def _drop_to(self, seen: Conversation) -> None:
        """Take note of which messages the model still sees; the last is the question."""
        self.stats.dropped += (len(self._seen) + 1 - len(seen)) // 2
        self._seen = seen[:-1]

    def _next_logits(self, ids: list[int], is_prompt: bool) -> Array:
        """Logits (V,) for the token after the ids. What the cache does not hold yet is read."""
        if self._past is None:
            return self.model.forward(np.array([ids]))[0][0, -1]
        kept = min(common_prefix([self._cached, ids]), len(ids) - 1)  # at least one token must be read
        for cache in self._past:
            cache.crop(kept)
        if is_prompt:
            self.stats.reused, self.stats.read = self.stats.reused + kept, self.stats.read + len(ids) - kept
        for start in range(kept, len(ids), PREFILL):
            self._cached = ids[:start]  # after an interruption, what follows is read again
            logits = self.model.read(np.array([ids[start : start + PREFILL]]), self._past)
        self._cached, self.stats.used = ids, len(ids)
        return logits[0]

    # ------------------------------------------------------------------------------------- the conversation

    def reset(self) -> None:
        """Forget all turns. The system message stays."""
        self._begin_with(self.messages[: int(bool(self.messages) and self.messages[0].role == SYSTEM)])

    def save(self, path: str | Path) -> None:
        """Write the conversation as one line of JSON, which ``numpylm train --task chat`` can read, too."""
        if not any(message.role == ASSISTANT for message in self.messages):
            raise ValueError("nothing was said yet, so there is nothing to save")
        if Path(path).suffix.lower() == ".gz":
            raise ValueError(f"{shown(path)} would not be compressed: choose a name without .gz")
        messages = [message._asdict() for message in self.messages]
        write_text(Path(path), json.dumps({"messages": messages}, ensure_ascii=False) + "\n")

    def load(self, path: str | Path) -> None:
        """Continue a conversation that `save` wrote. Its system message takes the place of this one's."""
        found = read_conversations([str(path)])
        if len(found) != 1:
            raise ValueError(f"{shown(path)} holds {len(found)} conversations, and only one can be continued")
        if found[0][-1].role != ASSISTANT:
            raise ValueError(f"{shown(path)} ends with a message of the user, not with an answer")
        self._begin_with(found[0])

    def _begin_with(self, messages: Conversation) -> None:
        self.messages = self._seen = messages
        self.stats.dropped, self.stats.used, self.full = 0, 0, False
