"""Checkpoints: one ``.npz`` file with the model, the optimizer's state, and all else that is needed to resume a run.

A checkpoint contains only arrays and no pickled objects, so loading an untrusted file cannot run code. Data that is
not an array (shapes, counters, states of random generators) is JSON text in the entry ``meta``.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numpylm.files.find_model import did_you_mean, refuse_folder_of_runs
from numpylm.files.npz_files import read_npz
from numpylm.models.bert import Bert, BertConfig
from numpylm.models.gpt import GPT, GPTConfig
from numpylm.models.llama import Llama, LlamaConfig
from numpylm.models.lora import add_lora, lora_settings, merge_lora
from numpylm.models.speech_ctc import SpeechCTC, SpeechCTCConfig
from numpylm.models.transformer import Transformer, TransformerConfig
from numpylm.models.whisper import Whisper, WhisperConfig
from numpylm.nn.module import Array, SkipInit
from numpylm.nn.optim import AdamW
from numpylm.system.json_fields import brief, typed, whole
from numpylm.system.run_files import CHECKPOINTS
from numpylm.system.whole_files import write_atomically
from numpylm.text.any_tokenizer import TextTokenizer, load_tokenizer

FORMAT = 1
MODELS: dict[str, tuple[Any, Any]] = {
    "GPT": (GPT, GPTConfig),
    "Llama": (Llama, LlamaConfig),
    "Bert": (Bert, BertConfig),
    "Transformer": (Transformer, TransformerConfig),
    "SpeechCTC": (SpeechCTC, SpeechCTCConfig),
    "Whisper": (Whisper, WhisperConfig),
}
LARGEST_ALPHA = 1e15  # a larger alpha of LoRA means that the file is damaged


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint file: the model's parameters, the optimizer's state, and ``meta``."""

    path: Path
    model: dict[str, Array]
    optimizer: dict[str, Array]
    meta: dict[str, Any]

    def build_model(self, dtype: DTypeLike | None = None) -> Any:
        """Build the model that was saved, with its LoRA adapters, in the saved dtype or another one.

        Arrays that already have this dtype are used without a copy.

        Raises
        ------
        ValueError
            If the arrays do not fit the model that ``meta`` describes.
        """
        try:
            model_class, config = model_config(self.meta)
            check_size(config, sum(values.size for values in self.model.values()))
            model = model_class(config, SkipInit(), model_dtype(self.meta) if dtype is None else dtype)
            if "lora" in self.meta:
                add_lora(model, **lora_options(typed(self.meta, "lora", dict)), rng=SkipInit())
            model.load_state_dict(self.model, assign=True)
            if isinstance(model, Bert):
                model.labels = tuple(typed(self.meta, "labels", list)) if "labels" in self.meta else ()
        except ValueError as error:
            raise ValueError(f"{self.path} is damaged: {error}") from None
        return model


def model_config(meta: Mapping[str, Any]) -> tuple[Any, Any]:
    """The class of the model in a checkpoint's meta, and its config. Raises ValueError if one is missing or invalid."""
    name = typed(meta, "model_class", str) if "model_class" in meta else "GPT"  # older versions had no other
    if name not in MODELS:
        raise ValueError(f"model_class should be one of {', '.join(MODELS)}, is {brief(name)}")
    model_class, config_class = MODELS[name]
    found = typed(meta, "model_config", dict)
    if odd := found.keys() - {setting.name for setting in fields(config_class)}:
        raise ValueError(f"model_config has the unknown setting {brief(min(odd))}")
    try:
        return model_class, config_class(**found)
    except TypeError as error:  # a setting is missing
        raise ValueError(f"model_config: {error}") from None


def model_dtype(meta: Mapping[str, Any]) -> str:
    """The dtype of the parameters in a checkpoint. Raises ValueError if it is not float32 or float64."""
    dtype: str = typed(meta, "dtype", str)
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype should be float32 or float64, is {brief(dtype)}")
    return dtype


def lora_options(found: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `add_lora` in a checkpoint. Raises ValueError if one is missing or has a wrong type."""
    alpha = typed(found, "alpha", int, float)
    if not abs(alpha) < LARGEST_ALPHA:
        raise ValueError(f"alpha should be below {LARGEST_ALPHA:.0e}, is {brief(alpha)}")
    return {
        "rank": whole(found, "rank"),
        "alpha": alpha,
        "below": whole(found, "below"),
        "targets": typed(found, "targets", list),
    }


def check_size(config: Any, held: int) -> None:
    """Raise ValueError, before memory is allocated, if a config describes a model far larger than the file's arrays.

    Parameters
    ----------
    config : GPTConfig, LlamaConfig, BertConfig, TransformerConfig or WhisperConfig
    held : int
        Total number of values in the file's arrays.

    Raises
    ------
    ValueError
    """
    C = config.n_embd
    if isinstance(config, LlamaConfig):
        attention = 2 * C * config.D * (config.n_head + config.K)
        described = config.vocab_size * C + config.n_layer * (attention + 3 * C * config.F * max(1, config.n_experts))
    else:
        inner = getattr(config, "n_inner", 0) or 4 * C
        layers = config.n_layer + getattr(config, "n_decoder_layer", 0)
        positions = config.block_size + getattr(config, "audio_positions", 0)
        described = (config.vocab_size + positions) * C + layers * (4 * C * C + 2 * C * inner)
    if described > 10 * held + 1000:
        raise ValueError(
            f"the settings describe a model of {described:,} parameters, the arrays hold {held:,}: they do not belong "
            f"together"
        )


def save_checkpoint(
    path: Path, model: Any, optimizer: AdamW | None = None, meta: Mapping[str, Any] | None = None
) -> None:
    """Write a checkpoint of a model of any class in `MODELS`, atomically. ``meta`` must be serializable as JSON."""
    own = {
        "format": FORMAT,
        "model_class": type(model).__name__,
        "model_config": asdict(model.config),
        "dtype": str(model.parameters()[0].dtype),
    }
    if lora := lora_settings(model):
        own["lora"] = lora
    if isinstance(model, Bert):
        own["labels"] = list(model.labels)
    arrays = {f"model/{name}": value for name, value in model.state_dict().items()}
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
        Whether to read the optimizer's state, which takes twice the memory of the trained parameters. It is needed only
        to resume training.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is damaged or not a checkpoint.
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
                raise ValueError(f"{key} should hold numbers, but holds {values.dtype}")
            if name:
                groups[group][name] = values
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} is not a numpylm checkpoint, or is damaged ({error})") from None
    if meta.get("format") != FORMAT:
        found = brief(meta.get("format"))
        raise ValueError(f"{path} has checkpoint format {found}; this numpylm reads format {FORMAT}")
    return Checkpoint(path, groups["model"], groups["optimizer"], meta)


def read_meta(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """The JSON object in the array ``meta``. Raises ValueError if it is missing or not a JSON object."""
    try:
        stored = arrays["meta"]
        meta = json.loads(stored.astype(stored.dtype.newbyteorder("<")).tobytes().decode("utf-32-le").rstrip("\0"))
    except (KeyError, ValueError, RecursionError):
        raise ValueError("its entry meta is missing or is not JSON") from None
    if not isinstance(meta, dict):
        raise ValueError(f"meta should be an object, is {brief(meta)}")
    return meta


def load_run(path: str | Path, dtype: DTypeLike | None = None) -> tuple[Any, TextTokenizer, Checkpoint]:
    """Load the model and tokenizer of a run folder (its best checkpoint, else its last) or of one checkpoint in it.

    LoRA adapters are merged into the weights. The returned checkpoint has only its ``meta``. Its arrays now belong to
    the model; a second reference would keep the unmerged weights in memory.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no run at {path}; numpylm train makes one{did_you_mean(path)}")
    if path.is_dir():
        refuse_folder_of_runs(path)
        found = [path / name for name in CHECKPOINTS if (path / name).exists()]
        if not found:
            raise FileNotFoundError(f"{path} is not a run folder: it has neither {' nor '.join(CHECKPOINTS)}")
        path = found[0]
    checkpoint = load_checkpoint(path, optimizer=False)
    model, tokenizer = checkpoint.build_model(dtype), load_tokenizer(path.parent)
    checkpoint.model.clear()
    merge_lora(model)
    model.tokenizer = tokenizer
    tokens = checkpoint.meta.get("tokens", model.config.vocab_size)
    if tokens != tokenizer.vocab_size:
        raise ValueError(
            f"the model in {path} was trained on {brief(tokens)} tokens, the tokenizer beside it has "
            f"{tokenizer.vocab_size}: they are not from the same run"
        )
    return model, tokenizer, checkpoint
