"""Small GGUF files for tests, written without the package gguf."""

import struct

import numpy as np

NUMBERS = {0: "u1", 1: "i1", 2: "u2", 3: "i2", 4: "u4", 5: "i4", 6: "f4", 7: "?", 10: "u8", 11: "i8", 12: "f8"}
TYPES = {np.dtype(name): number for number, name in NUMBERS.items()}
NAMES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q5_0": 6, "Q8_0": 8, "F64": 28, "BF16": 30}


def text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogateescape")
    return struct.pack("<Q", len(data)) + data


def value_bytes(value) -> bytes:
    """The type of a value, and the value: str, bool, int (uint32), float (float32), array, or list of str."""
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    if isinstance(value, list):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
    if isinstance(value, np.ndarray):
        return struct.pack("<IIQ", 9, TYPES[value.dtype], value.size) + value.tobytes()
    dtype = np.dtype(bool if isinstance(value, bool) else np.uint32 if isinstance(value, int) else np.float32)
    return struct.pack("<I", TYPES[dtype]) + np.array(value, dtype).tobytes()


def gguf_bytes(metadata, tensors=(), version=3, alignment=32) -> bytes:
    """A whole file. A tensor is a float array, or a tuple of the name of its type, its shape and its bytes."""
    tensors = dict(tensors)
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    out += b"".join(text(name) + value_bytes(value) for name, value in metadata.items())
    data = b""
    for name, tensor in tensors.items():
        if isinstance(tensor, np.ndarray):
            tensor = ({4: "F32", 2: "F16", 8: "F64"}[tensor.itemsize], tensor.shape, tensor.tobytes())
        kind, shape, values = tensor
        data += b"\0" * (-len(data) % alignment)
        out += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape[::-1], NAMES[kind], len(data))
        data += values
    return out + b"\0" * (-len(out) % alignment) + data


def small_llama(**more):
    """The entries and tensors of a small Llama with random weights and a byte-level tokenizer of 260 tokens."""
    from numpylm.text.tokenizer_files import LETTER_OF_BYTE

    rng = np.random.default_rng(0)
    tokens = [*LETTER_OF_BYTE.values(), "th", "the", "<|im_start|>", "<|im_end|>"]
    metadata = {
        "general.architecture": "llama",
        "general.type": "model",
        "llama.block_count": 2,
        "llama.context_length": 64,
        "llama.embedding_length": 16,
        "llama.feed_forward_length": 24,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 10000.0,
        "llama.rope.dimension_count": 4,
        "llama.vocab_size": 260,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": np.array([1] * 258 + [3, 3], np.int32),
        "tokenizer.ggml.merges": ["t h", "th e"],
        "tokenizer.ggml.bos_token_id": 258,
        "tokenizer.ggml.eos_token_id": 259,
        "tokenizer.chat_template": "{{ messages }}",
    } | more

    def weight(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    tensors = {"token_embd.weight": weight(260, 16), "output_norm.weight": weight(16)}
    for n in range(2):
        parts = {"attn_q": (16, 16), "attn_k": (8, 16), "attn_v": (8, 16), "attn_output": (16, 16)}
        parts |= {"ffn_gate": (24, 16), "ffn_up": (24, 16), "ffn_down": (16, 24), "attn_norm": (16,), "ffn_norm": (16,)}
        tensors |= {f"blk.{n}.{part}.weight": weight(*shape) for part, shape in parts.items()}
    return metadata, tensors
