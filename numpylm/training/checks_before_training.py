"""Checks of `numpylm.diagnose` before the first step: the batch, the forward, zero_grad, weights and first loss."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from numpylm.check.report import Cause
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.module import Array, Parameter
from numpylm.training.activations import activations
from numpylm.training.diagnosis_report import (
    EQUAL_WEIGHTS,
    FIRST_LOSS,
    LOSS_TIMES_SIZE,
    NO_TARGETS,
    NOT_FINITE,
    NOT_RESET,
    ONE_TARGET,
    SEES_OTHER_SEQUENCES,
    SEES_THE_FUTURE,
    WRONG_TARGETS,
    Diagnosis,
    times_too_much,
    trained,
)


def look_at_batch(ids: Array, targets: Array) -> Iterator[Cause]:
    """Check the targets: are they the next tokens of these ids?"""
    counted = targets != IGNORE_INDEX
    if not counted.any():
        text = "No target is counted: all are -100, so there is nothing to learn. Were prompt and answer masked alike?"
        yield Cause("no-targets", text, NO_TARGETS, "targets")
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
            yield Cause("targets", text, WRONG_TARGETS, "targets")
        elif before > 0.95 and after < 0.9:
            text = "The targets are shifted the wrong way: each is the token *before*, not the token after."
            yield Cause("targets", text, WRONG_TARGETS, "targets")
        elif after < 0.9:
            yield from _shifted_too_far(ids, targets, counted)
    if len(np.unique(targets[counted])) == 1 and counted.sum() > 4:
        text = (
            f"Every target is the same token, {int(targets[counted][0])}: the model will learn that one and nothing "
            "else."
        )
        yield Cause("targets", text, ONE_TARGET, "targets")


def _shifted_too_far(ids: Array, targets: Array, counted: Array) -> Iterator[Cause]:
    """Check for targets that are two or three tokens ahead: shifted once in the data, and again in the loss."""
    for shift in (2, 3):
        known = counted[:, :-shift]
        if ids.shape[1] > shift + 2 and known.any() and (ids[:, shift:] == targets[:, :-shift])[known].mean() > 0.95:
            text = (
                f"Each target is the token {shift} positions after the one that the model reads there, not the next "
                "one: ids and targets are shifted more than once (in the data and again in the loss?)."
            )
            yield Cause("targets", text, WRONG_TARGETS, "targets")


def look_at_forward(gpt: Any, ids: Array, logits: Array) -> Iterator[Cause]:
    """Check for NaN and infinity, and whether the logits depend on later tokens or on other sequences of the batch."""
    if not np.isfinite(logits).all():
        first = next((name for name, std in activations(gpt, ids).items() if not math.isfinite(std)), "the logits")
        text = f"The forward gives NaN or infinity. The first part whose output contains it is {first}."
        yield Cause("not-finite", text, NOT_FINITE, first)
        return
    V = logits.shape[-1]
    scale = float(np.abs(logits).max()) + 1e-9
    if ids.shape[1] > 1:
        changed = ids.copy()
        changed[:, -1] = (changed[:, -1] + 1) % V
        gap = np.abs(gpt.forward(changed)[0] - logits)[:, :-1].max()
        if gap > 1e-4 * scale:
            text = (
                f"The model sees the future: changing the last token changes the predictions before it (by {gap:.2g}). "
                "It will reach a loss near zero and generate nonsense. The causal mask is missing or off by one."
            )
            yield Cause("causal", text, SEES_THE_FUTURE, "forward")
    if len(ids) > 1:
        changed = ids.copy()
        changed[-1] = (changed[-1] + 1) % V
        gap = np.abs(gpt.forward(changed)[0] - logits)[:-1].max()
        if gap > 1e-4 * scale:
            text = f"The sequences of a batch affect each other: changing the last changes the others (by {gap:.2g})."
            yield Cause("mixing", text, SEES_OTHER_SEQUENCES, "forward")


def mean_loss(logits: Array, targets: Array) -> float:
    """The mean cross-entropy of logits in float64, as a reference for the model's loss."""
    counted = targets != IGNORE_INDEX
    z = logits[counted].astype(np.float64)
    z -= z.max(axis=-1, keepdims=True)
    picked = np.take_along_axis(z, targets[counted][:, None], axis=-1)[:, 0]
    return float(np.mean(np.log(np.exp(z).sum(axis=-1)) - picked))


def look_at_zero_grad(gpt: Any) -> Iterator[Cause]:
    """Check that zero_grad sets all gradients to zero. Otherwise the gradients of all steps add up."""
    gpt.zero_grad()
    left = next((name for name, p in trained(gpt) if np.any(p.grad)), "")
    if left:
        text = (
            f"zero_grad does not reset the gradient of {left}. Every backward adds to it, so each step would follow "
            "the sum of all gradients since the start."
        )
        yield Cause("state", text, NOT_RESET, left)
        for _, p in trained(gpt):
            p.grad[...] = 0


def look_at_weights(named: list[tuple[str, Parameter]]) -> Iterator[Cause]:
    """Check for matrices that are all zero, or in which all values are equal."""
    matrices = [(name, p.data) for name, p in named if p.data.ndim >= 2 and p.data.size > 1]
    zero = [name for name, data in matrices if not np.any(data)]
    if len(zero) > len(matrices) / 2:
        text = (
            f"{len(zero)} of {len(matrices)} weight matrices are zero "
            f"({zero[0]} first). Then no signal flows forward and no gradient flows back, and this does not change: "
            "draw them at random, as GPT-2 does with a standard deviation of 0.02."
        )
        yield Cause("initial-values", text, EQUAL_WEIGHTS, zero[0])
        return
    alike = [name for name, data in matrices if np.any(data) and np.ptp(data) == 0]
    if alike:
        text = (
            f"All values in {alike[0]} are equal"
            + (f" (and in {len(alike) - 1} more matrices)" if len(alike) > 1 else "")
            + ": then all its units compute the same, get the same gradient and stay equal forever. Draw them at "
            "random."
        )
        yield Cause("initial-values", text, EQUAL_WEIGHTS, alike[0])


def look_at_start(result: Diagnosis, fresh: bool, mean: float, targets: Array) -> Iterator[Cause]:
    """Compare the first loss with the mean cross-entropy of the logits and with ln V."""
    loss, guess = result.losses[0], math.log(result.vocab_size)
    times = times_too_much(loss / mean if mean else 1.0, targets)
    if times:
        text = (
            f"The loss at the start, {loss:.3f}, is {loss / mean:.4g} times the mean cross-entropy of its logits "
            f"({mean:.3f}): {times}. Divide the sum by exactly the number of counted tokens."
        )
        yield Cause("counting", text, LOSS_TIMES_SIZE, "loss")
        return
    if not fresh:
        return
    if loss > 1.15 * guess + 0.3:
        text = (
            f"The loss at the start, {loss:.3f}, is far above guessing (ln V = {guess:.3f}): the model is sure of "
            "wrong answers. The initial weights are too large; GPT-2 draws them with a standard deviation of 0.02."
        )
        yield Cause("initial-values", text, FIRST_LOSS, "loss")
    elif loss < 0.85 * guess:
        text = (
            f"The loss at the start, {loss:.3f}, is far below guessing (ln V = {guess:.3f}): an untrained model "
            "cannot be that good. Does it see its targets, or is the loss divided by too many tokens? (If the model is "
            "trained, pass fresh=False.)"
        )
        yield Cause("counting", text, FIRST_LOSS, "loss")
