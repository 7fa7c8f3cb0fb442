"""Private gradients (DP-SGD): each example's gradient is clipped, the clipped gradients are summed, noise is added.

The algorithm is that of Abadi et al. 2016 (arXiv:1607.00133, algorithm 1), with batches of random size as its proof
needs them: each example is drawn on its own, with probability q.

    ḡ = 1/B (Σ_{i in batch} g_i min(1, C / ‖g_i‖) + N(0, σ² C² I)),    B = q n, the expected batch
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.module import Array, Parameter

CHUNK = 2**16  # numbers that get their noise at a time


def poisson_sample(n: int, q: float, rng: np.random.Generator) -> Array:
    """The indices of a random batch: each of n examples is in it with probability q. It may be empty."""
    return np.flatnonzero(rng.random(n) < q)


def clipped_loss_and_grad(
    model: Any,
    ids: Array,
    targets: Array,
    clip: float,
    rng: np.random.Generator | None = None,
    count: float | None = None,
    label_smoothing: float = 0.0,
) -> float:
    """Add the sum of the clipped gradients of all examples, divided by ``count``, to the ``.grad`` of every parameter.

    Parameters
    ----------
    model : GPT or Llama
    ids, targets : int array (B, T)
        Each row is one example, padded at the right with targets of -100. Its loss is the mean over its own tokens.
    clip : float
        C, the largest norm of the gradient of one example.
    rng : numpy.random.Generator, optional
        Draws the masks of dropout.
    count : float, optional
        The expected size of the batch. Default: B.
    label_smoothing : float

    Returns
    -------
    float
        The sum of the examples' losses, in nats per token, divided by ``count``.

    Notes
    -----
    The examples go through the model one at a time, without their padding. ``.grad`` holds the gradient of one example,
    and a second array of the same size holds the sum. So the memory does not depend on the size of the batch.

    The norm is that of all parameters together, each counted once. A tied embedding has one gradient with two parts,
    from the lookup and from the output layer. The parts are added before the norm is computed: their sum is what an
    example changes. Examples are added or removed whole, so one of them moves the sum by at most C / count.
    """
    count = len(ids) if count is None else count
    parameters = model.trainable_parameters()
    sums = [p.grad for p in parameters]
    for p in parameters:
        p.grad = np.zeros_like(p.data)
    total = 0.0
    try:
        for row, wanted in zip(ids, targets, strict=True):
            T = int(np.flatnonzero(wanted != IGNORE_INDEX)[-1]) + 1  # without the padding
            for p in parameters:
                p.zero_grad()
            total += model.loss_and_grad(row[None, :T], wanted[None, :T], rng, label_smoothing=label_smoothing)
            scale = clip_factor(parameters, clip) / count
            for total_grad, p in zip(sums, parameters, strict=True):
                p.grad *= scale
                total_grad += p.grad
    finally:
        for total_grad, p in zip(sums, parameters, strict=True):
            p.grad = total_grad
    return total / count


def clip_factor(parameters: Sequence[Parameter], clip: float) -> float:
    """min(1, C / ‖g‖), where g is the gradient of all parameters together. It is NaN if the norm is."""
    norm = math.sqrt(sum(float(np.vdot(p.grad, p.grad)) for p in parameters))
    return 1.0 if norm <= clip else clip / norm


def add_noise(parameters: Sequence[Parameter], std: float, rng: np.random.Generator) -> None:
    """Add N(0, std²) to every number of every gradient, in place and in chunks, so that it takes little memory."""
    for p in parameters:
        grad = p.grad.reshape(-1)  # a view, because gradients are contiguous
        for start in range(0, grad.size, CHUNK):
            piece = grad[start : start + CHUNK]
            piece += std * rng.standard_normal(piece.size).astype(grad.dtype)
