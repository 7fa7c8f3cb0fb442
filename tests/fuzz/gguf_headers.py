"""Fuzzing of GGUF headers: ``python -m tests.fuzz.gguf_headers --count 100000 --seed 0``.

The header of a small file gets a mutation. Then it is read, and turned into settings, the places of tensors, and a
tokenizer. All that may happen is success, or a ValueError of one line that names the file.
"""

import argparse
import random
import struct
import sys
import time
import traceback
import tracemalloc
from collections import Counter
from pathlib import Path

from numpylm.files.gguf_files import GgufFile
from numpylm.files.llama_gguf import llama_tensors, settings_from_gguf
from numpylm.system.gguf_header import GgufHeader, parse_header
from numpylm.text.gguf_tokenizer import gguf_tokenizer
from tests.fuzz import mutations as m
from tests.small_gguf import gguf_bytes, small_llama

FILE = Path("fuzzed.gguf")
MOST_MEMORY = 50 << 20  # bytes; the file has about 10,000
ODD = [0, 1, 2, 7, 8, 9, 255, 2**16, 2**31, 2**32 - 1]
ODD_LENGTHS = [*ODD, 2**32, 2**40, 2**63 - 1, 2**63, 2**64 - 1]
TEXTS = ["gpt2", "llama", "qwen2", "smollm", "llama-bpe", "linear", "yarn", "", "Ġ", "\x00", "a b c"]


def changed_number(data: bytes, rng: random.Random) -> bytes:
    """An odd number somewhere in the header: most of them are counts, lengths, types and offsets."""
    at = rng.randrange(min(len(data), 6000))
    number = rng.choice((struct.pack("<I", rng.choice(ODD)), struct.pack("<Q", rng.choice(ODD_LENGTHS))))
    return data[:at] + number + data[at + len(number) :]


def changed_text(data: bytes, rng: random.Random) -> bytes:
    """A word replaced by another of the same length, or by one with its own length."""
    words = [b"llama", b"gpt2", b"smollm", b"weight", b"tokenizer", b"rope", b"count", b"blk.0"]
    word = rng.choice([word for word in words if word in data] or [data[:4]])
    new = rng.choice(TEXTS).encode()
    return data.replace(word, new[: len(word)].ljust(len(word), b"_"), 1)


MUTATIONS = (changed_number, changed_number, changed_number, changed_text, m.flipped, m.flipped, m.cut, m.spliced)


def use(header: GgufHeader) -> None:
    """What loading does, without reading weights."""
    gguf = GgufFile(FILE, *header)
    if "rope_freqs.weight" not in gguf.tensors:  # it would be read
        settings_from_gguf(gguf)
    llama_tensors(gguf)
    gguf_tokenizer(header.metadata, FILE).encode("the <|im_end|> 12", allow_special=True)


def outcome(data: bytes) -> tuple[str, str]:
    """What happened: "read" or "refused", and the traceback of what must not happen."""
    try:
        use(parse_header(data, len(data), FILE))
    except ValueError as error:
        text = str(error)
        wrong = str(FILE) not in text or "\n" in text or len(text) > 4000
        return "refused", f"an odd message: {text!r}" if wrong else ""
    except Exception:
        return "failed", traceback.format_exc(limit=-4)
    return "read", ""


def fuzz(count: int, seed: int = 0) -> tuple[Counter, list[str]]:
    """Read ``count`` mutated headers; how often each outcome came, and what must not happen."""
    data = gguf_bytes(*small_llama())
    outcomes: Counter = Counter()
    failures = []
    tracemalloc.start()
    for number in range(count):
        rng = random.Random(seed * 10**9 + number)
        mutated = data
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            mutated = rng.choice(MUTATIONS)(mutated or b"\0", rng)
        tracemalloc.reset_peak()
        what, problem = outcome(mutated)
        if tracemalloc.get_traced_memory()[1] > MOST_MEMORY:
            problem = problem or "it takes too much memory"
        outcomes[what] += 1
        if problem:
            failures.append(f"number {number}: {problem}")
    tracemalloc.stop()
    return outcomes, failures


def main() -> int:
    """Run the inputs and print what failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.gguf_headers", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="how many inputs (default: 1000)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    start = time.perf_counter()
    outcomes, failures = fuzz(args.count, args.seed)
    print(*failures[:20], sep="\n")
    print(f"{args.count:,} inputs: {dict(outcomes)}, {len(failures)} failures, {time.perf_counter() - start:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
