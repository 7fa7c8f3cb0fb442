"""load_model: a trained model of any family, from a run folder, transformers' files, or a name on huggingface.co"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numpylm.files.bert_files import load_bert
from numpylm.files.checkpoint import load_run
from numpylm.files.find_model import is_run, refuse_folder_of_runs, refuse_pickles
from numpylm.files.gpt2_files import COMMANDS_OF, check_tokenizer, load_gpt2, tokenizer_in
from numpylm.files.hub import model_folder
from numpylm.files.llama_files import FAMILIES, load_llama, load_llama_gguf
from numpylm.files.marian_files import load_marian
from numpylm.files.transformers_folder import read_settings
from numpylm.files.whisper_files import load_whisper
from numpylm.models.bert import Bert
from numpylm.models.gpt import GPT
from numpylm.models.llama import Llama
from numpylm.models.speech_ctc import SpeechCTC
from numpylm.models.transformer import Transformer
from numpylm.models.whisper import Whisper
from numpylm.system.shell import shown
from numpylm.text.any_tokenizer import gguf_file

LOADERS: dict[str, Callable[..., Any]] = {
    "gpt2": lambda folder, dtype: load_gpt2(GPT, folder, dtype),
    "bert": load_bert,
    "roberta": load_bert,
    "marian": load_marian,
    "whisper": load_whisper,
    **dict.fromkeys(FAMILIES, load_llama),
}


def load_model(source: str | Path, dtype: DTypeLike = np.float32) -> Any:
    """Load a trained model. Its class follows from its files, and ``model.tokenizer`` is its tokenizer.

    Parameters
    ----------
    source : str or path
        One of these:

        - a run folder of ``numpylm train`` (its best checkpoint, else its last), or one checkpoint;
        - a folder with transformers' ``config.json`` and ``model.safetensors``;
        - a ``.gguf`` file with a Llama or Qwen2, or the name of one that an installed package brings;
        - a name on huggingface.co, such as ``gpt2``.
    dtype : dtype
        float32 or float64. The weights are converted to it.

    Returns
    -------
    GPT, Llama, Bert, Transformer or Whisper
        ``model_type`` in config.json decides: gpt2, llama, qwen2, mistral, mixtral, bert, roberta, marian or whisper.

    Raises
    ------
    FileNotFoundError, ValueError
        If files are missing, damaged, or of an architecture that numpylm does not have.
    """
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, got {np.dtype(dtype)}")
    if is_run(source):
        return load_run(source, dtype)[0]
    if file := gguf_file(source):
        model = load_llama_gguf(file, dtype)
        check_tokenizer(model, model.tokenizer)
        return model
    folder = model_folder(source)
    refuse_folder_of_runs(folder)
    refuse_pickles(folder)
    family = str(read_settings(folder).get("model_type"))
    if family not in LOADERS:
        raise ValueError(
            f"{shown(folder / 'config.json')} is of a {family!r} model; numpylm reads {', '.join(LOADERS)} (model_type)"
        )
    model = LOADERS[family](folder, dtype)
    if model.tokenizer is None:
        model.tokenizer = tokenizer_in(folder)
    check_tokenizer(model, model.tokenizer)
    return model


def load_as(cls: type, source: str | Path, dtype: DTypeLike = np.float32) -> Any:
    """`load_model` for one class: ``Bert.from_pretrained(…)``. Raises ValueError if the model is of another class."""
    model = load_model(source, dtype)
    if not isinstance(model, cls):
        kind = type(model).__name__
        raise ValueError(
            f"{shown(source)} holds a {kind}, and a {cls.__name__} is needed here; for this one there is numpylm "
            f"{COMMANDS_OF[kind]}"
        )
    return model


def load_language_model(source: str | Path) -> tuple[Any, Any, bool]:
    """Load a GPT or a Llama, its tokenizer, and whether numpylm trained it: see `load_model`.

    A model that numpylm trained has the dtype of its training, and has seen documents that begin with the end-of-text
    token.
    """
    model = load_run(Path(source))[0] if is_run(source) else load_model(source)
    if not isinstance(model, (GPT, Llama)):
        kind = type(model).__name__
        raise ValueError(
            f"{shown(source)} holds a {kind}, not a GPT or a Llama: use numpylm {COMMANDS_OF[kind]}, or "
            f"numpylm.load_model"
        )
    if model.tokenizer is None:
        raise FileNotFoundError(f"{source} has no tokenizer: put its files, such as tokenizer.json, beside the model")
    return model, model.tokenizer, is_run(source)


def llama_from_pretrained(cls: type[Llama], source: str | Path, dtype: DTypeLike = np.float32) -> Llama:
    """Load a `Llama`; see `load_model`."""
    return load_as(cls, source, dtype)


def bert_from_pretrained(cls: type[Bert], source: str | Path, dtype: DTypeLike = np.float32) -> Bert:
    """Load a `Bert`; see `load_model`."""
    return load_as(cls, source, dtype)


def transformer_from_pretrained(
    cls: type[Transformer], source: str | Path, dtype: DTypeLike = np.float32
) -> Transformer:
    """Load a `Transformer`; see `load_model`."""
    return load_as(cls, source, dtype)


def whisper_from_pretrained(cls: type[Whisper], source: str | Path, dtype: DTypeLike = np.float32) -> Whisper:
    """Load a `Whisper`; see `load_model`."""
    return load_as(cls, source, dtype)


def speech_ctc_from_pretrained(cls: type[SpeechCTC], source: str | Path, dtype: DTypeLike = np.float32) -> SpeechCTC:
    """Load a `SpeechCTC` from a run of ``numpylm train --task speech``; see `load_model`."""
    return load_as(cls, source, dtype)
