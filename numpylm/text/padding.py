"""Batches of texts of different lengths: padding, masks, and drawing texts of similar length to pad little"""

from collections.abc import Iterator, Sequence

import numpy as np

from numpylm.nn.module import Array

NEIGHBORS = 0.07  # share of all texts, of similar length, from which one batch is drawn


def padded(rows: Sequence[Sequence[int] | Array], value: int = 0) -> tuple[Array, Array]:
    """Rows of ids as one array (B, T), padded with ``value`` at the right, and a mask (B, T): True for a real token."""
    lengths = np.array([len(row) for row in rows])
    mask = np.arange(max(lengths.max(initial=0), 1)) < lengths[:, None]  # (B, T)
    ids = np.full(mask.shape, value, np.int64)
    ids[mask] = np.concatenate([np.asarray(row, np.int64) for row in rows])
    return ids, mask


class SimilarLengths:
    """Draws random batches of texts of similar length.

    A batch is as long as its longest text. So texts are sorted by length, a place in this order is drawn, and the batch
    is drawn from the texts around it. The place is drawn in proportion to the length, because a batch of long texts has
    fewer rows: so all texts are drawn equally often.

    Parameters
    ----------
    lengths : int array (N,)
        Tokens of each text.
    batch_tokens : int
        The largest number of tokens of a batch, padding included. (A text that is longer is a batch of its own.)
    """

    def __init__(self, lengths: Array, batch_tokens: int) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_tokens = batch_tokens
        self.order = np.argsort(self.lengths, kind="stable")
        self.until = np.cumsum(self.lengths[self.order])

    def draw(self, rng: np.random.Generator) -> Array:
        """The numbers of the texts of one batch."""
        N = len(self.order)
        place = int(np.searchsorted(self.until, rng.random() * self.until[-1], side="right"))
        enough = 2 * self.batch_tokens // max(int(self.lengths[self.order[place]]), 1)
        width = min(N, max(int(NEIGHBORS * N), enough, 1))
        start = min(max(place - width // 2, 0), N - width)
        near = rng.permutation(self.order[start : start + width])
        longest = np.maximum.accumulate(self.lengths[near])
        fits = longest * np.arange(1, width + 1) <= self.batch_tokens
        return near[: max(int(fits.sum()), 1)]


def in_batches(lengths: Array, batch_tokens: int) -> Iterator[Array]:
    """All texts, the longest first, in batches of at most ``batch_tokens`` tokens: yields their numbers."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    start = 0
    while start < len(order):
        size = max(batch_tokens // max(int(lengths[order[start]]), 1), 1)
        yield order[start : start + size]
        start += size
