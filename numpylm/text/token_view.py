"""Looking at tokens: a text in which every token has its own background, and a table of ids and pieces."""

import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from numpylm.text.char_tokenizer import TextTokenizer

# Black on pale colours, both set, so that it can be read whatever the terminal's own colours are. Neighbours differ.
PALETTE = {224: "#ffd7d7", 193: "#d7ffaf", 153: "#afd7ff", 229: "#ffffaf", 183: "#d7afff"}  # of 256 colours: as RGB
BACKGROUNDS = tuple(PALETTE)
SPECIAL = "\x1b[1;38;5;231;48;5;240m"  # bold, white on grey
RESET = "\x1b[0m"

MARKS = {" ": "·", "\t": "→", "\n": "⏎\n"}


def visible(token: bytes) -> str:
    """A token as text in which everything can be seen.

    A space becomes ·, a tab →, a line end ⏎ (and the line ends). Bytes that are part of a character, and characters
    that are not visible or would command a terminal, are written as in Python: \\xe6, \\u200d, \\x1b.
    """
    text = token.decode("utf-8", "backslashreplace")
    return "".join(MARKS.get(c) or (c if c.isprintable() else c.encode("unicode_escape").decode()) for c in text)


def shared_characters(tokens: Sequence[bytes]) -> list[str]:
    """For each token, the characters of which it holds some bytes and a neighbour the others; mostly none.

    The tokens together must be UTF-8, as those of a text are.
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
    """The tokens of a text, to be looked at: in a notebook, or with ``print``. See `show_tokens`.

    Attributes
    ----------
    ids : list of int
    tokens : list of bytes
    special : list of bool
        Which of them are special tokens.
    """

    ids: list[int]
    tokens: list[bytes]
    special: list[bool]

    def ansi(self) -> str:
        """The text with a background colour for each token, as terminals understand it."""
        drawn = []
        for n, (token, special) in enumerate(zip(self.tokens, self.special, strict=True)):
            style = SPECIAL if special else f"\x1b[38;5;16;48;5;{BACKGROUNDS[n % len(BACKGROUNDS)]}m"
            # Switched off before a line ends, or many terminals colour the rest of the line.
            lines = visible(token).split("\n")
            drawn.append("\n".join(f"{style}{line}{RESET}" if line else "" for line in lines))
        return "".join(drawn)

    def table(self) -> str:
        """A line for each token: id, piece, and for parts of a character which one it is."""
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
        """For notebooks: as `ansi`; the id shows when the mouse rests on a token."""
        drawn = []
        for n, (i, token, special) in enumerate(zip(self.ids, self.tokens, self.special, strict=True)):
            colours = (
                "background:#585858;color:#fff"
                if special
                else (f"background:{PALETTE[BACKGROUNDS[n % len(BACKGROUNDS)]]};color:#000")
            )
            drawn.append(f'<span style="{colours}" title="{i}">{html.escape(visible(token))}</span>')
        return f'<pre style="white-space:pre-wrap">{"".join(drawn)}</pre>'


def show_tokens(tokenizer: TextTokenizer, text: str, allow_special: bool = False) -> TokenView:
    """How a tokenizer cuts a text, in colour if it is the last line of a notebook's cell.

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
    """Whether to write colours: "always", "never", or "auto", on terminals that know them.

    NO_COLOR in the environment (https://no-color.org) turns "auto" off, and so does TERM=dumb. On Windows only
    terminals that say what they are get colours; the old console would show the codes.
    """
    if choice != "auto":
        return choice == "always"
    known = os.name != "nt" or bool(environ.get("WT_SESSION") or environ.get("TERM"))
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb" and known
