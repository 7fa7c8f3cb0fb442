"""Checks that all models share: of their settings (sizes, heads, dropout), and of the token ids that they get."""

import math
from numbers import Real
from typing import Any

import numpy as np

from numpylm.nn.module import Array


def check_sizes(config: Any, *names: str, least: int = 1) -> None:
    """Raise ValueError if a setting is not a whole number of at least ``least``, or n_head does not divide n_embd."""
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
    if {"n_embd", "n_head"} <= set(names) and config.n_embd % config.n_head:
        raise ValueError(
            f"n_head must divide n_embd, so that all heads have equally many channels: "
            f"got n_embd={config.n_embd}, n_head={config.n_head}"
        )


def check_dropout(dropout: object) -> None:
    """Raise ValueError if it is not a probability below 1."""
    if not (is_number(dropout) and 0 <= dropout < 1):  # type: ignore[operator]
        raise ValueError(f"dropout must lie in [0, 1), got {dropout!r}")


def check_epsilon(eps: object, name: str = "layer_norm_eps") -> None:
    """Raise ValueError if it is not a finite number of at least 0."""
    if not (is_number(eps) and 0 <= eps < math.inf):  # type: ignore[operator]
        raise ValueError(f"{name} must be a number of at least 0, got {eps!r}")


def is_number(value: object) -> bool:
    """Whether it is a real number, and not a bool."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_ids(model: Any, ids: Array, before: int = 0, **same_shape: Array | None) -> None:
    """Raise ValueError if ids are not integers (B, T), do not fit into the model's context, or a mask does not fit.

    ``before`` counts the tokens that the model has read already.
    """
    name, block_size = type(model).__name__, model.config.block_size
    if ids.ndim != 2 or ids.dtype.kind not in "iu":
        raise ValueError(
            f"{name} expects integer ids of shape (B, T), got {ids.dtype} {ids.shape}"
            + ("; add a batch axis: ids[None, :]" if ids.ndim == 1 else "")
        )
    if not 1 <= ids.shape[1] <= block_size - before:
        raise ValueError(
            f"{name} reads 1 to block_size={block_size} tokens at a time, got {ids.shape[1]}"
            + (f" after {before}" if before else "")
        )
    for argument, array in same_shape.items():
        if array is not None and np.shape(array) != ids.shape:
            raise ValueError(f"{argument} must have the shape of ids, {ids.shape}, got {np.shape(array)}")
