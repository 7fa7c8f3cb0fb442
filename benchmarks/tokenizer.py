"""BPE training and encoding, compared with tokenizers (Rust) and tiktoken, on Python's own source and on plays.

    pip install -e ".[bench]"
    python benchmarks/tokenizer.py            add --large for 200 MB in several processes

All run in one process. The script prints medians of several runs, and ratios to the other libraries, which depend less
on the machine. The plays are tinyshakespeare.txt in the folder NUMPYLM_SHARED_DATA; without it they are left out. Our
tokenizer remembers the chunks that it has seen. "First time" means a tokenizer that has not seen any.
"""

import argparse
import os
import statistics
import sysconfig
import time
from pathlib import Path

import numpy as np
import tiktoken
import tokenizers

from numpylm import Tokenizer
from numpylm.system.processor import available_cores
from numpylm.text.encode_in_processes import encode_in_processes
from numpylm.text.pretokenize import GPT2_PATTERN

SIZE, VOCAB = 8_000_000, 16_384
PLAYS_VOCAB = 4_096


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


def compare(name: str, text: str, vocab: int, repeats: int = 3) -> None:
    """Train and encode one text with all libraries, in alternating runs."""
    megabytes = len(text.encode("utf-8")) / 1e6
    print(f"{name}: {megabytes:.2f} MB, vocabulary {vocab:,}")

    rust = tokenizers.Tokenizer(tokenizers.models.BPE())
    rust.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab - 1,  # ours counts the end-of-text token
        min_frequency=2,
        show_progress=False,
        special_tokens=[],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )
    mine, other = [], []
    for _ in range(repeats):
        other.append(timed(lambda: rust.train_from_iterator([text], trainer))[0])
        seconds, ours = timed(lambda: Tokenizer.train(text, vocab))
        mine.append(seconds)
    ratio = statistics.median(b / a for a, b in zip(mine, other, strict=True))
    print(
        f"training   numpylm {statistics.median(mine):.2f} s, tokenizers {statistics.median(other):.2f} s: "
        f"{ratio:.2f} times as fast"
    )

    tik = tiktoken.Encoding("ours", pat_str=GPT2_PATTERN, mergeable_ranks=ours.vocab, special_tokens={})
    runs = {
        "numpylm, first time": lambda: new.encode(text),
        "numpylm, again": lambda: ours.encode(text),
        "tokenizers": lambda: rust.encode(text).ids,
        "tiktoken": lambda: tik.encode_ordinary(text),
    }
    ours.encode(text)
    new = ours
    speeds: dict[str, list[float]] = {key: [] for key in runs}
    counts = {}
    for _ in range(repeats):
        new = fresh(ours)
        for key, encode in runs.items():
            seconds, ids = timed(encode)
            speeds[key].append(megabytes / seconds)
            counts[key] = len(ids)
    for key, speed in speeds.items():
        beside = [
            f"{statistics.median(a / b for a, b in zip(speed, speeds[peer], strict=True)):.2f} x {peer}"
            for peer in ("tokenizers", "tiktoken")
            if key.startswith("numpylm")
        ]
        print(f"encoding   {key:20} {statistics.median(speed):6.2f} MB/s, {counts[key]:,} tokens  {', '.join(beside)}")
    print()


def fresh(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer without any remembered chunks."""
    return Tokenizer(tokenizer.vocab, tokenizer.merges, tokenizer.special_tokens, tokenizer.pattern)


def large(text: str, megabytes: int = 200) -> None:
    """A long text in one process and in several: the same ids."""
    tokenizer = Tokenizer.train(text, VOCAB)
    document = text * (megabytes * 1_000_000 // len(text.encode("utf-8")) + 1)
    size = len(document.encode("utf-8")) / 1e6
    print(f"{size:.0f} MB of Python source, {available_cores()} cores")
    results = []
    for processes in (1, available_cores()):

        def encode(processes: int = processes) -> np.ndarray:
            return np.concatenate([ids for ids, _ in encode_in_processes(tokenizer, [document], processes)])

        seconds, ids = timed(encode)
        results.append(ids)
        print(f"encoding   {processes} process{'es' if processes > 1 else ''} {size / seconds:6.2f} MB/s")
    print(f"the same ids: {np.array_equal(*results)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true", help="200 MB in several processes instead")
    args = parser.parse_args()
    source = standard_library(SIZE)
    if args.large:
        large(source)
        return
    compare("Python source", source, VOCAB)
    plays = Path(os.environ.get("NUMPYLM_SHARED_DATA", "../shared/data")) / "tinyshakespeare.txt"
    if plays.is_file():
        compare("tinyshakespeare", plays.read_text(encoding="utf-8"), PLAYS_VOCAB)


if __name__ == "__main__":
    main()
