"""GPT-2's files as transformers has them: ``config.json``, ``model.safetensors`` and the tokenizer's, in and out.

The names of the weights are ours already, and so is their orientation (input first); `gpt2_tensors` reads those of
other programs.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from numpylm.files.checkpoint import check_size, load_run
from numpylm.files.gpt2_config import gpt2_settings, read_gpt2_config, write_gpt2_config
from numpylm.files.gpt2_tensors import HEAD, PREFIX, own_names, transposed
from numpylm.files.hub import TOKENIZER_FILES, model_folder
from numpylm.files.safetensors_files import (
    FLOATING,
    INDEX,
    ONE_FILE,
    StoredTensor,
    need_safetensors,
    shard_names,
    stored_tensors,
    write_tensors,
)
from numpylm.files.tokenizer_export import export_tokenizer
from numpylm.models.gpt import GPT
from numpylm.nn.lora import has_lora, merged
from numpylm.nn.module import Array, SkipInit
from numpylm.system.find_model import complain_of_many, complain_of_pickles, is_run
from numpylm.system.shell import shown
from numpylm.text.char_tokenizer import CharTokenizer, TextTokenizer, load_tokenizer
from numpylm.text.tokenizer import Tokenizer

GENERATION = "generation_config.json"  # transformers prefers its end-of-text id to that of config.json
SHOWN = 40  # problems that one message lists


def from_pretrained(cls: type[GPT], name_or_folder: str | Path, dtype: DTypeLike = np.float32) -> GPT:
    """A trained model: GPT-2 from transformers' files, or one that ``numpylm train`` made.

    Parameters
    ----------
    name_or_folder : str or path
        A folder with ``config.json`` and ``model.safetensors`` (or several such files and their index); a name
        such as ``gpt2``, which is fetched from huggingface.co; or a run folder (its best checkpoint, else its
        last) or one checkpoint of ours, whose LoRA adapters are merged into the weights. The tokenizer's files,
        if they are there as well, become ``gpt.tokenizer``. Names with the prefixes of wrappers (torch.compile,
        DataParallel), a tied head that is written without the embedding, and matrices that are (out, in), as in
        nanoGPT's and minGPT's models, are read as well.
    dtype : dtype
        Of the model: float32 or float64, whatever the files have.

    Returns
    -------
    GPT
        In evaluation it computes what transformers does. Its ``config.dropout``, one rate for all, is the files'
        resid_pdrop.

    Raises
    ------
    FileNotFoundError
        If files are missing; says which, and where to get them.
    ValueError
        If they are damaged or of another model; says what does not fit, all of it at once.
    ModuleNotFoundError
        Without the extra ``[gpt2]``, which transformers' files need.
    """
    # Everything that can be wrong with the files is found from their headers, before a weight is read. Weights go into
    # the model's own arrays piece by piece: loading takes little more memory than the model.
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, got {np.dtype(dtype)}")
    if is_run(name_or_folder):
        return load_run(name_or_folder, dtype)[0]
    folder = model_folder(name_or_folder)
    complain_of_many(folder)
    need_safetensors()
    complain_of_pickles(folder)
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
            f"numpylm they are one array; a model that trained them apart cannot be loaded"
        )
    return gpt


def check_head(stored: Mapping[str, StoredTensor], folder: Path) -> None:
    """Complain if the output layer should be one of its own, and is in no file: transformers takes a random one."""
    if HEAD not in stored and not gpt2_settings(folder)["tie_word_embeddings"]:
        raise ValueError(
            f"{folder}: config.json says that the output layer is not the token embedding (tie_word_embeddings is "
            f"false), but the files have no {HEAD}: the output layer was lost, or that setting should be true"
        )


def check_tensors(gpt: GPT, stored: Mapping[str, StoredTensor], turned: Collection[str], folder: Path) -> None:
    """Raise one ValueError that lists every tensor that is missing, too many, misshapen or of a kind we cannot read.

    Those named in ``turned`` have their axes the other way round in the files.
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
    """The tokenizer that a model's folder holds, None if it holds none."""
    if not any((folder / name).is_file() for name in ("vocab.json", "tokenizer.json", "characters.json")):
        return None
    try:
        return load_tokenizer(folder)
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(
            f"{error} (to load the model without its tokenizer, copy config.json and {ONE_FILE} into a folder of "
            f"their own)"
        ) from None


def check_tokenizer(gpt: GPT, tokenizer: TextTokenizer | None) -> None:
    """A model may have more rows than the tokenizer has tokens (some are padded to a round number), not fewer."""
    if tokenizer is not None and tokenizer.vocab_size > gpt.config.vocab_size:
        raise ValueError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the model embeddings for {gpt.config.vocab_size}: they "
            f"do not belong together"
        )


def tokenizer_from_pretrained(cls: type[Tokenizer], name_or_folder: str | Path) -> Tokenizer:
    """Load a tokenizer from a folder, or by a name on huggingface.co such as ``gpt2``: see `model_folder`."""
    return cls.load(model_folder(name_or_folder, TOKENIZER_FILES))


def save_pretrained(gpt: GPT, folder: str | Path, tokenizer: TextTokenizer | None = None) -> None:
    """Write ``config.json`` and ``model.safetensors``, which transformers loads as GPT2LMHeadModel.

    With a tokenizer (the one given, else ``gpt.tokenizer``) its files too, for AutoTokenizer; of a CharTokenizer
    only its own file, which transformers cannot read. Without one, the end-of-text id is left open. A model
    without biases is written with biases of zero, and has them when it is loaded again.

    Each file is written as a whole, the weights first and config.json last, so it is safe to save into the folder
    that the model came from.

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
        raise ValueError(f"{folder} is a run folder, whose own config.json would be lost: give another folder")
    check_tokenizer(gpt, tokenizer)
    before = others_weights(folder)
    write_tensors(folder / ONE_FILE, their_tensors(gpt))
    for path in (*before, folder / GENERATION):
        path.unlink(missing_ok=True)
    if tokenizer is not None:
        export_tokenizer(tokenizer, folder, gpt.config.block_size)
    end_id = None if tokenizer is None else tokenizer.end_id
    write_gpt2_config(folder / "config.json", gpt.config, str(gpt.wte.weight.dtype), end_id)


def their_tensors(gpt: GPT) -> dict[str, Array]:
    """The weights by transformers' names; views, not copies. A model without biases gets zeros, which add nothing.

    LoRA adapters are added to the weights that they belong to; these are new arrays.
    """
    tensors = {}
    if has_lora(gpt):
        gpt = merged(gpt)
    for name, value in gpt.state_dict().items():
        tensors[PREFIX + name] = np.ascontiguousarray(value)
        if not gpt.config.bias and name not in ("wte.weight", "wpe.weight"):
            tensors[PREFIX + name.removesuffix("weight") + "bias"] = np.zeros(value.shape[-1], value.dtype)
    return tensors


def others_weights(folder: Path) -> list[Path]:
    """Files of a model in several parts that is there: nobody reads them beside the one file, and they are large.

    The index that names them is somebody else's: only ``.safetensors`` in this folder count. If it cannot be read,
    it alone is returned.
    """
    index = folder / INDEX
    if not index.is_file():
        return []
    try:
        names = shard_names(index)
    except (ValueError, OSError):
        names = []
    parts = [folder / name for name in names if name.endswith(".safetensors") and name.lower() != ONE_FILE]
    return [*(path for path in parts if path.is_file()), index]
