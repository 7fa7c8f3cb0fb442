"""KVCache: the keys and values of the tokens that were read, so that generation processes only the new token."""

import numpy as np
from numpy.typing import DTypeLike

from numpylm.nn.attention import causal_mask
from numpylm.nn.module import Array

FIRST_ROOM = 256  # positions that the arrays have room for at first; some models could read 100,000 and more


class KVCache:
    """Key/value cache of one attention layer: the keys and values of every position that it has read.

    Position t attends to the keys and values of positions 0…t. These depend on nothing that comes later, so they can
    be kept. When a text grows by a token, the layer has to process only that token. The arrays are larger than needed,
    so that most tokens are just written into them; when they are full, larger ones take their place.

    Parameters
    ----------
    shape : (B, H, M, D)
        M is the largest number of positions that fit.
    dtype : dtype
    padding : int array (B,), optional
        Number of padding positions at the left of each row. Texts of a batch may differ in length.

    Attributes
    ----------
    length : int
        Positions read so far, padding included.
    """

    def __init__(self, shape: tuple[int, int, int, int], dtype: DTypeLike, padding: Array | None = None) -> None:
        B, H, self.room, D = shape
        self.k = np.empty((B, H, min(self.room, FIRST_ROOM), D), dtype)
        self.v = np.empty_like(self.k)
        self.length = 0
        self.padding = padding

    def append(self, k: Array, v: Array) -> tuple[Array, Array]:
        """Append k, v (B, H, T, D) of T new positions; return those of all S positions as views (B, H, S, D).

        Raises ValueError if they do not fit.
        """
        start, end = self.length, self.length + k.shape[2]
        if end > self.room:
            raise ValueError(f"KVCache has room for {self.room} positions: {end - start} more do not fit after {start}")
        if end > self.k.shape[2]:
            self.k, self.v = self._larger(self.k, end), self._larger(self.v, end)
        self.length = end
        self.k[:, :, start:end] = k
        self.v[:, :, start:end] = v
        return self.k[:, :, :end], self.v[:, :, :end]

    def crop(self, length: int) -> None:
        """Forget all positions after the first ``length``. Raises ValueError if there are not so many."""
        if not 0 <= length <= self.length:
            raise ValueError(f"KVCache holds {self.length} positions, and cannot be cropped to {length}")
        self.length = length

    def positions(self, T: int) -> Array:
        """Positions of T tokens that follow: (T,), or (B, T) if rows are padded. Padding gets position 0."""
        positions = np.arange(self.length, self.length + T)
        return positions if self.padding is None else np.maximum(positions - self.padding[:, None], 0)

    def select(self, rows: Array) -> "KVCache":
        """A copy with these rows, in this order; a row may occur several times."""
        _, H, _, D = self.k.shape
        other = KVCache((len(rows), H, self.room, D), self.k.dtype)
        other.padding = None if self.padding is None else self.padding[rows]
        other.append(self.k[rows, :, : self.length], self.v[rows, :, : self.length])
        return other

    def reorder(self, rows: Array) -> None:
        """Make row i a copy of what row ``rows[i]`` was, in place. Beam search needs it after each token."""
        changed = np.flatnonzero(rows != np.arange(len(rows)))
        for stored in (self.k, self.v):
            stored[changed, :, : self.length] = stored[rows[changed], :, : self.length]

    def _larger(self, array: Array, needed: int) -> Array:
        """A copy with at least twice the room, so that each position is copied about once on average."""
        B, H, old, D = array.shape
        larger = np.empty((B, H, min(self.room, max(2 * old, needed)), D), array.dtype)
        larger[:, :, : self.length] = array[:, :, : self.length]
        return larger

    def mask(self, T: int) -> Array | None:
        """Mask for the last T positions (those just appended): bool (..., T, S), or None if they may see all S."""
        S = self.length
        if self.padding is not None:
            return causal_mask(T, S) & (np.arange(S) >= self.padding[:, None, None, None])  # (B, 1, T, S)
        return None if T == 1 else causal_mask(T, S)
