"""Fault: a change that makes a right layer wrong, with its name in the game and what the checker must say about it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from numpylm.check.mutants import Change, World


@dataclass(frozen=True)
class Animal:
    """The name of a fault in the game, where the name of its change would give the bug away."""

    animal: str


@dataclass(frozen=True)
class Fault(Change, Animal):  # the fields of the last base come first: a fault begins with its animal
    """A small change that makes a right layer wrong.

    Attributes
    ----------
    animal, name, module, owner, old, new : str
        See `Animal` and `numpylm.check.mutants.Change`.
    wrong : str
        What is wrong, in one line.
    hides : str
        Why the fault is hard to notice.
    kind : str
        What the checker must say first: a key of `numpylm.check.report.KINDS`.
    place : str
        The parameter, input or inner layer that the checker must name.
    build : callable
        ``build(world, rng) -> (subject, inputs, options)``: what is put through the checker.
    """

    wrong: str
    hides: str
    kind: str
    place: str
    build: Callable[[World, np.random.Generator], tuple[Any, tuple, dict]]
