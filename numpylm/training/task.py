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
    """

    arrays: dict[str, Array]
    options: dict[str, Any] = field(default_factory=dict)

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
    families: tuple[str, ...] = ("gpt",)  # whose gradients are checked before training; see numpylm.check.selfcheck

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.tokenizer: Any = None

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

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the data, which must be the same when a run is resumed."""

    @abstractmethod
    def describe(self, run: Any) -> None:
        """Print the sizes of data and model, and the results of baselines."""

    @abstractmethod
    def batch(self, rng: np.random.Generator) -> Batch:
        """A random batch of the training data."""

    @abstractmethod
    def evaluate(self, model: Any, workers: DataParallel, between: Callable[[], object] | None = None) -> Evaluation:
        """Evaluate the model on the validation data. ``between`` is called between batches, and may raise."""

    @abstractmethod
    def references(self) -> dict[str, float]:
        """The losses of baselines, by short names, for the picture of the loss curve."""

    @abstractmethod
    def next_steps(self, run: Any) -> list[list[str]]:
        """Commands to type after training, each as a list of words."""

    def sample(self, model: Any, step: int) -> str:
        """Something that the model makes, to look at during training; empty: nothing."""
        return ""
