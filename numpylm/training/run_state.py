"""The state of a training run (Run): model, optimizer, random generators and metrics, and how to save and resume it.

A run folder contains ``config.json``, the tokenizer's files, ``metrics.jsonl`` (a line for each evaluation),
``loss.svg``, and two checkpoints: ``best.npz`` (lowest validation loss) and ``last.npz``.
"""

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.files.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from numpylm.files.find_model import did_you_mean, is_run, refuse_folder_of_runs
from numpylm.nn.optim import AdamW
from numpylm.system.json_fields import read_json_lines, typed, whole
from numpylm.system.run_files import BEST, LAST, METRICS
from numpylm.system.shell import quoted, shown
from numpylm.system.whole_files import read_json, remove_half_written, write_text
from numpylm.text.any_tokenizer import TextTokenizer
from numpylm.text.text_input import STDIN
from numpylm.training.config import TrainConfig, make_config
from numpylm.training.finetune import freeze_or_add_lora
from numpylm.training.run_folder import created_at_once, folder_to_resume, read_path, written_path

# The settings that --resume may change. For data, source and target, this means the path; the text must be the same.
RESUMABLE = ("max_steps", "eval_interval", "patience", "sample_tokens", "check_gradients", "data", "source", "target")


class TrainingError(Exception):
    """Training cannot start or continue. The message says why, and what to do."""


@dataclass
class Mean:
    """A running mean, stored as a sum and a count so that it can be saved."""

    total: float = 0.0
    count: int = 0

    def add(self, number: float) -> None:
        """Add one number."""
        self.total, self.count = self.total + number, self.count + 1

    @property
    def value(self) -> float:
        """The mean; NaN if no number was added."""
        return self.total / self.count if self.count else math.nan


@dataclass
class Run:
    """Everything that changes during training, and the folder in which it is saved."""

    config: TrainConfig
    folder: Path
    model: Any  # GPT, Bert or Transformer
    optimizer: AdamW
    batch_rng: np.random.Generator
    dropout_rng: np.random.Generator
    step: int = 0
    best_loss: float = math.inf  # the lowest validation loss, nats per counted target
    best_step: int = 0
    fingerprint: str = ""
    vocab_size: int = 0  # of the tokenizer; the model's may be larger, if it was rounded up
    metrics: list[dict[str, Any]] = field(default_factory=list)
    behind: bool = False  # whether some metrics are not yet in metrics.jsonl
    evaluated: int = -1  # the last step that was evaluated
    val_loss: float = math.nan  # its validation loss, nats per counted target
    since_log: Mean = field(default_factory=Mean)  # training loss since the last line of metrics.jsonl
    since_eval: Mean = field(default_factory=Mean)  # training loss since the last evaluation
    saved: tuple[int, int] = (-1, -1)  # step and evaluated of the last.npz on disk
    failed: set[str] = field(default_factory=set)  # see numpylm.training.failed_writes.continue_after_error
    warned: bool = False  # whether the warning of overfitting was printed; it is printed only once

    @classmethod
    def create(cls, config: TrainConfig, folder: Path, model: Any) -> "Run":
        """A new run. All random generators are derived from the config's seed."""
        seeds = np.random.SeedSequence(config.seed).spawn(3)  # the first one was used for the initial weights
        model.recompute = config.recompute
        optimizer = AdamW(
            model.trainable_parameters(),
            config.learning_rate,
            (config.beta1, config.beta2),
            weight_decay=config.weight_decay,
        )
        batch_rng, dropout_rng = (np.random.default_rng(seed) for seed in seeds[1:])
        return cls(config, folder, model, optimizer, batch_rng, dropout_rng)

    def save(self, name: str) -> None:
        """Write a checkpoint into the run folder."""
        meta = {
            "step": self.step,
            # "best" and "tokens" are the names of the first version: old and new checkpoints have the same entries
            "best": self.best_loss if math.isfinite(self.best_loss) else None,
            "best_step": self.best_step,
            "fingerprint": self.fingerprint,
            "tokens": self.vocab_size,
            "batch_rng": self.batch_rng.bit_generator.state,
            "dropout_rng": self.dropout_rng.bit_generator.state,
            "evaluated": self.evaluated,
            "since_log": asdict(self.since_log),
            "since_eval": asdict(self.since_eval),
        }
        save_checkpoint(self.folder / name, self.model, self.optimizer, meta)
        if name == LAST:
            self.saved = self.step, self.evaluated

    def save_checkpoints(self) -> None:
        """Write best.npz if this step has the best evaluation so far, and last.npz.

        ``best_loss`` is always the loss of the best.npz on disk. If best.npz cannot be written, last.npz is not
        written either, so that a resumed run repeats this evaluation.
        """
        before = self.best_loss, self.best_step
        if self.evaluated == self.step and self.val_loss < self.best_loss:
            self.best_loss, self.best_step = self.val_loss, self.step
            try:
                self.save(BEST)
            except OSError:
                self.best_loss, self.best_step = before
                raise
        self.save(LAST)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore everything that `save` wrote, without a copy of the arrays. Raises ValueError if it is damaged."""
        try:
            self.model.load_state_dict(checkpoint.model, assign=True)
            self.optimizer.load_state_dict(checkpoint.optimizer, assign=True)
            self._restore_meta(checkpoint.meta)
        except ValueError as error:
            raise ValueError(f"{checkpoint.path} is damaged: {error}") from None

    def _restore_meta(self, meta: Mapping[str, Any]) -> None:
        self.step, self.best_step = whole(meta, "step"), whole(meta, "best_step")
        self.fingerprint = typed(meta, "fingerprint", str)
        self.vocab_size = whole(meta, "tokens") if "tokens" in meta else self.model.config.vocab_size
        best = typed(meta, "best", float, type(None))
        self.best_loss = math.inf if best is None else best
        set_state(self.batch_rng, meta, "batch_rng")
        set_state(self.dropout_rng, meta, "dropout_rng")
        # older versions saved only after evaluations
        self.evaluated = typed(meta, "evaluated", int) if "evaluated" in meta else self.step or -1
        self.since_log, self.since_eval = (read_mean(meta, name) for name in ("since_log", "since_eval"))

    @property
    def evaluation_due(self) -> bool:
        """Whether the current step should be evaluated and has not been evaluated yet."""
        c = self.config
        return self.evaluated != self.step and (self.step % c.eval_interval == 0 or self.step >= c.max_steps)

    @property
    def finished(self) -> bool:
        """Whether all steps and evaluations are done, or early stopping has ended the run."""
        return self.stale or (self.step >= self.config.max_steps and not self.evaluation_due)

    @property
    def stale(self) -> bool:
        """Early stopping: whether the validation loss has not improved for ``patience`` evaluations."""
        c = self.config
        return bool(c.patience) and self.evaluated - self.best_step >= c.patience * c.eval_interval

    def check_data(self, fingerprint: str) -> None:
        """Raise TrainingError if a resumed run would continue with a different text."""
        if self.fingerprint and not f"{fingerprint}-".startswith(f"{self.fingerprint}-"):
            paths = [*self.config.data, *filter(None, (self.config.source, self.config.target))]
            source = ", ".join(map(shown, paths)) or "the bundled corpus"
            raise TrainingError(
                f"the training text is not what this run began with: {source} has changed. Resume with the same text, "
                f"or begin a new run"
            )
        self.fingerprint = fingerprint

    def log(self, entry: dict[str, Any]) -> None:
        """Add a line to metrics.jsonl. If this raises OSError, the next call writes the line."""
        self.metrics.append(entry)
        if self.behind:
            self.write_metrics()
            return
        self.behind = True  # stays True if an error occurs, possibly after half a line was written
        with (self.folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        self.behind = False

    def write_metrics(self) -> None:
        """Write the whole file metrics.jsonl."""
        write_text(self.folder / METRICS, "".join(json.dumps(entry) + "\n" for entry in self.metrics))
        self.behind = False


def new_run(
    config: TrainConfig,
    folder: Path,
    model: Any,
    tokenizer: TextTokenizer,
    fingerprint: str,
    save: Callable[[Path], None] = lambda folder: None,
) -> Run:
    """Create a run folder atomically with its first checkpoint, so that every run folder can be resumed.

    ``save`` writes what else belongs to it.
    """
    with created_at_once(folder) as draft:
        run = Run.create(config, draft, model)
        run.vocab_size = tokenizer.vocab_size
        run.check_data(fingerprint)
        write_config(draft, config)
        tokenizer.save(draft)
        save(draft)
        run.save(LAST)
    run.folder = folder
    return run


def write_config(folder: Path, config: TrainConfig, keep: Mapping[str, Any] | None = None) -> None:
    """Write config.json, with paths in the form of `written_path`. The values in ``keep`` are written unchanged."""
    values = asdict(config) | {"data": [written_path(path, folder) for path in config.data]}
    values |= {name: written_path(getattr(config, name), folder) for name in ("source", "target") if values[name]}
    if config.init_from and os.path.exists(config.init_from):  # noqa: PTH110, a Path raises if a name is too long
        values["init_from"] = str(Path(config.init_from).resolve())
    write_text(folder / "config.json", json.dumps(values | dict(keep or {}), indent=2) + "\n")


def saved_setting(source: str | Path, name: str) -> object:
    """A setting of a run, from its folder or a checkpoint in it. None if it is not a run or has no such setting."""
    path = Path(source)
    file = (path.parent if path.is_file() else path) / "config.json"
    saved = read_json(file) if is_run(source) and file.is_file() else None
    return saved.get(name) if isinstance(saved, dict) else None


def resume_config(folder: str | Path, changes: Mapping[str, Any]) -> TrainConfig:
    """The config of a run folder, with ``changes`` of the settings that can change when a run is resumed."""
    folder = folder_to_resume(folder)
    saved = read_config(folder)
    if fixed := [key for key, value in changes.items() if key not in RESUMABLE and value != saved.get(key)]:
        raise ValueError(f"{fixed[0]} cannot change when a run is resumed; only {', '.join(RESUMABLE)} can")
    if saved.get("dp_epsilon") and changes.get("max_steps", saved.get("max_steps")) != saved.get("max_steps"):
        raise ValueError("max_steps cannot change in private training: the noise was chosen for that number of steps")
    config = make_config(saved, changes)
    if "data" not in changes:
        config = replace(config, data=tuple(read_path(path, folder) for path in config.data))
    if "source" not in changes and config.source:
        config = replace(config, source=read_path(config.source, folder))
    if "target" not in changes and config.target:
        config = replace(config, target=read_path(config.target, folder))
    paths = [*config.data, *filter(None, (config.source, config.target))]
    if gone := [path for path in paths if path not in (STDIN, *changes.get("data", ())) and not Path(path).exists()]:
        raise FileNotFoundError(
            f"{shown(folder)} was trained on {shown(gone[0])}, which does not exist: if it was moved, or was a "
            f"pipe, give the same text with {'--source and --target' if config.source else '--data'}"
        )
    return config


def read_config(folder: Path) -> dict[str, Any]:
    """Read the config.json of a run folder."""
    if not (folder / "config.json").is_file():
        refuse_folder_of_runs(folder)
        raise FileNotFoundError(
            f"cannot resume {folder}: it is not a run folder (no config.json){did_you_mean(folder)}"
        )
    saved = read_json(folder / "config.json")
    if not isinstance(saved, dict) or "model_type" in saved:
        raise ValueError(
            f"cannot resume {folder}: it is not a run folder, its config.json is not of a training run. To fine-tune "
            f"a model of transformers, begin a new run with --init-from {quoted(folder)}"
        )
    return saved


def resumed_run(config: TrainConfig, folder: Path) -> Run:
    """The run of a folder's last checkpoint. Metrics of later steps, which a crash lost, are dropped.

    It does not write to the folder; see `write_resumed`.
    """
    checkpoint = load_checkpoint(folder / LAST)
    model = checkpoint.build_model()
    longest = getattr(model.config, "audio_positions", model.config.block_size)  # of sounds, or else of texts
    if config.block_size > longest:
        raise ValueError(
            f"{folder / 'config.json'} is damaged: block_size is {config.block_size}, the model in {LAST} reads "
            f"{longest} tokens"
        )
    freeze_or_add_lora(model, config)
    run = Run.create(config, folder, model)
    run.restore(checkpoint)
    run.saved = run.step, run.evaluated
    path = folder / METRICS
    for entry in read_json_lines(path) if path.exists() else ():
        numbers = all(isinstance(value, (int, float)) for value in entry.values())
        if numbers and entry.get("step", math.inf) <= (run.evaluated if "val_loss" in entry else run.step):
            run.metrics.append(entry)
    return run


def read_mean(meta: Mapping[str, Any], name: str) -> Mean:
    """A running mean from a checkpoint's meta; an empty one if the checkpoint has none."""
    found = typed(meta, name, dict) if name in meta else asdict(Mean())
    return Mean(typed(found, "total", float), whole(found, "count"))


def set_state(rng: np.random.Generator, meta: Mapping[str, Any], name: str) -> None:
    """Restore the state of a random generator from a checkpoint's meta."""
    try:
        rng.bit_generator.state = typed(meta, name, dict)
    except (ValueError, TypeError, KeyError, OverflowError) as error:  # NumPy raises these for an invalid state
        raise ValueError(f"{name} is not the state of a random generator ({error})") from None


def write_resumed(run: Run) -> None:
    """Update metrics.jsonl and config.json of a resumed run. Paths that did not change are written as before."""
    remove_half_written(run.folder)
    run.write_metrics()
    saved = read_config(run.folder)
    keep = {"init_from": saved.get("init_from", "")}
    if run.config.data == tuple(read_path(path, run.folder) for path in saved.get("data", ())):
        keep["data"] = saved["data"]
    for name in ("source", "target"):
        if saved.get(name) and getattr(run.config, name) == read_path(saved[name], run.folder):
            keep[name] = saved[name]
    write_config(run.folder, run.config, keep)
