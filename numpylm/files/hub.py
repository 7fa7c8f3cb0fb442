"""Finding the files of a pretrained model: in a local folder, or downloaded from huggingface.co by name."""

import re
from collections.abc import Sequence
from pathlib import Path

from numpylm.files.find_model import did_you_mean
from numpylm.system.optional_packages import needed

TOKENIZER_FILES = (
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "added_tokens.json",
    "pattern.txt",
    "characters.json",
    "vocab.txt",  # WordPiece
    "source.spm",  # Marian
    "target.spm",
    "target_vocab.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
MODEL_FILES = (
    "config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "generation_config.json",  # the tokens that end a text
    "preprocessor_config.json",  # Whisper
    *TOKENIZER_FILES,
)  # never *.bin: these are pickled, and unpickling can run any code

NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)  # gpt2, openai-community/gpt2
FILE_ENDINGS = (".safetensors", ".gguf", ".npz", ".bin", ".json", ".txt")


def model_folder(name_or_folder: str | Path, files: Sequence[str] = MODEL_FILES) -> Path:
    """The folder with a model's files.

    Parameters
    ----------
    name_or_folder : str or path
        A local folder, or a name on huggingface.co such as ``gpt2`` or ``openai-community/gpt2``. Downloaded files are
        kept in Hugging Face's cache, so they are found later without a network.
    files : sequence of str
        Which files to download; patterns as in `fnmatch`.

    Raises
    ------
    FileNotFoundError
        If there is no such folder and the download failed. The message says which files to put where.
    ValueError
        If the path is a file.
    """
    folder = Path(name_or_folder)
    if folder.is_dir() and str(name_or_folder):
        return folder
    if folder.exists() and str(name_or_folder):
        raise ValueError(f"{folder} is a file: give the folder it is in")
    if isinstance(name_or_folder, Path) or not _is_name(name_or_folder):
        raise FileNotFoundError(
            f"no folder {str(name_or_folder)!r}. Give a folder with {_wanted(files)}, or a name on huggingface.co "
            f"such as gpt2{did_you_mean(name_or_folder, names=True)}"
        )
    return _fetch(name_or_folder, files)


def _is_name(text: str) -> bool:
    """Whether the text may be a name on huggingface.co, and is not the path of a missing file or folder."""
    inside_a_folder = "/" in text and Path(text).parent.is_dir()
    return bool(NAME.fullmatch(text)) and not inside_a_folder and not text.endswith(FILE_ENDINGS)


def _fetch(name: str, files: Sequence[str]) -> Path:
    try:
        hub = needed("huggingface_hub", "gpt2", "fetching it")
        return Path(hub.snapshot_download(name, allow_patterns=list(files)))
    except Exception as error:  # the hub, its HTTP library and the system each raise their own types
        reason = " ".join((str(error).strip() or "no reason given").split("\n")[0].split())
        raise FileNotFoundError(
            f"there is no folder {name!r} here, and huggingface.co/{name} could not be downloaded "
            f"({type(error).__name__}: {reason[:300]}). By hand: download {_wanted(files)} from "
            f"https://huggingface.co/{name}/tree/main into a folder, and give that folder instead of the name"
            f"{did_you_mean(name, names=True)}"
        ) from None


def _wanted(files: Sequence[str]) -> str:
    weights = "config.json, model.safetensors, " if "config.json" in files else ""
    return weights + "vocab.json and merges.txt"
