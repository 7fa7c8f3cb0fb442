"""The layers of ours with which a student's can be compared, and the inputs for both."""

import difflib
from collections.abc import Callable
from typing import Any

import numpy as np

from numpylm.check.measure.sizes import numbers_of
from numpylm.check.student.guess import OUT, B, C, D, H, S, T, V
from numpylm.check.subject.subject import Subject

P = 0.3  # dropout
Builder = Callable[[Any], Any]  # from our modules (or changed ones) to a layer or pair
Inputs = Callable[[np.random.Generator], tuple]


def _x(*shape: int) -> Inputs:
    return lambda rng: (rng.standard_normal(shape),)


def _ids(rng: np.random.Generator) -> tuple:
    ids = rng.integers(0, V, (B, T))
    ids[:, 1:3] = ids[0, 0]
    return (ids,)


def _loss(rng: np.random.Generator) -> tuple:
    return rng.standard_normal((B, T, V)), rng.integers(0, V, (B, T))


def _qkv(rng: np.random.Generator) -> tuple:
    return rng.standard_normal((B, H, T, D)), *rng.standard_normal((2, B, H, S, D))


def _x_and_memory(rng: np.random.Generator) -> tuple:
    return rng.standard_normal((B, T, C)), rng.standard_normal((B, S, C))


def _pair(name: str) -> Builder:
    return lambda world: (getattr(world, name), getattr(world, f"{name}_backward"))


# name -> (how ours is made, the arguments that a student's class is made with if its names say nothing, inputs)
REFERENCES: dict[str, tuple[Builder, tuple, Inputs]] = {
    "Linear": (lambda w: w.Linear(C, OUT), (C, OUT), _x(B, T, C)),
    "Embedding": (lambda w: w.Embedding(V, C), (V, C), _ids),
    "LayerNorm": (lambda w: w.LayerNorm(C), (C,), _x(B, T, C)),
    "RMSNorm": (lambda w: w.RMSNorm(C), (C,), _x(B, T, C)),
    "Dropout": (lambda w: w.Dropout(P), (P,), _x(B, 50 * T, C)),
    "CausalSelfAttention": (lambda w: w.CausalSelfAttention(C, H), (C, H), _x(B, T, C)),
    "CrossAttention": (lambda w: w.CrossAttention(C, H), (C, H), _x_and_memory),
    "MLP": (lambda w: w.MLP(C), (C, 4 * C), _x(B, T, C)),
    "GatedMLP": (lambda w: w.GatedMLP(C, 2 * C), (C, 2 * C), _x(B, T, C)),
    "Block": (lambda w: w.Block(C, H), (C, H, 4 * C), _x(B, T, C)),
    "softmax": (_pair("softmax"), (), _x(B, T, V)),
    "relu": (_pair("relu"), (), _x(B, T, C)),
    "silu": (_pair("silu"), (), _x(B, T, C)),
    "gelu": (_pair("gelu"), (), _x(B, T, C)),
    "cross_entropy": (_pair("cross_entropy"), (), _loss),
    "attention": (_pair("scaled_dot_product_attention"), (), _qkv),
}
# arguments that make a student's layer fit ours; no dropout, since masks may be drawn in many ways
SIZES: dict[str, dict[str, int | float]] = {
    "Linear": {"hidden": OUT, "vocab_size": OUT, "dropout": 0.0},
    "Dropout": {"dropout": P},
    "MLP": {"hidden": 4 * C, "out_features": C, "dropout": 0.0},
    "GatedMLP": {"hidden": 2 * C, "out_features": C, "dropout": 0.0},
    "Block": {"hidden": 4 * C, "dropout": 0.0},
}
ARGUMENTS = {"cross_entropy": 2, "attention": 3, "CrossAttention": 2}  # inputs, where there are several
PLAIN: dict[str, int | float | None] = {"hidden": C, "out_features": C, "dropout": 0.0, "padding_idx": None}


def reference(name: str) -> str:
    """The name of a reference, from any spelling of it.

    Raises
    ------
    ValueError
        If there is no reference of that name.
    """
    known = {key.lower().replace("_", ""): key for key in REFERENCES}
    plain = name.lower().replace("_", "")
    if plain in known:
        return known[plain]
    near = difflib.get_close_matches(plain, known, 1)
    meant = f" Did you mean {known[near[0]]}?" if near else ""
    raise ValueError(f"--as {name}: there is no such layer here; known are {', '.join(REFERENCES)}.{meant}")


def in_rows(inputs: tuple) -> tuple | None:
    """The same inputs as rows: (B, T, C) -> (N, C), and targets (B, T) -> (N,); None if they are none of these."""
    first = inputs[0]
    if first.ndim != 3 or first.dtype.kind != "f":
        return None
    if any(np.shape(other) != first.shape[:-1] for other in inputs[1:]):
        return None
    return first.reshape(-1, first.shape[-1]), *(other.reshape(-1) for other in inputs[1:])


def as_large_as(name: str, target: Any, inputs: tuple) -> tuple[Builder, tuple] | None:
    """A builder of ours in the sizes of a student's example, and the inputs. None if the sizes are unknown."""
    inputs = tuple(
        np.asarray(value) for value in inputs[: {"cross_entropy": 2, "attention": 3, "CrossAttention": 2}.get(name, 1)]
    )
    if not inputs or not inputs[0].ndim:
        return None
    if REFERENCES[name][1] == () and name[0].islower():
        return REFERENCES[name][0], inputs
    subject, width = Subject(target), inputs[0].shape[-1]
    if name == "LayerNorm":
        return lambda world: world.LayerNorm(width), inputs
    if name == "MLP":
        return lambda world: world.MLP(width), inputs
    if name == "Linear" and subject.layer is not None:
        out = np.shape(subject.forward(*inputs)[0])[-1]
        return lambda world: world.Linear(width, out), inputs
    heads = [int(n) for key, n in numbers_of(subject.layer, {}) if "head" in key.lower() and not width % n]
    if name in ("CausalSelfAttention", "CrossAttention", "Block") and heads:
        return lambda world: getattr(world, name)(width, heads[0]), inputs
    return None
