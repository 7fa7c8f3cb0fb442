"""Split a file of sentence pairs into train and test, by a hash of each source: the split is always the same.

Pairs whose source has a SHA-1 with first byte 1 modulo 16 go to the test files.
"""

import hashlib
import sys
from pathlib import Path

from numpylm.tasks.pairs import columns


def main() -> None:
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [(a, b) for a, b in columns(source) if a and b]
    test = [hashlib.sha1(a.encode()).digest()[0] % 16 == 1 for a, _ in pairs]
    train = [pair for pair, held in zip(pairs, test, strict=True) if not held]
    held = list({a: (a, b) for (a, b), held in zip(pairs, test, strict=True) if held}.values())  # a source once
    files = {"train.tsv": ["\t".join(pair) for pair in train]}
    files |= {"test.source": [a for a, _ in held], "test.target": [b for _, b in held]}
    for name, lines in files.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{folder / name}: {len(lines):,} lines")


if __name__ == "__main__":
    main()
