"""WAV files of all kinds as bytes, written with struct alone"""

import struct

import numpy as np

GUID_END = bytes.fromhex("000000001000800000aa00389b71")


def chunk(name: bytes, contents: bytes, size: int | None = None) -> bytes:
    """A RIFF chunk, padded to an even number of bytes; ``size`` is what its header says, if not the truth."""
    return name + struct.pack("<I", len(contents) if size is None else size) + contents + b"\0" * (len(contents) % 2)


def fmt(tag: int, channels: int, rate: int, bits: int, extensible: bool = False) -> bytes:
    align = channels * bits // 8
    head = struct.pack("<HHIIHH", 0xFFFE if extensible else tag, channels, rate, rate * align, align, bits)
    tail = struct.pack("<HHIH", 22, bits, 0, tag) + GUID_END if extensible else b""
    return chunk(b"fmt ", head + tail)


def encode(samples: np.ndarray, tag: int, bits: int) -> bytes:
    """Floats to the bytes of one kind of sample, one after the other."""
    if tag == 3:
        return samples.astype(f"<f{bits // 8}").tobytes()
    if bits == 8:
        return np.round(samples * 127 + 128).astype(np.uint8).tobytes()
    integers = np.round(samples * (2.0 ** (bits - 1) - 1)).astype(np.int64)
    return b"".join(int(n).to_bytes(bits // 8, "little", signed=True) for n in integers.reshape(-1))


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def wav(samples: np.ndarray, tag: int = 1, bits: int = 16, rate: int = 16000, extensible: bool = False) -> bytes:
    """A whole file; ``samples`` has the shape (N,) or (N, channels)."""
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    return riff(fmt(tag, channels, rate, bits, extensible), chunk(b"data", encode(samples, tag, bits)))
