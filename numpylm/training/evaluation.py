"""Evaluating a model on a text: loss, perplexity, accuracy and bits per byte."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from tqdm import tqdm

from numpylm.inference.scoring import score, windows_at_once
from numpylm.models.gpt import GPT
from numpylm.nn.module import Array
from numpylm.text.data import sequential_batches
from numpylm.training.parallel import DataParallel


@dataclass(frozen=True)
class Score:
    """A model's score on an array of tokens.

    Attributes
    ----------
    loss : float
        Mean nats per token.
    accuracy : float in [0, 1]
        How often the most likely token was right.
    count : int
        Number of predicted tokens.
    """

    loss: float
    accuracy: float
    count: int

    @property
    def perplexity(self) -> float:
        """exp(loss): the model is as uncertain as a uniform choice among this many tokens."""
        return math.exp(min(self.loss, 700.0))

    def bits_per_byte(self, n_bytes: int) -> float:
        """The loss of the whole text in bits, divided by its bytes. It is comparable between tokenizers."""
        return self.loss * self.count / math.log(2) / n_bytes


def evaluate(
    gpt: GPT,
    tokens: Array,
    batch_size: int | None = None,
    starts: Array | None = None,
    block_size: int | None = None,
    counted: Array | None = None,
    stride: int | None = None,
    progress: bool = False,
    workers: DataParallel | None = None,
    between: Callable[[], object] | None = None,
) -> Score:
    """Score a model on a whole text, each token once, in the windows of `sequential_batches`.

    Parameters
    ----------
    gpt : GPT
    tokens : int array (N,)
    batch_size : int, optional
        Windows in a batch. It affects only speed and memory. Default: about 512 tokens.
    starts, counted, stride : optional
        As in `sequential_batches`.
    progress : bool
        Show a progress bar if the evaluation takes more than a second.
    block_size : int, optional
        The length of a window. Default: the model's context length.
    workers : DataParallel, optional
        Workers of this model, which share the windows. The score is the same up to rounding.
    between : callable, optional
        Called between batches. An exception that it raises ends the evaluation.

    Raises
    ------
    ValueError
        If block_size is longer than the model's context, there is nothing to predict, or the workers are another
        model's.
    """
    if workers and workers.model is not gpt:
        raise ValueError("these workers are another model's: make a DataParallel of the model to evaluate")
    longest = gpt.config.block_size
    T = longest if block_size is None else block_size
    if not 1 <= T <= longest:
        raise ValueError(f"block_size must be 1 to {longest}, what the model can read, got {T}")
    nats, hits, count = 0.0, 0, 0
    size = batch_size or windows_at_once(T)
    batches = -(-len(tokens) // ((stride or T) * size))  # an estimate, if windows begin with documents
    windows = sequential_batches(tokens, size, T, starts, counted, stride)
    scores = workers.map(score, windows) if workers else (score(gpt, *batch) for batch in windows)
    for log_p, hit in tqdm(scores, "evaluating", batches, leave=False, delay=1, unit=" batches", disable=not progress):
        nats -= float(log_p.sum())
        hits += int(hit.sum())
        count += len(log_p)
        if between:
            between()
    if not count:
        raise ValueError("there is nothing to predict: the text has fewer than two tokens, or none that is counted")
    return Score(nats / count, hits / count, count)
