"""Checkpoints: one ``.npz`` file with everything that a run needs to go on as if it had never stopped.

Arrays only, never pickled objects, so that opening a file from somebody else cannot run code. What is not an
array (shapes, counters, states of random generators) is JSON text in the entry ``meta``.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numpylm.files.npz_files import read_npz
from numpylm.models.gpt import GPT, GPTConfig
from numpylm.nn.lora import add_lora, lora_settings, merge_lora
from numpylm.nn.module import Array, SkipInit
from numpylm.nn.optim import AdamW
from numpylm.system.find_model import CHECKPOINTS, complain_of_many, complain_of_pickles, did_you_mean, is_run
from numpylm.system.json_fields import brief, typed, whole
from numpylm.system.whole_files import write_atomically
from numpylm.text.char_tokenizer import CharTokenizer, load_tokenizer
from numpylm.text.tokenizer import Tokenizer

FORMAT = 1
LARGEST_ALPHA = 1e15  # of LoRA; a larger one is damage


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds: the model's parameters, the optimizer's state, and ``meta``."""

    path: Path
    model: dict[str, Array]
    optimizer: dict[str, Array]
    meta: dict[str, Any]

    def build_model(self, dtype: DTypeLike | None = None) -> GPT:
        """A GPT of the shape that was saved, with its parameters and adapters; in the dtype that was saved, or another.

        It takes over the arrays that are in its dtype.

        Raises
        ------
        ValueError
            If the arrays are not those of the model that ``meta`` describes.
        """
        try:
            config = model_config(self.meta)
            check_size(config, sum(values.size for values in self.model.values()))
            gpt = GPT(config, SkipInit(), model_dtype(self.meta) if dtype is None else dtype)
            if "lora" in self.meta:
                add_lora(gpt, **lora_options(typed(self.meta, "lora", dict)), rng=SkipInit())
            gpt.load_state_dict(self.model, assign=True)
        except ValueError as error:
            raise ValueError(f"{self.path} is damaged: {error}") from None
        return gpt


def model_config(meta: Mapping[str, Any]) -> GPTConfig:
    """The shape of the model that a checkpoint holds; raises ValueError if there is none."""
    found = typed(meta, "model_config", dict)
    if odd := found.keys() - {setting.name for setting in fields(GPTConfig)}:
        raise ValueError(f"model_config has {brief(min(odd))}, which no model has")
    try:
        return GPTConfig(**found)
    except TypeError as error:  # one is missing
        raise ValueError(f"model_config: {error}") from None


def model_dtype(meta: Mapping[str, Any]) -> str:
    """The dtype of the parameters that a checkpoint holds; raises ValueError if a model cannot have it."""
    dtype: str = typed(meta, "dtype", str)
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype should be float32 or float64, is {brief(dtype)}")
    return dtype


def lora_options(found: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `add_lora` that a checkpoint holds; raises ValueError if one is missing or of another kind."""
    alpha = typed(found, "alpha", int, float)
    if not abs(alpha) < LARGEST_ALPHA:
        raise ValueError(f"alpha should be below {LARGEST_ALPHA:.0e}, is {brief(alpha)}")
    return {
        "rank": whole(found, "rank"),
        "alpha": alpha,
        "below": whole(found, "below"),
        "targets": typed(found, "targets", list),
    }


def check_size(config: GPTConfig, held: int) -> None:
    """Complain, before memory is asked for, of a config that describes a model far larger than what a file holds.

    Parameters
    ----------
    config : GPTConfig
    held : int
        How many numbers the file's arrays have.

    Raises
    ------
    ValueError
    """
    C = config.n_embd
    described = (config.vocab_size + config.block_size) * C + config.n_layer * 12 * C * C
    if described > 10 * held + 1000:
        raise ValueError(
            f"the settings describe a model of {described:,} parameters, the arrays hold {held:,}: they do not belong "
            f"together"
        )


def save_checkpoint(
    path: Path, gpt: GPT, optimizer: AdamW | None = None, meta: Mapping[str, Any] | None = None
) -> None:
    """Write a checkpoint atomically; ``meta`` must be JSON."""
    own = {"format": FORMAT, "model_config": asdict(gpt.config), "dtype": str(gpt.wte.weight.dtype)}
    if lora := lora_settings(gpt):
        own["lora"] = lora
    arrays = {f"model/{name}": value for name, value in gpt.state_dict().items()}
    if optimizer is not None:
        arrays |= {f"optimizer/{name}": value for name, value in optimizer.state_dict().items()}
    text = json.dumps(own | dict(meta or {}))
    write_atomically(path, lambda file: np.savez(file, allow_pickle=False, meta=np.array(text), **arrays))


def load_checkpoint(path: str | Path, optimizer: bool = True) -> Checkpoint:
    """Read a checkpoint.

    Parameters
    ----------
    path : str or path
    optimizer : bool
        Whether to read the optimizer's arrays, twice the memory of what it trains: only who trains on needs them.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is damaged or something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        arrays = read_npz(path, lambda name: optimizer or not name.startswith("optimizer/"))
        meta = read_meta(arrays)
        groups: dict[str, dict[str, Array]] = {"model": {}, "optimizer": {}}
        for key, values in arrays.items():
            group, _, name = key.partition("/")
            if name and values.dtype.kind not in "fi":
                raise ValueError(f"{key} holds no numbers but {values.dtype}")
            if name:
                groups[group][name] = values
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} is not a numpylm checkpoint, or is damaged ({error})") from None
    if meta.get("format") != FORMAT:
        found = brief(meta.get("format"))
        raise ValueError(f"{path} has checkpoint format {found}; this numpylm reads format {FORMAT}")
    return Checkpoint(path, groups["model"], groups["optimizer"], meta)


def read_meta(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """What the array ``meta`` says; raises ValueError if it is not there, or holds no JSON object."""
    try:
        stored = arrays["meta"]
        meta = json.loads(stored.astype(stored.dtype.newbyteorder("<")).tobytes().decode("utf-32-le").rstrip("\0"))
    except (KeyError, ValueError, RecursionError):
        raise ValueError("there is no meta in it, or none that is JSON") from None
    if not isinstance(meta, dict):
        raise ValueError(f"meta should be an object, is {brief(meta)}")
    return meta


def load_run(path: str | Path, dtype: DTypeLike | None = None) -> tuple[GPT, Tokenizer | CharTokenizer, Checkpoint]:
    """Model and tokenizer of a run folder (its best checkpoint, else its last) or of one checkpoint in it.

    LoRA adapters are merged into the weights. Of the checkpoint only ``meta`` is left: its arrays are the model's
    now, and whoever else held them would keep the unmerged ones in memory.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no run at {path}; numpylm train makes one{did_you_mean(path)}")
    if path.is_dir():
        complain_of_many(path)
        found = [path / name for name in CHECKPOINTS if (path / name).exists()]
        if not found:
            raise FileNotFoundError(f"{path} is not a run folder: it has neither best.npz nor last.npz")
        path = found[0]
    checkpoint = load_checkpoint(path, optimizer=False)
    gpt, tokenizer = checkpoint.build_model(dtype), load_tokenizer(path.parent)
    checkpoint.model.clear()
    merge_lora(gpt)
    gpt.tokenizer = tokenizer
    tokens = checkpoint.meta.get("tokens", gpt.config.vocab_size)
    if tokens != tokenizer.vocab_size:
        raise ValueError(
            f"the model in {path} was trained on {brief(tokens)} tokens, the tokenizer beside it has "
            f"{tokenizer.vocab_size}: they are not from the same run"
        )
    return gpt, tokenizer, checkpoint


def load_model(source: str | Path) -> tuple[GPT, Tokenizer | CharTokenizer, bool]:
    """A model and its tokenizer from wherever they are: a run of ours, or GPT-2's files.

    Parameters
    ----------
    source : str or path
        A run folder or checkpoint of numpylm, a folder with transformers' files, or a name such as ``gpt2``.

    Returns
    -------
    gpt, tokenizer
    own : bool
        Whether it is a run of ours, whose documents all began with the end-of-text token while it trained.
    """
    path = Path(source)
    if is_run(source):
        return *load_run(path)[:2], True
    complain_of_many(path)
    complain_of_pickles(path)
    if path.is_dir() and not (path / "config.json").exists():
        raise FileNotFoundError(
            f"{path} is not a run folder: it has neither best.npz nor last.npz; nor does it hold GPT-2's files: "
            f"it has no config.json"
        )
    gpt = GPT.from_pretrained(source)
    if gpt.tokenizer is None:
        raise FileNotFoundError(f"{source} has no tokenizer: put vocab.json and merges.txt beside the model")
    return gpt, gpt.tokenizer, False
