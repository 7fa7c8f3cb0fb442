"""Statistics of activations in one forward pass: the standard deviation after each part, and dead MLP units."""

import copy
import math
from typing import Any

import numpy as np

from numpylm.check.subject.paths import children
from numpylm.nn.module import Array

DEAD = ": dead"  # suffix of the names of fractions of dead units


def activations(gpt: Any, ids: Array) -> dict[str, float]:
    """The standard deviation of each part's output, and the fraction of dead units of each MLP (``h.0: dead``)."""
    model = copy.deepcopy(gpt)
    found: dict[str, float] = {}

    def watch(name: str, layer: Any, inner: bool) -> None:
        forward = layer.forward

        def watched(*args: Any, **options: Any) -> Any:
            result = forward(*args, **options)
            out = np.asarray(result[0] if isinstance(result, tuple) else result)
            if inner:
                flat = out.reshape(-1, out.shape[-1])
                found[name] = float((flat < -3).all(axis=0).mean())  # GELU and ReLU are flat below -3, for every token
            else:
                found[name] = float(out.std()) if np.isfinite(out).all() else math.inf
            return result

        layer.forward = watched

    for name, layer in children(model):
        watch(name, layer, False)
        mlp = getattr(layer, "mlp", None)
        if mlp is not None and hasattr(getattr(mlp, "c_fc", None), "forward"):
            watch(f"{name}{DEAD}", mlp.c_fc, True)
    model.forward(ids)
    return found
