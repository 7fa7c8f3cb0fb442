"""CharTokenizer: one token per character, for small experiments."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from tqdm import tqdm

from numpylm.system.json_fields import brief, typed
from numpylm.system.whole_files import read_json, write_text
from numpylm.text.pretokenize import END_OF_TEXT, special_regex, utf8

UNKNOWN = "\u25a1"  # the white square, which stands for a missing character in Chinese texts


class CharTokenizer:
    """One token per character, for character-level models. It has the same interface as `Tokenizer`.

    Parameters
    ----------
    characters : str
        The id of a character is its position in this string.
    special_tokens : sequence of str
        Their ids follow those of the characters. With `UNKNOWN` among them, each character that is not in the
        vocabulary gets its id; without, such a character is an error.
    """

    def __init__(self, characters: str, special_tokens: Sequence[str] = ()) -> None:
        self.characters = characters
        self.special_tokens = {token: len(characters) + n for n, token in enumerate(special_tokens)}
        self._specials = special_regex(self.special_tokens)
        self._ids = {character: i for i, character in enumerate(characters)}
        self._tokens = [*characters, *special_tokens]
        self.unknown_id = self.special_tokens.get(UNKNOWN)

    @classmethod
    def train(
        cls,
        text: str | Iterable[str],
        vocab_size: int | None = None,
        special_tokens: Sequence[str] = (),
        pattern: str | None = None,
        progress: bool = False,
    ) -> Self:
        """Collect the characters that occur, in Unicode order; with ``vocab_size``, only the most frequent ones."""
        special = special_regex(dict.fromkeys(special_tokens, 0))
        counts: Counter[str] = Counter()
        for document in tqdm([text] if isinstance(text, str) else text, disable=not progress, leave=False):
            counts.update(special.sub("", document) if special else document)
        if not counts:
            raise ValueError("cannot train a tokenizer on empty text")
        room = None if vocab_size is None else vocab_size - len(special_tokens)
        if room is not None and room < 1:
            raise ValueError(f"vocab_size must be above the {len(special_tokens)} special tokens, got {vocab_size}")
        kept = sorted(counts, key=lambda c: (-counts[c], c))[:room]
        return cls("".join(sorted(kept)), tuple(special_tokens))

    @property
    def vocab_size(self) -> int:
        """Characters and special tokens."""
        return len(self._tokens)

    @property
    def end_id(self) -> int | None:
        """Id of <|endoftext|>; None if this vocabulary does not have it."""
        return self.special_tokens.get(END_OF_TEXT)

    def encode(self, text: str, allow_special: bool = False, progress: bool = False) -> list[int]:
        """Ids of a text. Raises ValueError for a character that is not in the vocabulary, if none stands for it."""
        id_of = self._ids.__getitem__ if self.unknown_id is None else self._id_or_unknown
        try:
            if allow_special and self._specials:
                parts = self._specials.split(text)
                return [
                    i
                    for n, part in enumerate(parts)
                    for i in ([self.special_tokens[part]] if n % 2 else map(id_of, part))
                ]
            return list(map(id_of, text))
        except KeyError as error:
            character = error.args[0]
            raise ValueError(
                f"the character {character!r} (U+{ord(character):04X}, first at position {text.index(character)}) "
                f"is not among the {len(self.characters)} that this tokenizer was trained on"
            ) from None

    def _id_or_unknown(self, character: str) -> int:
        return self._ids.get(character, self.special_tokens[UNKNOWN])

    def decode(self, ids: Iterable[int], errors: str = "replace") -> str:
        """The text of some ids. ``errors`` exists only for the common interface; a token is never half a character."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", errors=errors)

    def token_bytes(self, token: int) -> bytes:
        """The UTF-8 bytes of one token; raises ValueError for an id outside the vocabulary."""
        if not 0 <= token < len(self._tokens):
            raise ValueError(f"token id {token} is outside this vocabulary of {self.vocab_size}")
        return self._tokens[token].encode("utf-8")

    def save(self, directory: str | Path) -> None:
        """Write ``characters.json``."""
        state = {"characters": self.characters, "special_tokens": list(self.special_tokens)}
        write_text(Path(directory) / "characters.json", json.dumps(state, ensure_ascii=False))

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read ``characters.json``. Raises ValueError if its content is not what `save` writes."""
        path = Path(directory) / "characters.json"
        state = read_json(path)
        try:
            if not isinstance(state, dict):
                raise ValueError(f"it holds {brief(state)}")
            characters, special = typed(state, "characters", str), typed(state, "special_tokens", list)
            tokens = [*characters, *special]
            if odd := [token for token in tokens if type(token) is not str or not token]:
                raise ValueError(f"{brief(odd[0])} is not a token")
            if len(set(tokens)) < len(tokens):
                raise ValueError("a token occurs twice")
            utf8("".join(tokens))
        except ValueError as error:
            raise ValueError(f"{path} is not a character tokenizer: {error}") from None
        return cls(characters, special)
