"""Speed without touching the layers: workers that share a batch, and memory that is kept.

Neither changes what is computed, beyond rounding. Importing numpylm switches nothing on; the commands do.
"""

import ctypes
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from numpylm.models.gpt import GPT
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.module import Array, Parameter
from numpylm.system.worker import WorkerError, say
from numpylm.training.replica import RemoteReplica, SharedWeights, copied


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
        (M_TRIM_THRESHOLD, -1),  # whose end is never given back
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


def default_workers() -> int:
    """One for each core; one alone where NumPy's BLAS cannot be told to use a single thread: workers that each start
    threads get into each other's way."""
    return available_cores() if _openblas() else 1


def replica(gpt: GPT) -> GPT:
    """A second model on the same weights, with gradients of its own."""
    tokenizer = getattr(gpt, "tokenizer", None)
    shared: dict[int, Any] = {id(tokenizer): tokenizer}
    for p in gpt.parameters():
        shared[id(p)] = other = Parameter(p.data)
        other.frozen = p.frozen
    return copied(gpt, shared)


class DataParallel:
    """Let several workers each do a part of every batch, as data-parallel training does across machines.

    NumPy's elementwise work runs on one core, and its matrix products on small matrices hardly gain from a
    second. Splitting the *batch* uses the cores for everything: each worker runs forward and backward for its
    rows on the shared weights, with gradients of its own, and the gradients are summed in a fixed order, so a
    run can be repeated to the bit with as many workers.

    Parameters
    ----------
    gpt : GPT
        Its ``.grad`` receive the sums. Workers follow its weights; who changes anything else of it (its layers, what is
        frozen, an ε) makes new workers.
    workers : int, optional
        Default: `default_workers`.
    processes : bool
        Whether workers are processes instead of threads (`numpylm.training.replica`): the same numbers, sooner, for a
        start of a quarter of a second and 25 MB each. They end with this object. Where there can be none, for lack of
        shared memory or since a script or notebook defines the model's layers, they are threads, and a line says why.
    on_loss : callable, optional
        What is called with one line of text when worker processes have ended (see Notes), before the work goes on.
        Default: print the line to stderr.

    Notes
    -----
    Threads work because NumPy releases Python's lock (the GIL) while it computes. A step of 0.8 million
    parameters on 12 x 64 tokens and two cores takes 39 ms with threads, 34 with processes; one of 0.9 million on
    16 x 128 tokens 102 and 92.

    A system that runs out of memory ends one of its processes, perhaps a worker. Nothing is lost with it: it only read
    the weights, and its gradients are not added to the sum before all workers are done. So a thread takes its place,
    and does the same part of the batch from the beginning, with gradients that begin at zero and a copy of the
    generator as the process was given it. The numbers are the same to the bit.
    """

    def __init__(
        self,
        gpt: GPT,
        workers: int | None = None,
        processes: bool = False,
        on_loss: Callable[[str], object] = say,
    ) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        workers = workers or default_workers()
        self.gpt = gpt
        self.on_loss = on_loss
        self.parameters = [(p, p.frozen) for p in gpt.parameters()]
        self.weights: SharedWeights | None = None
        self.replicas: list[Any] = [gpt]
        if processes and workers > 1:
            try:
                self.weights = SharedWeights(gpt)
                self.replicas += [RemoteReplica(gpt, self.weights, _begin) for _ in range(workers - 1)]
            except (WorkerError, OSError) as error:
                say(f"threads share each batch, not processes: {error}")
        self.replicas += [replica(gpt) for _ in range(workers - len(self.replicas))]
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
        rngs: list[np.random.Generator | None] = [None] * workers
        if rng is not None:  # drawn, not spawned: what a checkpoint keeps of a generator is how far it has drawn
            rngs = [np.random.default_rng(seed) for seed in rng.integers(2**63, size=workers)]
        split = np.array_split(ids, workers), np.array_split(targets, workers)
        parts = list(zip(*split, rngs, [count] * workers, strict=True))
        own, *others = self._at_once([_add_grad, *[_loss_and_grad] * (workers - 1)], parts)
        for other in self.replicas[1:workers]:
            for p, q in zip(self.gpt.trainable_parameters(), other.trainable_parameters(), strict=True):
                p.grad += q.grad
        return own + sum(others)

    def map(self, function: Callable[..., Any], parts: Iterable[tuple]) -> Iterator[Any]:
        """Yield ``function(gpt, *part)`` for each part, in order; workers share the parts.

        For processes, a function of a module, and one that does not need the model's tokenizer.
        """
        parts = iter(parts)
        while some := list(itertools.islice(parts, len(self.replicas))):
            yield from self._at_once([function] * len(some), some)

    def _at_once(self, functions: list[Callable[..., Any]], parts: list[tuple]) -> list[Any]:
        """Each worker's function on its part, on one core each."""

        def work(worker: Any, function: Callable[..., Any], part: tuple) -> Any:
            """Here, in one of the pool's threads, or in the process that the worker stands for."""
            remote = isinstance(worker, RemoteReplica)
            return worker.run(function, *part) if remote else function(worker, *part)

        self._follow()
        running: list[Future] = []
        before = set_blas_threads(1)
        try:
            for job in zip(self.replicas, functions, parts, strict=False):
                running.append(self.pool.submit(work, *job))
            wait(running)
            for i in self._replace_lost(running):
                running[i] = self.pool.submit(work, self.replicas[i], functions[i], parts[i])
            return [job.result() for job in running]
        finally:
            wait(running)  # also after an error or Ctrl-C: nobody may still add to gradients when the next batch comes
            if before is not None:
                set_blas_threads(before)

    def _replace_lost(self, done: list[Future]) -> list[int]:
        """Put a thread in the place of each worker process that has ended; returns which."""
        lost = [i for i, job in enumerate(done) if isinstance(job.exception(), WorkerError)]
        if lost:
            self.on_loss(f"{done[lost[0]].exception()}; a thread continues in its place, with the same result")
        for i in lost:
            self.replicas[i] = replica(self.gpt)
        return lost

    def _follow(self) -> None:
        """Let all workers have the model's weights, wherever these lie now."""
        parameters = self.gpt.parameters()
        if [(p, p.frozen) for p in parameters] != self.parameters:
            raise ValueError(
                "the model has other parameters, or other frozen ones, than when its workers were made: make a new "
                "DataParallel for the changed model"
            )
        if self.weights:
            self.weights.keep()
        for other in self.replicas[1:]:
            if not isinstance(other, RemoteReplica):
                for p, q in zip(parameters, other.parameters(), strict=True):
                    q.data = p.data


def _add_grad(gpt: GPT, *part: Any) -> float:
    return gpt.loss_and_grad(*part)


def _loss_and_grad(gpt: GPT, *part: Any) -> float:
    """A worker's gradients begin at zero: its last ones have been added to the sum."""
    gpt.zero_grad()
    return gpt.loss_and_grad(*part)


def _begin() -> None:
    """What a worker process does first."""
    keep_memory()
    set_blas_threads(1)
