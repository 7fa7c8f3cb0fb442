"""Task: what the training loop must be told about data, loss and metric. The loop itself is the same for every task."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.module import Array
from numpylm.text.any_tokenizer import TextTokenizer
from numpylm.training.config import TrainConfig
from numpylm.training.parallel import DataParallel


@dataclass(frozen=True)
class Batch:
    """What ``model.loss_and_grad`` gets for one batch.

    Attributes
    ----------
    arrays : dict of array
        The array arguments, by name; one of them is ``targets``. Axis 0 of each counts the sequences of the batch.
    options : dict
        Its other arguments, such as ``label_smoothing``.
    loss_and_grad : function of a module, optional
        Called with the model and all these arguments, in place of the model's own ``loss_and_grad``.
    """

    arrays: dict[str, Array]
    options: dict[str, Any] = field(default_factory=dict)
    loss_and_grad: Callable[..., float] | None = None

    @property
    def count(self) -> int:
        """The number of targets that count in the loss."""
        return int((self.arrays["targets"] != IGNORE_INDEX).sum())


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation on the validation data.

    Attributes
    ----------
    loss : float
        Nats per counted target. The checkpoint with the lowest loss is kept as the best.
    line : str
        The result in words, for people.
    metrics : dict
        The result in numbers, for metrics.jsonl.
    """

    loss: float
    line: str
    metrics: dict[str, float]


class Task(ABC):
    """One kind of training. An object holds the data of one run.

    Parameters
    ----------
    config : TrainConfig

    Attributes
    ----------
    config : TrainConfig
        `start` completes it with the settings that it chooses and with the shape of the model.
    tokenizer : TextTokenizer
        Set by `start` or `resume`.
    """

    name: str  # the value of --task
    unit = "token"  # what one target is called
    next_verb = "generate text"  # what to do with the trained model
    endless = False  # whether batches are drawn anew without end, so that nothing can be memorized
    families: tuple[str, ...] = ("gpt",)  # whose gradients are checked before training; see numpylm.check.selfcheck

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.tokenizer: Any = None

    @classmethod
    def families_of(cls, config: TrainConfig) -> tuple[str, ...]:
        """The families of models whose gradients are checked before this run."""
        return cls.families

    @classmethod
    @abstractmethod
    def check_paths(cls, config: TrainConfig) -> None:
        """Raise an error, before any work, if the data cannot be found."""

    @abstractmethod
    def start(self, given: Collection[str] | None) -> Any:
        """Read the data, choose the settings that are not ``given`` (None: keep all), and return the model."""

    @abstractmethod
    def resume(self, tokenizer: TextTokenizer, model: Any) -> None:
        """Read the data of a run that is resumed, with its tokenizer and model."""

    @abstractmethod
    def encode(self, folder: Path, processes: bool = False) -> None:
        """Tokenize the data. Large arrays may be stored in ``folder``; ``processes`` may share the work."""

    def save(self, folder: Path) -> None:  # noqa: B027, most tasks need nothing more
        """Write what a resumed run needs, besides checkpoint, tokenizer and data, into a new run folder."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the data, which must be the same when a run is resumed."""

    @abstractmethod
    def describe(self, run: Any) -> None:
        """Print the sizes of data and model, and the results of baselines."""

    @abstractmethod
    def batch(self, rng: np.random.Generator) -> Batch:
        """A random batch of the training data."""

    def add_gradients(
        self, workers: DataParallel, rng: np.random.Generator, masks_rng: np.random.Generator | None
    ) -> tuple[float, int]:
        """Add the gradients of one step, of ``grad_accum`` batches; return the mean loss and the number of targets."""
        batches = [self.batch(rng) for _ in range(self.config.grad_accum)]
        count = sum(batch.count for batch in batches)
        loss = sum(workers.add_gradients(b.arrays, masks_rng, count, b.options, b.loss_and_grad) for b in batches)
        return loss, count

    def spent(self, step: int) -> dict[str, float]:
        """What so many steps have cost besides time, by name, to report it at each evaluation."""
        return {}

    @abstractmethod
    def evaluate(self, model: Any, workers: DataParallel, between: Callable[[], object] | None = None) -> Evaluation:
        """Evaluate the model on the validation data. ``between`` is called between batches, and may raise."""

    @abstractmethod
    def references(self) -> dict[str, float]:
        """The losses of baselines, by short names, for the picture of the loss curve."""

    @abstractmethod
    def next_steps(self, run: Any) -> list[list[str]]:
        """Commands to type after training, each as a list of words."""

    def measure(self, model: Any, between: Callable[[], object] | None = None) -> dict[str, dict[str, float]]:
        """Measure and print, after training, what a loss does not show: figures by system (the model, a baseline).

        They are stored in the run as scores.json. ``between`` is called now and then, and may raise.
        """
        return {}

    def sample(self, model: Any, step: int) -> str:
        """Something that the model makes, to look at during training; empty: nothing."""
        return ""

    def summary(self, model: Any) -> str:
        """What the trained model can do, in lines for people, printed at the end of a finished run; empty: nothing."""
        return ""
