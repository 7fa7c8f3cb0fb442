"""Mutations of real files: of any bytes, of text, of JSON, and of the two containers of arrays."""

import io
import json
import random
import re
import zipfile
from collections.abc import Callable
from typing import Any

Rng = random.Random
Mutation = Callable[[bytes, Rng], bytes]

NUMBERS = ["0", "-1", "1", "2", "3", "255", "256", "65536", "1e400", "-0.0", "1.5", "NaN", "Infinity", "-Infinity"]
NUMBERS += ["4294967296", "9223372036854775808", "1" + "0" * 30, "9" * 5000, "1e-320", "0x10", "1_000", "٣", "true"]
TEXTS = [
    "",
    " ",
    "\0",
    "\n",
    "\r\n",
    "\x1b[2J",
    "\u202e",
    "\ud800",
    "漢字",
    "🙂",
    "a" * 3000,
    "../x",
    "/dev/null",
    "%s{}",
]
VALUES: list[Any] = [None, True, False, 0, 1, -1, 2, 0.5, 1e308, -1e-9, 10**12, 10**30, -(10**30), 10**400, [], {}]
VALUES += [float("nan"), float("inf"), [[]], [0], ["a"], [None], {"a": 1}, {"": {}}, "float32", "object", "gpt2", "BPE"]
PIECES = [b"\0", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\r\n", b"\n", b"\x85", b"\xe2\x80\xa8"]
PIECES += [
    b"<|endoftext|>",
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"\\u0000",
    b"\x1b[2J",
    b"PK\x05\x06",
    b"\x93NUMPY",
]


# ------------------------------------------------------------------------------------------------ bytes


def flipped(data: bytes, rng: Rng) -> bytes:
    """Some bits turned over."""
    changed = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(data: bytes, rng: Rng) -> bytes:
    """The beginning, the end, or all but something in the middle."""
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    return rng.choice((data[:a], data[a:], data[:a] + data[b:]))


def spliced(data: bytes, rng: Rng) -> bytes:
    """A part of it, or something odd, put in somewhere."""
    a, b = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    piece = rng.choice((data[a:b], rng.choice(PIECES), rng.choice(PIECES) * 50, rng.randbytes(rng.randrange(1, 9))))
    at = rng.randrange(len(data) + 1)
    return data[:at] + piece + data[at + rng.choice((0, len(piece))) :]


def replaced(data: bytes, rng: Rng) -> bytes:
    """Something else altogether."""
    deep = rng.choice((b"[", b'{"a":', b"(", b"a = [")) * 100_000
    return rng.choice((b"", b"\0" * 100, b"{}", b"[]", b"null", b"\xff\xfe" + data[:50], rng.randbytes(200), deep))


# ------------------------------------------------------------------------------------------------- text


def with_number(data: bytes, rng: Rng) -> bytes:
    """One number replaced by an odd one."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?(e-?\d+)?", data))
    if not found:
        return spliced(data, rng)
    match = rng.choice(found)
    return data[: match.start()] + rng.choice(NUMBERS).encode() + data[match.end() :]


def with_lines(data: bytes, rng: Rng) -> bytes:
    """Lines in another order, twice, missing, joined, with other ends."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    kind = rng.randrange(6)
    if kind == 0:
        rng.shuffle(lines)
    elif kind == 1:
        lines.insert(at, lines[rng.randrange(len(lines))])
    elif kind == 2:
        del lines[at]
    elif kind == 3:
        lines[at] = rng.choice(TEXTS).encode("utf-8", "surrogatepass")
    end = {4: b"\r\n", 5: rng.choice((b"", b"\r", b" "))}.get(kind, b"\n")
    return end.join(lines)


# ------------------------------------------------------------------------------------------------- JSON


def odd_value(rng: Rng) -> Any:
    """A value that hardly anything expects."""
    if rng.random() < 0.3:
        return rng.choice(TEXTS)
    value = rng.choice(VALUES)
    return [value] * rng.choice((1, 3)) if rng.random() < 0.1 else value


def changed_json(value: Any, rng: Rng) -> Any:
    """A value with something in it replaced, removed, renamed or exchanged."""
    if not isinstance(value, (dict, list)) or not value or rng.random() < 0.05:
        return odd_value(rng)
    value = dict(value) if isinstance(value, dict) else list(value)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key, other = rng.choice(keys), rng.choice(keys)
    kind = rng.randrange(8)
    if kind <= 3 and isinstance(value[key], (dict, list)):
        value[key] = changed_json(value[key], rng)
    elif kind <= 3:
        value[key] = odd_value(rng)
    elif kind == 4:
        value[key], value[other] = value[other], value[key]
    elif kind == 5:
        del value[key]
    elif kind == 6 and isinstance(value, dict):
        value[rng.choice((*TEXTS, str(other) + "_", "model_type"))] = value.pop(key)
    elif isinstance(value, dict):
        value[rng.choice(TEXTS)] = odd_value(rng)
    else:
        value.insert(rng.randrange(len(value) + 1), odd_value(rng))
    return value


def json_bytes(value: Any, rng: Rng) -> bytes:
    """JSON, now and then with a key that is there twice."""
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.05 and text.startswith("{") and ":" in text:
        text = "{" + text[1:-1] + "," + text[1:] if rng.random() < 0.5 else '{"a": 1, ' + text[1:]
    return text.encode("utf-8", "surrogatepass")


def as_json(data: bytes, rng: Rng) -> bytes:
    """Valid JSON with odd content."""
    value = json.loads(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        value = changed_json(value, rng)
    return json_bytes(value, rng)


def as_json_lines(data: bytes, rng: Rng) -> bytes:
    """One line of JSON with odd content among the others."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at] = as_json(lines[at] or b"{}", rng)
    return b"\n".join(lines)


# ------------------------------------------------------------------------------------------- containers

NPY_HEADER = re.compile(rb"\{'descr': (.*?), 'fortran_order': (\w+), 'shape': (\(.*?\)), \}")
SHAPES = ["(1000000000000,)", "(0,)", "()", "(-1,)", "(3, 1000000000)", "(1,)", "(2, 3)", "(1000000,)", "'a'", "(1.5,)"]
SHAPES += ["(" + "1, " * 70 + ")", "(9223372036854775807, 9223372036854775807)", "(True,)", "(0, 1000000000000)"]
KINDS = [
    "'<f4'",
    "'<f8'",
    "'>f4'",
    "'<i8'",
    "'|O'",
    "'|V8'",
    "'<U1000000000'",
    "'<U3'",
    "'<c16'",
    "'|b1'",
    "'<M8[s]'",
    "'x'",
]
KINDS += ["[('a', '<f4')]", "'<f2'", "'|S4'", "None", "('<f4', (2,))", "'" + "f" * 3000 + "'"]


def as_npy(data: bytes, rng: Rng) -> bytes:
    """An array with an odd header, which its length is made to fit."""
    match = NPY_HEADER.search(data)
    if match is None:
        return flipped(data, rng)
    kind, order, shape = (part.decode() for part in match.groups())
    odd = rng.randrange(3)
    kind = rng.choice(KINDS) if odd == 0 else kind
    order = rng.choice(("True", "1", "None")) if odd == 1 else order
    shape = rng.choice(SHAPES) if odd == 2 or rng.random() < 0.3 else shape
    header = f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return data[:8] + len(header).to_bytes(2, "little") + header + data[8 + 2 + int.from_bytes(data[8:10], "little") :]


def as_npz(data: bytes, rng: Rng) -> bytes:
    """A valid zip file in which one entry is odd, missing, renamed, compressed or there twice."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        entries = [(name, file.read(name)) for name in file.namelist()]
    at = rng.randrange(len(entries)) if rng.random() < 0.6 else 0  # the first one is meta
    name, content = entries[at]
    kind = rng.randrange(7)
    if name == "meta.npy" and kind < 5:
        entries[at] = name, with_meta(content, rng)
    elif kind <= 2:
        entries[at] = name, as_npy(content, rng)
    elif kind == 3:
        del entries[at]
    elif kind == 4:
        entries[at] = (
            rng.choice((name.replace("/", "/x"), "../x.npy", "", "x", name[:-4], "optimizer/m/0.npy")),
            content,
        )
    elif kind == 5:
        entries[at] = name, rng.choice((flipped, cut, spliced, replaced))(content, rng)
    else:
        entries.insert(at, (entries[at][0], rng.choice(entries)[1]))
    return zipped(entries, rng)


def zipped(entries: list[tuple[str, bytes]], rng: Rng) -> bytes:
    """A zip file; ``zipfile`` complains of names that are there twice, which is what is wanted."""
    out = io.BytesIO()
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(out, "w", method) as file:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            file.writestr(info, content)
    return out.getvalue()


def with_meta(content: bytes, rng: Rng) -> bytes:
    """The array of text that holds JSON, with that JSON changed."""
    begin = 10 + int.from_bytes(content[8:10], "little")
    text = as_json(content[begin:].decode("utf-32-le").encode(), rng).decode("utf-8", "replace")
    text = text or " "
    header = f"{{'descr': '<U{len(text)}', 'fortran_order': False, 'shape': (), }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return content[:8] + len(header).to_bytes(2, "little") + header + text.encode("utf-32-le", "surrogatepass")


def as_safetensors(data: bytes, rng: Rng) -> bytes:
    """The header changed, with its length put right or not."""
    length = int.from_bytes(data[:8], "little")
    header, numbers = data[8 : 8 + length], data[8 + length :]
    header = rng.choice((as_json, as_json, with_number, flipped))(header, rng)
    size = len(header) if rng.random() < 0.9 else rng.choice((0, length, 2**40, 2**63, len(data)))
    return size.to_bytes(8, "little") + header + numbers


ANY: tuple[Mutation, ...] = (flipped, cut, spliced, replaced)
TEXT: tuple[Mutation, ...] = (*ANY, with_number, with_number, with_lines, with_lines)
JSON: tuple[Mutation, ...] = (*ANY, with_number, *(as_json,) * 8)
JSON_LINES: tuple[Mutation, ...] = (*TEXT, *(as_json_lines,) * 6)
NPZ: tuple[Mutation, ...] = (*ANY, *(as_npz,) * 10)
SAFETENSORS: tuple[Mutation, ...] = (*ANY, *(as_safetensors,) * 6)
