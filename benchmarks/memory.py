"""Peak resident memory of training steps beside torch eager, each in a process of its own.

    pip install -e ".[bench]"
    python benchmarks/memory.py

Prints what the steps add to the libraries themselves: an imported torch takes 200 MB more than an imported NumPy. Both
figures are the largest that the process ever had, and for numpylm what its worker process holds beyond the memory that
both share, interpreter and libraries included (Linux).
"""

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

from numpylm.remote import RemoteReplica

STEPS = 4


def resident() -> float:
    """Largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def private(model: object) -> float:
    """What a worker process has for itself, in MB; it keeps what it ever had."""
    rollup = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8")
    return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private")) * 1024 / 1e6


def one(library: str, name: str) -> None:
    """Run some steps in this process; print its peak before and after as JSON."""
    from training import SHAPES, NumpylmStep

    from numpylm.parallel import keep_memory

    c, B = SHAPES[name]
    if library == "torch":
        from torch_gpt import TorchStep

        make = TorchStep
    else:
        keep_memory()
        make = NumpylmStep
    before = resident()
    rng = np.random.default_rng(0)
    window = rng.integers(0, c.vocab_size, (B, c.block_size + 1))
    ids, targets = np.ascontiguousarray(window[:, :-1]), np.ascontiguousarray(window[:, 1:])
    step = make(c, recompute=True) if library == "numpylm, recompute" else make(c)
    for _ in range(STEPS):
        step(ids, targets)
    others = [] if library == "torch" else [r for r in step.workers.replicas if isinstance(r, RemoteReplica)]
    print(json.dumps({"before": before, "peak": resident() + sum(other.run(private) for other in others)}))


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
