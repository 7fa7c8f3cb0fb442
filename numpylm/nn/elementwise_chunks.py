"""Split large arrays into chunks that fit the processor's cache, for formulas of many elementwise steps.

NumPy runs each step of ``u *= x; u += 1; …`` over the whole array before the next step begins. So a large array is
read from memory once for each step. A chunk that fits the core's cache is read once, and all steps work on it there.
Measured on one core of an Intel Xeon: a training step of a small GPT takes 6 to 7 % longer if `gelu` works on whole
arrays. AdamW on 10.6 million parameters takes 33 ms in chunks of 2^15, and 52 ms without chunks.
"""

from collections.abc import Callable, Iterator

import numpy as np

from numpylm.nn.module import Array


def chunks(*arrays: Array, size: int = 2**16) -> Iterator[tuple[Array, ...]]:
    """Yield matching chunks of several arrays: the same rows of each, as views. Writing to a chunk changes its array.

    Parameters
    ----------
    arrays : array (N, ...) each
    size : int
        Approximate chunk size, in numbers of the first array. A chunk has at least one row.
    """
    first = arrays[0]
    if first.size <= size:
        yield arrays
        return
    rows = max(1, size * len(first) // first.size)
    for start in range(0, len(first), rows):
        yield tuple(array[start : start + rows] for array in arrays)


def in_chunks(f: Callable[..., Array], *arrays: Array, size: int = 2**16) -> Array:
    """Return ``f(*arrays)`` for an elementwise ``f``, computed chunk by chunk.

    Parameters
    ----------
    f : function of as many arrays as are given
        Each number of its result depends only on the numbers at the same place in its arguments.
    arrays : array, all of the same shape and dtype
    size : int
        Chunk size, in numbers.

    Returns
    -------
    out : array, shape and dtype of the first array
    """
    first = arrays[0]
    out = np.empty(first.shape, first.dtype)
    for *inputs, out_i in chunks(*(array.reshape(-1) for array in arrays), out.reshape(-1), size=size):
        out_i[...] = f(*inputs)
    return out
