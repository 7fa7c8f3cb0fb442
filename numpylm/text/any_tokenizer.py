"""TextTokenizer, the interface of all tokenizers; `load_tokenizer` for any kind of them; and the dtype of token ids."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike

from numpylm.system.whole_files import read_json
from numpylm.text.char_tokenizer import CharTokenizer
from numpylm.text.marian_tokenizer import MarianTokenizer
from numpylm.text.tokenizer import Tokenizer
from numpylm.text.wordpiece import WordPiece


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


def load_tokenizer(directory: str | Path) -> Any:
    """Load the tokenizer in a folder, of any kind. Its files say which kind it is."""
    folder = Path(directory)
    if (folder / "characters.json").exists():
        return CharTokenizer.load(folder)
    if (folder / "source.spm").exists():  # beside a vocab.json
        return MarianTokenizer.load(folder)
    if (folder / "vocab.txt").exists() or _is_wordpiece(folder / "tokenizer.json"):
        return WordPiece.load(folder)
    return Tokenizer.load(folder)


def _is_wordpiece(path: Path) -> bool:
    """Whether a ``tokenizer.json`` is there and holds a WordPiece vocabulary."""
    content = read_json(path) if path.is_file() else None
    model = content.get("model") if isinstance(content, dict) else None
    return isinstance(model, dict) and model.get("type") == "WordPiece"


def token_dtype(vocab_size: int) -> DTypeLike:
    """The smallest dtype of arrays of token ids: uint16, or uint32 for large vocabularies."""
    return np.uint16 if vocab_size <= 1 << 16 else np.uint32
