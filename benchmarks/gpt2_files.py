"""Seconds and memory for loading and saving GPT-2's files, for the shape of GPT-2 124M with random weights (Linux).

    pip install -e ".[gpt2]"
    python benchmarks/gpt2_files.py

Each figure comes from a separate process. Memory is the peak resident memory (the kernel's VmHWM, including pages of
mapped files) minus that of an imported numpylm, relative to the size of the weights: 498 MB in float32.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from numpylm import GPT, GPTConfig
from numpylm.files.safetensors_files import need_safetensors

GPT2_124M = GPTConfig(50257, 1024, 12, 12, 768)


def highest_memory() -> int:
    """Peak resident memory in bytes since the process started, or since `forget_highest`."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def forget_highest() -> None:
    """Reset the kernel's peak to the current resident memory."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def make(folder: Path) -> None:
    """Write the model's files with random weights; their values do not matter."""
    gpt = GPT(GPT2_124M, np.random.default_rng(0))
    gpt.save_pretrained(folder)


def measure(folder: Path, dtype: str) -> str:
    """Load and save once, in this process: 'seconds peak seconds peak'."""
    need_safetensors()  # its own code is not the model's memory
    before, start = highest_memory(), time.perf_counter()
    gpt = GPT.from_pretrained(folder, dtype)
    load_seconds, load_peak = time.perf_counter() - start, highest_memory() - before
    forget_highest()
    before, start = highest_memory(), time.perf_counter()
    gpt.save_pretrained(folder / "again")
    save_seconds, save_peak = time.perf_counter() - start, highest_memory() - before
    size = sum(parameter.data.nbytes for parameter in gpt.parameters())
    return f"{load_seconds:.3f} {load_peak / size:.4f} {save_seconds:.3f} {save_peak / size:.4f}"


def main() -> None:
    if sys.argv[1:2] == ["make"]:
        make(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["measure"]:
        print(measure(Path(sys.argv[2]), sys.argv[3]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([sys.executable, __file__, "make", folder], check=True)
            for dtype in ("float32", "float64"):
                command = [sys.executable, __file__, "measure", folder, dtype]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                load_seconds, load_peak, save_seconds, save_peak = map(float, done.stdout.split())
                print(f"{dtype}: loading {load_seconds:.2f} s, highest memory {load_peak:.3f} of the weights;", end=" ")
                print(f"saving {save_seconds:.2f} s, and {save_peak:.3f} of the weights more")


if __name__ == "__main__":
    main()
