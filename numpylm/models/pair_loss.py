"""DPO through a whole model: the loss of a batch of pairs of answers, and its gradient for every parameter."""

from typing import Any

import numpy as np

from numpylm.nn.module import Array, Cache
from numpylm.nn.preference import answer_log_prob, answer_log_prob_backward, dpo_loss, dpo_loss_backward


def pair_loss(
    model: Any,
    ids: Array,
    targets: Array,
    reference: Array,
    beta: float,
    rng: np.random.Generator | None = None,
    count: int | None = None,
) -> tuple[float, Cache]:
    """`dpo_loss` of P pairs. The model reads all 2 P rows in one call.

    Parameters
    ----------
    model : GPT or Llama
    ids : int array (P, 2, T)
        Prompt and answer. Of each pair, row 0 has the chosen answer and row 1 the rejected one.
    targets : int array (P, 2, T)
        The next token where it belongs to the answer, -100 elsewhere.
    reference : float array (P, 2)
        The log-probabilities of the answers under the model that training began with.
    beta, count
        As in `dpo_loss`.
    rng : numpy.random.Generator, optional
        Given: dropout.

    Notes
    -----
    The loss depends on the model only through 2 P sums of log-probabilities, so the chain rule goes through them:
    dL/dsums (P, 2) from `dpo_loss_backward`, then dL/dlogits (2 P, T, V), then the model's own backward. A
    load-balancing loss of experts is not part of equation 7, and is not added.
    """
    P, two, T = ids.shape
    logits, model_cache = model.forward(ids.reshape(P * two, T), rng)  # (2 P, T, V)
    sums, sums_cache = answer_log_prob(logits, targets.reshape(P * two, T))
    chosen, rejected = sums.reshape(P, two).T
    loss, loss_cache = dpo_loss(chosen, rejected, reference[:, 0], reference[:, 1], beta, count)
    return loss, (model_cache, sums_cache, loss_cache)


def pair_loss_backward(model: Any, dloss: float, cache: Cache) -> None:
    """Gradient of `pair_loss`: adds to every parameter's ``.grad``."""
    model_cache, sums_cache, loss_cache = cache
    dsums = np.stack(dpo_loss_backward(dloss, loss_cache), axis=1)  # (P, 2)
    model.backward(answer_log_prob_backward(dsums.reshape(-1), sums_cache), model_cache)


def pair_loss_and_grad(model: Any, **arguments: Any) -> float:
    """Compute `pair_loss` and add its gradient to every parameter's ``.grad``."""
    loss, cache = pair_loss(model, **arguments)
    pair_loss_backward(model, 1.0, cache)
    return loss
