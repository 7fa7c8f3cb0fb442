"""Reading and writing ``.safetensors`` files, in pieces so that loading needs little extra memory.

Such a file has a header (for each name the dtype, the shape and the offset), then the numbers. Unlike a pickled
``.bin``, it cannot run code. The safetensors package checks that the header fits the file.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numpylm.nn.module import Array
from numpylm.system.optional_packages import needed
from numpylm.system.shell import shown
from numpylm.system.whole_files import read_json, replacing

ONE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
FLOATING = ("F64", "F32", "F16", "BF16")
PIECE = 8 << 20  # bytes of a file that are in memory at a time, in addition to the target array


def need_safetensors() -> Any:
    """The safetensors package, or an error that says how to install it."""
    return needed("safetensors", "gpt2", "reading and writing GPT-2's files")


@dataclass(frozen=True)
class StoredTensor:
    """An array in a file.

    Attributes
    ----------
    path : Path
    name : str
        Its name in the file.
    shape : tuple of int
    kind : str
        The dtype as the file names it: ``F32``, ``BF16``, ...
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    kind: str

    def pieces(self) -> Iterator[tuple[slice, Array]]:
        """Yield the array in pieces of about `PIECE` bytes: (slice of the first axis, its values).

        The file is opened again for each piece. It is mapped into memory, and all pages that have been read count as
        memory of this process until the file is closed. NumPy has no bfloat16, so these values are returned as float32.
        """
        row = int(np.prod(self.shape[1:])) * 4
        rows = max(1, PIECE // max(row, 1))
        for start in range(0, self.shape[0], rows):
            part = slice(start, min(start + rows, self.shape[0]))
            if self.kind == "BF16":
                yield part, self._bfloat16(part)
            else:
                with _opened(self.path) as file:
                    values = file.get_slice(self.name)[part]
                yield part, values

    def _bfloat16(self, part: slice) -> Array:
        """Read bfloat16 values as float32."""
        with self.path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            start, _ = json.loads(file.read(length))[self.name]["data_offsets"]
            row = int(np.prod(self.shape[1:]))
            file.seek(8 + length + start + part.start * row * 2)
            upper = np.fromfile(file, "<u2", (part.stop - part.start) * row)
        return from_bfloat16(upper).reshape(-1, *self.shape[1:])

    def read_into(self, target: Array) -> None:
        """Read the values into an array of the same shape, converted to its dtype."""
        for part, values in self.pieces():
            target[part] = values

    def array(self, dtype: DTypeLike = np.float32) -> Array:
        """The values as a new array."""
        values = np.empty(self.shape, dtype)
        self.read_into(values)
        return values

    def equals(self, other: Array) -> bool:
        """Whether the values, converted to the other array's dtype, are equal. NaN equals NaN."""
        return all(
            np.array_equal(values.astype(other.dtype), other[part], equal_nan=True) for part, values in self.pieces()
        )


def from_bfloat16(values: Array) -> Array:
    """Convert bfloat16, read as uint16, to float32: it is the upper half of a float32 whose lower half is zero."""
    return (values.astype(np.uint32) << 16).view(np.float32)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    safetensors = need_safetensors()
    try:
        with safetensors.safe_open(str(path), framework="np") as file:
            yield file
    except safetensors.SafetensorError as error:
        with path.open("rb") as raw:
            pointer = raw.read(11) == b"version htt"
        reason = shown(str(error))
        cause = (
            "is only a Git LFS pointer to the file" if pointer else f"is cut off or not a safetensors file ({reason})"
        )
        raise ValueError(f"{path} {cause}: download it again") from None


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """The tensors in a folder's model files, by name. Only the headers are read.

    The files are either ``model.safetensors``, or several files that ``model.safetensors.index.json`` lists.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or one of several is missing.
    ValueError
        If a file is cut off, or is not a safetensors file.
    """
    found: dict[str, StoredTensor] = {}
    for path in _model_files(folder):
        with _opened(path) as file:
            for name in file.keys():  # noqa: SIM118, file is not a dict
                view = file.get_slice(name)
                if name in found:
                    raise ValueError(f"{name} is both in {found[name].path} and in {path}")
                found[name] = StoredTensor(path, name, tuple(view.get_shape()), view.get_dtype())
    return found


def _model_files(folder: Path) -> list[Path]:
    if (folder / ONE_FILE).is_file():
        return [folder / ONE_FILE]
    if (folder / INDEX).is_file():
        paths = [folder / name for name in shard_names(folder / INDEX)]
        if missing := [path.name for path in paths if not path.is_file()]:
            raise FileNotFoundError(f"{folder / INDEX} names files that are missing: {', '.join(map(shown, missing))}")
        return paths
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    hint = f"; {others[0]} is there: if that is the model, rename it" if len(others) == 1 else ""
    raise FileNotFoundError(f"no model in {folder}: {ONE_FILE} is missing{hint}")


def shard_names(index: Path) -> list[str]:
    """The files that an index lists, each once. All must be in the folder of the index."""
    content = read_json(index)
    names = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise ValueError(f"{index} should have a weight_map: name of a tensor -> name of a file")
    shards = sorted(set(names.values()))
    if outside := [name for name in shards if Path(name).name != name or "\\" in name or name in ("", "..")]:
        raise ValueError(f"{index} names a file outside its folder: {outside[0]!r}")
    return shards


def sharded_files(folder: Path) -> list[Path]:
    """The files of a sharded model in this folder, which the new single file replaces.

    The index was written by another program, so only ``.safetensors`` files in this folder are taken from it. If the
    index cannot be read, only the index itself is returned.
    """
    index = folder / INDEX
    if not index.is_file():
        return []
    try:
        names = shard_names(index)
    except (ValueError, OSError):
        names = []
    parts = [folder / name for name in names if name.endswith(".safetensors") and name.lower() != ONE_FILE]
    return [*(path for path in parts if path.is_file()), index]


def write_tensors(path: Path, tensors: Mapping[str, Array]) -> None:
    """Write contiguous arrays into one file, atomically.

    Versions of safetensors before 0.8 copy all arrays first. The metadata ``format: pt`` is required by transformers.
    """
    need_safetensors()
    from safetensors.numpy import save_file

    with replacing(path) as temporary:
        save_file(dict(tensors), str(temporary), metadata={"format": "pt"})
