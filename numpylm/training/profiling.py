"""Profiling a training step: time and FLOP/s of the forward and backward of each layer, compared with the peak.

Every layer of numpylm is an object with a forward and a backward. So we copy the model and replace these methods by
timed ones; the layers need no code for it. The time of a layer does not include its sublayers. For example, the time of
attention without its two linear layers is that of softmax(Q Kᵀ) V, and that of an MLP without its two is that of GELU.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from numpylm.models.gpt import GPT
from numpylm.nn.functional import cross_entropy
from numpylm.nn.layers import Linear
from numpylm.nn.module import Array
from numpylm.nn.optim import AdamW, clip_grad_norm
from numpylm.system.processor import set_blas_threads
from numpylm.training.replica import replica_in_this_process

# In the order of the forward. "gpt" is the model's own time, without its layers.
LAYERS: tuple[str, ...] = ("wte", "wpe", "gpt", "h.ln_1", "h.attn.c_attn", "h.attn", "h.attn.c_proj", "h.ln_2")
LAYERS += ("h.mlp.c_fc", "h.mlp", "h.mlp.c_proj", "h", "ln_f", "head", "loss", "zero_grad", "clip", "AdamW")
PHASES = ("forward", "backward", "step")
ROW_LABELS = {  # labels of rows for which the layer's name does not show what its own time is spent on
    ("h.attn", "forward"): "h.attn: softmax(QKᵀ)V",
    ("h.attn", "backward"): "h.attn: softmax(QKᵀ)V",
    ("h.mlp", "forward"): "h.mlp: gelu",
    ("h.mlp", "backward"): "h.mlp: gelu",
    ("h", "forward"): "h: residual sums",
    ("h", "backward"): "h: residual sums",
    ("gpt", "forward"): "gpt: embeddings added",
    ("gpt", "backward"): "gpt: embeddings added",
    ("loss", "forward"): "loss, with its gradient",
}


@dataclass(frozen=True)
class Row:
    """One layer (summed over all blocks) in one phase, or one part of the step that is not a layer.

    Attributes
    ----------
    name, phase : str
    seconds : float
        Time per step, without sublayers.
    flops : float
        Multiplications and additions of its matrix products. 0 for elementwise operations, whose speed is limited by
        memory and not by arithmetic.
    """

    name: str
    phase: str
    seconds: float
    flops: float


@dataclass(frozen=True)
class Profile:
    """Rows in the order of the step, and the peak speed of the machine. ``print(profile)`` shows a table."""

    rows: list[Row]
    peak: float  # FLOP/s of one large matrix product with the same number of threads
    title: str

    @property
    def seconds(self) -> float:
        """Time of a whole step."""
        return sum(row.seconds for row in self.rows)

    def __str__(self) -> str:
        width = max(len(row.name) for row in self.rows)
        lines = [
            self.title,
            f"one large matrix product: {self.peak / 1e9:.0f} GFLOP/s",
            "",
            f"{'layer':{width}}  phase          ms  share   GFLOP  GFLOP/s  of peak",
        ]
        for row in self.rows:
            share = row.seconds / self.seconds
            line = f"{row.name:{width}}  {row.phase:8}  {row.seconds * 1e3:7.2f}  {share:5.1%}"
            if row.flops:
                rate = row.flops / row.seconds
                line += f"  {row.flops / 1e9:6.2f}  {rate / 1e9:7.1f}  {rate / self.peak:7.0%}"
            lines.append(line)
        flops = sum(row.flops for row in self.rows)
        rate = flops / self.seconds
        lines.append(
            f"{'a step':{width}}  {'':8}  {self.seconds * 1e3:7.2f}  {1:5.0%}  {flops / 1e9:6.2f}  {rate / 1e9:7.1f}"
            f"  {rate / self.peak:7.0%}"
        )
        return "\n".join(lines)


class Stopwatch:
    """Measures the time of nested calls, each without the calls inside it."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str], float] = {}
        self.inner = [0.0]  # a stack: for each running call, the time of the timed calls inside it

    def timed(self, name: str, phase: str, function: Callable) -> Callable:
        """Wrap a function so that its own time is added to the total of (name, phase)."""
        key = (name, phase)

        def run(*args: Any, **kwargs: Any) -> Any:
            self.inner.append(0.0)
            start = time.perf_counter()
            result = function(*args, **kwargs)
            total = time.perf_counter() - start
            self.seconds[key] = self.seconds.get(key, 0.0) + total - self.inner.pop()
            self.inner[-1] += total
            return result

        return run


def profile(gpt: GPT, ids: Array, targets: Array, lr: float = 1e-3, steps: int = 5, threads: int = 1) -> Profile:
    """Run some training steps on a copy of a model, and time every layer.

    Parameters
    ----------
    gpt : GPT
        It is not changed.
    ids, targets : int arrays (B, T)
        One batch, or one worker's part of it.
    lr : float
    steps : int
        Number of timed steps. One more step is run first to warm up.
    threads : int
        Number of BLAS threads, in the steps and in the measurement of the peak.
    """
    before = set_blas_threads(threads)
    try:
        model = replica_in_this_process(gpt)
        for p in model.parameters():
            p.data = p.data.copy()
        optimizer = AdamW(model.trainable_parameters(), lr)
        watch = Stopwatch()
        step = _timed_step(model, optimizer, watch)
        step(ids, targets)
        watch.seconds.clear()
        for _ in range(steps):
            step(ids, targets)
        peak = matmul_peak()
    finally:
        if before is not None:
            set_blas_threads(before)
    flops = count_flops(gpt, *np.shape(ids))
    keys = sorted(watch.seconds, key=_order)
    rows = [Row(ROW_LABELS.get(key, key[0]), key[1], watch.seconds[key] / steps, flops.get(key, 0.0)) for key in keys]
    B, T = np.shape(ids)
    title = f"{gpt.num_parameters():,} parameters, {B} x {T} tokens, {threads} BLAS thread{'s' if threads > 1 else ''}"
    return Profile(rows, peak, title)


def _timed_step(model: GPT, optimizer: AdamW, watch: Stopwatch) -> Callable[[Array, Array], None]:
    """A training step with timed parts. It replaces the methods of these layer objects, not of their classes."""
    for name, layer in _layers(model):
        label = re.sub(r"\.\d+", "", name)  # h.3.attn -> h.attn: all blocks together
        for phase in ("forward", "backward"):
            setattr(layer, phase, watch.timed(label, phase, getattr(layer, phase)))
    model.head = watch.timed("head", "forward", model.head)  # type: ignore[method-assign]
    model.head_backward = watch.timed("head", "backward", model.head_backward)  # type: ignore[method-assign]
    clear, clip = watch.timed("zero_grad", "step", model.zero_grad), watch.timed("clip", "step", clip_grad_norm)
    loss, move = watch.timed("loss", "forward", cross_entropy), watch.timed("AdamW", "step", optimizer.step)

    def step(ids: Array, targets: Array) -> None:
        clear()
        logits, cache = model.forward(ids)
        _, dlogits = loss(logits, targets)
        model.backward(dlogits, cache)
        clip(optimizer.parameters, 1.0)
        move()

    return step


def _layers(model: GPT) -> list[tuple[str, Any]]:
    """All layers of a GPT with their names, beginning with the model itself."""
    found: list[tuple[str, Any]] = [("gpt", model), ("wte", model.wte), ("wpe", model.wpe), ("ln_f", model.ln_f)]
    for i, block in enumerate(model.h):
        found.append((f"h.{i}", block))
        for part in ("ln_1", "attn", "attn.c_attn", "attn.c_proj", "ln_2", "mlp", "mlp.c_fc", "mlp.c_proj"):
            layer = block
            for word in part.split("."):
                layer = getattr(layer, word)
            found.append((f"h.{i}.{part}", layer))
    return found


def count_flops(gpt: GPT, B: int, T: int) -> dict[tuple[str, str], float]:
    """FLOPs of all matrix products of a step, by (layer, phase). A product (n, k) @ (k, m) has 2 n k m FLOPs.

    A linear layer has one product in the forward, and two in the backward, for dx and dW (only dx if W is frozen).
    Attention has two in the forward and four in the backward, of which only the causal half is counted, even if more is
    computed. The thin products of LoRA are not counted.
    """
    c, N = gpt.config, B * T
    flops: dict[tuple[str, str], float] = {}

    def add(label: str, phase: str, count: float) -> None:
        flops[label, phase] = flops.get((label, phase), 0.0) + count

    first = gpt.first_trained_block()
    for name, layer in _layers(gpt):
        if isinstance(layer, Linear):
            label, product = re.sub(r"\.\d+", "", name), 2.0 * N * layer.weight.size
            add(label, "forward", product)
            if int(name.split(".")[1]) >= first:
                add(label, "backward", product * (1 if layer.weight.frozen else 2))
    pairs = B * T * (T + 1) / 2 * c.n_embd  # (query, key) pairs of one block, times channels
    add("h.attn", "forward", 4 * pairs * c.n_layer)
    add("h.attn", "backward", 8 * pairs * (c.n_layer - first))
    head = 2.0 * N * c.vocab_size * c.n_embd
    add("head", "forward", head)
    add("head", "backward", head * (1 if gpt.wte.weight.frozen else 2))
    return flops


def matmul_peak(size: int = 1536, repeats: int = 6) -> float:
    """FLOP/s of a product of two large float32 matrices, the best of several measurements."""
    a = np.ones((size, size), np.float32)

    def once() -> float:
        start = time.perf_counter()
        a @ a
        return time.perf_counter() - start

    once()
    return 2 * size**3 / min(once() for _ in range(repeats))


def _order(key: tuple[str, str]) -> tuple[int, int]:
    """Sort key: first the forward in the order of the layers, then the backward in reverse order, then the step."""
    name, phase = key
    index = LAYERS.index(name)
    return PHASES.index(phase), -index if phase == "backward" else index
