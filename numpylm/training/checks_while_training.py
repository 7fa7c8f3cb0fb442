"""Checks of `numpylm.diagnose` while training on one batch: gradients, losses, learning rate, updates, activations."""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from numpylm.check.report import Cause
from numpylm.nn.module import Array, Parameter
from numpylm.training.activations import DEAD
from numpylm.training.diagnosis_report import (
    BETTER_WITH_LESS,
    DEAD_UNITS,
    DIVERGES,
    FAST_WEIGHTS,
    GRADIENT_OVER_DEPTH,
    LOSS_JUMPS,
    LOSS_RISES,
    LOSS_STAYS,
    NO_GRADIENT,
    NO_INFLUENCE,
    NOT_FINITE,
    NOT_MOVED,
    NOT_THE_SLOPE,
    OUTPUT_OVER_DEPTH,
    SLOW_WEIGHTS,
    Diagnosis,
    Part,
    part_of,
    times_too_much,
    total_norm,
    trained,
)

NOISE = 1e-9  # a smaller gradient is rounding
SHORT_RUN = 20  # steps; in a run of at most this many, the loss need not have fallen yet
MOST_INFLUENCES = 20  # number of parameters for which `influences` is computed
HEALTHY_UPDATE = (1e-5, 0.1)  # |change| / |weight| of a matrix in one step; about 1e-3 is usual


def influences(gpt: Any, ids: Array, targets: Array, name: str) -> bool:
    """Whether the loss depends on a parameter."""
    model = copy.deepcopy(gpt)
    for _, p in model.named_parameters():
        p.data, p.grad = p.data.astype(np.float64), np.zeros(p.shape)
    data = dict(model.named_parameters())[name].data
    before = model.loss_and_grad(ids, targets)
    data += 1e-3 * np.random.default_rng(0).standard_normal(data.shape)
    return abs(model.loss_and_grad(ids, targets) - before) > 1e-10


def look_at_gradients(
    named: list[tuple[str, Parameter]], norms: dict[str, float], matters: Callable[[str], bool]
) -> Iterator[Cause]:
    """Check for parameters without a gradient, and for gradients that vanish or explode over the depth."""
    broken = [name for name, norm in norms.items() if not math.isfinite(norm)]
    if broken:
        yield Cause("not-finite", f"The gradient of {broken[0]} contains NaN or infinity.", NOT_FINITE, broken[0])
        return
    silent = [name for name, norm in norms.items() if norm == 0]
    missed = [name for name in silent[:MOST_INFLUENCES] if matters(name)]
    if missed:
        more = f" and {len(silent) - 1} more" if len(silent) > 1 else ""
        text = f"No gradient reaches {missed[0]}{more}: backward does not write it, so it will never be trained."
        yield Cause("never-written", text, NO_GRADIENT, missed[0])
    elif silent:
        more = f" and {len(silent) - 1} more" if len(silent) > 1 else ""
        text = (
            f"The loss does not depend on {silent[0]}{more}: a later part of the forward is flat there (dead units) or "
            "multiplies it by zero. So its gradient is rightly zero, and it will not be trained."
        )
        yield Cause("activations", text, NO_INFLUENCE, silent[0])
    blocks = sorted(
        {part_of(name) for name, _ in named if part_of(name) != name.split(".")[0]}, key=lambda b: int(b.split(".")[1])
    )
    if len(blocks) > 2:
        by_block = [total_norm(norms, [name for name in norms if part_of(name) == block]) for block in blocks]
        if min(by_block[0], by_block[-1]) > 0:
            ratio = by_block[0] / by_block[-1]
            if ratio < 1e-3 or ratio > 1e3:
                what = (
                    "vanishes on its way down: the lowest block hardly learns" if ratio < 1 else "grows on its way down"
                )
                text = (
                    f"The gradient {what} ({by_block[0]:.2g} in {blocks[0]}, {by_block[-1]:.2g} in {blocks[-1]}). "
                    "Residual connections and norms prevent this: are they all there, also in the backward?"
                )
                yield Cause("wiring", text, GRADIENT_OVER_DEPTH, blocks[0])


def compare_with_loss(gpt: Any, ids: Array, targets: Array) -> Iterator[Cause]:
    """Check the gradient with a central difference of the loss along its own direction, in float64."""
    model = copy.deepcopy(gpt)
    for _, p in model.named_parameters():
        p.data, p.grad = p.data.astype(np.float64), np.zeros(p.shape)
    parameters = [p for _, p in trained(model)]
    model.loss_and_grad(ids, targets)
    norm = math.sqrt(sum(float(np.vdot(p.grad, p.grad)) for p in parameters))
    if norm < NOISE or not math.isfinite(norm):
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
            f"The gradient is not that of the loss: along its own direction the loss should change by {norm:.6g} per "
            f"unit, but it changes by {slope:.6g}. "
        )
        times = times_too_much(slope / norm, targets)
        text += (
            f"The loss is {times} for this gradient, or one of the two is divided wrongly."
            if times
            else ("Some backward is wrong: gradcheck finds which, layer by layer.")
        )
        yield Cause("inner", text, NOT_THE_SLOPE, "gradient")


# ---------------------------------------------------------------------------------------- the short run


def look_at_run(result: Diagnosis, lr: float) -> Iterator[Cause]:
    """Check that the loss on one batch falls. Every model that can learn can overfit a single batch."""
    losses = np.array(result.losses)
    if not np.isfinite(losses).all():
        text = (
            f"The loss is not finite after {len(losses) - 1} steps: the learning rate {lr:g} is too high, or a layer "
            "overflows."
        )
        yield Cause("learning-rate", text, DIVERGES, "loss")
        return
    first, last, lowest = losses[0], losses[-1], losses.min()
    rises = int((np.diff(losses) > 0.02 * first).sum())
    if last > first and lowest > 0.9 * first:
        text = (
            f"The loss rises on a batch that is repeated ({first:.3f} to {last:.3f}): the step goes uphill (a wrong "
            f"sign in the gradient or in the optimizer), or the learning rate {lr:g} is far too high."
        )
        yield Cause("sign", text, LOSS_RISES, "loss")
    elif last > 1.3 * lowest + 0.05 or rises > 0.25 * len(losses):
        text = (
            f"The loss jumps about instead of falling (lowest {lowest:.3f}, last {last:.3f}): the learning rate "
            f"{lr:g} is too high; try a third of it, and a warm-up."
        )
        yield Cause("learning-rate", text, LOSS_JUMPS, "loss")
    elif first - last < 0.1 * first and first > 0.05 and len(losses) > SHORT_RUN:
        text = (
            f"The model does not overfit this batch: {len(losses) - 1} steps on it took the loss only from {first:.3f} "
            f"to {last:.3f}. Either the learning rate {lr:g} is too low, or gradients do not reach the weights that "
            "matter."
        )
        yield Cause("learning-rate", text, LOSS_STAYS, "loss")


def look_at_smaller_rates(result: Diagnosis, lr: float, with_rate: Callable[[float], list[float]]) -> Iterator[Cause]:
    """If the loss has stopped falling, check whether a smaller learning rate reaches a lower loss.

    The relative size of the updates does not show this: with a higher rate the weights grow, too, so it hardly changes.
    """
    if any(finding.kind in ("learning-rate", "sign", "not-finite", "step") for finding in result.findings):
        return
    losses = np.array(result.losses)
    half = losses[len(losses) // 2 :]
    stalls = (np.diff(half) > 0).sum() > 2 or half[0] - half[-1] < 0.05 * (losses[0] - losses[-1])
    if len(losses) <= SHORT_RUN or not stalls or losses[-1] < 0.3 * losses[0]:
        return
    for share, said in ((0.1, "a tenth"), (0.01, "a hundredth")):
        other = with_rate(share * lr)[-1]
        if other < 0.7 * losses[-1] and losses[-1] - other > 0.1:
            moves = max((part.update for part in result.parts if math.isfinite(part.update)), default=math.nan)
            text = (
                f"The learning rate {lr:g} is too high: {len(losses) - 1} steps on this batch took the loss to "
                f"{losses[-1]:.3f}, and with {said} of it to {other:.3f}. (The largest relative change of weights in a "
                f"step was {moves:.1e}; during training about 1e-3 is usual.)"
            )
            yield Cause("learning-rate", text, BETTER_WITH_LESS, "loss")
            return


def look_at_updates(parts: list[Part], updates: dict[str, list[float]], lr: float) -> Iterator[Cause]:
    """Check the relative size of updates, |change| / |weight|, of each part; about 1e-3 is usual."""
    low, high = HEALTHY_UPDATE
    still = [name for name, ratios in updates.items() if ratios and not any(ratios)]
    typical = {part.name: part.update for part in parts if math.isfinite(part.update)}
    fast = [name for name, ratio in typical.items() if ratio > high]
    slow = [name for name, ratio in typical.items() if 0 < ratio < low]
    if still:
        yield Cause("step", f"{still[0]} does not change at all: was it passed to the optimizer?", NOT_MOVED, still[0])
    if len(fast) > 0.3 * len(typical):
        text = (
            f"Weights change too fast: the relative change of the matrices of {fast[0]} is {typical[fast[0]]:.1e} "
            f"in a step; about 1e-3 is usual. Is the learning rate {lr:g} too high?"
        )
        yield Cause("learning-rate", text, FAST_WEIGHTS, fast[0])
    if len(slow) > 0.8 * len(typical):
        text = (
            f"Weights hardly change: the relative change of the matrices of {slow[0]} is {typical[slow[0]]:.1e} in a "
            f"step; about 1e-3 is usual. Is the learning rate {lr:g} too low?"
        )
        yield Cause("learning-rate", text, SLOW_WEIGHTS, slow[0])


def look_at_flow(parts: list[Part], flow: dict[str, float]) -> Iterator[Cause]:
    """Check for activations that explode or vanish over the depth, and for dead MLP units."""
    blocks = [(name, std) for name, std in flow.items() if name.count(".") == 1 and name.split(".")[1].isdigit()]
    if len(blocks) > 1 and blocks[0][1] > 0:
        growth = blocks[-1][1] / blocks[0][1]
        if growth > 30 or blocks[-1][1] > 1e3:
            text = (
                f"Activations explode over the depth: their standard deviation is {blocks[0][1]:.2g} after "
                f"{blocks[0][0]} and {blocks[-1][1]:.2g} after {blocks[-1][0]}. Smaller initial weights of the "
                "projections into the residual stream (0.02 / √(2L) in GPT-2), and a norm before each branch, prevent "
                "this."
            )
            yield Cause("activations", text, OUTPUT_OVER_DEPTH, blocks[-1][0])
        elif growth < 1e-3:
            text = (
                f"Activations vanish over the depth: {blocks[0][1]:.2g} after {blocks[0][0]}, {blocks[-1][1]:.2g} "
                f"after {blocks[-1][0]}."
            )
            yield Cause("activations", text, OUTPUT_OVER_DEPTH, blocks[-1][0])
    for name, share in flow.items():
        if name.endswith(DEAD) and share > 0.5:
            block = name.removesuffix(DEAD)
            text = (
                f"{share:.0%} of the hidden units of {block}.mlp are dead: below -3 for every token of the batch, "
                "where no gradient passes."
            )
            yield Cause("activations", text, DEAD_UNITS, block)
            return
