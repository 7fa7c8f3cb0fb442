"""``tokenizer_config.json``: which tokens begin and end a text, and the template of a chat; and helpers"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from numpylm.system.json_fields import brief, typed, whole
from numpylm.system.whole_files import read_json, read_text

CONFIG, GENERATION, TEMPLATE = "tokenizer_config.json", "generation_config.json", "chat_template.jinja"


class Chat(NamedTuple):
    """What a program that talks to a model must know about its tokenizer.

    Attributes
    ----------
    template : str
        The Jinja template that makes a text of messages, or "".
    bos_id : int or None
        The token that begins a text (beginning of sequence).
    add_bos : bool
        Whether the model expects it before each text. `encode` never adds it.
    eos_ids : tuple of int
        The tokens that end a text or a message, the usual one first.
    """

    template: str = ""
    bos_id: int | None = None
    add_bos: bool = False
    eos_ids: tuple[int, ...] = ()


SILENT = Chat()


def read_chat(folder: Path, ids: Mapping[str, int], first: str | None = None) -> Chat:
    """Read tokenizer_config.json, generation_config.json and chat_template.jinja, as far as they exist.

    Parameters
    ----------
    folder : Path
    ids : mapping of str -> int
        Those of the special tokens.
    first : str, optional
        The token that tokenizer.json puts before each text.
    """
    path, generation = folder / CONFIG, folder / GENERATION
    config = read_object(path) if path.is_file() else {}
    with naming(path):
        template = _template(config.get("chat_template"))
        bos, eos = (token_text(config, name, "") for name in ("bos_token", "eos_token"))
        if missing := [token for token in (bos, eos) if token and token not in ids]:
            raise ValueError(f"bos_token or eos_token is {brief(missing[0])}, which is not a token of this vocabulary")
        bos = bos or first or ""
        bos_id = whole(config, "bos_token_id") if "bos_token_id" in config else ids.get(bos)
        add_bos = bos_id is not None and bos == first
        if config.get("add_bos_token") is not None:
            add_bos = bos_id is not None and typed(config, "add_bos_token", bool)
        eos_ids = [ids[eos]] if eos else []
        eos_ids += _ids(config.get("eos_token_ids"))
    if generation.is_file():
        with naming(generation):
            eos_ids += _ids(read_object(generation).get("eos_token_id"))
    if (folder / TEMPLATE).is_file():
        template = read_text(folder / TEMPLATE)
    return Chat(template, bos_id, add_bos, tuple(dict.fromkeys(eos_ids)))


def chat_config(chat: Chat, text_of: Mapping[int, str]) -> dict[str, Any]:
    """The entries of tokenizer_config.json from which `read_chat` reads the same again."""
    bos, eos = (None if i is None else text_of.get(i) for i in (chat.bos_id, next(iter(chat.eos_ids), None)))
    config: dict[str, Any] = {"bos_token": bos, "eos_token": eos, "add_bos_token": chat.add_bos}
    if chat.bos_id is not None and bos is None:  # these two entries are ours
        config["bos_token_id"] = chat.bos_id
    if chat.eos_ids[1:] or (chat.eos_ids and eos is None):
        config["eos_token_ids"] = list(chat.eos_ids)
    return config | ({"chat_template": chat.template} if chat.template else {})


def _template(found: Any) -> str:
    """The template itself, or the one named "default" in a list."""
    match found:
        case None:
            return ""
        case str():
            return found
        case list():
            for entry in found:
                match entry:
                    case {"name": "default", "template": str(template)}:
                        return template
    raise ValueError(f"chat_template should be a text, or a list with one that is named default, is {brief(found)}")


def _ids(found: Any) -> Sequence[int]:
    """One id or several."""
    ids = [] if found is None else found if isinstance(found, list) else [found]
    if not all(type(i) is int and i >= 0 for i in ids):
        raise ValueError(f"the ids of tokens that end a text should be whole numbers, are {brief(found)}")
    return ids


# --------------------------------------------------------------------------------- helpers for JSON files


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the name of a file before the message of a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds one object."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise ValueError(f"{path} should be one JSON object, is {brief(found)}")
    return found


def token_text(config: Mapping[str, Any], name: str, usual: str) -> str:
    """The text of a special token in tokenizer_config.json, which is a string or an object with ``content``."""
    match config.get(name):
        case None:
            return usual
        case str(text) | {"content": str(text)} if text:
            return text
        case other:
            raise ValueError(f"{name} should be the text of a token, is {brief(other)}")
