"""What can be wrong with a training run, each with the sentence that says so. `numpylm.diagnose` asks them all."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from numpylm.checker.inside import children
from numpylm.checker.report import Cause, paragraph
from numpylm.functional import IGNORE_INDEX
from numpylm.module import Array, Parameter

HEALTHY_UPDATE = (1e-5, 0.1)  # |change| / |weight| of a matrix in one step; about 1e-3 is usual


@dataclass
class Part:
    """One part of the model: the norms of its weights and gradients at the start, and what flows through it."""

    name: str
    weight: float
    gradient: float
    update: float  # |change| / |weight| of its matrices, median over the last ten steps
    activation: float  # standard deviation of its output; NaN if it has none


@dataclass
class Diagnosis:
    """Result of `diagnose`. ``print(diagnosis)`` shows it; ``diagnosis.ok`` is True if nothing is wrong."""

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
            flow = "" if math.isnan(part.activation) else f"{part.activation:10.3g}"
            lines.append(
                f"  {part.name:{width}}  {part.weight:9.3g}  {part.gradient:10.3g}  {part.update:13.1e}  {flow}"
            )
        for finding in self.findings:
            lines += paragraph(finding.text, 2)
        if self.ok:
            lines.append("  Nothing unusual.")
        return "\n".join(lines)


def part_of(name: str) -> str:
    """``h.3.attn.c_attn.weight`` belongs to ``h.3``, ``wte.weight`` to ``wte``."""
    words = name.split(".")
    return ".".join(words[:2]) if len(words) > 2 and words[1].isdigit() else words[0]


def total_norm(values: dict[str, float], names: list[str]) -> float:
    return math.sqrt(sum(values[name] ** 2 for name in names))


# -------------------------------------------------------------------------------- before the first step


def look_at_batch(ids: Array, targets: Array) -> Iterator[Cause]:
    """Are these the targets that belong to these ids?"""
    counted = targets != IGNORE_INDEX
    if not counted.any():
        text = "No target is counted: all are -100, so there is nothing to learn. Were prompt and answer masked alike?"
        yield Cause("no-targets", text, 100, "targets")
        return
    if ids.shape == targets.shape and ids.shape[1] > 2:
        same = (ids == targets)[counted].mean()
        before = (ids[:, :-1] == targets[:, 1:])[counted[:, 1:]].mean() if counted[:, 1:].any() else 0
        after = (ids[:, 1:] == targets[:, :-1])[counted[:, :-1]].mean() if counted[:, :-1].any() else 0
        if same > 0.95 and after < 0.9:
            text = (
                "Each target is the very token that the model reads there: ids and targets are not shifted against "
                "each other. The model learns to copy. Take window[:, :-1] as ids and window[:, 1:] as targets."
            )
            yield Cause("targets", text, 98, "targets")
        elif before > 0.95 and after < 0.9:
            text = "The targets are shifted the wrong way: each is the token *before*, not the token after."
            yield Cause("targets", text, 98, "targets")
    if len(np.unique(targets[counted])) == 1 and counted.sum() > 4:
        text = (
            f"Every target is the same token, {int(targets[counted][0])}: the model will learn that one and nothing "
            "else."
        )
        yield Cause("targets", text, 90, "targets")


def look_at_forward(gpt: Any, ids: Array, logits: Array) -> Iterator[Cause]:
    """Numbers that are none; the future or the neighbour in the batch shining through."""
    if not np.isfinite(logits).all():
        first = next((name for name, std in activations(gpt, ids).items() if not math.isfinite(std)), "the logits")
        text = f"The forward gives NaN or infinity; the first part whose output holds some is {first}."
        yield Cause("not-finite", text, 100, first)
        return
    V = logits.shape[-1]
    scale = float(np.abs(logits).max()) + 1e-9
    if ids.shape[1] > 1:
        changed = ids.copy()
        changed[:, -1] = (changed[:, -1] + 1) % V
        gap = np.abs(gpt.forward(changed)[0] - logits)[:, :-1].max()
        if gap > 1e-4 * scale:
            text = (
                f"The model sees the future: changing the last token changes what it predicts before (by {gap:.2g}). "
                "It will reach a loss near zero and write nonsense. The causal mask is missing or off by one."
            )
            yield Cause("causal", text, 99, "forward")
    if len(ids) > 1:
        changed = ids.copy()
        changed[-1] = (changed[-1] + 1) % V
        gap = np.abs(gpt.forward(changed)[0] - logits)[:-1].max()
        if gap > 1e-4 * scale:
            text = f"The sequences of a batch see each other: changing the last one changes the first (by {gap:.2g})."
            yield Cause("mixing", text, 99, "forward")


def look_at_start(result: Diagnosis, fresh: bool) -> Iterator[Cause]:
    """The first loss beside ln V."""
    loss, guess = result.losses[0], math.log(result.vocab_size)
    if not fresh:
        return
    if loss > 1.15 * guess + 0.3:
        text = (
            f"The loss at the start, {loss:.3f}, is far above guessing (ln V = {guess:.3f}): the model is sure of "
            "wrong answers. Initial weights are too large; GPT-2 draws them with a standard deviation of 0.02."
        )
        yield Cause("initial-values", text, 80, "loss")
    elif loss < 0.85 * guess:
        text = (
            f"The loss at the start, {loss:.3f}, is far below guessing (ln V = {guess:.3f}): an untrained model "
            "cannot know that. Does it see its targets, or is the loss divided by too many tokens? (If the model is "
            "trained, say fresh=False.)"
        )
        yield Cause("counting", text, 80, "loss")


def look_at_gradients(named: list[tuple[str, Parameter]], norms: dict[str, float]) -> Iterator[Cause]:
    """Parameters without a gradient; gradients that fade or grow over the depth."""
    broken = [name for name, norm in norms.items() if not math.isfinite(norm)]
    if broken:
        yield Cause("not-finite", f"The gradient of {broken[0]} holds NaN or infinity.", 100, broken[0])
        return
    silent = [name for name, norm in norms.items() if norm == 0]
    if silent:
        more = f" and {len(silent) - 1} more" if len(silent) > 1 else ""
        text = f"No gradient reaches {silent[0]}{more}: backward never gets there, and it will stay as it is."
        yield Cause("never-written", text, 97, silent[0])
    blocks = sorted(
        {part_of(name) for name, _ in named if part_of(name) != name.split(".")[0]}, key=lambda b: int(b.split(".")[1])
    )
    if len(blocks) > 2:
        by_block = [total_norm(norms, [name for name in norms if part_of(name) == block]) for block in blocks]
        if min(by_block[0], by_block[-1]) > 0:
            ratio = by_block[0] / by_block[-1]
            if ratio < 1e-3 or ratio > 1e3:
                what = "fades on its way down: the lowest block hardly learns" if ratio < 1 else "grows on its way down"
                text = (
                    f"The gradient {what} ({by_block[0]:.2g} in {blocks[0]}, {by_block[-1]:.2g} in {blocks[-1]}). "
                    "Residual connections and norms are what prevents that: are they all there, and in the backward "
                    "too?"
                )
                yield Cause("wiring", text, 85, blocks[0])


def compare_with_loss(gpt: Any, ids: Array, targets: Array) -> Iterator[Cause]:
    """Does the loss change along the gradient as the gradient says? Two losses, in float64."""
    model = copy.deepcopy(gpt)
    parameters = [p for _, p in model.named_parameters()]
    for p in parameters:
        p.data, p.grad = p.data.astype(np.float64), np.zeros(p.shape)
    model.loss_and_grad(ids, targets)
    norm = math.sqrt(sum(float(np.vdot(p.grad, p.grad)) for p in parameters))
    if not norm or not math.isfinite(norm):
        return
    steps = [p.grad / norm for p in parameters]

    def loss(h: float) -> float:
        for p, step in zip(parameters, steps, strict=True):
            p.data += h * step
        value = model.loss_and_grad(ids, targets)
        for p, step in zip(parameters, steps, strict=True):
            p.data -= h * step
        return float(value)

    h = 1e-4 / max(norm, 1.0)
    slope = (loss(h) - loss(-h)) / (2 * h)
    if abs(slope - norm) > 1e-3 * norm:
        text = (
            f"The gradient is not that of the loss: along its own direction the loss should change by {norm:.6g} a "
            f"unit, it changes by {slope:.6g}. Some backward is wrong: gradcheck tells which, layer by layer."
        )
        yield Cause("inner", text, 96, "gradient")


# ---------------------------------------------------------------------------------------- the short run


def look_at_run(result: Diagnosis, lr: float) -> Iterator[Cause]:
    """Can one batch be learnt by heart? Anything that learns can do that."""
    losses = np.array(result.losses)
    if not np.isfinite(losses).all():
        text = (
            f"The loss is no number any more after {len(losses) - 1} steps: the learning rate {lr:g} is too high, or "
            "a layer overflows."
        )
        yield Cause("learning-rate", text, 95, "loss")
        return
    first, last, lowest = losses[0], losses[-1], losses.min()
    rises = int((np.diff(losses) > 0.02 * first).sum())
    if last > first and lowest > 0.9 * first:
        text = (
            f"The loss rises on a batch that is shown again and again ({first:.3f} to {last:.3f}): the step goes "
            f"uphill (a sign, in the gradient or in the optimizer), or the learning rate {lr:g} is far too high."
        )
        yield Cause("sign", text, 90, "loss")
    elif last > 1.3 * lowest + 0.05 or rises > 0.25 * len(losses):
        text = (
            f"The loss jumps about instead of falling (lowest {lowest:.3f}, last {last:.3f}): the learning rate "
            f"{lr:g} is too high; try a third of it, and a warm-up."
        )
        yield Cause("learning-rate", text, 85, "loss")
    elif first - last < 0.1 * first and first > 0.05:
        text = (
            f"This batch cannot be learnt by heart: {len(losses) - 1} steps on it took the loss from {first:.3f} to "
            f"{last:.3f} only. Either the learning rate {lr:g} is too small, or gradients do not reach the weights "
            "that matter."
        )
        yield Cause("learning-rate", text, 80, "loss")


def look_at_updates(updates: dict[str, list[float]], lr: float) -> Iterator[Cause]:
    """|change| / |weight| of each matrix; about 1e-3 is usual."""
    low, high = HEALTHY_UPDATE
    typical = {name: float(np.median(ratios)) for name, ratios in updates.items() if ratios}
    still = [name for name, ratio in typical.items() if ratio == 0]
    fast = [name for name, ratio in typical.items() if ratio > high]
    slow = [name for name, ratio in typical.items() if 0 < ratio < low]
    if still:
        yield Cause("step", f"{still[0]} does not move at all: does the optimizer know it?", 92, still[0])
    if len(fast) > 0.3 * len(typical):
        text = (
            f"Weights change too fast: {fast[0]} by {typical[fast[0]]:.0%} of itself in a step; about 0.1 % is "
            f"usual. Learning rate {lr:g} too high?"
        )
        yield Cause("learning-rate", text, 75, fast[0])
    if len(slow) > 0.8 * len(typical):
        text = (
            f"Weights hardly change: {slow[0]} by a share of {typical[slow[0]]:.0e} a step; about 1e-3 is usual. "
            f"Learning rate {lr:g} too low?"
        )
        yield Cause("learning-rate", text, 70, slow[0])


# ---------------------------------------------------------------------------------------- activations


def activations(gpt: Any, ids: Array) -> dict[str, float]:
    """The standard deviation of what each part gives, and the share of dead units of each MLP (``h.0: dead``)."""
    model = copy.deepcopy(gpt)
    found: dict[str, float] = {}

    def watch(name: str, layer: Any, inner: bool) -> None:
        forward = layer.forward

        def watched(*args: Any, **options: Any) -> Any:
            result = forward(*args, **options)
            out = np.asarray(result[0] if isinstance(result, tuple) else result)
            if inner:
                flat = out.reshape(-1, out.shape[-1])
                found[name] = float((flat < -3).all(axis=0).mean())  # GELU and ReLU are flat there, for every token
            else:
                found[name] = float(out.std()) if np.isfinite(out).all() else math.inf
            return result

        layer.forward = watched

    for name, layer in children(model):
        watch(name, layer, False)
        mlp = getattr(layer, "mlp", None)
        if mlp is not None and hasattr(getattr(mlp, "c_fc", None), "forward"):
            watch(f"{name}: dead", mlp.c_fc, True)
    model.forward(ids)
    return found


def look_at_flow(parts: list[Part], flow: dict[str, float]) -> Iterator[Cause]:
    """Activations that explode or die over the depth."""
    blocks = [(name, std) for name, std in flow.items() if name.count(".") == 1 and name.split(".")[1].isdigit()]
    if len(blocks) > 1 and blocks[0][1] > 0:
        growth = blocks[-1][1] / blocks[0][1]
        if growth > 30 or blocks[-1][1] > 1e3:
            text = (
                f"Activations explode over the depth: their standard deviation is {blocks[0][1]:.2g} after "
                f"{blocks[0][0]} and {blocks[-1][1]:.2g} after {blocks[-1][0]}. Smaller initial weights for what "
                "writes into the residual stream (0.02 / √(2L) in GPT-2), and a norm before each branch, keep it "
                "level."
            )
            yield Cause("activations", text, 80, blocks[-1][0])
        elif growth < 1e-3:
            text = (
                f"Activations die out over the depth: {blocks[0][1]:.2g} after {blocks[0][0]}, {blocks[-1][1]:.2g} "
                f"after {blocks[-1][0]}."
            )
            yield Cause("activations", text, 80, blocks[-1][0])
    for name, share in flow.items():
        if name.endswith("dead") and share > 0.5:
            block = name.split(":")[0]
            text = (
                f"{share:.0%} of the hidden units of {block}.mlp are dead: below -3 for every token of the batch, "
                "where no gradient passes."
            )
            yield Cause("activations", text, 78, block)
            return
