"""Counting n-grams: the runs of n neighboring words or characters that BLEU and chrF compare."""

from collections import Counter
from collections.abc import Hashable, Sequence


def ngrams(items: Sequence[Hashable], n: int) -> Counter[tuple[Hashable, ...]]:
    """How often each n-gram occurs in a list of words or in a str. T items have T - n + 1 n-grams, or none if T < n.

    Examples
    --------
    >>> ngrams("abab", 2)
    Counter({('a', 'b'): 2, ('b', 'a'): 1})
    """
    return Counter(zip(*(items[i:] for i in range(n)), strict=False))  # the shortest of the shifted copies ends it
