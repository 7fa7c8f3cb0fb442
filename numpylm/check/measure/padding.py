"""Rows of a table that stand for padding and are not trained, as in torch.nn.Embedding: constants."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from numpylm.nn.module import Array


def padding_ids(layer: Any, forward: Callable[..., Any], holders: tuple = ()) -> Iterator[int]:
    """Whole numbers by the name of padding: defaults of the forward, or held by a layer or one inside it.

    ``holders`` are the layers around it, which it may hold, too.
    """
    named = dict(getattr(layer, "__dict__", {}))
    named |= {name: argument.default for name, argument in inspect.signature(forward).parameters.items()}
    around = (layer, *holders)
    for name, value in named.items():
        inside = callable(getattr(value, "forward", None)) and not isinstance(value, type)
        if isinstance(value, int) and not isinstance(value, bool) and "pad" in name.lower():
            yield value
        elif inside and not any(value is holder for holder in around):
            yield from padding_ids(value, value.forward, around)


def constant_rows(gradients: list[Any], pads: list[int], inputs: list[Any]) -> list[int]:
    """Rows for padding among the ids that are exactly zero in one of some gradients, where others are not."""
    ids = [value for value in inputs if isinstance(value, np.ndarray) and value.dtype.kind in "iu"]
    used = {pad for pad in pads if any((value == pad).any() for value in ids)}
    tables = [g for g in gradients if isinstance(g, np.ndarray) and g.ndim > 1 and np.any(g)]
    return [pad for pad in sorted(used) if any(0 <= pad < len(table) and not np.any(table[pad]) for table in tables)]


def without(place: Array, rows: list[int]) -> Array:
    """A direction that leaves some rows as they are."""
    kept = place.copy()
    kept[rows] = 0
    return kept
