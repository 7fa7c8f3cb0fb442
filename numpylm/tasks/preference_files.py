"""The log-probabilities of the reference model, kept in the run folder of preference tuning."""

from pathlib import Path

import numpy as np

from numpylm.files.npz_files import read_npz
from numpylm.nn.module import Array
from numpylm.system.shell import shown

REFERENCE = "reference.npz"


def write_reference(folder: Path, train: Array, val: Array) -> None:
    """Write log π_ref (N, 2) of the training and of the held-out pairs."""
    np.savez(folder / REFERENCE, train=train, val=val)


def read_reference(folder: Path, train: int, val: int) -> tuple[Array, Array]:
    """The arrays of `write_reference` for this many pairs. Raises ValueError if they are missing or damaged."""
    path, again = folder / REFERENCE, "copy it from where the run was made, or begin a new run"
    if not path.is_file():
        raise ValueError(f"{shown(path)} is missing, the log-probabilities before training: {again}")
    try:
        arrays = read_npz(path, lambda name: name in ("train", "val"))
    except ValueError as error:
        raise ValueError(f"{shown(path)} is damaged ({error}): {again}") from None
    for name, count in (("train", train), ("val", val)):
        found = arrays.get(name, np.empty(0))
        if found.shape != (count, 2) or found.dtype != np.float64 or not np.isfinite(found).all():
            raise ValueError(
                f"{shown(path)} should hold {name}, ({count}, 2) numbers of float64, holds {found.dtype} "
                f"{found.shape}: {again}"
            )
    return arrays["train"], arrays["val"]
