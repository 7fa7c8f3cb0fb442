"""Tokens become text as they come: no character is shown in half, and nothing of a stop string is shown."""

import codecs
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator


class TextStream:
    """Takes tokens one at a time and gives out the text that is certain.

    Two things are held back: bytes of a character that is not complete yet, and text that may turn out to be the
    beginning of a stop string. Stop strings are searched for in the text, so it does not matter how it is cut into
    tokens: they may be many tokens long, or begin and end in the middle of one.

    Parameters
    ----------
    token_bytes : callable
        The bytes of a token, such as a tokenizer's ``token_bytes``.
    stop : collection of str
        The text ends before the first of these to be complete; of several that are complete at the same place,
        before the longest.

    Attributes
    ----------
    stopped : bool
        Whether a stop string has come. What is pushed after it has no effect.

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
        self._held = ""  # complete characters that may begin a stop string
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that is certain now and was not before; often empty."""
        return "" if self.stopped else self._settle(self._decoder.decode(self._token_bytes(token)))

    def close(self) -> str:
        """What was held back, when no token comes any more. Bytes of half a character become U+FFFD."""
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
    """How many characters at the end of a text may be the beginning of a stop string that is not complete."""
    lengths = (n for s in stop for n in range(1, min(len(s), len(text) + 1)) if text.endswith(s[:n]))
    return max(lengths, default=0)


def stream_text(
    tokens: Iterable[int], token_bytes: Callable[[int], bytes], stop: Collection[str] = ()
) -> Iterator[str]:
    """Turn tokens into text as they come; see `TextStream`. No token is asked for once a stop string has come.

    The pieces join to exactly what decoding all tokens at once would give, up to the stop string.
    """
    stream = TextStream(token_bytes, stop)
    for token in tokens:
        if piece := stream.push(token):
            yield piece
        if stream.stopped:
            return
    if piece := stream.close():
        yield piece


def printable(text: str) -> str:
    """Text that is safe for a terminal: control characters, but for line ends and tabs, become U+FFFD.

    A model that has not learnt much yet may well write an escape sequence that clears the screen.
    """
    return "".join(c if c in "\n\t" or not unicodedata.category(c).startswith("C") else "\ufffd" for c in text)
