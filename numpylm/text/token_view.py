"""Displaying tokens: a text with a background color for each token, and a table of ids and tokens."""

import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from numpylm.text.any_tokenizer import TextTokenizer

# Black text on pale backgrounds is readable whatever colors the terminal uses. Adjacent tokens get different colors.
PALETTE = {224: "#ffd7d7", 193: "#d7ffaf", 153: "#afd7ff", 229: "#ffffaf", 183: "#d7afff"}  # xterm-256 number: RGB
BACKGROUNDS = tuple(PALETTE)
SPECIAL = "\x1b[1;38;5;231;48;5;240m"  # bold, white on gray
RESET = "\x1b[0m"

MARKS = {" ": "·", "\t": "→", "\n": "⏎\n"}


def visible(token: bytes) -> str:
    """A token as text in which every character is visible.

    A space becomes ·, a tab →, and a line end ⏎ followed by a line break. Bytes of an incomplete character, and
    characters that are invisible or would control the terminal, are written as Python escapes: \\xe6, \\u200d, \\x1b.
    """
    text = token.decode("utf-8", "backslashreplace")
    return "".join(MARKS.get(c) or (c if c.isprintable() else c.encode("unicode_escape").decode()) for c in text)


def shared_characters(tokens: Sequence[bytes]) -> list[str]:
    """For each token, the characters that it shares with other tokens because each holds only some of the bytes.

    Most tokens have none. All tokens together must be valid UTF-8, as the tokens of a text are.
    """
    owner = [n for n, token in enumerate(tokens) for _ in token]  # of each byte
    shared = [""] * len(tokens)
    end = 0
    for character in b"".join(tokens).decode("utf-8"):
        start, end = end, end + len(character.encode("utf-8"))
        first, last = owner[start], owner[end - 1]
        for n in range(first, last + 1) if last > first else ():
            shared[n] += character
    return shared


@dataclass(frozen=True)
class TokenView:
    """The tokens of a text, to display in a notebook or to print. See `show_tokens`.

    Attributes
    ----------
    ids : list of int
    tokens : list of bytes
    special : list of bool
        Which of the tokens are special tokens.
    """

    ids: list[int]
    tokens: list[bytes]
    special: list[bool]

    def ansi(self) -> str:
        """The text with a background color for each token, as ANSI escape sequences."""
        drawn = []
        for n, (token, special) in enumerate(zip(self.tokens, self.special, strict=True)):
            style = SPECIAL if special else f"\x1b[38;5;16;48;5;{BACKGROUNDS[n % len(BACKGROUNDS)]}m"
            # The color is reset before a line ends. Otherwise many terminals color the rest of the line.
            lines = visible(token).split("\n")
            drawn.append("\n".join(f"{style}{line}{RESET}" if line else "" for line in lines))
        return "".join(drawn)

    def table(self) -> str:
        """A line for each token: its id, its text, and if it holds only part of a character, which character."""
        lines = []
        for i, token, parts in zip(self.ids, self.tokens, shared_characters(self.tokens), strict=True):
            try:
                piece = repr(token.decode("utf-8"))
            except UnicodeDecodeError:
                piece = repr(token)
            lines.append(f"{i:6}  {piece}" + (f"  part of {parts!r}" if parts else ""))
        return "\n".join(lines)

    def __str__(self) -> str:
        """`table`."""
        return self.table()

    def _repr_html_(self) -> str:
        """For notebooks: like `ansi`, with each id as a tooltip."""
        drawn = []
        for n, (i, token, special) in enumerate(zip(self.ids, self.tokens, self.special, strict=True)):
            colors = (
                "background:#585858;color:#fff"
                if special
                else (f"background:{PALETTE[BACKGROUNDS[n % len(BACKGROUNDS)]]};color:#000")
            )
            drawn.append(f'<span style="{colors}" title="{i}">{html.escape(visible(token))}</span>')
        return f'<pre style="white-space:pre-wrap">{"".join(drawn)}</pre>'


def show_tokens(tokenizer: TextTokenizer, text: str, allow_special: bool = False) -> TokenView:
    """Show how a tokenizer splits a text. As the last line of a notebook cell, it is shown in color.

    Examples
    --------
    >>> from numpylm import Tokenizer
    >>> tok = Tokenizer.train("low lower lowest low low", vocab_size=260)
    >>> print(show_tokens(tok, "lowest"))
       257  'low'
        68  'e'
        82  's'
        83  't'
    """
    ids = tokenizer.encode(text, allow_special)
    special = set(tokenizer.special_tokens.values())
    return TokenView(ids, [tokenizer.token_bytes(i) for i in ids], [i in special for i in ids])


def wants_color(choice: str, stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether to write colors: "always", "never", or "auto", which means on terminals that support them.

    NO_COLOR in the environment (https://no-color.org) turns "auto" off, and so does TERM=dumb. On Windows, "auto" uses
    colors only if WT_SESSION or TERM is set, because the old console would show the escape codes.
    """
    if choice != "auto":
        return choice == "always"
    known = os.name != "nt" or bool(environ.get("WT_SESSION") or environ.get("TERM"))
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb" and known
