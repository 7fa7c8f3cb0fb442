"""Split the problems of MBPP in the shared folder: those with a task_id above 600 to train on, the others to test.

MBPP's own parts are 601 to 974 for training, 511 to 600 for validation, 1 to 10 for prompts; the folder has no others.

python benchmarks/split_mbpp.py ../shared/data/mbpp/mbpp.jsonl mbpp
"""

import json
import sys
from pathlib import Path

LAST_TEST = 600


def main() -> None:
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[str]] = {"train": [], "test": []}
    for line in source.read_text(encoding="utf-8").splitlines():
        parts["train" if json.loads(line)["task_id"] > LAST_TEST else "test"].append(line + "\n")
    for name, lines in parts.items():
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{folder / name}.jsonl: {len(lines):,} problems")


if __name__ == "__main__":
    main()
