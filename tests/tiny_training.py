"""A training run of a few seconds, for tests of interruptions and saving, and functions that compare two runs."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from numpylm.files.checkpoint import load_checkpoint
from numpylm.training.config import TrainConfig, make_config

SETTINGS = {
    "vocab_size": 270,
    "block_size": 8,
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 8,
    "dropout": 0.1,
    "batch_size": 4,
    "max_steps": 13,
    "warmup_steps": 2,
    "eval_interval": 4,
    "sample_tokens": 5,
    "check_gradients": False,
}


def write_words(path: Path) -> None:
    """A text with something to learn."""
    rng = np.random.default_rng(0)
    path.write_text(" ".join(rng.choice(["one", "two", "three", "aeio", "nrst"], 400)), encoding="utf-8")


def config(**changes: object) -> TrainConfig:
    """The settings of a tiny run on ``words.txt`` in the working folder."""
    return make_config(SETTINGS, {"data": "words.txt"}, changes)


def command(**changes: object) -> list[str]:
    """The same settings as a command line."""
    values = asdict(config(**changes)) | {"data": "words.txt"}
    changed = {key: values[key] for key in {**SETTINGS, "data": 0, **changes} if key != "check_gradients"}
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in changed.items()]
    return [sys.executable, "-m", "numpylm", "train", "--no-check-gradients", *flags]


def everything(folder: Path) -> dict[str, object]:
    """The complete result of a run, to the bit: arrays as bytes, counters, metrics."""
    found: dict[str, object] = {"metrics": (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()}
    for name in ("best.npz", "last.npz"):
        checkpoint = load_checkpoint(folder / name)
        found[name] = json.dumps(checkpoint.meta, sort_keys=True)
        for kind, arrays in (("model", checkpoint.model), ("optimizer", checkpoint.optimizer)):
            found |= {f"{name} {kind} {key}": array.tobytes() for key, array in arrays.items()}
    return found


def environment(**more: str) -> dict[str, str]:
    """The environment for a command in another folder, so that it finds numpylm."""
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])} | more
