"""Added tokens: tokens that are found in a text before it is split into chunks, such as the end of a message"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from numpylm.text.normalize import normalized
from numpylm.text.pretokenize import special_regex


class AddedToken(NamedTuple):
    """A token that is found in the text itself, and not made by merges.

    Attributes
    ----------
    text : str
    id : int
    special : bool
        A special token, such as the end of a message, is found only if the caller allows it. Others always are.
    lstrip, rstrip : bool
        Whether the token takes in the white space to its left, to its right.
    normalized : bool
        Whether it is looked for after the text is normalized.
    """

    text: str
    id: int
    special: bool = True
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = False


class AddedTokens:
    """Finds added tokens in a text. If two begin at the same position, the longer one is found.

    Parameters
    ----------
    tokens : sequence of AddedToken
    normalizer : str
        ``NFC`` to normalize the text between the tokens, or "".

    Attributes
    ----------
    tokens : dict of str -> AddedToken
    always : bool
        Whether some are found in every text. If not, only their ids matter where special tokens are not allowed.
    """

    def __init__(self, tokens: Sequence[AddedToken], normalizer: str = "") -> None:
        self.tokens = {token.text: token for token in tokens}
        self._normalizer = normalizer
        self._late = {self.normalize(token.text): token for token in tokens if token.normalized}
        self._early = {token.text: token for token in tokens if not token.normalized}
        self._find_early, self._find_late = special_regex(self._early), special_regex(self._late)
        self.always = any(not token.special for token in tokens)

    def split(self, text: str, allow_special: bool) -> Iterator[str | int]:
        """Yield the parts of a text: str for ordinary text, which is normalized, and int for an added token."""
        for part in _cut(text, self._find_early, self._early, allow_special):
            if isinstance(part, int):
                yield part
            else:
                yield from _cut(self.normalize(part), self._find_late, self._late, allow_special)

    def normalize(self, text: str) -> str:
        """The text in the normal form of this tokenizer."""
        return normalized("NFC", text) if self._normalizer else text


def _cut(text: str, find: object, tokens: dict[str, AddedToken], allow_special: bool) -> Iterator[str | int]:
    at = 0
    for match in find.finditer(text) if find else ():  # type: ignore[attr-defined]
        token = tokens[match[0]]
        start, end = match.span()
        if (token.special and not allow_special) or start < at:
            continue
        while token.lstrip and start > at and _is_space(text[start - 1]):
            start -= 1
        while token.rstrip and end < len(text) and _is_space(text[end]):
            end += 1
        if start > at:
            yield text[at:start]
        yield token.id
        at = end
    if at < len(text):
        yield text[at:]


def _is_space(character: str) -> bool:
    """Whether Unicode counts it as white space; Python's isspace also counts four control characters."""
    return character.isspace() and character not in "\x1c\x1d\x1e\x1f"
