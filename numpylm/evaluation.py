"""How good is a model on a text: loss, perplexity, accuracy, and what the text's own source would score."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from numpylm.corpora import CORPORA
from numpylm.data import sequential_batches
from numpylm.functional import cross_entropy
from numpylm.gpt import GPT
from numpylm.module import Array


@dataclass(frozen=True)
class Score:
    """A model's score on an array of tokens.

    Attributes
    ----------
    loss : float
        Mean nats per token.
    accuracy : float in [0, 1]
        How often the likeliest token was the right one.
    count : int
        Tokens that were predicted: all but the first.
    """

    loss: float
    accuracy: float
    count: int

    @property
    def perplexity(self) -> float:
        """exp(loss): as uncertain as a fair choice among so many tokens."""
        return math.exp(min(self.loss, 700.0))

    def bits_per_byte(self, n_bytes: int) -> float:
        """Loss of the whole text in bits, divided by its bytes: comparable between tokenizers."""
        return self.loss * self.count / math.log(2) / n_bytes


def evaluate(
    gpt: GPT,
    tokens: Array,
    batch_size: int = 8,
    starts: Array | None = None,
    block_size: int | None = None,
    counted: Array | None = None,
) -> Score:
    """Score a model on all of a text, each token once, in windows as `sequential_batches` cuts them.

    ``block_size`` is the length of a window, if not the longest that the model can read.
    """
    nats, hits, count = 0.0, 0, 0
    for ids, targets in sequential_batches(tokens, batch_size, block_size or gpt.config.block_size, starts, counted):
        x, _ = gpt.hidden(ids, differentiable=False)
        logits = gpt.head(x)
        scored = targets >= 0
        n = int(scored.sum())
        nats += cross_entropy(logits, targets)[0] * n
        hits += int((logits.argmax(axis=-1) == targets)[scored].sum())
        count += n
    return Score(nats / count, hits / count, count)


def source_nats(documents: Sequence[str]) -> float | None:
    """-log of the probability of all documents under the source that made them, in nats; None if unknown."""
    for corpus in CORPORA.values():
        total = 0.0
        for document in documents:
            total += corpus.nats(document)
            if math.isinf(total):
                break
        else:
            return total
    return None
