"""The answers of OpenAI's API: whole ones, and the chunks of a stream, for chats and for completions."""

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from numpylm.serving.scheduler import Order
from numpylm.serving.text_pieces import Piece

Check = Callable[[], object]


@dataclass
class Answer:
    """Texts that are being written for a request, in the form in which the client expects them.

    Parameters
    ----------
    order : Order
        Its items are the `Piece` of each token.
    chat : bool
        Whether the texts are messages of a chat, or completions of prompts.
    model : str
    prompt_tokens : int
    stream, include_usage : bool
        As in the request.
    """

    order: Order
    chat: bool
    model: str
    prompt_tokens: int
    stream: bool = False
    include_usage: bool = False
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))
    completion_tokens: int = 0

    def whole(self, check: Check = lambda: None) -> dict[str, Any]:
        """Wait for all texts; the object with all of them. ``check`` is that of `Order.items`."""
        pieces: list[list[Piece]] = [[] for _ in self.order.texts]
        for index, piece in self._items(check):
            pieces[index].append(piece)
        choices = [self._choice(i, "".join(p.text for p in own), own[-1].finish) for i, own in enumerate(pieces)]
        return self._object("", choices) | {"usage": self.usage()}

    def chunks(self, check: Check = lambda: None) -> Iterator[dict[str, Any]]:
        """The objects of a stream, as the texts are written. ``check`` is that of `Order.items`."""
        if self.chat:
            for index in range(len(self.order.texts)):
                yield self._chunk(index, {"role": "assistant", "content": ""})
        for index, piece in self._items(check):
            if piece.text:
                yield self._chunk(index, {"content": piece.text})
            if piece.finish:
                yield self._chunk(index, {}, piece.finish)
        if self.include_usage:
            yield self._object(".chunk", []) | {"usage": self.usage()}

    def usage(self) -> dict[str, int]:
        """The numbers of tokens so far. A token that ends a text counts, too."""
        total = self.prompt_tokens + self.completion_tokens
        counts = {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens}
        return counts | {"total_tokens": total}

    def _items(self, check: Check) -> Iterator[tuple[int, Piece]]:
        for index, piece in self.order.items(check):
            self.completion_tokens += 1
            yield index, piece

    def _object(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """What all objects have. Chunks of completions are of the same kind as whole ones."""
        prefix, name = ("chatcmpl-", "chat.completion" + kind) if self.chat else ("cmpl-", "text_completion")
        head = {"id": prefix + self.id, "object": name, "created": self.created, "model": self.model}
        return head | {"choices": choices}

    def _choice(self, index: int, text: str, finish: str | None) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "refusal": None}
        content = {"message": message} if self.chat else {"text": text}
        return {"index": index, **content, "logprobs": None, "finish_reason": finish}

    def _chunk(self, index: int, delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
        content = {"delta": delta} if self.chat else {"text": delta.get("content", "")}
        choice = {"index": index, **content, "logprobs": None, "finish_reason": finish}
        return self._object(".chunk", [choice]) | ({"usage": None} if self.include_usage else {})
