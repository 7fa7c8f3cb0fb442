"""`numpylm.diagnose`: train a copy of a model on one batch for some steps, and report what looks wrong.

A gradient check verifies each layer. It does not find a learning rate that is ten times too high, targets that are not
shifted, a mask that lets the model see the future, or activations that grow from block to block. `diagnose` checks
these. It works on copies, so the given model is not changed.
"""

import copy
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from numpylm.nn.module import Array
from numpylm.nn.optim import AdamW, clip_grad_norm
from numpylm.training import checks_before_training, checks_while_training
from numpylm.training.activations import DEAD, activations
from numpylm.training.diagnosis_report import Diagnosis, Part, part_of, total_norm, trained

STEPS = 40
WARMUP = 10  # steps of learning-rate warmup
MEASURED_STEPS = 10  # at the end, in which changes of weights are measured, because the first steps are larger


def diagnose(
    gpt: Any,
    ids: Array,
    targets: Array,
    *,
    lr: float = 1e-3,
    steps: int = STEPS,
    rng: np.random.Generator | None = None,
    optimizer: Callable[..., Any] = AdamW,
    fresh: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Diagnosis:
    """Train a copy of a model on one batch for some steps, and report what looks wrong.

    Parameters
    ----------
    gpt : GPT, or anything with ``forward``, ``loss_and_grad``, ``zero_grad`` and ``named_parameters``
    ids, targets : int arrays (B, T)
        One batch, as for ``gpt.loss_and_grad``.
    lr : float
        The learning rate that training will use.
    steps : int
        Number of steps.
    rng : numpy.random.Generator, optional
        If given, dropout is applied in the steps.
    optimizer : class
        ``optimizer(parameters, lr=lr)`` with a method ``step()``.
    fresh : bool
        Whether the model is untrained, so that its loss should be near ln V.
    progress : function, optional
        Called with a line of text every ten steps, for example ``print``.

    Returns
    -------
    diagnosis : Diagnosis
    """
    start = time.perf_counter()
    original = gpt
    gpt, ids, targets = copy.deepcopy(gpt), np.asarray(ids), np.asarray(targets)
    logits, _ = gpt.forward(ids)
    result = Diagnosis(f"{type(gpt).__name__}, one batch of {'×'.join(map(str, ids.shape))}", [], [], logits.shape[-1])
    result.findings += [
        *checks_before_training.look_at_batch(ids, targets),
        *checks_before_training.look_at_forward(gpt, ids, logits),
    ]
    flow = activations(gpt, ids)
    if any(finding.kind in ("not-finite", "no-targets") for finding in result.findings):
        parts = [name for name in flow if not name.endswith(DEAD)]
        result.parts = [Part(name, math.nan, math.nan, math.nan, flow[name]) for name in parts]
        return result
    gpt.zero_grad()
    result.losses.append(gpt.loss_and_grad(ids, targets))
    named = trained(gpt)
    gradients = {name: float(np.linalg.norm(p.grad)) for name, p in named}
    result.findings += checks_before_training.look_at_zero_grad(gpt)
    # Bad weights explain all other findings.
    bad_weights = list(checks_before_training.look_at_weights(named))
    result.findings += bad_weights or [
        *checks_before_training.look_at_start(
            result, fresh, checks_before_training.mean_loss(logits, targets), targets
        ),
        *checks_while_training.look_at_gradients(
            named,
            # LoRA's B is zero at first, so the gradient of A is rightly zero
            {name: norm for name, norm in gradients.items() if not name.endswith("lora_A")},
            lambda name: checks_while_training.influences(gpt, ids, targets, name),
        ),
        *checks_while_training.compare_with_loss(gpt, ids, targets),
    ]
    weights = {name: float(np.linalg.norm(p.data)) for name, p in named}
    updates = short_run(gpt, ids, targets, lr, steps, rng, optimizer, result, progress)
    result.parts = _parts(weights, gradients, updates, flow)
    if not bad_weights:
        result.findings += [
            *checks_while_training.look_at_run(result, lr),
            *checks_while_training.look_at_flow(result.parts, flow),
            *checks_while_training.look_at_updates(result.parts, updates, lr),
        ]

        def with_rate(rate: float) -> list[float]:
            again = Diagnosis("", [], [], result.vocab_size)
            short_run(copy.deepcopy(original), ids, targets, rate, steps, rng, optimizer, again)
            return again.losses

        result.findings += checks_while_training.look_at_smaller_rates(result, lr, with_rate)
    result.seconds = time.perf_counter() - start
    return result


def _parts(
    weights: dict[str, float], gradients: dict[str, float], updates: dict[str, list[float]], flow: dict[str, float]
) -> list[Part]:
    """The table of the diagnosis: the norms of all parameters, summarized for each part of the model."""
    parts = []
    for group in dict.fromkeys(part_of(name) for name in weights):
        own = [name for name in weights if part_of(name) == group]
        weight, gradient = total_norm(weights, own), total_norm(gradients, own)
        parts.append(Part(group, weight, gradient, _median(updates, own), flow.get(group, math.nan)))
    return parts


def _median(updates: dict[str, list[float]], names: list[str]) -> float:
    found = [ratio for name in names for ratio in updates.get(name, [])]
    return float(np.median(found)) if found else math.nan


def short_run(
    gpt: Any,
    ids: Array,
    targets: Array,
    lr: float,
    steps: int,
    rng: np.random.Generator | None,
    optimizer: Callable[..., Any],
    result: Diagnosis,
    progress: Callable[[str], None] | None = None,
) -> dict[str, list[float]]:
    """Train on the same batch. It fills in the losses, and returns |change| / |weight| of each matrix for each step."""
    named = trained(gpt)
    stepper = optimizer([p for _, p in named], lr=lr)
    ratios: dict[str, list[float]] = {name: [] for name, p in named if p.data.ndim >= 2}
    result.losses = []
    for step in range(steps + 1):
        gpt.zero_grad()
        loss = gpt.loss_and_grad(ids, targets, rng) if rng is not None else gpt.loss_and_grad(ids, targets)
        result.losses.append(float(loss))
        if progress is not None and step % 10 == 0:
            progress(f"step {step} of {steps}: loss {loss:.4f}")
        if step == steps or not math.isfinite(loss):
            break
        clip_grad_norm([p for _, p in named], 1.0)
        before = {name: p.data.copy() for name, p in named if name in ratios} if step >= steps - MEASURED_STEPS else {}
        stepper.lr = lr * min(1.0, (step + 1) / WARMUP)
        stepper.step()
        for name, p in named:
            if name in before:
                size = float(np.linalg.norm(before[name]))
                if size:  # the relative change of a zero matrix is not defined
                    ratios[name].append(float(np.linalg.norm(p.data - before[name])) / size)
    return ratios
