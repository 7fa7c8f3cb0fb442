"""Quantized weights: the values of blocks that are written by hand, also without the package gguf."""

import sys

import numpy as np
import pytest

from numpylm.files.quantized import BLOCKS, dequantized

NUMBERS = np.arange(16)


@pytest.fixture(autouse=True)
def without_gguf(monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)


def halves(*numbers):
    return np.array(numbers, "<f2").tobytes()


def row(*blocks):
    return np.frombuffer(b"".join(blocks), np.uint8)[None]


def test_signed_bytes_with_a_scale():
    numbers = np.arange(-16, 16, dtype=np.int8)
    found = dequantized(row(halves(0.5), numbers.tobytes(), halves(-2), numbers.tobytes()), "Q8_0")
    assert found.dtype == np.float32
    assert found.tolist() == [[*(0.5 * numbers), *(-2.0 * numbers)]]


def test_half_bytes_the_lower_ones_first():
    packed = (NUMBERS | (15 - NUMBERS) << 4).astype(np.uint8).tobytes()  # 0 to 15, then 15 to 0
    values = np.concatenate([NUMBERS, 15 - NUMBERS])
    assert dequantized(row(halves(0.25), packed), "Q4_0").tolist() == [[*(0.25 * (values - 8))]]
    assert dequantized(row(halves(0.25, -3), packed), "Q4_1").tolist() == [[*(0.25 * values - 3)]]


@pytest.mark.parametrize(("kind", "size"), [("Q8_0", 34), ("Q4_0", 18), ("Q4_1", 20)])
def test_rows_keep_their_places(kind, size):
    raw = np.random.default_rng(0).integers(0, 64, (3, 2 * size), dtype=np.uint8)
    whole = dequantized(raw, kind)
    assert whole.shape == (3, 64)
    assert np.array_equal(whole, np.concatenate([dequantized(raw[n : n + 1], kind) for n in range(3)]))
    assert np.array_equal(whole[:, 32:], dequantized(np.ascontiguousarray(raw[:, size:]), kind))


def test_every_type_has_its_test():
    assert set(BLOCKS) == {"Q8_0", "Q4_0", "Q4_1"}
