"""Train and run BPE beside Rust's tokenizers and tiktoken, in one process, on the Python standard library's source.

    pip install -e ".[bench]"
    python benchmarks/tokenizer.py

Prints times, and ratios to the peer: those are what counts, since machines differ.
"""

import sysconfig
import time
from pathlib import Path

import tiktoken
import tokenizers

from numpylm import Tokenizer
from numpylm.chunks import GPT2_PATTERN

SIZE, VOCAB = 8_000_000, 16_384


def standard_library(size: int) -> str:
    """The first ``size`` bytes of Python's own source files."""
    parts, total = [], 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if "site-packages" in path.parts or total >= size:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        parts.append(text)
        total += len(text.encode("utf-8"))
    return "".join(parts)


def timed(function):
    """(seconds, result)"""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def main() -> None:
    text = standard_library(SIZE)
    megabytes = len(text.encode("utf-8")) / 1e6
    print(f"{megabytes:.2f} MB of Python source, vocabulary {VOCAB}")

    rust = tokenizers.Tokenizer(tokenizers.models.BPE())
    rust.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCAB - 1,
        min_frequency=2,
        show_progress=False,
        special_tokens=[],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )
    rust_seconds, _ = timed(lambda: rust.train_from_iterator([text], trainer))
    seconds, ours = timed(lambda: Tokenizer.train(text, VOCAB))
    print(f"training   numpylm {seconds:.2f} s, tokenizers {rust_seconds:.2f} s: ratio {seconds / rust_seconds:.2f}")

    tik = tiktoken.Encoding("ours", pat_str=GPT2_PATTERN, mergeable_ranks=ours.vocab, special_tokens={})
    for name, encode in [
        ("numpylm, first time", ours.encode),
        ("numpylm, again", ours.encode),
        ("tokenizers", lambda t: rust.encode(t).ids),
        ("tiktoken", tik.encode_ordinary),
    ]:
        seconds, ids = timed(lambda encode=encode: encode(text))
        print(f"encoding   {name:20} {megabytes / seconds:6.2f} MB/s, {len(ids):,} tokens")


if __name__ == "__main__":
    main()
