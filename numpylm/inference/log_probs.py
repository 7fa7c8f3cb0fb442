"""Log-probabilities from logits: of all tokens or labels, or of the right ones alone."""

from collections.abc import Collection

import numpy as np

from numpylm.nn.module import Array


def log_softmax(logits: Array, forbidden_ids: Collection[int] = ()) -> Array:
    """log softmax(logits) over the last axis; -inf for tokens that must not be chosen."""
    z = logits - logits.max(axis=-1, keepdims=True)
    z -= np.log(np.exp(z).sum(axis=-1, keepdims=True))
    z[..., list(forbidden_ids)] = -np.inf
    return z


def log_softmax_of(z: Array, y: Array) -> tuple[Array, Array]:
    """log p_y for each row of logits z (N, V), in float64, and whether y (N,) is its largest logit. Overwrites z.

    log p_y = z_y - log Σ_j exp z_j = (z_y - m) - log Σ_j exp(z_j - m),    m = max z
    """
    rows, likeliest = np.arange(len(y)), z.argmax(axis=-1)  # (N,)
    z -= z[rows, likeliest][:, None]
    z_y = z[rows, y].astype(np.float64)
    np.exp(z, out=z)
    return z_y - np.log(z.sum(axis=-1, dtype=np.float64)), likeliest == y
