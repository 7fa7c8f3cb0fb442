"""Checkpoints: one ``.npz`` file with everything that a run needs to go on as if it had never stopped.

Arrays only, never pickled objects, so that opening a file from somebody else cannot run code. What is not an
array (shapes, counters, states of random generators) is JSON text in the entry ``meta``.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numpylm.char_tokenizer import CharTokenizer, load_tokenizer
from numpylm.files import write_atomically
from numpylm.gpt import GPT, GPTConfig
from numpylm.lora import add_lora, lora_settings, merge_lora
from numpylm.module import Array, Blank
from numpylm.optim import AdamW
from numpylm.places import CHECKPOINTS, complain_of_many, complain_of_pickles, did_you_mean, is_run
from numpylm.tokenizer import Tokenizer

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds: the model's parameters, the optimizer's state, and ``meta``."""

    model: dict[str, Array]
    optimizer: dict[str, Array]
    meta: dict[str, Any]

    def build_model(self, dtype: DTypeLike | None = None) -> GPT:
        """A GPT of the shape that was saved, with its parameters and adapters; in the dtype that was saved, or another.

        It takes over the arrays that are in its dtype.
        """
        gpt = GPT(GPTConfig(**self.meta["model_config"]), Blank(), self.meta["dtype"] if dtype is None else dtype)
        if lora := self.meta.get("lora"):
            add_lora(gpt, **lora, rng=Blank())
        gpt.load_state_dict(self.model, assign=True)
        return gpt


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
        with np.load(path, allow_pickle=False) as file:
            meta = json.loads(str(file["meta"]))
            groups: dict[str, dict[str, Array]] = {"model": {}, "optimizer": {}}
            for key in file.files:
                group, _, name = key.partition("/")
                if name and (optimizer or group != "optimizer"):
                    groups[group][name] = file[key]
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError, TypeError) as error:
        raise ValueError(f"{path} is not a numpylm checkpoint, or is damaged ({error})") from None
    if meta.get("format") != FORMAT:
        raise ValueError(f"{path} has checkpoint format {meta.get('format')}; this numpylm reads format {FORMAT}")
    return Checkpoint(groups["model"], groups["optimizer"], meta)


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
            f"the model in {path} was trained on {tokens} tokens, the tokenizer beside it has "
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
