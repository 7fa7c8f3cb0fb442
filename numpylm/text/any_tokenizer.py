"""TextTokenizer, the interface of all tokenizers; `load_tokenizer` for any kind of them; and the dtype of token ids."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import DTypeLike

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


def token_dtype(vocab_size: int) -> DTypeLike:
    """The smallest dtype of arrays of token ids: uint16, or uint32 for large vocabularies."""
    return np.uint16 if vocab_size <= 1 << 16 else np.uint32
