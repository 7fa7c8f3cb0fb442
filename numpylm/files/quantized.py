"""Quantized weights: blocks of 32 small whole numbers that share a scale, as in llama.cpp's files, become float32"""

import numpy as np

from numpylm.files.safetensors_files import from_bfloat16
from numpylm.nn.module import Array
from numpylm.system.optional_packages import needed

PLAIN = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}
BLOCK = 32  # values


def dequantized(raw: Array, kind: str) -> Array:
    """The values of some rows.

    Parameters
    ----------
    raw : (R, bytes of a row) uint8
    kind : str
        The type of the values, such as ``Q4_1``.

    Returns
    -------
    values : (R, values of a row) array
        float32, or the type itself if it is one of NumPy's.

    Raises
    ------
    ModuleNotFoundError
        If the type is none of Q4_0, Q4_1 and Q8_0, and the package gguf is not installed.
    """
    raw = np.asarray(raw)
    if kind in PLAIN:
        return raw.view(PLAIN[kind])
    if kind == "BF16":
        return from_bfloat16(raw.view("<u2"))
    with np.errstate(all="ignore"):  # the scales in a damaged file may be infinite
        if kind in BLOCKS:
            values = BLOCKS[kind](raw.reshape(-1, BLOCK_BYTES[kind]))  # (blocks, 32)
            return values.reshape(len(raw), -1)
        gguf = needed("gguf", "hub", f"reading weights of the type {kind}")
        known: Array = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[kind])
        return known


def q8_0(blocks: Array) -> Array:
    """d q: a float16 d, then 32 signed bytes q. blocks (N, 34) -> (N, 32)."""
    return _numbers(blocks, 0) * blocks[:, 2:].view(np.int8)


def q4_0(blocks: Array) -> Array:
    """d (q - 8): a float16 d, then 32 half bytes q. blocks (N, 18) -> (N, 32)."""
    return _numbers(blocks, 0) * (_half_bytes(blocks[:, 2:]).astype(np.float32) - 8)


def q4_1(blocks: Array) -> Array:
    """d q + m: float16 d and m, then 32 half bytes q. blocks (N, 20) -> (N, 32)."""
    return _numbers(blocks, 0) * _half_bytes(blocks[:, 4:]) + _numbers(blocks, 2)


def _numbers(blocks: Array, start: int) -> Array:
    """The float16 that begins at a byte of each block, as float32 (N, 1)."""
    numbers: Array = blocks[:, start : start + 2].copy().view("<f2").astype(np.float32)
    return numbers


def _half_bytes(packed: Array) -> Array:
    """(N, 16) bytes -> (N, 32): first the lower halves of all bytes, then the upper ones."""
    return np.concatenate([packed & 15, packed >> 4], axis=1)


BLOCKS = {"Q8_0": q8_0, "Q4_0": q4_0, "Q4_1": q4_1}
BLOCK_BYTES = {"Q8_0": 2 + BLOCK, "Q4_0": 2 + BLOCK // 2, "Q4_1": 4 + BLOCK // 2}
