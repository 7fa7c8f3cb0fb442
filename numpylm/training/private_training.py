"""Private training of a language model: what one example is, the noise for a wanted ε, and the ε spent so far."""

from typing import Any

import numpy as np

from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.module import Array
from numpylm.text.data import windows_between
from numpylm.training.config import TrainConfig
from numpylm.training.parallel import DataParallel
from numpylm.training.prepare_data import Data
from numpylm.training.privacy_accountant import epsilon_spent, noise_for
from numpylm.training.private_gradients import add_noise, clipped_loss_and_grad, poisson_sample


class PrivateTraining:
    """The private steps of one run.

    One example, the unit that is protected, is one training document, cut to the model's window. If most documents do
    not fit into a window, it is one window, so a document is protected less than one example: k windows of one document
    together have at most k times the ε (and a larger δ).

    Parameters
    ----------
    config : TrainConfig
        With dp_epsilon, dp_delta, dp_clip, and with the batch_size that is expected.
    data : Data

    Attributes
    ----------
    begin, end : int array (n,)
        Example i predicts the training tokens begin_i + 1 … end_i.
    q : float
        The probability that an example is in a batch.
    noise : float
        σ: the standard deviation of the noise of the summed gradients, divided by dp_clip.

    Raises
    ------
    ValueError
        If there are too few examples, or δ is so large that it would allow to publish one of them.
    """

    def __init__(self, config: TrainConfig, data: Data) -> None:
        self.config, self.tokens = config, data.train
        last = len(data.train) - 1
        self.unit = "window" if data.starts is None else "document"
        self.begin: Array = np.arange(0, last, config.block_size) if data.starts is None else data.starts
        self.end = np.minimum(np.append(self.begin[1:], last), self.begin + config.block_size)
        n = len(self.begin)
        if config.batch_size >= n:
            raise ValueError(
                f"private training draws batches from many more examples than batch_size {config.batch_size}; there "
                f"are {n:,} training {self.unit}s: use more text or a smaller batch_size"
            )
        if config.dp_delta >= 1 / n:
            raise ValueError(
                f"dp_delta {config.dp_delta} must be below 1 / {n:,}, the number of training {self.unit}s; otherwise "
                f"publishing one of them would count as private"
            )
        self.q = config.batch_size / n
        self.noise = noise_for(config.dp_epsilon, config.dp_delta, self.q, config.max_steps)

    def epsilon(self, step: int) -> float:
        """ε after so many steps, at the δ of the config."""
        return epsilon_spent(self.q, self.noise, step, self.config.dp_delta)

    def add_gradients(
        self, workers: DataParallel, rng: np.random.Generator, masks_rng: np.random.Generator | None
    ) -> tuple[float, int]:
        """Add the private gradient of one step; return the mean loss of its examples, and the number of their targets.

        ``rng`` draws the batch and the noise. An empty batch has the noise alone, and the loss 0 of 0 targets.
        """
        c = self.config
        rows = poisson_sample(len(self.begin), self.q, rng)
        loss, count = 0.0, 0
        if len(rows):
            begin, end = self.begin[rows], self.end[rows]
            ids, targets = windows_between(self.tokens, begin, begin, end, c.block_size)
            options: dict[str, Any] = {"clip": c.dp_clip, "label_smoothing": c.label_smoothing}
            arrays = {"ids": ids, "targets": targets}
            loss = workers.add_gradients(arrays, masks_rng, c.batch_size, options, clipped_loss_and_grad)
            loss *= c.batch_size / len(rows)
            count = int((targets != IGNORE_INDEX).sum())
        add_noise(workers.model.trainable_parameters(), self.noise * c.dp_clip / c.batch_size, rng)
        return loss, count

    def describe(self) -> None:
        """Print what is protected, how, and what is not."""
        c, n = self.config, len(self.begin)
        cut = f", cut to {c.block_size} tokens" if self.unit == "document" else f" of {c.block_size} tokens"
        lines = [
            f"epsilon {c.dp_epsilon:g}, delta {c.dp_delta:g} after {c.max_steps:,} steps",
            f"one example is one {self.unit}{cut}: {n:,} examples, about {c.batch_size} in a batch",
            f"each gradient is clipped to {c.dp_clip:g}; the noise of their sum is {self.noise:.3f} times that",
            "protected is the model, not the validation text (it gives the vocabulary and chooses best.npz), nor the",
            "training losses and random states in the run folder: keep the folder and a --seed of your own secret, and",
            "publish what numpylm export writes",
        ]
        if self.unit == "window":
            lines.append("most documents are longer: each of their windows is protected, not all of them together")
        print("privacy     " + "\n            ".join(lines))
