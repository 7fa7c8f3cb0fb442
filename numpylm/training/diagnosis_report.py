"""Diagnosis: the result of `numpylm.diagnose`, with a table of norms and updates for each part of the model."""

import math
from dataclasses import dataclass, field
from typing import Any

from numpylm.check.report import Cause, paragraph
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.module import Array, Parameter

# How convincing each finding is, on the scale of `numpylm.check.confidence`: 100 is a fact, below 78 it is a hint.
NO_TARGETS = 100  # no target is counted
NOT_FINITE = 100  # the forward or a gradient has NaN or infinity
SEES_THE_FUTURE = 99  # another last token changes the predictions before it
SEES_OTHER_SEQUENCES = 99  # another last sequence changes the predictions of the others
WRONG_TARGETS = 98  # the targets are these tokens, those before, or two or three positions ahead
EQUAL_WEIGHTS = 98  # most matrices are zero, or all values of one are equal
NO_GRADIENT = 97  # the loss depends on a parameter whose gradient is zero
NOT_RESET = 96  # zero_grad leaves a gradient
NOT_THE_SLOPE = 96  # the loss does not change along the gradient as it should
DIVERGES = 95  # the loss becomes NaN or infinite
NOT_MOVED = 92  # a matrix never changes; it may be meant
LOSS_TIMES_SIZE = 90  # the loss is the mean cross-entropy times a known size
LOSS_RISES = 90  # with one batch again and again
ONE_TARGET = 90  # all targets are the same token; the text may be so
LOSS_JUMPS = 85  # up and down, with one batch again and again
GRADIENT_OVER_DEPTH = 85  # the lowest block's gradient is a thousand times that of the highest, or the reverse
BETTER_WITH_LESS = 84  # a smaller learning rate reaches a lower loss
FIRST_LOSS = 80  # far from guessing, in a new model
LOSS_STAYS = 80  # with one batch again and again
OUTPUT_OVER_DEPTH = 80  # activations explode or vanish from block to block
DEAD_UNITS = 78  # on one batch; on others they may live
NO_INFLUENCE = 76  # the loss does not depend on a parameter; on other batches it may
FAST_WEIGHTS = 75  # they change by more than is usual
SLOW_WEIGHTS = 70  # they change by less than is usual


@dataclass
class Part:
    """Statistics of one part of the model, such as a block."""

    name: str
    weight: float  # norm of its weights at the start
    gradient: float  # norm of its gradients at the start
    update: float  # |change| / |weight| of its matrices, median over the last ten steps
    activation: float  # standard deviation of its output; NaN if it has none


@dataclass
class Diagnosis:
    """The result of `diagnose`. ``print(diagnosis)`` shows it; ``diagnosis.ok`` is True if nothing is wrong."""

    title: str
    parts: list[Part]
    losses: list[float]
    vocab_size: int
    findings: list[Cause] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return not self.findings

    def __str__(self) -> str:
        lines = [f"{self.title}  ({self.seconds:.1f} s)"]
        if self.losses:
            lines.append(
                f"  loss at the start {self.losses[0]:.4f} nats per token; guessing is ln V = "
                f"{math.log(self.vocab_size):.4f}"
            )
            lines.append(f"  the same batch after {len(self.losses) - 1} steps: {self.losses[-1]:.4f}")
        width = max([len(part.name) for part in self.parts] + [4])
        lines.append(
            f"  {'part':{width}}  {'|weights|':>9}  {'|gradient|':>10}  {'update/weight':>13}  {'output std':>10}"
        )
        for part in self.parts:
            update = "-" if math.isnan(part.update) else f"{part.update:.1e}"  # a LayerNorm has no matrix
            flow = "" if math.isnan(part.activation) else f"{part.activation:10.3g}"
            lines.append(f"  {part.name:{width}}  {part.weight:9.3g}  {part.gradient:10.3g}  {update:>13}  {flow}")
        for finding in self.findings:
            lines += paragraph(finding.text, 2)
        if self.ok:
            lines.append("  Nothing unusual.")
        return "\n".join(lines)


def trained(gpt: Any) -> list[tuple[str, Parameter]]:
    """The names and parameters that are trained: all except frozen ones."""
    return [(name, p) for name, p in gpt.named_parameters() if not getattr(p, "frozen", False)]


def part_of(name: str) -> str:
    """``h.3.attn.c_attn.weight`` belongs to ``h.3``, ``wte.weight`` to ``wte``."""
    words = name.split(".")
    return ".".join(words[:2]) if len(words) > 2 and words[1].isdigit() else words[0]


def total_norm(values: dict[str, float], names: list[str]) -> float:
    return math.sqrt(sum(values[name] ** 2 for name in names))


def times_too_much(ratio: float, targets: Array) -> str:
    """Describe a factor between two losses if it is T, B, B·T or the number of counted tokens; otherwise return ""."""
    B, T = targets.shape[0], targets.shape[-1]
    count = int((targets != IGNORE_INDEX).sum())
    sizes = {f"the number of counted tokens, {count}": count, f"T = {T}": T, f"B = {B}": B, f"B·T = {B * T}": B * T}
    for name, size in sizes.items():
        if size > 1 and abs(ratio / size - 1) < 1e-3:
            return f"{name} times too much"
        if size > 1 and abs(ratio * size - 1) < 1e-3:
            return f"{name} times too little"
    return ""
