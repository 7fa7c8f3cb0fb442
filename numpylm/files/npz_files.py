"""Reading ``.npz`` files safely: no pickled objects, and each header is checked against the file before it is used.

Such a file is a zip archive with an ``.npy`` file for each array: a header (dtype, shape), then the numbers.
"""

import math
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from numpylm.nn.module import Array

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(path: Path, wanted: Callable[[str], bool]) -> dict[str, Array]:
    """The arrays of a file for whose names ``wanted`` is true. Arrays of pickled objects are refused.

    Raises
    ------
    ValueError
        If the file is damaged. If a header claims more numbers than the file contains, this is detected before memory
        is allocated.
    OSError
        If the file cannot be read.
    """
    with path.open("rb") as raw:
        try:
            with zipfile.ZipFile(raw) as archive, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # NumPy warns about headers that old versions of Python wrote
                names = {info: info.filename.removesuffix(".npy") for info in archive.infolist()}
                return {name: _array(archive, info) for info, name in names.items() if wanted(name)}
        except MemoryError:
            raise
        except Exception as error:  # zipfile, zlib and NumPy raise a dozen different types for damaged files
            raise ValueError(str(error) or type(error).__name__) from None


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    with archive.open(info) as file:
        shape, _, dtype = HEADERS[np.lib.format.read_magic(file)](file)
        claimed, held = math.prod(shape) * dtype.itemsize, info.file_size - file.tell()
        if dtype.hasobject or claimed != held:
            raise ValueError(f"{info.filename} claims to be {dtype} of shape {shape}, but holds {held:,} bytes")
    with archive.open(info) as file:
        return np.lib.format.read_array(file, allow_pickle=False)
