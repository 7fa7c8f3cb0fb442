"""Reading the weights in a ``.gguf`` file piece by piece; quantized weights are converted to float32."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numpylm.files.quantized import dequantized
from numpylm.files.safetensors_files import FLOATING, PIECE, StoredTensor
from numpylm.nn.module import Array
from numpylm.system.gguf_header import TensorPlace, read_gguf_header
from numpylm.system.json_fields import brief


@dataclass(frozen=True, eq=False)
class GgufTensor(StoredTensor):
    """A tensor in a GGUF file. Its ``kind`` is F32 if it is quantized, because `pieces` gives float32.

    Attributes
    ----------
    place : TensorPlace
        Where it is in the file, and its type there.
    rows : array of int, optional
        Row i of this tensor is row ``rows[i]`` of the tensor in the file. None if the order is the same.
    """

    place: TensorPlace
    rows: Array | None = None

    def pieces(self) -> Iterator[tuple[slice, Array]]:
        """Yield the array in pieces of about `PIECE` bytes: (slice of the first axis, its values).

        Raises
        ------
        ModuleNotFoundError
            If `dequantized` needs the package gguf for it, and it is not installed.
        """
        count = self.shape[0]
        step = count if len(self.shape) == 1 else max(1, PIECE // (4 * int(np.prod(self.shape[1:]))))
        for start in range(0, count, step):
            part = slice(start, min(start + step, count))
            yield part, self._values(part)

    def _values(self, part: slice) -> Array:
        """The values of some rows. The file is mapped again for each piece, see `StoredTensor.pieces`."""
        lines = (1, self.place.size) if len(self.shape) == 1 else (self.shape[0], self.place.size // self.shape[0])
        raw = np.memmap(self.path, np.uint8, "r", self.place.offset, lines)
        if len(self.shape) == 1:
            values = dequantized(raw, self.place.kind).reshape(-1)
            return values if self.rows is None else values[self.rows]
        some: Array = raw[part] if self.rows is None else raw[self.rows[part]]
        values = dequantized(some.reshape(-1, self.place.row_bytes), self.place.kind)
        return values.reshape(-1, *self.shape[1:])


class GgufFile:
    """An open GGUF file: what its header says, and its tensors.

    Attributes
    ----------
    path : Path
    metadata : dict
        The entries by name, such as ``llama.block_count``. A value is a number, a str, a list of str, or an array.
    tensors : dict of str -> GgufTensor
        Their values are read only when they are asked for.
    """

    def __init__(self, path: Path, metadata: dict[str, Any], places: dict[str, TensorPlace]) -> None:
        self.path, self.metadata = path, metadata
        self.tensors = {
            name: GgufTensor(path, name, place.shape, place.kind if place.kind in FLOATING else "F32", place)
            for name, place in places.items()
        }

    @property
    def names(self) -> list[str]:
        """The names of all tensors, in the order of the file."""
        return list(self.tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, as in transformers: (out, in) for a linear layer."""
        return self._found(name).shape

    def tensor(self, name: str, dtype: DTypeLike = np.float32) -> Array:
        """The values of a tensor; quantized ones are dequantized."""
        return self._found(name).array(dtype)

    def _found(self, name: str) -> GgufTensor:
        if name not in self.tensors:
            raise ValueError(f"{self.path} has no tensor {brief(name)}")
        return self.tensors[name]


def open_gguf(path: str | Path) -> GgufFile:
    """Read the header of a GGUF file. The weights are read later, one tensor at a time.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is cut off, damaged or no GGUF file, or if it is only one part of a model.
    """
    path = Path(path)
    header = read_gguf_header(path)
    parts = header.metadata.get("split.count", 1)
    if parts != 1:
        raise ValueError(
            f"{path} is one of {brief(parts)} parts of a model: join them with llama.cpp's llama-gguf-split --merge"
        )
    return GgufFile(path, *header)
