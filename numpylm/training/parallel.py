"""DataParallel: several workers share each batch, so that training uses all cores."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.module import Array
from numpylm.system.processor import default_workers, keep_memory, set_blas_threads
from numpylm.system.streams import print_note
from numpylm.system.worker import WorkerError
from numpylm.training.replica import RemoteReplica, SharedWeights, replica_in_this_process


class DataParallel:
    """Data parallelism: split each batch among several workers, and sum their gradients.

    NumPy runs elementwise operations on one core, and a second core hardly speeds up products of small matrices.
    Splitting the *batch* uses all cores for everything. Each worker runs forward and backward for its rows with the
    shared weights and its own gradients. The gradients are summed in a fixed order, so a run with the same number of
    workers can be repeated to the bit.

    Parameters
    ----------
    model : GPT, Bert or Transformer
        Its ``.grad`` receive the sums. Workers always use its current weights. After any other change (of its layers,
        of what is frozen, of an ε), make a new DataParallel.
    workers : int, optional
        Default: `default_workers`.
    processes : bool
        Whether workers are processes instead of threads (`numpylm.training.replica`). Processes give the same numbers
        and are faster, but take a quarter of a second to start and 25 MB each. They end with this object. If they
        cannot be used, because there is no shared memory or because a script or notebook defines the model's layers,
        threads are used, and a note is printed.
    on_loss : callable, optional
        Called with a line of text when worker processes were lost (see Notes), before the work continues. Default:
        print the line to stderr.

    Notes
    -----
    Threads help because NumPy releases Python's lock (the GIL) while it computes. A step of 0.8 million
    parameters on 12 x 64 tokens and two cores takes 39 ms with threads, 34 with processes; one of 0.9 million on
    16 x 128 tokens 102 and 92.

    A system that runs out of memory kills one of its processes, perhaps a worker. This loses nothing: the worker only
    reads the weights, and its gradients are added only when all workers are done. So a thread takes its place and
    repeats its part of the batch from the beginning, with gradients that start at zero and the same random generator.
    The numbers are the same to the bit.
    """

    def __init__(
        self,
        model: Any,
        workers: int | None = None,
        processes: bool = False,
        on_loss: Callable[[str], object] = print_note,
    ) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        workers = workers or default_workers()
        self.model = model
        self.on_loss = on_loss
        self.parameters = [(p, p.frozen) for p in model.parameters()]
        self.weights: SharedWeights | None = None
        self.replicas: list[Any] = [model]
        if processes and workers > 1:
            try:
                self.weights = SharedWeights(model)
                self.replicas += [RemoteReplica(model, self.weights, set_up_worker) for _ in range(workers - 1)]
            except (WorkerError, OSError) as error:
                print_note(f"threads share each batch, not processes: {error}")
        self.replicas += [replica_in_this_process(model) for _ in range(workers - len(self.replicas))]
        self.pool = ThreadPoolExecutor(workers)

    def loss_and_grad(
        self, ids: Array, targets: Array, rng: np.random.Generator | None = None, count: int | None = None
    ) -> float:
        """Like ``gpt.loss_and_grad``, and equal to it up to rounding. With dropout, the masks are different."""
        return self.add_gradients({"ids": ids, "targets": targets}, rng, count)

    def add_gradients(
        self,
        arrays: Mapping[str, Array],
        rng: np.random.Generator | None = None,
        count: int | None = None,
        options: Mapping[str, Any] | None = None,
        function: Callable[..., float] | None = None,
    ) -> float:
        """`loss_and_grad` of any model: ``model.loss_and_grad(**arrays, rng=…, count=…, **options)``.

        Axis 0 of all arrays is split among the workers. One of them is ``targets``. A ``function`` of a module,
        ``function(model, **…)``, takes the place of ``model.loss_and_grad``. It needs ``count``.
        """
        function = function or _own_loss_and_grad
        workers = min(len(self.replicas), len(arrays["targets"]))
        if workers == 1:
            return function(self.model, **arrays, rng=rng, count=count, **(options or {}))
        if count is None:
            count = int((arrays["targets"] != IGNORE_INDEX).sum())
        rngs: list[np.random.Generator | None] = [None] * workers
        # Draw seeds instead of rng.spawn: a checkpoint stores the generator's state, not its spawns.
        if rng is not None:
            rngs = [np.random.default_rng(seed) for seed in rng.integers(2**63, size=workers)]
        split = {name: np.array_split(array, workers) for name, array in arrays.items()}
        parts = [
            (
                function,
                {name: pieces[i] for name, pieces in split.items()}
                | {"rng": rngs[i], "count": count}
                | dict(options or {}),
            )
            for i in range(workers)
        ]
        own, *others = self._at_once([_add_grad, *[_loss_and_grad] * (workers - 1)], parts)
        for other in self.replicas[1:workers]:
            for p, q in zip(self.model.trainable_parameters(), other.trainable_parameters(), strict=True):
                p.grad += q.grad
        return own + sum(others)

    def map(self, function: Callable[..., Any], parts: Iterable[tuple]) -> Iterator[Any]:
        """Yield ``function(model, *part)`` for each part, in order. The workers share the parts.

        With processes, it must be a function of a module, and must not need the model's tokenizer.
        """
        parts = iter(parts)
        while some := list(itertools.islice(parts, len(self.replicas))):
            yield from self._at_once([function] * len(some), some)

    def _at_once(self, functions: list[Callable[..., Any]], parts: list[tuple]) -> list[Any]:
        """Run each worker's function on its part, on one core each, and return the results."""

        def work(worker: Any, function: Callable[..., Any], part: tuple) -> Any:
            """Run in this thread of the pool, or in the worker's process."""
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
            wait(running)  # also after an error or Ctrl-C: no worker may still add to gradients during the next batch
            if before is not None:
                set_blas_threads(before)

    def _replace_lost(self, done: list[Future]) -> list[int]:
        """Replace each worker process that has ended by a thread; return their indices."""
        lost = [i for i, job in enumerate(done) if isinstance(job.exception(), WorkerError)]
        if lost:
            self.on_loss(f"{done[lost[0]].exception()}; a thread continues in its place, with the same result")
        for i in lost:
            self.replicas[i] = replica_in_this_process(self.model)
        return lost

    def _follow(self) -> None:
        """Make all workers use the model's current weights, even if their arrays were replaced."""
        parameters = self.model.parameters()
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


def _own_loss_and_grad(model: Any, **arguments: Any) -> float:
    return model.loss_and_grad(**arguments)


def _add_grad(model: Any, function: Callable[..., float], arguments: dict[str, Any]) -> float:
    return function(model, **arguments)


def _loss_and_grad(model: Any, function: Callable[..., float], arguments: dict[str, Any]) -> float:
    """Reset a worker's gradients first, because those of the last batch have been added to the sum already."""
    model.zero_grad()
    return function(model, **arguments)


def set_up_worker() -> None:
    """Set up a worker process."""
    keep_memory()
    set_blas_threads(1)
