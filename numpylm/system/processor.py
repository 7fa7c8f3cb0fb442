"""The processor and its memory: how many cores there are, the threads of matrix products, and what the allocator keeps.

These make training faster without a change of the layers, and change results only by rounding. Importing numpylm does
not turn them on; the commands do.
"""

import ctypes
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np

Part = TypeVar("Part")


def keep_memory() -> bool:
    """Tell the C library (glibc) not to return memory to the system between steps; True if this worked.

    By default each large array gets new memory from the kernel, which must clear it page by page at the first access.
    This can take longer than the arithmetic. Memory that is kept is reused in the next step, so ``y = x * x`` is fast
    without preallocated buffers. The process keeps its peak memory until it ends. On other systems this does nothing
    and returns False.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # musl and others
    M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
    wanted = [
        (M_MMAP_MAX, 0),  # allocate large arrays from the heap, too
        (M_TRIM_THRESHOLD, -1),  # never return the end of the heap to the system
        (M_TOP_PAD, 2**26),  # grow the heap by 64 MB at a time
        (M_ARENA_MAX, 1),  # use one heap for all threads
    ]
    return all(mallopt(option, value) for option, value in wanted)


@cache
def _openblas() -> tuple[ctypes.CDLL, str] | None:
    """The OpenBLAS that is bundled with NumPy, and the pattern of its function names: (library, pattern)."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        for path in sorted(folder.glob("*openblas*")):
            library = ctypes.CDLL(str(path))  # NumPy has loaded it already, so this returns the same library
            for pattern in ("scipy_openblas_{}64_", "scipy_openblas_{}", "openblas_{}64_", "openblas_{}"):
                if hasattr(library, pattern.format("set_num_threads")):
                    return library, pattern
    return None


def set_blas_threads(count: int) -> int | None:
    """Set the number of threads of matrix products; return the number before, or None if NumPy uses another BLAS."""
    if (found := _openblas()) is None:
        return None
    library, pattern = found
    before = int(getattr(library, pattern.format("get_num_threads"))())
    getattr(library, pattern.format("set_num_threads"))(count)
    return before


def available_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_workers() -> int:
    """One worker for each core, or only one if the number of BLAS threads cannot be set.

    Workers that each start several BLAS threads would slow each other down.
    """
    return available_cores() if _openblas() else 1


def on_all_cores(function: Callable[[Part], object], parts: Sequence[Part]) -> None:
    """Call a function once for each part: several parts at a time in threads, each with one core for its products.

    The function must only read what the threads share.
    """
    workers = min(default_workers(), len(parts))
    if workers < 2:
        for part in parts:
            function(part)
        return
    before = set_blas_threads(1)
    try:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(function, parts))
    finally:
        if before is not None:
            set_blas_threads(before)
