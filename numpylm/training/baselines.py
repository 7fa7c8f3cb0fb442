"""What simple models reach on the same text: the losses against which a Transformer's loss means something."""

import math

import numpy as np

from numpylm.nn.module import Array

COUNTED = 10_000_000  # the baselines count so many tokens at most; more would change little


def uniform_loss(vocab_size: int) -> float:
    """ln V: nats per token of a model that knows nothing. An untrained GPT starts here."""
    return math.log(vocab_size)


def unigram_loss(train: Array, val: Array, vocab_size: int) -> float:
    """Nats per token of a model that knows how frequent each token is, and nothing else.

    p(v) = (count(v) + 1) / (N + V); the added one keeps tokens that were never seen possible.
    """
    counts = np.bincount(train[1:COUNTED], minlength=vocab_size) + 1.0
    return float(-np.log(counts / counts.sum())[val[1:]].mean())


def bigram_loss(train: Array, val: Array, vocab_size: int, prior: float = 1.0) -> float:
    """Nats per token of a model that knows the token before, and nothing else.

    p(v | u) = (count(u, v) + a p(v)) / (count(u) + a): what is seen in training, and where that is little the
    unigram model, which weighs as much as ``prior`` = a occurrences.
    """
    train = np.asarray(train[:COUNTED])
    counts = np.bincount(train[1:], minlength=vocab_size) + 1.0
    unigram = counts / counts.sum()
    before, after = (part.astype(np.int64) for part in (val[:-1], val[1:]))
    pairs, pair_counts = np.unique(
        train[:-1].astype(np.int64) * vocab_size + train[1:].astype(np.int64), return_counts=True
    )
    wanted = before * vocab_size + after
    place = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    seen = np.where(pairs[place] == wanted, pair_counts[place], 0)
    total = np.bincount(train[:-1], minlength=vocab_size)[before]
    return float(-np.log((seen + prior * unigram[after]) / (total + prior)).mean())
