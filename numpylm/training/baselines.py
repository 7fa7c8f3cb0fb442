"""Losses of simple baselines (uniform, unigram and bigram models), to compare a Transformer's loss with."""

import math

import numpy as np

from numpylm.nn.module import Array

COUNTED = 10_000_000  # the baselines count at most this many tokens; more would change little


def uniform_loss(vocab_size: int) -> float:
    """ln V: nats per token of a model that gives all tokens the same probability. An untrained GPT starts here."""
    return math.log(vocab_size)


def unigram_loss(train: Array, val: Array, vocab_size: int) -> float:
    """Nats per token of a model that knows only how frequent each token is.

    p(v) = (count(v) + 1) / (N + V). The added 1 gives tokens that were never seen a probability above 0.
    """
    counts = np.bincount(train[1:COUNTED], minlength=vocab_size) + 1.0
    return float(-np.log(counts / counts.sum())[val[1:]].mean())


def bigram_loss(train: Array, val: Array, vocab_size: int, prior: float = 1.0) -> float:
    """Nats per token of a model that knows only the token before.

    p(v | u) = (count(u, v) + a p(v)) / (count(u) + a). This mixes the frequencies in the training text with the unigram
    model, which has the weight of ``prior`` = a occurrences.
    """
    train = np.asarray(train[:COUNTED])
    counts = np.bincount(train[1:], minlength=vocab_size) + 1.0
    unigram = counts / counts.sum()
    before, after = (part.astype(np.int64) for part in (val[:-1], val[1:]))
    pairs, pair_counts = np.unique(
        train[:-1].astype(np.int64) * vocab_size + train[1:].astype(np.int64), return_counts=True
    )
    wanted = before * vocab_size + after
    index = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    seen = np.where(pairs[index] == wanted, pair_counts[index], 0)
    total = np.bincount(train[:-1], minlength=vocab_size)[before]
    return float(-np.log((seen + prior * unigram[after]) / (total + prior)).mean())
