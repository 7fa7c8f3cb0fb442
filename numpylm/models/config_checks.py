"""Checks that the configurations of all models share: sizes, heads and dropout."""

import math
from numbers import Real
from typing import Any


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


def check_epsilon(eps: object) -> None:
    """Raise ValueError if it is not a finite number of at least 0."""
    if not (is_number(eps) and 0 <= eps < math.inf):  # type: ignore[operator]
        raise ValueError(f"layer_norm_eps must be a number of at least 0, got {eps!r}")


def is_number(value: object) -> bool:
    """Whether it is a real number, and not a bool."""
    return isinstance(value, Real) and not isinstance(value, bool)
