"""Packed rows for chats, compared with rows that are padded: padding, and real tokens per second of a processor.

python benchmarks/packing.py [--steps 60]

The three kinds of batches take turns, so that a busy machine slows down all of them. The time is processor time of one
core.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.module import Array
from numpylm.system.processor import keep_memory, set_blas_threads
from numpylm.tasks.chat import Chat, packed_arrays, row_arrays
from numpylm.text.packed_rows import PackedBatches
from numpylm.text.padding import SimilarLengths
from numpylm.training.config import make_config

Rng = np.random.Generator
WARM_UP = 2  # steps that are not counted


def kinds_of_batches(task: Chat, tokens: int) -> dict[str, Callable[[Rng], dict[str, Array]]]:
    """Functions that draw a batch of about ``tokens`` tokens, padding included."""
    rows = task.train_rows
    lengths = np.array([len(ids) for ids, _ in rows])
    similar = SimilarLengths(lengths, tokens)
    packed = PackedBatches(lengths, task.config.block_size, tokens)
    return {
        "random rows": lambda rng: row_arrays([rows[n] for n in rng.permutation(len(rows))[: task.config.batch_size]]),
        "similar lengths": lambda rng: row_arrays([rows[n] for n in similar.draw(rng)]),
        "packed": lambda rng: packed_arrays([[rows[n] for n in row] for row in packed.draw(rng)]),
    }


def measure(name: str, steps: int) -> None:
    """Print a table for one kind of model."""
    task = Chat(make_config({"task": "chat", "model": name}))
    model = task.start(None)
    with tempfile.TemporaryDirectory() as folder:
        task.encode(Path(folder))
    lengths = np.array([len(ids) for ids, _ in task.train_rows])
    kinds = kinds_of_batches(task, int(task.config.batch_size * np.quantile(lengths, 0.9)))
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    sizes, real = dict.fromkeys(kinds, 0), dict.fromkeys(kinds, 0)
    rng = np.random.default_rng(0)
    for step in range(-WARM_UP, steps):
        for kind, draw in kinds.items():
            arrays = draw(rng)
            start = time.process_time()
            model.loss_and_grad(**arrays)
            if step >= 0:
                seconds[kind].append((time.process_time() - start) / arrays["ids"].size)
                sizes[kind] += arrays["ids"].size
                real[kind] += real_tokens(arrays["targets"])
    print(f"\n{name:18} tokens a batch  padding  computed tokens/s  real tokens/s")
    for kind, taken in seconds.items():
        rate, share = 1 / float(np.median(taken)), real[kind] / sizes[kind]
        print(f"  {kind:16} {sizes[kind] / steps:14,.0f} {1 - share:8.1%} {rate:18,.0f} {rate * share:14,.0f}")


def real_tokens(targets: Array) -> int:
    """The tokens (B, T) up to the last one of each row that counts: a conversation ends with an answer."""
    padding = (targets[:, ::-1] != IGNORE_INDEX).argmax(axis=1)  # (B,)
    return targets.size - int(padding.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=60)
    steps = parser.parse_args().steps
    keep_memory()
    set_blas_threads(1)
    for name in ("gpt", "llama"):
        measure(name, steps)


if __name__ == "__main__":
    main()
