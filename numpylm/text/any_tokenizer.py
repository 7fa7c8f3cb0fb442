"""TextTokenizer, the interface of all tokenizers, and `load_tokenizer`, which loads a tokenizer of any kind."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from numpylm.text.char_tokenizer import CharTokenizer
from numpylm.text.tokenizer import Tokenizer


class TextTokenizer(Protocol):
    """The interface of all tokenizers in numpylm."""

    special_tokens: dict[str, int]

    @property
    def vocab_size(self) -> int: ...
    @property
    def end_id(self) -> int | None: ...
    def encode(self, text: str, allow_special: bool = False, progress: bool = False) -> list[int]: ...
    def decode(self, ids: Iterable[int], errors: str = "replace") -> str: ...
    def token_bytes(self, token: int) -> bytes: ...
    def save(self, directory: str | Path) -> None: ...


def load_tokenizer(directory: str | Path) -> Tokenizer | CharTokenizer:
    """Load the tokenizer in a folder, of any kind."""
    if (Path(directory) / "characters.json").exists():
        return CharTokenizer.load(directory)
    return Tokenizer.load(directory)
