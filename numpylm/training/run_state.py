"""A training run on disk: the folder it lives in, how it is saved, and how it is taken up again.

A run folder holds ``config.json``, the tokenizer's files, ``metrics.jsonl`` (a line for each evaluation),
``loss.svg``, and two checkpoints: ``best.npz`` (lowest validation loss) and ``last.npz``.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.files.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from numpylm.models.gpt import GPT
from numpylm.nn.optim import AdamW
from numpylm.system.find_model import complain_of_many, did_you_mean, is_run
from numpylm.system.json_fields import read_json_lines, typed, whole
from numpylm.system.shell import quoted, shown
from numpylm.system.whole_files import read_json, remove_half_written, write_text
from numpylm.text.char_tokenizer import CharTokenizer
from numpylm.text.text_input import STDIN
from numpylm.text.tokenizer import Tokenizer
from numpylm.training.config import TrainConfig, make_config
from numpylm.training.finetune import choose_trained
from numpylm.training.prepare_data import Data
from numpylm.training.run_folder import appearing, folder_to_resume, read_path, written_path

# what --resume may change; of data, the place, but not the text
RESUMABLE = ("max_steps", "eval_interval", "patience", "sample_tokens", "check_gradients", "data")


class TrainingError(Exception):
    """Training cannot begin or go on; the message says why and what to do."""


@dataclass
class Mean:
    """The mean of numbers that come one after another, as a sum and a count: these can be saved."""

    total: float = 0.0
    count: int = 0

    def add(self, number: float) -> None:
        """Take one more into account."""
        self.total, self.count = self.total + number, self.count + 1

    @property
    def value(self) -> float:
        """NaN if there was no number."""
        return self.total / self.count if self.count else math.nan


@dataclass
class Run:
    """Everything that changes while training, and the folder that it is saved to."""

    config: TrainConfig
    folder: Path
    gpt: GPT
    optimizer: AdamW
    batch_rng: np.random.Generator
    dropout_rng: np.random.Generator
    step: int = 0
    best: float = math.inf  # validation loss, nats per token
    best_step: int = 0
    fingerprint: str = ""
    tokens: int = 0  # in the tokenizer's vocabulary; a model may have more, if its author rounded up
    metrics: list[dict[str, Any]] = field(default_factory=list)
    behind: bool = False  # whether metrics.jsonl lacks some of them
    evaluated: int = -1  # the last step that was evaluated
    val_loss: float = math.nan  # its validation loss, nats per token
    since_log: Mean = field(default_factory=Mean)  # training losses since the last line of metrics.jsonl
    since_eval: Mean = field(default_factory=Mean)  # and since the last evaluation
    saved: tuple[int, int] = (-1, -1)  # step and evaluated of the last.npz on disk
    failed: set[str] = field(default_factory=set)  # see numpylm.training.save_checkpoints.optional
    warned: bool = False  # of overfitting, which is said once

    @classmethod
    def create(cls, config: TrainConfig, folder: Path, gpt: GPT) -> "Run":
        """A run at its first step, every random generator derived from the config's seed."""
        seeds = np.random.SeedSequence(config.seed).spawn(3)  # the first one made the weights
        gpt.recompute = config.recompute
        optimizer = AdamW(
            gpt.trainable_parameters(),
            config.learning_rate,
            (config.beta1, config.beta2),
            weight_decay=config.weight_decay,
        )
        return cls(config, folder, gpt, optimizer, np.random.default_rng(seeds[1]), np.random.default_rng(seeds[2]))

    def save(self, name: str) -> None:
        """Write a checkpoint into the run folder."""
        meta = {
            "step": self.step,
            "best": self.best if math.isfinite(self.best) else None,
            "best_step": self.best_step,
            "fingerprint": self.fingerprint,
            "tokens": self.tokens,
            "batch_rng": self.batch_rng.bit_generator.state,
            "dropout_rng": self.dropout_rng.bit_generator.state,
            "evaluated": self.evaluated,
            "since_log": asdict(self.since_log),
            "since_eval": asdict(self.since_eval),
        }
        save_checkpoint(self.folder / name, self.gpt, self.optimizer, meta)
        if name == "last.npz":
            self.saved = self.step, self.evaluated

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take over all that `save` wrote, the arrays themselves; raises ValueError if something is damaged."""
        try:
            self.gpt.load_state_dict(checkpoint.model, assign=True)
            self.optimizer.load_state_dict(checkpoint.optimizer, assign=True)
            self._restore_meta(checkpoint.meta)
        except ValueError as error:
            raise ValueError(f"{checkpoint.path} is damaged: {error}") from None

    def _restore_meta(self, meta: Mapping[str, Any]) -> None:
        self.step, self.best_step = whole(meta, "step"), whole(meta, "best_step")
        self.fingerprint = typed(meta, "fingerprint", str)
        self.tokens = whole(meta, "tokens") if "tokens" in meta else self.gpt.config.vocab_size
        best = typed(meta, "best", float, type(None))
        self.best = math.inf if best is None else best
        set_state(self.batch_rng, meta, "batch_rng")
        set_state(self.dropout_rng, meta, "dropout_rng")
        # older versions saved after evaluations only
        self.evaluated = typed(meta, "evaluated", int) if "evaluated" in meta else self.step or -1
        self.since_log, self.since_eval = (read_mean(meta, name) for name in ("since_log", "since_eval"))

    @property
    def evaluation_due(self) -> bool:
        """Whether the step that was reached is one to be evaluated, and has not been."""
        c = self.config
        return self.evaluated != self.step and (self.step % c.eval_interval == 0 or self.step >= c.max_steps)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do, not even an evaluation."""
        return self.stale or (self.step >= self.config.max_steps and not self.evaluation_due)

    @property
    def stale(self) -> bool:
        """Whether the validation loss has not improved for as many evaluations as the config has patience for."""
        c = self.config
        return bool(c.patience) and self.evaluated - self.best_step >= c.patience * c.eval_interval

    def check_data(self, data: Data) -> None:
        """Complain if a resumed run would go on with another text than it began with."""
        fingerprint = data.fingerprint()
        if self.fingerprint and not f"{fingerprint}-".startswith(f"{self.fingerprint}-"):
            source = ", ".join(map(shown, self.config.data)) or "the bundled stories"
            raise TrainingError(
                f"the training text is not what this run began with: {source} is another one. Resume with the same "
                f"text, or begin a new run"
            )
        self.fingerprint = fingerprint

    def log(self, entry: dict[str, Any]) -> None:
        """Add a line to metrics.jsonl. Raises OSError if it cannot be written; it is then kept for the next time."""
        self.metrics.append(entry)
        if self.behind:
            self.write_metrics()
            return
        self.behind = True  # half of the line may be written, and then nothing
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        self.behind = False

    def write_metrics(self) -> None:
        """Write metrics.jsonl as a whole."""
        write_text(self.folder / "metrics.jsonl", "".join(json.dumps(entry) + "\n" for entry in self.metrics))
        self.behind = False


def new_model(config: TrainConfig, vocab_size: int) -> GPT:
    """The untrained model that a config describes."""
    rng = np.random.default_rng(np.random.SeedSequence(config.seed).spawn(1)[0])
    return GPT(config.shape(vocab_size), rng, np.dtype(config.dtype))


def new_run(config: TrainConfig, folder: Path, gpt: GPT, tokenizer: Tokenizer | CharTokenizer, data: Data) -> Run:
    """Make a run folder, which appears all at once: a folder that is there can be resumed."""
    with appearing(folder) as draft:
        run = Run.create(config, draft, gpt)
        run.tokens = tokenizer.vocab_size
        run.check_data(data)
        write_config(draft, config)
        tokenizer.save(draft)
        run.save("last.npz")
    run.folder = folder
    return run


def write_config(folder: Path, config: TrainConfig, keep: Mapping[str, Any] | None = None) -> None:
    """Write config.json, with paths as `written_path` has them, but for the values to ``keep`` as they are."""
    values = asdict(config) | {"data": [written_path(path, folder) for path in config.data]}
    if config.init_from and os.path.exists(config.init_from):  # noqa: PTH110, a Path raises if a name is too long
        values["init_from"] = str(Path(config.init_from).resolve())
    write_text(folder / "config.json", json.dumps(values | dict(keep or {}), indent=2) + "\n")


def saved_setting(source: str | Path, name: str) -> object:
    """A setting of a run, by its folder or a checkpoint in it; None if it is no run of ours, or an older one."""
    path = Path(source)
    file = (path.parent if path.is_file() else path) / "config.json"
    saved = read_json(file) if is_run(source) and file.is_file() else None
    return saved.get(name) if isinstance(saved, dict) else None


def resume_config(folder: str | Path, changes: Mapping[str, Any]) -> TrainConfig:
    """The config of a run folder, with those settings changed that a run can change on its way."""
    folder = folder_to_resume(folder)
    saved = read_config(folder)
    if fixed := [key for key, value in changes.items() if key not in RESUMABLE and value != saved.get(key)]:
        raise ValueError(f"{fixed[0]} cannot change when a run is resumed; only {', '.join(RESUMABLE)} can")
    config = make_config(saved, changes)
    if "data" in changes:
        return config
    config = replace(config, data=tuple(read_path(path, folder) for path in config.data))
    if gone := [path for path in config.data if path != STDIN and not Path(path).exists()]:
        raise FileNotFoundError(
            f"{shown(folder)} was trained on {shown(gone[0])}, which does not exist: if it was moved, or was a "
            f"pipe, give the same text with --data"
        )
    return config


def read_config(folder: Path) -> dict[str, Any]:
    """What config.json of a run folder holds."""
    if not (folder / "config.json").is_file():
        complain_of_many(folder)
        raise FileNotFoundError(
            f"cannot resume {folder}: it is not a run folder (no config.json){did_you_mean(folder)}"
        )
    saved = read_json(folder / "config.json")
    if not isinstance(saved, dict) or "model_type" in saved:
        raise ValueError(
            f"cannot resume {folder}: it is not a run folder, its config.json is not of a training run. To train a "
            f"model of transformers' on, begin a new run with --init-from {quoted(folder)}"
        )
    return saved


def resumed_run(config: TrainConfig, folder: Path) -> Run:
    """A run as its last checkpoint has it; metrics of steps that were lost with a crash are dropped.

    Nothing is written yet: see `write_resumed`.
    """
    checkpoint = load_checkpoint(folder / "last.npz")
    gpt = checkpoint.build_model()
    if config.block_size > gpt.config.block_size:
        raise ValueError(
            f"{folder / 'config.json'} is damaged: block_size is {config.block_size}, the model in last.npz reads "
            f"{gpt.config.block_size} tokens"
        )
    choose_trained(gpt, config)
    run = Run.create(config, folder, gpt)
    run.restore(checkpoint)
    run.saved = run.step, run.evaluated
    path = folder / "metrics.jsonl"
    for entry in read_json_lines(path) if path.exists() else ():
        numbers = all(isinstance(value, (int, float)) for value in entry.values())
        if numbers and entry.get("step", math.inf) <= (run.evaluated if "val_loss" in entry else run.step):
            run.metrics.append(entry)
    return run


def read_mean(meta: Mapping[str, Any], name: str) -> Mean:
    """A mean as a checkpoint keeps it; an empty one if it has none."""
    found = typed(meta, name, dict) if name in meta else asdict(Mean())
    return Mean(typed(found, "total", float), whole(found, "count"))


def set_state(rng: np.random.Generator, meta: Mapping[str, Any], name: str) -> None:
    """Give a generator the state that a checkpoint keeps."""
    try:
        rng.bit_generator.state = typed(meta, name, dict)
    except (ValueError, TypeError, KeyError, OverflowError) as error:  # what NumPy makes of something else
        raise ValueError(f"{name} is no state of a random generator ({error})") from None


def write_resumed(run: Run) -> None:
    """Bring metrics.jsonl and config.json of a resumed run up to date; paths that did not change stay as they are."""
    remove_half_written(run.folder)
    run.write_metrics()
    saved = read_config(run.folder)
    keep = {"init_from": saved.get("init_from", "")}
    if run.config.data == tuple(read_path(path, run.folder) for path in saved.get("data", ())):
        keep["data"] = saved["data"]
    write_config(run.folder, run.config, keep)
