"""Peak resident memory of training steps, compared with torch eager, each in its own process.

    pip install -e ".[bench]"
    python benchmarks/memory.py

Prints the memory that the steps add to the libraries themselves: an imported torch takes 200 MB more than an imported
NumPy. Both figures are peaks of the process. The figure for numpylm includes the private memory of its worker process,
with interpreter and libraries (Linux).
"""

import json
import subprocess
import sys

import numpy as np
from numpylm_step import NumpylmStep, resident

from numpylm import GPT

STEPS = 4


def one(library: str, name: str) -> None:
    """Run some steps in this process; print its peak before and after as JSON."""
    from torch_gpt import TorchStep
    from training import SHAPES

    c, B = SHAPES[name]
    before = resident()
    rng = np.random.default_rng(0)
    window = rng.integers(0, c.vocab_size, (B, c.block_size + 1))
    ids, targets = np.ascontiguousarray(window[:, :-1]), np.ascontiguousarray(window[:, 1:])
    if library == "torch":
        step, peak = TorchStep(c), resident
    else:
        gpt = GPT(c, np.random.default_rng(0))
        gpt.recompute = library == "numpylm, recompute"
        step = NumpylmStep(gpt)
        peak = step.peak
    for _ in range(STEPS):
        step(ids, targets)
    print(json.dumps({"before": before, "peak": peak()}))


def main() -> None:
    if len(sys.argv) == 3:
        one(*sys.argv[1:])
        return
    from training import SHAPES

    print("peak memory of steps, MB      numpylm  recompute    torch  ratio")
    for name in SHAPES:
        took = {}
        for library in ("numpylm", "numpylm, recompute", "torch"):
            out = subprocess.run([sys.executable, __file__, library, name], capture_output=True, text=True, check=True)
            figures = json.loads(out.stdout)
            took[library] = figures["peak"] - figures["before"]
        mine, again, other = took.values()
        print(f"{name:28} {mine:8.0f} {again:10.0f} {other:8.0f} {mine / other:6.2f}", flush=True)


if __name__ == "__main__":
    main()
