"""A training step as in `numpylm train`, and its memory; several benchmarks use both."""

import resource
import sys
import time
from pathlib import Path

from numpylm import GPT, AdamW, DataParallel, clip_grad_norm
from numpylm.system.processor import keep_memory
from numpylm.training.replica import RemoteReplica


class NumpylmStep:
    """``step(ids, targets) -> loss``: forward, backward, clipping, AdamW on what is not frozen; all cores."""

    def __init__(self, gpt: GPT, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.99)) -> None:
        keep_memory()
        self.gpt = gpt
        self.workers = DataParallel(gpt, processes=True)
        self.optimizer = AdamW(gpt.trainable_parameters(), lr, betas)

    def __call__(self, ids, targets) -> float:
        self.gpt.zero_grad()
        loss = self.workers.loss_and_grad(ids, targets)
        clip_grad_norm(self.optimizer.parameters, 1.0)
        self.optimizer.step()
        return loss

    def peak(self) -> float:
        """Peak resident memory so far, in MB, including the private memory of worker processes."""
        return peak(self.workers)


def peak(workers: DataParallel) -> float:
    """Peak resident memory of this process so far, in MB, and the private memory of its worker processes."""
    others = [worker for worker in workers.replicas if isinstance(worker, RemoteReplica)]
    return resident() + sum(other.run(private) for other in others)


def processor_seconds(workers: DataParallel) -> float:
    """The time that this process and its worker processes have computed so far; it hardly depends on other programs."""
    others = [worker for worker in workers.replicas if isinstance(worker, RemoteReplica)]
    return time.process_time() + sum(other.run(_process_time) for other in others)


def _process_time(model: object) -> float:
    return time.process_time()


def resident() -> float:
    """Peak resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def private(model: object) -> float:
    """Private memory of a worker process, in MB; a worker never returns memory."""
    rollup = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8")
    return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private")) * 1024 / 1e6
