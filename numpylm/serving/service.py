"""Service: a language model that answers the requests of OpenAI's API, without HTTP"""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np

from numpylm.inference.generate_text import prompt_ids
from numpylm.serving.api_error import ApiError
from numpylm.serving.openai_answers import Answer
from numpylm.serving.openai_fields import Options, check_model, read_messages, read_options, read_prompts
from numpylm.serving.scheduler import Busy, Scheduler, Stopped
from numpylm.serving.text_pieces import text_pieces
from numpylm.text import chat_template
from numpylm.text.conversation import Message

COMPLETION = 16  # tokens of a completion if the request does not say: OpenAI's default
LONGEST = 4096  # tokens of a completion, whatever the request says


class ChatForm(Protocol):
    """How a conversation becomes ids, and which ids end an answer. `numpylm.text.chat_template` has both functions."""

    def chat_ids(self, tokenizer: Any, messages: list[Message]) -> list[int]: ...
    def chat_end_ids(self, tokenizer: Any) -> set[int]: ...


class Service:
    """A model and its tokenizer, behind the requests and answers of OpenAI's API.

    Parameters
    ----------
    model : GPT or Llama
    tokenizer : tokenizer
    name : str
        The name of the model in requests and answers.
    own : bool
        Whether numpylm trained the model; see `numpylm.inference.generate_text.prompt_ids`.
    places, most : int
        Texts that are written in turn, and texts that are written or wait: see `Scheduler`.
    form : ChatForm, optional
        Default: that of the tokenizer.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        name: str,
        own: bool = False,
        *,
        places: int = 4,
        most: int = 32,
        form: ChatForm | None = None,
    ) -> None:
        self.model, self.tokenizer, self.name, self.own = model, tokenizer, name, own
        self.scheduler = Scheduler(places, most)
        self.created = int(time.time())
        self._form = form
        self._encoding = threading.Lock()  # tokenizers remember the words that they have split
        self._longest = max(len(tokenizer.token_bytes(i)) for i in range(tokenizer.vocab_size))  # bytes of a token

    def chat(self, body: dict[str, Any]) -> Answer:
        """Begin the answer to a chat request. Raises ApiError."""
        check_model(body, self.name)
        options, messages = read_options(body), read_messages(body)
        form: ChatForm = self._form or chat_template
        said = sum(len(message.content) for message in messages)
        ids = self._encoded("messages", lambda: form.chat_ids(self.tokenizer, messages), said)
        ends = form.chat_end_ids(self.tokenizer)
        room = self.model.config.block_size - len(ids)  # so the model always sees the whole conversation
        return self._answer(True, [ids], min(options.max_tokens or room, room), options, ends)

    def complete(self, body: dict[str, Any]) -> Answer:
        """Begin the answer to a completion request. Raises ApiError."""
        check_model(body, self.name)
        options, prompts = read_options(body), read_prompts(body)
        all_ids = [
            self._encoded("prompt", partial(prompt_ids, self.tokenizer, text, self.own), len(text)) for text in prompts
        ]
        return self._answer(False, all_ids, min(options.max_tokens or COMPLETION, LONGEST), options)

    def models(self) -> dict[str, Any]:
        """The list of models, which has one."""
        return {"object": "list", "data": [self.model_object(self.name)]}

    def model_object(self, name: str) -> dict[str, Any]:
        """The description of a model. Raises ApiError if its name is another one."""
        check_model({"model": name}, self.name)
        return {"id": self.name, "object": "model", "created": self.created, "owned_by": "numpylm"}

    def close(self) -> None:
        """Stop writing; requests that are not complete fail."""
        self.scheduler.close()

    def _encoded(self, param: str, encode: Callable[[], list[int]], characters: int) -> list[int]:
        """The ids of a prompt, which must leave room for an answer.

        A prompt whose number of characters is enough to see that it is too long is not encoded: 900,000 would take
        seconds, in which nobody else is served.
        """
        window = self.model.config.block_size
        if (fewest := characters // self._longest) >= window:
            message = f"the model reads {window} tokens, with the answer; {param} alone has more than {fewest}"
            raise ApiError(message, param, code="context_length_exceeded")
        try:
            with self._encoding:
                ids = encode()
        except ValueError as error:
            raise ApiError(str(error), param) from None
        if not ids:
            raise ApiError(f"{param} has no tokens", param)
        if len(ids) >= window:
            message = f"the model reads {window} tokens, with the answer; {param} alone has {len(ids)}"
            raise ApiError(message, param, code="context_length_exceeded")
        return ids

    def _answer(
        self, chat: bool, prompts: list[list[int]], max_tokens: int, options: Options, ends: set[int] | None = None
    ) -> Answer:
        """Order n texts for each prompt, each with a random generator of its own."""
        texts = [ids for ids in prompts for _ in range(options.n)]
        rng = np.random.default_rng(None if options.seed is None else options.seed % (1 << 64))
        rngs = [rng] if len(texts) == 1 else rng.spawn(len(texts))  # as numpylm generate --seed --samples
        write = partial(text_pieces, self.model, self.tokenizer, ends=ends, stop=options.stop, **options.sampling)
        begins = [partial(write, ids, max_tokens, rng=own) for ids, own in zip(texts, rngs, strict=True)]
        try:
            order = self.scheduler.submit(begins)
        except Busy as error:
            raise ApiError(str(error), None, 429, "rate_limit_exceeded", {"Retry-After": "1"}) from None
        except Stopped as error:
            raise ApiError(str(error), None, 503) from None
        return Answer(order, chat, self.name, sum(map(len, prompts)), options.stream, options.include_usage)
