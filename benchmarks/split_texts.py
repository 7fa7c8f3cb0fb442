"""Split a file of labelled texts into train and test, by a hash of each text, so that the split is always the same.

    python benchmarks/split_texts.py banking77/train.csv banking        # writes banking/train.csv and banking/test.csv

One text in ten goes to the test file. Choose settings with the train file only, which `numpylm train` splits again.
"""

import csv
import hashlib
import sys
from pathlib import Path

from numpylm.tasks.labelled import read_labelled


def main() -> None:
    source, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    examples = read_labelled([source])
    test = [hashlib.sha1(text.lower().encode()).digest()[0] % 10 == 0 for text, _ in examples]
    for name, wanted in (("train", False), ("test", True)):
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("text", "label"))
            writer.writerows(example for example, held in zip(examples, test, strict=True) if held == wanted)
        print(f"{folder / name}.csv: {sum(held == wanted for held in test):,} texts")


if __name__ == "__main__":
    main()
