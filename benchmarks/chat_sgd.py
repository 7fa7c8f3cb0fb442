"""Task dialogues of Schema-Guided Dialogue as conversations for ``--task chat``.

    python benchmarks/chat_sgd.py ../shared/data/sgd_dialogues sgd          # writes sgd/train.jsonl and sgd/test.jsonl
    numpylm train --task chat --data sgd/train.jsonl ...                    # see docs/results.md
    numpylm evaluate runs/train --data sgd/test.jsonl

One dialogue in eight goes to the test file, by a hash of its number. Choose settings with the train file only, which
`numpylm train` splits again.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

ROLES = {"USER": "user", "SYSTEM": "assistant"}


def conversation(dialogue: dict[str, Any]) -> str:
    """One line of JSON."""
    turns = dialogue["turns"]
    messages = [{"role": ROLES[turn["speaker"]], "content": turn["utterance"]} for turn in turns]
    return json.dumps({"messages": messages}, ensure_ascii=False) + "\n"


def main() -> None:
    source, folder = map(Path, sys.argv[1:3])
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[str]] = {"train": [], "test": []}
    for path in sorted(source.glob("*.json")):
        for dialogue in json.loads(path.read_text(encoding="utf-8")):
            name = f"{path.name} {dialogue['dialogue_id']}"
            held = hashlib.sha1(name.encode()).digest()[0] % 8 == 0
            parts["test" if held else "train"].append(conversation(dialogue))
    for name, lines in parts.items():
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{folder / name}.jsonl: {len(lines):,} conversations")


if __name__ == "__main__":
    main()
