"""All benchmarks, one after the other, each in a process of its own: ``python -m benchmarks [NAME ...]``."""

import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
NAMES = {
    "training": "a training step beside torch eager and torch.compile",
    "memory": "its peak memory beside torch's",
    "generation": "greedy decoding beside transformers",
    "finetuning": "fine-tuning the shape of GPT-2 beside torch",
    "tokenizer": "BPE training and encoding beside tiktoken and tokenizers",
    "gpt2_files": "loading and saving the shape of GPT-2",
    "recipe": "nanoGPT's CPU recipe, evaluations included, beside torch",
    "scaling": "how a step's cost grows with five sizes",
}


def main() -> int:
    chosen = sys.argv[1:] or list(NAMES)
    if unknown := [name for name in chosen if name not in NAMES]:
        print(f"no benchmark {unknown[0]!r}; there are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    print(f"{platform.platform()}, Python {platform.python_version()}, {time.strftime('%d %B %Y')}")
    failed = []
    for name in chosen:
        print(f"\n== {name}: {NAMES[name]}\n", flush=True)
        if subprocess.run([sys.executable, str(HERE / f"{name}.py")]).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)} (pip install -e '.[bench]'?)", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
