"""Finding the animals, and putting them through the checker."""

import difflib

import numpy as np

from numpylm.checker.report import Report
from numpylm.gradcheck import gradcheck
from numpylm.zoo.fault import Fault, World
from numpylm.zoo.layers import FUNCTIONS, LAYERS
from numpylm.zoo.model import MODEL
from numpylm.zoo.steps import STEPS


def animals() -> list[Fault]:
    """All faults, from the smallest functions to the optimizer."""
    return [*FUNCTIONS, *LAYERS, *MODEL, *STEPS]


def get(name: str) -> Fault:
    """The fault of that name; a ValueError names the nearest one."""
    names = {fault.name: fault for fault in animals()}
    if name not in names:
        near = difflib.get_close_matches(name, names, 1, 0.4)
        raise ValueError(f"no animal {name!r} in the zoo" + (f"; did you mean {near[0]}?" if near else ""))
    return names[name]


def check(fault: Fault, seed: int = 0) -> Report:
    """What the checker says about a fault."""
    rng = np.random.default_rng(seed)
    subject, inputs, options = fault.build(World(fault), rng)
    if fault.module == "optim":
        return subject(*inputs, **options)
    return gradcheck(subject, *inputs, rng=rng, **options)
