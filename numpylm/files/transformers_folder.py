"""Reading and writing a model's folder in transformers' format: settings, weights under transformers' names, tokenizer.

Each family has a file that says what is special about it: its settings and its names. What they share is here.
transformers stores the weight of a linear layer as (out, in); we store (in, out). So these are transposed. The axes
of a convolution, (out, in, kernel), are reversed in the same way.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.files.find_model import is_run
from numpylm.files.safetensors_files import (
    FLOATING,
    ONE_FILE,
    StoredTensor,
    need_safetensors,
    sharded_files,
    stored_tensors,
    write_tensors,
)
from numpylm.nn.module import Array, Module
from numpylm.system.shell import shown
from numpylm.system.whole_files import read_json, write_text

# These tables are not transposed.
EMBEDDINGS = ("tokens", "positions", "segments", "shared", "source_tokens", "embed_tokens", "audio_positions")
OLD_NAMES = {"gamma": "weight", "beta": "bias"}  # of a LayerNorm, in files of TensorFlow
SHOWN = 40  # number of problems that one message lists

Names = tuple[tuple[str, str], ...]  # (our name, transformers' name) of a part of a parameter's name


def renamed(name: str, names: Names) -> str:
    """A parameter's name with the parts in ``names`` replaced, in their order."""
    for ours, theirs in names:
        name = re.sub(rf"(?<![^.]){re.escape(ours)}(?![^.])", theirs, name, count=1)
    return name


# ---------------------------------------------------------------------------------------------- reading


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings in a folder's config.json. Raises FileNotFoundError or ValueError if there are none."""
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"no model in {folder}: config.json is missing (needed: config.json, {ONE_FILE})")
    settings = read_json(path)
    if not isinstance(settings, dict):
        raise ValueError(f"{path} should be one JSON object of settings")
    return settings


def refuse_others(settings: Mapping[str, Any], computed: Mapping[str, tuple[Any, ...]], where: Path) -> None:
    """Raise ValueError for settings that change what a model computes, in a way that numpylm does not support.

    ``computed`` has the supported values of each setting. A setting that is missing has the first of them.
    """
    problems = [
        f"{name} is {settings[name]!r}, numpylm computes {' or '.join(map(repr, values))}"
        for name, values in computed.items()
        if settings.get(name, values[0]) not in values
    ]
    if problems:
        raise ValueError(f"{where}: numpylm cannot compute this model: {'; '.join(problems)}")


def own_tensors(folder: Path) -> dict[str, StoredTensor]:
    """The tensors in a folder, by the names in its files (those of old files in today's form)."""
    need_safetensors()
    found = {}
    for name, tensor in stored_tensors(folder).items():
        before, _, last = name.rpartition(".")
        found[f"{before}.{OLD_NAMES.get(last, last)}" if "LayerNorm" in before else name] = tensor
    return found


def read_weights(
    model: Module,
    stored: Mapping[str, StoredTensor],
    transformers_name: Callable[[str], str],
    folder: Path,
    unused: str = "",
    copies: Mapping[str, str] | None = None,
) -> None:
    """Read all parameters of a model from its folder, after checking that every name and shape fits.

    Parameters
    ----------
    model : Module
    stored : dict
        The tensors by their names in the files, from `own_tensors`.
    transformers_name : callable
        Our name of a parameter -> its name in the files.
    folder : Path
        For messages.
    unused : str
        A regular expression for names of tensors that the model does not need.
    copies : dict, optional
        Name in the files of a second copy of a tensor, such as a tied output layer -> our name. It must be equal.

    Raises
    ------
    ValueError
        One message that lists every missing or unexpected tensor, every wrong shape, and every unsupported dtype.
    """
    copies = copies or {}
    own = {transformers_name(name): (name, parameter) for name, parameter in model.named_parameters()}
    problems = [f"missing: {name} {_file_shape(*own[name])}" for name in own if name not in stored]
    for name, tensor in stored.items():
        if name in own and _squeezed(tensor.shape) != _squeezed(_file_shape(*own[name])):
            problems.append(f"misshapen: {name} should be {_file_shape(*own[name])}, is {tensor.shape}")
        elif name in own and tensor.kind not in FLOATING:
            problems.append(f"wrong kind of number: {name} is {tensor.kind}, not one of {', '.join(FLOATING)}")
        elif name not in own and name not in copies and not re.fullmatch(unused, name):
            problems.append(f"unexpected: {shown(name)} {tensor.shape}")
    if problems:
        more = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise ValueError(
            f"the tensors in {folder} are not those of the model that its config.json describes "
            f"({len(problems)} problems):\n  " + "\n  ".join(sorted(problems)[:SHOWN]) + more
        )
    for name, (ours, parameter) in own.items():
        target = parameter.data.T if _transposed(ours, parameter.data) else parameter.data
        stored[name].read_into(target.reshape(stored[name].shape))
    by_name = dict(model.named_parameters())
    for name, ours in copies.items():
        if name in stored and not stored[name].equals(by_name[ours].data):
            raise ValueError(
                f"{folder}: {name} should be a copy of {transformers_name(ours)}; here it is another array"
            )


def _transposed(name: str, values: Array) -> bool:
    return values.ndim > 1 and name.split(".")[-2] not in EMBEDDINGS


def _file_shape(name: str, parameter: Any) -> tuple[int, ...]:
    return parameter.shape[::-1] if _transposed(name, parameter.data) else parameter.shape


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without a first axis of one: Marian's bias is stored as (1, V)."""
    return shape[1:] if len(shape) == 2 and shape[0] == 1 else shape


# ---------------------------------------------------------------------------------------------- writing


def check_target(folder: Path) -> None:
    """Raise ValueError if a model cannot be written into this folder."""
    need_safetensors()
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: give a folder")
    if is_run(folder):
        raise ValueError(f"{folder} is a run folder, whose config.json would be overwritten: give another folder")


def write_folder(
    folder: Path,
    model: Module,
    transformers_name: Callable[[str], str],
    settings: Mapping[str, Any],
    bias_rows: str = "",
) -> None:
    """Write the weights, and config.json last. Each file is written atomically.

    ``bias_rows`` is the name of a bias that is stored as (1, V).
    """
    before = sharded_files(folder)
    tensors = {}
    for name, values in model.state_dict().items():
        theirs = transformers_name(name)
        if theirs == bias_rows:
            values = values[None]
        elif _transposed(name, values):
            values = values.T
        tensors[theirs] = np.ascontiguousarray(values)
    write_tensors(folder / ONE_FILE, tensors)
    for path in (*before, folder / "generation_config.json"):
        path.unlink(missing_ok=True)
    write_text(folder / "config.json", json.dumps(dict(settings), indent=2) + "\n")
