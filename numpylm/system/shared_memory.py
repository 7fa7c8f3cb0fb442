"""NumPy arrays in shared memory, which several processes read and write."""

import mmap
import os
import sys
import tempfile
import uuid
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from numpylm.nn.module import Array

ALIGNMENT = 64  # bytes; each array begins at a multiple of this in the block
SMALL = 2**26  # bytes
MEMORY = "/dev/shm"  # where Linux keeps files in memory


class SharedArrays:
    """Arrays of given shapes and dtypes, initialized to zeros, in one block of shared memory.

    If the object is sent to a process that inherits its ``fds``, both processes use the same memory. The memory is
    freed when its last user ends.

    Raises
    ------
    OSError
        If there is not enough memory.
    """

    def __init__(self, like: Sequence[Array]) -> None:
        self.kinds = [(array.shape, array.dtype) for array in like]
        starts = np.cumsum([0, *(-(-array.nbytes // ALIGNMENT) * ALIGNMENT for array in like)])
        self.starts = [int(start) for start in starts[:-1]]
        self.size = max(1, int(starts[-1]))
        self.where: int | str = f"numpylm-{uuid.uuid4()}"
        if sys.platform != "win32":
            self.where = _file_of_zeros(self.size)
            weakref.finalize(self, os.close, self.where)
        self.block = _mapped(self.where, self.size)

    @property
    def fds(self) -> tuple[int, ...]:
        """The file descriptors that another process must inherit to use this memory."""
        return (self.where,) if isinstance(self.where, int) else ()

    def arrays(self) -> list[Array]:
        """Views of the block, in the order of ``like``."""
        return [
            np.frombuffer(self.block, dtype, int(np.prod(shape)), start).reshape(shape)
            for (shape, dtype), start in zip(self.kinds, self.starts, strict=True)
        ]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "block"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self.block = _mapped(self.where, self.size)


def _mapped(where: Any, size: int) -> mmap.mmap:
    """Map the memory of an open file (on Windows, of a name)."""
    if sys.platform == "win32":
        return mmap.mmap(-1, size, tagname=where)
    return mmap.mmap(where, size)


def _file_of_zeros(size: int) -> int:
    """An open file without a name, in memory if possible.

    In a container, /dev/shm often has only 64 MB, or is not writable. A small file in the temporary folder also stays
    in memory. A large one would be written to disk again and again, so it is not used.
    """
    problem: OSError
    for folder in (MEMORY, *([tempfile.gettempdir()] if size < SMALL else [])):
        try:
            return _zeros(size, folder)
        except OSError as error:
            problem = error
    raise OSError(f"{-(-size // 10**6):,} MB of shared memory cannot be allocated ({problem})")


def _zeros(size: int, folder: str) -> int:
    """An open file of zeros without a name in that folder.

    A new file already reads as zeros. We write them anyway, so that the memory is allocated now. Otherwise it would be
    allocated when a page is first used, and if there were none left, a bus error would end the process.
    """
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        left = size
        while left:
            left -= file.write(bytes(min(left, 2**20)))
        return os.dup(file.fileno())
