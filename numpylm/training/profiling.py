"""Where the time of a training step goes: by layer, forwards and backwards, beside what the processor could do.

Every layer of numpylm is an object with a forward and a backward, so a profile needs nothing inside them: their
methods are replaced by timed ones on a copy of the model. A layer's own time is what remains when its parts' is taken
off: what an attention takes beyond its two linear layers is softmax(Q Kᵀ) V, what an MLP takes beyond its two is GELU.
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
from numpylm.training.parallel import replica, set_blas_threads

# The order of the forward; of "gpt" itself, what is beyond its parts.
LAYERS: tuple[str, ...] = ("wte", "wpe", "gpt", "h.ln_1", "h.attn.c_attn", "h.attn", "h.attn.c_proj", "h.ln_2")
LAYERS += ("h.mlp.c_fc", "h.mlp", "h.mlp.c_proj", "h", "ln_f", "head", "loss", "zero_grad", "clip", "AdamW")
PHASES = ("forward", "backward", "step")
WHAT = {  # what a layer's own time is spent on, where its name does not say it
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
    """One layer (all blocks' together) in one phase, or one part of the step that belongs to no layer.

    Attributes
    ----------
    name, phase : str
    seconds : float
        A step, without the layer's own parts.
    flops : float
        Multiplications and additions of its matrix products; 0 for what works on each number alone, where memory and
        not arithmetic sets the pace.
    """

    name: str
    phase: str
    seconds: float
    flops: float


@dataclass(frozen=True)
class Profile:
    """Rows in the order of the step, and the machine's own speed. ``print(profile)`` is a table."""

    rows: list[Row]
    peak: float  # FLOPs a second of one large product of matrices, on as many threads
    title: str

    @property
    def seconds(self) -> float:
        """Of a whole step."""
        return sum(row.seconds for row in self.rows)

    def __str__(self) -> str:
        width = max(len(row.name) for row in self.rows)
        lines = [
            self.title,
            f"one large product of matrices: {self.peak / 1e9:.0f} GFLOP/s",
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
    """Own times of calls that are nested in each other."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str], float] = {}
        self.inner = [0.0]  # for each call that is running, the time of the timed calls inside it

    def timed(self, name: str, phase: str, function: Callable) -> Callable:
        """The same function, its own time added up under (name, phase)."""
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
    """Take some steps on a copy of a model, and time every layer.

    Parameters
    ----------
    gpt : GPT
        Stays as it is.
    ids, targets : int arrays (B, T)
        One batch, or one worker's part of it.
    lr : float
    steps : int
        How many are timed, after one that is not.
    threads : int
        That a product of matrices may use, in the steps and in the measurement of the peak.
    """
    before = set_blas_threads(threads)
    try:
        model = replica(gpt)
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
    keys = sorted(watch.seconds, key=_place)
    rows = [Row(WHAT.get(key, key[0]), key[1], watch.seconds[key] / steps, flops.get(key, 0.0)) for key in keys]
    B, T = np.shape(ids)
    title = f"{gpt.num_parameters():,} parameters, {B} x {T} tokens, {threads} BLAS thread{'s' if threads > 1 else ''}"
    return Profile(rows, peak, title)


def _timed_step(model: GPT, optimizer: AdamW, watch: Stopwatch) -> Callable[[Array, Array], None]:
    """One training step whose parts are timed; the layers' methods are replaced on these objects only."""
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
    """Every layer of a GPT with its name, the model itself first."""
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
    """FLOPs of all matrix products of a step, by (layer, phase): a product (n, k) @ (k, m) has 2 n k m.

    A linear layer has one product forwards and two backwards, for dx and dW (the former alone if W is frozen);
    attention has two and four, and of those only the causal half is needed: what is computed beyond it, and LoRA's
    thin products, are not counted.
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
    """FLOPs a second of a product of two large float32 matrices, the best of several."""
    a = np.ones((size, size), np.float32)

    def once() -> float:
        start = time.perf_counter()
        a @ a
        return time.perf_counter() - start

    once()
    return 2 * size**3 / min(once() for _ in range(repeats))


def _place(key: tuple[str, str]) -> tuple[int, int]:
    """Forwards in the order of the layers, then backwards in the opposite one, then the step."""
    name, phase = key
    place = LAYERS.index(name)
    return PHASES.index(phase), -place if phase == "backward" else place
