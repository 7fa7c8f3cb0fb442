"""Loading and saving GPT-2 in transformers' format: ``config.json``, ``model.safetensors`` and the tokenizer's files.

The names and the layout of the weights (input first) are the same in transformers and in numpylm. `gpt2_tensors`
converts those of other programs.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numpylm.files.checkpoint import check_size, load_run
from numpylm.files.find_model import is_run, refuse_folder_of_runs, refuse_pickles
from numpylm.files.gpt2_config import gpt2_settings, read_gpt2_config, write_gpt2_config
from numpylm.files.gpt2_tensors import HEAD, PREFIX, own_names, transposed
from numpylm.files.hub import TOKENIZER_FILES, model_folder
from numpylm.files.safetensors_files import (
    FLOATING,
    ONE_FILE,
    StoredTensor,
    need_safetensors,
    sharded_files,
    stored_tensors,
    write_tensors,
)
from numpylm.files.tokenizer_export import export_tokenizer
from numpylm.models.gpt import GPT
from numpylm.models.lora import has_lora, merged
from numpylm.nn.module import Array, SkipInit
from numpylm.system.shell import shown
from numpylm.text.any_tokenizer import TextTokenizer, load_tokenizer
from numpylm.text.char_tokenizer import CharTokenizer
from numpylm.text.tokenizer import Tokenizer

GENERATION = "generation_config.json"  # transformers uses its end-of-text id instead of the one in config.json
COMMANDS_OF = {
    "GPT": "generate",
    "Llama": "generate",
    "Transformer": "translate",
    "Bert": "classify",
    "SpeechCTC": "transcribe",
    "Whisper": "transcribe",
}
SHOWN = 40  # number of problems that one message lists


def load_gpt2(cls: type[GPT], name_or_folder: str | Path, dtype: DTypeLike = np.float32) -> GPT:
    """Load a trained model: GPT-2 from transformers' files, or a model that ``numpylm train`` made.

    Parameters
    ----------
    name_or_folder : str or path
        One of these:

        - a folder with ``config.json`` and ``model.safetensors`` (or several such files and their index);
        - a name such as ``gpt2``, which is downloaded from huggingface.co;
        - a run folder of numpylm (its best checkpoint, else its last), or one checkpoint. LoRA adapters are merged
          into the weights.

        If the folder has a tokenizer, it becomes ``gpt.tokenizer``. It also loads tensors whose names have the prefixes
        of wrappers (torch.compile, DataParallel), a tied output layer that is stored instead of the embedding, and
        matrices of shape (out, in), as in models of nanoGPT and minGPT.
    dtype : dtype
        The dtype of the model, float32 or float64. The weights are converted to it.

    Returns
    -------
    GPT
        In evaluation mode it computes the same as transformers' model. Its ``config.dropout``, one rate for all
        dropouts, is the files' resid_pdrop.

    Raises
    ------
    FileNotFoundError
        If files are missing. The message says which, and where to get them.
    ValueError
        If the files are damaged or of another model. The message lists everything that does not fit.
    ModuleNotFoundError
        If the extra ``[gpt2]`` is not installed, which transformers' files need.
    """
    # All problems of the files are found from their headers, before any weight is read. Weights are read piece by piece
    # into the model's own arrays, so loading takes little more memory than the model.
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, got {np.dtype(dtype)}")
    if is_run(name_or_folder):
        return checked_gpt(load_run(name_or_folder, dtype)[0], name_or_folder)
    folder = model_folder(name_or_folder)
    refuse_folder_of_runs(folder)
    need_safetensors()
    refuse_pickles(folder)
    config = read_gpt2_config(folder)
    stored = own_names(stored_tensors(folder), tied=bool(gpt2_settings(folder)["tie_word_embeddings"]))
    try:
        check_size(config, sum(math.prod(tensor.shape) for tensor in stored.values()))
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    check_head(stored, folder)
    gpt = cls(replace(config, bias=any(name.endswith(".bias") for name in stored)), SkipInit(), dtype)
    turned = transposed(stored, {name: parameter.shape for name, parameter in gpt.named_parameters()})
    check_tensors(gpt, stored, turned, folder)
    gpt.tokenizer = tokenizer_in(folder)
    check_tokenizer(gpt, gpt.tokenizer)
    for name, parameter in gpt.named_parameters():
        stored[name].read_into(parameter.data.T if name in turned else parameter.data)
    if HEAD in stored and not stored[HEAD].equals(gpt.wte.weight.data):
        raise ValueError(
            f"{folder}: the output layer (lm_head.weight) is not the token embedding (wte.weight). In GPT-2 and in "
            f"numpylm they are one array; a model in which they differ cannot be loaded"
        )
    return gpt


def check_head(stored: Mapping[str, StoredTensor], folder: Path) -> None:
    """Raise ValueError if the config says that the output layer is not tied, but no file contains it.

    transformers would initialize it at random.
    """
    if HEAD not in stored and not gpt2_settings(folder)["tie_word_embeddings"]:
        raise ValueError(
            f"{folder}: config.json says that the output layer is not the token embedding (tie_word_embeddings is "
            f"false), but the files have no {HEAD}: the output layer was lost, or that setting should be true"
        )


def check_tensors(gpt: GPT, stored: Mapping[str, StoredTensor], turned: Collection[str], folder: Path) -> None:
    """Raise one ValueError that lists every missing or unexpected tensor, and every wrong shape or unsupported dtype.

    Tensors whose names are in ``turned`` are transposed in the files.
    """
    shapes = {name: p.shape[::-1] if name in turned else p.shape for name, p in gpt.named_parameters()}
    problems = [f"missing: {name} {shape}" for name, shape in shapes.items() if name not in stored]
    shapes[HEAD] = gpt.wte.weight.shape
    for name, tensor in stored.items():
        if name not in shapes:
            problems.append(f"unexpected: {shown(tensor.name)} {tensor.shape}")
        elif tensor.shape != shapes[name]:
            problems.append(f"misshapen: {tensor.name} should be {shapes[name]}, is {tensor.shape}")
        elif tensor.kind not in FLOATING:
            problems.append(f"wrong kind of number: {tensor.name} is {tensor.kind}, not one of {', '.join(FLOATING)}")
    if problems:
        more = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise ValueError(
            f"the tensors in {folder} are not those of the GPT-2 that its config.json describes "
            f"({len(problems)} problems):\n  " + "\n  ".join(sorted(problems)[:SHOWN]) + more
        )


def tokenizer_in(folder: Path) -> Tokenizer | CharTokenizer | None:
    """The tokenizer in a model's folder, or None if there is none."""
    if not any(
        (folder / name).is_file()
        for name in ("vocab.json", "tokenizer.json", "characters.json", "vocab.txt", "source.spm")
    ):
        return None
    try:
        return load_tokenizer(folder)
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(
            f"{error} (to load the model without its tokenizer, copy config.json and {ONE_FILE} into another folder)"
        ) from None


def check_tokenizer(model: Any, tokenizer: TextTokenizer | None) -> None:
    """Raise ValueError if the model has fewer rows than the tokenizer has tokens. It may have more (V rounded up)."""
    if tokenizer is not None and tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the model embeddings for {model.config.vocab_size}: "
            f"they do not belong together"
        )


def tokenizer_from_pretrained(cls: type[Tokenizer], name_or_folder: str | Path) -> Tokenizer:
    """Load a tokenizer from a folder, or by a name on huggingface.co such as ``gpt2``; see `model_folder`."""
    return cls.load(model_folder(name_or_folder, TOKENIZER_FILES))


def save_gpt2(gpt: GPT, folder: str | Path, tokenizer: TextTokenizer | None = None) -> None:
    """Write ``config.json`` and ``model.safetensors``, which transformers loads as GPT2LMHeadModel.

    If there is a tokenizer (the argument, else ``gpt.tokenizer``), its files are written too, for AutoTokenizer. A
    CharTokenizer has only its own file, which transformers cannot read. Without a tokenizer, config.json has no
    end-of-text id. A model without biases is saved with biases of zero, and has them when it is loaded again.

    Each file is written atomically, the weights first and config.json last. So it is safe to save into the folder from
    which the model was loaded.

    Raises
    ------
    ValueError
        If the tokenizer has more tokens than the model, or the folder is a run's.
    """
    folder = Path(folder)
    tokenizer = gpt.tokenizer if tokenizer is None else tokenizer
    need_safetensors()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: give a folder")
    if is_run(folder):
        raise ValueError(f"{folder} is a run folder, whose config.json would be overwritten: give another folder")
    check_tokenizer(gpt, tokenizer)
    before = sharded_files(folder)
    write_tensors(folder / ONE_FILE, transformers_tensors(gpt))
    for path in (*before, folder / GENERATION):
        path.unlink(missing_ok=True)
    if tokenizer is not None:
        export_tokenizer(tokenizer, folder, gpt.config.block_size)
    end_id = None if tokenizer is None else tokenizer.end_id
    write_gpt2_config(folder / "config.json", gpt.config, str(gpt.wte.weight.dtype), end_id)


def transformers_tensors(gpt: GPT) -> dict[str, Array]:
    """The weights by transformers' names, as views. A model without biases gets biases of zero.

    LoRA adapters are merged. The merged weights are new arrays.
    """
    tensors = {}
    if has_lora(gpt):
        gpt = merged(gpt)
    for name, value in gpt.state_dict().items():
        tensors[PREFIX + name] = np.ascontiguousarray(value)
        if not gpt.config.bias and name not in ("wte.weight", "wpe.weight"):
            tensors[PREFIX + name.removesuffix("weight") + "bias"] = np.zeros(value.shape[-1], value.dtype)
    return tensors


def checked_gpt(model: Any, source: str | Path) -> GPT:
    """The model itself if it is a GPT. Otherwise a ValueError that says what it is, and which command runs it."""
    if isinstance(model, GPT):
        return model
    kind = type(model).__name__
    raise ValueError(
        f"{shown(source)} holds a {kind}, not a GPT: use numpylm {COMMANDS_OF[kind]}, or numpylm.load_model"
    )
