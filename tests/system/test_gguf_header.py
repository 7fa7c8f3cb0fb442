"""Headers of GGUF files: all kinds of values, and damaged files, each refused with one line that names the file."""

import struct

import numpy as np
import pytest

from numpylm.system.gguf_header import LONGEST_TEXT, parse_header, read_gguf_header
from tests.fuzz.gguf_headers import fuzz
from tests.small_gguf import gguf_bytes, text, value_bytes

VALUES = {
    "a": "naïve 漢字",
    "b": True,
    "c": 7,
    "d": 0.5,
    "e": ["x", "", "🙂"],
    "f": np.arange(-3, 3, dtype=np.int32),
    "g": np.array([True, False]),
    "h": np.array([2**63 + 1], np.uint64),
    "i": [],
}
TENSORS = {"one": np.arange(6, dtype=np.float32).reshape(2, 3), "two": np.ones(5, np.float16)}


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("alignment", [8, 32, 4096])
def test_every_kind_of_value_and_the_places_of_tensors(version, alignment, tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf_bytes(VALUES | {"general.alignment": alignment}, TENSORS, version, alignment))
    metadata, tensors = read_gguf_header(path)
    assert metadata.pop("general.alignment") == alignment
    assert metadata.keys() == VALUES.keys()
    for name, value in metadata.items():
        assert type(value) is type(VALUES[name])
        assert np.array_equal(value, VALUES[name])
    whole = path.read_bytes()
    for name, array in TENSORS.items():
        place = tensors[name]
        assert (place.shape, place.kind) == (array.shape, {4: "F32", 2: "F16"}[array.itemsize])
        assert whole[place.offset : place.offset + place.size] == array.tobytes()


def test_a_vocabulary_is_read_quickly_and_without_change():
    words = [f"token {n} é" for n in range(30_000)]
    assert parse_header(gguf_bytes({"words": words}), 10**9, "a").metadata["words"] == words


def entry(name, value):
    return gguf_bytes({name: value})


def with_value(kind, value):
    """A file with one entry of a type."""
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") + struct.pack("<I", kind) + value


def with_tensor(axes=(4,), kind=0, offset=0, data=bytes(64), name="t"):
    """A file with one tensor; the length of each axis as in the file."""
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + text(name)
    head += struct.pack(f"<I{len(axes)}QIQ", len(axes), *axes, kind, offset)
    return head + bytes(-len(head) % 32) + data


GOOD = gguf_bytes(VALUES, TENSORS)
DAMAGES = {
    "empty": (b"", "is not a GGUF file: it has 0 bytes"),
    "another format": (b"PK\x03\x04" + bytes(100), "begins with b'PK"),
    "a pointer of Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "only a Git LFS pointer"),
    "version 1": (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "is GGUF of version 1"),
    "version 4": (b"GGUF" + struct.pack("<IQQ", 4, 0, 0), "is GGUF of version 4"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "is big-endian"),
    "cut in the counts": (GOOD[:20], "does not end; 8 bytes are missing after byte 16"),
    "cut in an entry": (GOOD[:40], "claims 9 entries, for which it is too short"),
    "cut in a list of texts": (GOOD[: GOOD.index("🙂".encode()) + 2], "does not end"),
    "cut in the tensors": (GOOD[: GOOD.index(b"two") + 5], "for which it is too short|does not end"),
    "cut in the values": (GOOD[:-1], "'two' should end at byte"),
    "absurdly many entries": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60) + bytes(99),
        "claims 1,152,921,504,606",
    ),
    "absurdly many tensors": (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0) + bytes(99), "tensors, for which it is too"),
    "an absurdly long name": (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**62) + bytes(99), "claims a text of 4,611,"),
    "an absurdly long text": (with_value(8, struct.pack("<Q", LONGEST_TEXT + 1)), "claims a text of 8,388,609 bytes"),
    "an absurdly long list": (with_value(9, struct.pack("<IQ", 5, 2**62)), "does not end; 18,446,744,073,709,551,616"),
    "an absurdly long list of texts": (with_value(9, struct.pack("<IQ", 8, 2**61)), "texts in a list, for which"),
    "a list of lists": (with_value(9, struct.pack("<IQ", 9, 1) + bytes(50)), "has lists of lists"),
    "an unknown type of value": (with_value(13, bytes(8)), "has values of the unknown type 13"),
    "neither true nor false": (with_value(7, b"\x02"), "should be true or false"),
    "not UTF-8": (with_value(8, struct.pack("<Q", 2) + b"\xff\xfe"), "at byte 45 is not UTF-8"),
    "not UTF-8 in a list": (with_value(9, struct.pack("<IQQ", 8, 1, 1) + b"\xff"), "is not UTF-8"),
    "an entry twice": (
        b"GGUF" + struct.pack("<IQQ", 3, 0, 2) + (text("a") + value_bytes(1)) * 2 + bytes(20),
        "two entries 'a'",
    ),
    "an odd alignment": (entry("general.alignment", 24), "its alignment is 24, not a power of two"),
    "no alignment": (entry("general.alignment", 0), "its alignment is 0"),
    "an alignment that is text": (entry("general.alignment", "32"), "its alignment is '32'"),
    "an unknown type of tensor": (with_tensor(kind=4), "'t' is of type 4; numpylm reads F32"),
    "no axes": (with_tensor(axes=()), "has 0 axes, not 1 to 4"),
    "too many axes": (with_tensor(axes=(1,) * 5), "has 5 axes"),
    "an empty axis": (with_tensor(axes=(4, 0)), r"has the shape \(0, 4\)"),
    "half a block": (with_tensor(axes=(40,), kind=8), r"has the shape \(40,\); Q8_0 needs rows of 32 n values"),
    "an axis beyond all numbers": (with_tensor(axes=(2**63, 2**63)), "should end at byte 340,282,366,920,938"),
    "an offset outside the file": (with_tensor(offset=64), "should end at byte 144, but the file has 128"),
    "an offset that is not aligned": (with_tensor(offset=4), "is at 4, not at a multiple of 32"),
}


@pytest.mark.parametrize(("data", "said"), DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_files(data, said, tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=said) as caught:
        read_gguf_header(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*b\.gguf"):
        read_gguf_header(tmp_path / "b.gguf")


def test_a_tensor_twice(tmp_path):
    data = GOOD.replace(text("two"), text("one"))
    with pytest.raises(ValueError, match="two tensors 'one'"):
        parse_header(data, len(data), tmp_path)


def test_every_cut_is_noticed():
    for end in range(4, len(GOOD)):
        with pytest.raises(ValueError, match=r"^a\.gguf"):
            parse_header(GOOD[:end], end, "a.gguf")


@pytest.mark.parametrize(
    ("count", "seed"), [(60, 0), pytest.param(5000, 1, marks=pytest.mark.slow)], ids=["a few", "many"]
)
def test_fuzzed_headers(count, seed):
    """The full run is ``python -m tests.fuzz.gguf_headers --count 100000``."""
    outcomes, failures = fuzz(count, seed)
    assert not failures, failures[0]
    assert min(outcomes["read"], outcomes["refused"]) > count // 20
