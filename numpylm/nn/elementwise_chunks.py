"""Large arrays a piece at a time, for formulas of many elementwise steps.

NumPy takes each step of ``u *= x; u += 1; …`` over the whole array before the next begins. A large array is then
fetched from memory as many times as there are steps; a piece that fits the core's cache is fetched once, and all its
steps are done there. Measured, float32, one core: `gelu` and its backward on 1.5 million numbers 3.8 ns a number in
pieces of 2^16 numbers, 5.6 ns on the whole array with g kept; AdamW on 10.6 million parameters 33 ms in pieces of
2^15, 52 without.
"""

from collections.abc import Iterator

from numpylm.nn.module import Array


def chunks(*arrays: Array, size: int = 2**16) -> Iterator[tuple[Array, ...]]:
    """The same few rows of each of some arrays with equally many rows, as views: change them, and the arrays change.

    Parameters
    ----------
    arrays : array (N, ...) each
    size : int
        About how many numbers of the first array make a piece, a whole row at least.
    """
    first = arrays[0]
    if first.size <= size:
        yield arrays
        return
    rows = max(1, size * len(first) // first.size)
    for start in range(0, len(first), rows):
        yield tuple(array[start : start + rows] for array in arrays)
