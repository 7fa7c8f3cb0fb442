"""The gradient checks that numpylm runs on itself: every operation, layer and block, and the whole model.

No two axes have the same size, so a transposed gradient never passes by chance. Ids repeat, some targets are ignored,
some keys are masked, one query may attend to nothing, and dropout is on wherever a layer has it.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from numpylm.check.gradcheck import gradcheck
from numpylm.check.report import Report
from numpylm.models.gpt import GPT, GPTConfig
from numpylm.models.lora import LoRALinear
from numpylm.nn import functional as F
from numpylm.nn.attention import (
    CausalSelfAttention,
    scaled_dot_product_attention,
    scaled_dot_product_attention_backward,
)
from numpylm.nn.blocks import MLP, Block
from numpylm.nn.layers import Dropout, Embedding, LayerNorm, Linear
from numpylm.nn.module import Array, Cache, Module


class Sizes(NamedTuple):
    """Batch, queries, keys (and longest sequence), heads, channels a head, vocabulary."""

    B: int = 2
    T: int = 5
    S: int = 7
    H: int = 3
    D: int = 4
    V: int = 11

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Sizes":
        """Other sizes, down to a batch of one, one head and a single position."""
        B, T, H, D = (int(n) for n in rng.integers((1, 1, 1, 1), (4, 8, 4, 6)))
        return cls(B, T, T + int(rng.integers(0, 4)), H, max(D, 3 if H == 1 else 2), int(rng.integers(3, 16)))


class GPTLoss(Module):
    """A GPT and its cross-entropy as one layer: ids and targets in, loss out."""

    def __init__(self, gpt: GPT) -> None:
        self.gpt = gpt

    def forward(self, ids: Array, targets: Array, rng: np.random.Generator | None = None) -> tuple[float, Cache]:
        """ids, targets int (B, T) -> mean nats per counted token."""
        logits, gpt_cache = self.gpt.forward(ids, rng)
        loss, loss_cache = F.cross_entropy(logits, targets)
        return loss, (gpt_cache, loss_cache)

    def backward(self, dloss: float, cache: Cache) -> None:
        """Adds to every parameter's gradient; there is nothing to return."""
        gpt_cache, loss_cache = cache
        self.gpt.backward(F.cross_entropy_backward(dloss, loss_cache), gpt_cache)


def cases(rng: np.random.Generator, sizes: Sizes | None = None) -> Iterator[tuple[str, Any, tuple, dict]]:
    """Yield (title, layer or pair, inputs, options) for everything that has a gradient."""
    B, T, S, H, D, V = sizes or Sizes()
    C = H * D

    def x(*shape: int) -> Array:
        return rng.standard_normal(shape)

    ids = rng.integers(0, V, (B, T))
    ids[:, 1:3] = ids[0, 0]  # repeated within a row and across rows
    targets = rng.integers(0, V, (B, T))
    targets[0, :2] = F.IGNORE_INDEX
    mask = rng.random((B, 1, T, S)) < 0.6  # as for padding: another one for each sequence
    mask[0, 0, T // 2] = False  # a query that may attend to nothing
    attention = (scaled_dot_product_attention, scaled_dot_product_attention_backward)

    yield "softmax", (F.softmax, F.softmax_backward), (x(B, T, V),), {}
    yield "softmax over axis 1", (F.softmax, F.softmax_backward), (x(B, T, V),), {"axis": 1}
    yield "relu", (F.relu, F.relu_backward), (x(T, C),), {}
    yield "gelu, tanh form", (F.gelu, F.gelu_backward), (2 * x(T, C),), {}
    yield "gelu, exact form", (F.gelu, F.gelu_backward), (2 * x(T, C),), {"approximate": "none"}
    yield "cross-entropy", (F.cross_entropy, F.cross_entropy_backward), (x(B, T, V), targets), {}
    yield "Linear", Linear(C, V), (x(B, T, C),), {}
    yield "Linear without bias", Linear(C, V, bias=False), (x(B, T, C),), {}
    yield "Linear with LoRA", LoRALinear(Linear(C, V, std=1), 2, rng=rng), (x(B, T, C),), {}
    yield "Embedding", Embedding(V, C), (ids,), {}
    yield "LayerNorm", LayerNorm(C), (x(B, T, C),), {}
    yield "Dropout", Dropout(0.3), (x(B, T, C),), {}
    yield "attention", attention, (x(B, H, T, D), x(B, H, S, D), x(B, H, S, D)), {}
    yield (
        "attention, mask and dropout",
        attention,
        (x(B, H, T, D), x(B, H, S, D), x(B, H, S, D)),
        {"mask": mask, "dropout_p": 0.3},
    )
    yield "CausalSelfAttention", CausalSelfAttention(C, H, 0.2), (x(B, T, C),), {}
    yield "MLP", MLP(C), (x(B, T, C),), {}
    yield "Block", Block(C, H, 0.2), (x(B, T, C),), {}
    yield "GPT", GPT(GPTConfig(V, S, 2, H, C, dropout=0.2)), (ids,), {}
    yield "GPT with its loss", GPTLoss(GPT(GPTConfig(V, S, 2, H, C))), (ids, targets), {}


def run(rng: np.random.Generator | None = None, sizes: Sizes | None = None) -> Iterator[Report]:
    """Check every case and yield its report, titled."""
    rng = rng or np.random.default_rng(0)
    for title, layer, inputs, options in cases(rng, sizes):
        report = gradcheck(layer, *inputs, rng=rng, **options)
        report.title = title
        yield report


def summary(reports: list[Report]) -> str:
    """One line a layer: how many arrays were checked and the worst error, then every row that fails."""
    width = max(len(report.title) for report in reports)
    lines = [f"{'layer':{width}}  arrays  worst rel. error"]
    for report in reports:
        worst = max(row.max_rel_error for row in report.rows)
        verdict = "ok" if report.ok else "WRONG"
        lines.append(f"{report.title:{width}}  {len(report.rows):6}  {worst:16.1e}  {verdict}")
    failing = [report for report in reports if not report.ok]
    return "\n".join(lines + [f"\n{report}" for report in failing])
