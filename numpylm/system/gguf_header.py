"""Reading the header of a ``.gguf`` file: its metadata, and the name, type, shape and place of each tensor.

GGUF is the file format of llama.cpp (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). One file has the
settings of a model, its tokenizer and its weights:

    "GGUF", version, number of tensors, number of entries
    entries  (name, type, value)
    tensors  (name, number of axes, length of each axis, type, offset); the last axis of NumPy comes first
    zeros up to a multiple of the alignment, then the values of the tensors

Numbers are little-endian. A text is its length in bytes (uint64), then UTF-8. Nothing in the header is trusted: each
length is compared with what is left of the file before it is used.
"""

import math
import mmap
import struct
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from numpylm.system.json_fields import brief

MAGIC, VERSIONS, ALIGNMENT = b"GGUF", (2, 3), 32
LONGEST_HEADER = 64 << 20  # bytes; that of a vocabulary of 200,000 tokens takes about 15 MB
LONGEST_TEXT = 8 << 20  # bytes
MOST_AXES = 4
COUNT, LENGTH = struct.Struct("<I"), struct.Struct("<Q")
TEXT, ARRAY = 8, 9  # types of entries; all others are numbers:
NUMBERS = {  # the number of a type in the file -> its dtype
    0: "u1",
    1: "i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "bool",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}

# The types of tensors: the number in the file -> name, values in a block, bytes of a block. In a quantized type a block
# of values shares a scale.
KINDS = {
    **{0: ("F32", 1, 4), 1: ("F16", 1, 2), 28: ("F64", 1, 8), 30: ("BF16", 1, 2)},
    **{2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34)},
    **{10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176)},
    **{14: ("Q6_K", 256, 210), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98)},
    **{19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82)},
    **{23: ("IQ4_XS", 256, 136), 29: ("IQ1_M", 256, 56), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66)},
    39: ("MXFP4", 32, 17),
}


class TensorPlace(NamedTuple):
    """Where a tensor is in a file.

    Attributes
    ----------
    kind : str
        Its type, such as ``F32`` or ``Q4_K``.
    shape : tuple of int
        In the order of NumPy: the values of the last axis are neighbors in the file.
    offset : int
        From the beginning of the file, in bytes.
    row_bytes : int
        The bytes of one row, the values along the last axis.
    """

    kind: str
    shape: tuple[int, ...]
    offset: int
    row_bytes: int

    @property
    def size(self) -> int:
        """The bytes of the whole tensor."""
        return math.prod(self.shape[:-1]) * self.row_bytes


class GgufHeader(NamedTuple):
    """What the header of a file says: its entries by name, and the places of its tensors by name.

    The value of an entry is a number, a str, a list of str, or an array of numbers.
    """

    metadata: dict[str, Any]
    tensors: dict[str, TensorPlace]


def read_gguf_header(path: Path) -> GgufHeader:
    """Read the header of a file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not GGUF of version 2 or 3, is cut off or damaged, or has tensors of an unknown type.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    size = path.stat().st_size
    if size < len(MAGIC):
        raise ValueError(f"{path} is not a GGUF file: it has {size} bytes")
    with path.open("rb") as file, mmap.mmap(file.fileno(), min(size, LONGEST_HEADER), access=mmap.ACCESS_READ) as data:
        return parse_header(data, size, path)


def parse_header(data: Any, file_size: int, path: Path) -> GgufHeader:
    """Read the header at the beginning of ``data``, which is bytes or a mapped file; see `read_gguf_header`."""
    header = _Header(data, path)
    header.check_beginning()
    n_tensors, n_entries = header.length(), header.length()
    header.check_count(n_entries, 13, "entries")  # bytes of the shortest possible entry
    metadata: dict[str, Any] = {}
    for _ in range(n_entries):
        name = header.text()
        if name in metadata:
            header.fail(f"it has two entries {brief(name)}")
        metadata[name] = header.value(name)
    header.check_count(n_tensors, 32, "tensors")
    tensors: dict[str, TensorPlace] = {}
    for _ in range(n_tensors):
        name = header.text()
        if name in tensors:
            header.fail(f"it has two tensors {brief(name)}")
        tensors[name] = header.tensor(name)
    return GgufHeader(metadata, header.placed(tensors, metadata.get("general.alignment", ALIGNMENT), file_size))


class _Header:
    """A position in the bytes of a header, with a method for each thing that can be read there."""

    def __init__(self, data: Any, path: Path) -> None:
        self.data, self.path, self.at, self.end = data, path, 0, len(data)

    def fail(self, reason: str) -> NoReturn:
        raise ValueError(f"{self.path} is damaged or not a GGUF file: {reason}. Download it again")

    def skip(self, count: int) -> int:
        """Move on by ``count`` bytes; return the position before."""
        before = self.at
        if count > self.end - before:
            longer = " within 64 MB" if self.end >= LONGEST_HEADER else ""
            self.fail(f"its header does not end{longer}; {count:,} bytes are missing after byte {before:,}")
        self.at += count
        return before

    def count(self) -> int:
        number: int = COUNT.unpack_from(self.data, self.skip(COUNT.size))[0]
        return number

    def length(self) -> int:
        number: int = LENGTH.unpack_from(self.data, self.skip(LENGTH.size))[0]
        return number

    def check_count(self, count: int, least: int, what: str) -> None:
        """Refuse a count of things that have at least ``least`` bytes each, if they cannot all be there."""
        if count * least > self.end - self.at:
            self.fail(f"its header claims {count:,} {what}, for which it is too short")

    def check_beginning(self) -> None:
        magic = bytes(self.data[:11])
        if not magic.startswith(MAGIC):
            if magic == b"version htt":
                raise ValueError(f"{self.path} is only a Git LFS pointer to the file: download it again")
            raise ValueError(f"{self.path} is not a GGUF file: it begins with {magic[:4]!r} instead of b'GGUF'")
        self.skip(len(MAGIC))
        version = self.count()
        if version not in VERSIONS:
            big = int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS
            what = "is big-endian" if big else f"is GGUF of version {version}"
            raise ValueError(f"{self.path} {what}; numpylm reads little-endian GGUF of versions 2 and 3")

    def text(self) -> str:
        length = self.length()
        if length > LONGEST_TEXT:
            self.fail(f"at byte {self.at - 8:,} it claims a text of {length:,} bytes")
        start = self.skip(length)
        try:
            return str(self.data[start : self.at], "utf-8")
        except UnicodeDecodeError:
            self.fail(f"the text at byte {start:,} is not UTF-8")

    def texts(self, count: int) -> list[str]:
        """Many texts. A vocabulary has 100,000 of them, so this loop has no calls that it can avoid."""
        self.check_count(count, LENGTH.size, "texts in a list")
        data, at, end, unpack = self.data, self.at, self.end, LENGTH.unpack_from
        found = []
        try:
            for _ in range(count):
                stop = at + 8 + unpack(data, at)[0]
                if stop > end:
                    break
                found.append(str(data[at + 8 : stop], "utf-8"))
                at = stop
        except (struct.error, UnicodeDecodeError):
            pass
        self.at = at
        while len(found) < count:
            found.append(self.text())  # raises the error of the text at which the loop ended
        return found

    def value(self, name: str) -> Any:
        """The value of an entry."""
        kind = self.count()
        if kind == TEXT:
            return self.text()
        if kind != ARRAY:
            return self.numbers(name, kind, 1)[0].item()
        kind, count = self.count(), self.length()
        return self.texts(count) if kind == TEXT else self.numbers(name, kind, count)

    def numbers(self, name: str, kind: int, count: int) -> np.ndarray:
        if kind not in NUMBERS:
            what = "lists of lists" if kind == ARRAY else f"values of the unknown type {kind}"
            self.fail(f"its entry {brief(name)} has {what}")
        dtype = np.dtype(NUMBERS[kind])
        start = self.skip(count * dtype.itemsize)
        raw = np.frombuffer(self.data[start : self.at], np.uint8)
        if NUMBERS[kind] == "bool" and raw.max(initial=0) > 1:
            self.fail(f"its entry {brief(name)} should be true or false")
        return raw.view(dtype)

    def tensor(self, name: str) -> TensorPlace:
        """The place of a tensor, with an offset from the beginning of the values."""
        axes = self.count()
        if not 1 <= axes <= MOST_AXES:
            self.fail(f"its tensor {brief(name)} has {axes:,} axes, not 1 to {MOST_AXES}")
        shape = tuple(self.length() for _ in range(axes))[::-1]
        number, offset = self.count(), self.length()
        if number not in KINDS:
            known = ", ".join(kind for kind, *_ in KINDS.values())
            raise ValueError(f"{self.path}: the tensor {brief(name)} is of type {number}; numpylm reads {known}")
        kind, block, block_bytes = KINDS[number]
        if 0 in shape or shape[-1] % block:
            self.fail(f"its tensor {brief(name)} has the shape {shape}; {kind} needs rows of {block} n values")
        return TensorPlace(kind, shape, offset, shape[-1] // block * block_bytes)

    def placed(self, tensors: dict[str, TensorPlace], alignment: Any, file_size: int) -> dict[str, TensorPlace]:
        """The tensors with offsets from the beginning of the file, if all of them are inside it."""
        if type(alignment) is not int or not 0 < alignment <= 1 << 20 or alignment & (alignment - 1):
            self.fail(f"its alignment is {brief(alignment)}, not a power of two")
        start = -(-self.at // alignment) * alignment
        found = {}
        for name, place in tensors.items():
            if place.offset % alignment:
                self.fail(f"its tensor {brief(name)} is at {place.offset:,}, not at a multiple of {alignment}")
            found[name] = place._replace(offset=start + place.offset)
            if (end := found[name].offset + place.size) > file_size:
                self.fail(f"its tensor {brief(name)} should end at byte {end:,}, but the file has {file_size:,}")
        return found
