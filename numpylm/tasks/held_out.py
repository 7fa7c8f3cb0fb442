"""Holding out validation examples: equal texts are on the same side, so that no example is seen in training."""

import hashlib
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import numpy as np

Example = TypeVar("Example")


def hold_out(
    examples: Sequence[Example],
    fraction: float,
    rng: np.random.Generator,
    key: Callable[[Example], Hashable],
    most: int,
) -> tuple[list[Example], list[Example]]:
    """Split examples at random into training and validation; those with the same ``key`` stay together.

    At least one and at most ``most`` examples (and those that are equal to them) are held out, in random order: the
    first of them are a fair sample.
    """
    keys = list(dict.fromkeys(map(key, examples)))
    if len(keys) < 2:
        raise ValueError("all texts are equal: training needs at least two different ones")
    count = min(max(round(fraction * len(keys)), 1), most, len(keys) - 1)
    held = {keys[i]: place for place, i in enumerate(rng.permutation(len(keys))[:count])}
    kept = [e for e in examples if key(e) not in held]
    return kept, sorted((e for e in examples if key(e) in held), key=lambda e: held[key(e)])


def fingerprint_of(*texts: Sequence[str]) -> str:
    """A hash of lists of texts."""
    parts = []
    for some in texts:
        digest = hashlib.sha256()
        for text in some:
            digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
        parts.append(digest.hexdigest()[:16])
    return "-".join(parts)
