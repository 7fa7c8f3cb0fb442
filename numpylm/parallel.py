"""Speed without touching the layers: threads that share a batch, and memory that is kept.

Neither changes what is computed, beyond rounding. Importing numpylm switches nothing on; the commands do.
"""

import copy
import ctypes
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.functional import IGNORE_INDEX
from numpylm.gpt import GPT
from numpylm.module import Array, Parameter


def keep_memory() -> bool:
    """Ask the C library (glibc) not to hand memory back to the system between steps; True if it agreed.

    By default each large array is fresh memory from the kernel, which must clear it page by page at the first
    touch: that can cost more than the arithmetic. Kept memory is reused by the next step, and ``y = x * x``
    stays fast without a single buffer in sight. The process keeps its peak memory until it ends. A no-op,
    returning False, on other systems.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # musl and others
    M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
    wanted = [
        (M_MMAP_MAX, 0),  # large arrays come from the heap, too
        (M_TRIM_THRESHOLD, 2**31 - 1),  # whose end is never given back
        (M_TOP_PAD, 2**26),  # and which grows by 64 MB at a time
        (M_ARENA_MAX, 1),  # one heap for all threads
    ]
    return all(mallopt(option, value) for option, value in wanted)


@cache
def _openblas() -> tuple[ctypes.CDLL, str] | None:
    """The OpenBLAS that NumPy's own packages bring along, and how its functions are called: (library, pattern)."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        for path in sorted(folder.glob("*openblas*")):
            library = ctypes.CDLL(str(path))  # loaded already: this finds it
            for pattern in ("scipy_openblas_{}64_", "scipy_openblas_{}", "openblas_{}64_", "openblas_{}"):
                if hasattr(library, pattern.format("set_num_threads")):
                    return library, pattern
    return None


def set_blas_threads(count: int) -> int | None:
    """Let matrix products use so many threads; returns how many it was, None if NumPy has another BLAS."""
    if (found := _openblas()) is None:
        return None
    library, pattern = found
    before = int(getattr(library, pattern.format("get_num_threads"))())
    getattr(library, pattern.format("set_num_threads"))(count)
    return before


def available_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def replica(gpt: GPT) -> GPT:
    """A second model on the same weights, with gradients of its own."""
    tokenizer = getattr(gpt, "tokenizer", None)
    shared: dict[int, Any] = {id(tokenizer): tokenizer}  # deepcopy takes from its memo what is there already
    for p in gpt.parameters():
        shared[id(p)] = other = Parameter(p.data)
        other.frozen = p.frozen
    return copy.deepcopy(gpt, shared)


class DataParallel:
    """Let several threads each do a part of every batch, as data-parallel training does across machines.

    NumPy's elementwise work runs on one core, and its matrix products on small matrices hardly gain from a
    second. Splitting the *batch* uses the cores for everything: each worker runs forward and backward for its
    rows on the shared weights, with gradients of its own (NumPy releases the GIL while it computes), and the
    gradients are summed in a fixed order, so a run can be repeated to the bit with as many workers.

    Parameters
    ----------
    gpt : GPT
        Its ``.grad`` receive the sums.
    workers : int, optional
        Default: one for each core; one alone where NumPy's BLAS cannot be told to use a single thread, since
        workers that each start threads get into each other's way.
    """

    def __init__(self, gpt: GPT, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        if workers is None:
            workers = available_cores() if _openblas() else 1
        self.gpt = gpt
        self.replicas = [gpt] + [replica(gpt) for _ in range(workers - 1)]
        self.pool = ThreadPoolExecutor(workers)

    def loss_and_grad(
        self, ids: Array, targets: Array, rng: np.random.Generator | None = None, count: int | None = None
    ) -> float:
        """As ``gpt.loss_and_grad``, equal to it up to rounding (with dropout: other masks)."""
        workers = min(len(self.replicas), len(ids))
        if workers == 1:
            return self.gpt.loss_and_grad(ids, targets, rng, count)
        if count is None:
            count = int((targets != IGNORE_INDEX).sum())
        rngs = (
            [None] * workers if rng is None else [np.random.default_rng(s) for s in rng.integers(2**63, size=workers)]
        )
        parts = zip(self.replicas, np.array_split(ids, workers), np.array_split(targets, workers), rngs, strict=False)
        before = set_blas_threads(1)
        try:
            losses = list(self.pool.map(lambda part: part[0].loss_and_grad(*part[1:], count=count), parts))
        finally:
            if before is not None:
                set_blas_threads(before)
        own = self.gpt.trainable_parameters()
        for other in self.replicas[1:workers]:
            for p, q in zip(own, other.trainable_parameters(), strict=True):
                p.grad += q.grad
            other.zero_grad()
        return sum(losses)
