"""Run all benchmarks, one after the other, each in its own process: ``python -m benchmarks [NAME ...]``."""

import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
NAMES = {
    "training": "a training step, compared with torch eager and torch.compile",
    "memory": "its peak memory, compared with torch",
    "generation": "greedy decoding, compared with transformers",
    "finetuning": "fine-tuning the shape of GPT-2, compared with torch",
    "encoder_decoder": "a step of Transformer and Bert, compared with torch; beam search, compared with transformers",
    "whisper": "encoding, decoding and a training step of whisper-tiny's shape, compared with transformers",
    "tokenizer": "BPE training and encoding, compared with tiktoken and tokenizers",
    "gpt2_files": "loading and saving the shape of GPT-2",
    "audio": "log-mel spectrograms, compared with transformers; resampling, compared with scipy",
    "recipe": "nanoGPT's CPU recipe with evaluations, compared with torch",
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
