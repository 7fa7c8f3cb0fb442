"""One training step (forward, backward, clipping, AdamW), compared with torch eager and torch.compile on all cores.

    pip install -e ".[bench]"
    python benchmarks/training.py

The runs alternate. The script prints milliseconds per step, the median ratio of consecutive runs (above 1 means that
numpylm is faster), and the share of this machine's peak for matrix products: (6 N + 6 L C T) FLOPs per token, N without
the position table.
"""

import argparse
import statistics
import time

import numpy as np
import torch
from numpylm_step import NumpylmStep
from torch_gpt import TorchStep

from numpylm import GPT, GPTConfig
from numpylm.system.processor import available_cores, keep_memory
from numpylm.training.profiling import matmul_peak

SHAPES = {
    "V65 T64 L4 H4 C128 B12": (GPTConfig(65, 64, 4, 4, 128), 12),
    "V65 T256 L6 H6 C384 B8": (GPTConfig(65, 256, 6, 6, 384), 8),
    "V512 T128 L4 H4 C128 B16": (GPTConfig(512, 128, 4, 4, 128), 16),
    "V4096 T256 L4 H8 C256 B8": (GPTConfig(4096, 256, 4, 8, 256), 8),
}


def flops(c: GPTConfig, tokens: int) -> float:
    """Multiplications and additions of a step: forward once, backward twice (Kaplan et al. 2020, equation 2.2)."""
    weights = c.vocab_size * c.n_embd + 12 * c.n_layer * c.n_embd**2
    return tokens * (6 * weights + 6 * c.n_layer * c.n_embd * c.block_size)


def milliseconds(step, batch, steps: int) -> float:
    start = time.perf_counter()
    for _ in range(steps):
        step(*batch)
    return (time.perf_counter() - start) / steps * 1e3


def compare(name: str, pairs: int, compiled: bool, best: float) -> str:
    """One line of the table."""
    c, B = SHAPES[name]
    rng = np.random.default_rng(0)
    window = rng.integers(0, c.vocab_size, (B, c.block_size + 1))
    batch = np.ascontiguousarray(window[:, :-1]), np.ascontiguousarray(window[:, 1:])
    runs = {"numpylm": NumpylmStep(GPT(c, np.random.default_rng(0))), "eager": TorchStep(c)}
    if compiled:
        runs["compile"] = TorchStep(c, compiled=True)
    times: dict[str, list[float]] = {key: [] for key in runs}
    for step in runs.values():
        milliseconds(step, batch, 3)
    steps = max(2, round(600 / milliseconds(runs["numpylm"], batch, 2)))
    for _ in range(pairs):
        for key, step in runs.items():
            times[key].append(milliseconds(step, batch, steps))
    mine = statistics.median(times["numpylm"])
    line = f"{name:26} {mine:8.1f}"
    for key in ("eager", "compile"):
        if key in times:
            ratios = [b / a for a, b in zip(times["numpylm"], times[key], strict=True)]
            spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
            line += f" {statistics.median(times[key]):8.1f} {statistics.median(ratios):6.2f} {spread:>10}"
    return line + f" {flops(c, B * c.block_size) / (mine / 1e3) / best:8.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--only", help="a shape")
    args = parser.parse_args()
    keep_memory()
    best = matmul_peak()
    print(f"{available_cores()} cores, NumPy {np.__version__}, torch {torch.__version__}; ", end="")
    print(f"products of matrices run at {best / 1e9:.0f} GFLOP/s\n")
    other = "" if args.no_compile else "  compile  ratio     spread"
    print(f"milliseconds a step         numpylm    eager  ratio     spread{other}  of peak")
    for name in [args.only] if args.only else SHAPES:
        print(compare(name, args.pairs, not args.no_compile, best), flush=True)


if __name__ == "__main__":
    main()
