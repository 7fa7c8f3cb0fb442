"""Split large arrays into chunks that fit the processor's cache, for formulas of many elementwise steps.

NumPy runs each step of ``u *= x; u += 1; …`` over the whole array before the next step begins. So a large array is
read from memory once for each step. A chunk that fits the core's cache is read once, and all steps work on it there.
Measured in float32 on one core: `gelu` and its backward on 1.5 million numbers take 3.8 ns a number in chunks of 2^16
numbers, and 5.6 ns on the whole array with g stored. AdamW on 10.6 million parameters takes 33 ms in chunks of 2^15,
and 52 ms without chunks.
"""

from collections.abc import Iterator

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
