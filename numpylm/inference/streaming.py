"""Streaming: decoding tokens to text one at a time, with stop strings and without incomplete characters."""

import codecs
from collections.abc import Callable, Collection, Iterable, Iterator


class TextStream:
    """Decodes tokens one at a time, and returns text as soon as it is final.

    It holds back two things: the bytes of an incomplete character, and text that may be the beginning of a stop string.
    Stop strings are searched for in the decoded text. So they may be many tokens long, and they may begin or end in the
    middle of a token.

    Parameters
    ----------
    token_bytes : callable
        The bytes of a token, such as a tokenizer's ``token_bytes``.
    stop : collection of str
        The text ends before the stop string that is complete first. If several are complete at the same position, it
        ends before the longest.

    Attributes
    ----------
    stopped : bool
        Whether a stop string was found. Tokens that are pushed after it have no effect.

    Raises
    ------
    ValueError
        If a stop string is empty.
    """

    def __init__(self, token_bytes: Callable[[int], bytes], stop: Collection[str] = ()) -> None:
        self._stop = (stop,) if isinstance(stop, str) else tuple(stop)
        if "" in self._stop:
            raise ValueError("a stop string must not be empty: every text begins with an empty one")
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""  # complete characters that may be the beginning of a stop string
        self.stopped = False

    def push(self, token: int) -> str:
        """Add a token; return the text that has become final, which is often empty."""
        return "" if self.stopped else self._settle(self._decoder.decode(self._token_bytes(token)))

    def close(self) -> str:
        """End the stream; return the text that was held back. The bytes of half a character become U+FFFD."""
        text = "" if self.stopped else self._settle(self._decoder.decode(b"", final=True))
        rest, self._held = self._held, ""
        return text + rest

    def _settle(self, piece: str) -> str:
        text = self._held + piece
        found = [(start + len(stop), start) for stop in self._stop if (start := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]
        certain = len(text) - undecided(text, self._stop)
        self._held = text[certain:]
        return text[:certain]


def undecided(text: str, stop: Iterable[str]) -> int:
    """The number of characters at the end of a text that may be the beginning of a stop string."""
    lengths = (n for s in stop for n in range(1, min(len(s), len(text) + 1)) if text.endswith(s[:n]))
    return max(lengths, default=0)


def stream_text(
    tokens: Iterable[int], token_bytes: Callable[[int], bytes], stop: Collection[str] = ()
) -> Iterator[str]:
    """Decode an iterable of tokens piece by piece; see `TextStream`. It stops at the first stop string.

    The pieces together are exactly the text that decoding all tokens at once would give, up to the stop string.
    """
    stream = TextStream(token_bytes, stop)
    for token in tokens:
        if piece := stream.push(token):
            yield piece
        if stream.stopped:
            return
    if piece := stream.close():
        yield piece
