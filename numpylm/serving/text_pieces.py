"""The pieces of a text as it is generated: what each token adds, and at the end why the text ended."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from numpylm.inference.generate_text import readable
from numpylm.inference.generation import generate
from numpylm.inference.streaming import TextStream
from numpylm.text.any_tokenizer import TextTokenizer, end_ids

Finish = Literal["stop", "length"]


class Piece(NamedTuple):
    """What one token adds to a text."""

    text: str  # often empty: half a character, or the beginning of a stop string
    finish: Finish | None = None  # the last piece says why the text ended


def text_pieces(
    model: Any,
    tokenizer: TextTokenizer,
    ids: Sequence[int],
    max_new_tokens: int,
    *,
    ends: Collection[int] | None = None,
    stop: Collection[str] = (),
    rng: np.random.Generator | None = None,
    **options: Any,
) -> Iterator[Piece]:
    """Yield one piece for each token that follows the prompt ``ids``.

    The pieces together are the text of `numpylm.inference.generate_text.generate_text`. The last one has
    ``finish="stop"`` after a token in ``ends`` (default: those that end a text) or before a stop string, and
    ``finish="length"`` after ``max_new_tokens``. The options are those of `numpylm.inference.generation.generate`.
    """
    ends, stream = end_ids(tokenizer) if ends is None else ends, TextStream(readable(tokenizer), stop)
    tokens = generate(model, ids, max_new_tokens, rng=rng, stop_ids=ends, **options)
    for count, token in enumerate(tokens, start=1):
        if token in ends:
            yield Piece(stream.close(), "stop")
            return
        text = stream.push(token)
        if count == max_new_tokens:
            text += stream.close()  # half a character may become U+FFFD, with which a stop string may be complete
            yield Piece(text, "stop" if stream.stopped else "length")
            return
        yield Piece(text, "stop" if stream.stopped else None)
        if stream.stopped:
            return
