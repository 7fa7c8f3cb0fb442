"""Output layers for the trunk of an encoder: predicting masked tokens, and classifying a whole text."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numpylm.nn.functional import ACTIVATIONS, tanh, tanh_backward
from numpylm.nn.layers import Dropout, Embedding, LayerNorm, Linear, tied_head, tied_head_backward
from numpylm.nn.module import Array, Cache, Module, Parameter


class MaskedLMHead(Module):
    """BERT's output layer for masked tokens (Devlin et al. 2018, arXiv:1810.04805, section 3.1).

        logits = layer_norm(φ(x W + b)) Eᵀ + bias,        E: the token embedding, which the head shares

    The paper says only that a softmax over the vocabulary follows. The layer before it is that of the authors' code.

    Parameters
    ----------
    n_embd, vocab_size : int
    activation : str
        φ, as in `MLP`.
    layer_norm_eps, rng, dtype

    Attributes
    ----------
    dense : Linear (C, C)
    layer_norm : LayerNorm
    bias : Parameter (V,)
        The names are RoBERTa's.
    """

    def __init__(
        self,
        n_embd: int,
        vocab_size: int,
        activation: str = "gelu",
        *,
        layer_norm_eps: float = 1e-12,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.activate, self.activate_backward = ACTIVATIONS[activation]
        self.dense = Linear(n_embd, n_embd, rng=rng, dtype=dtype)
        self.layer_norm = LayerNorm(n_embd, layer_norm_eps, dtype=dtype)
        self.bias = Parameter(np.zeros(vocab_size, dtype))

    def forward(self, x: Array, embedding: Embedding) -> tuple[Array, Cache]:
        """x (..., C) -> logits (..., V)."""
        hidden, dense_cache = self.dense.forward(x)  # (..., C)
        active, act_cache = self.activate(hidden)
        normed, norm_cache = self.layer_norm.forward(active)
        logits, tied_cache = tied_head(normed, embedding)  # (..., V)
        logits += self.bias.data
        return logits, (dense_cache, act_cache, norm_cache, tied_cache)

    def backward(self, dlogits: Array, cache: Cache, embedding: Embedding) -> Array:
        """dlogits (..., V) -> dx (..., C); adds to the gradients of the head and of the embedding."""
        dense_cache, act_cache, norm_cache, tied_cache = cache
        if not self.bias.frozen:
            self.bias.grad += dlogits.reshape(-1, dlogits.shape[-1]).sum(axis=0)
        dnormed = tied_head_backward(dlogits, tied_cache, embedding)  # (..., C)
        dactive = self.layer_norm.backward(dnormed, norm_cache)
        return self.dense.backward(self.activate_backward(dactive, act_cache), dense_cache)


class ClassificationHead(Module):
    """One vector for a whole text, and from it the logits of K labels.

        logits = dropout(tanh(pool(x) W + b)) W_out + b_out

    Parameters
    ----------
    n_embd, n_labels : int
        C and K.
    pooling : {"first", "mean"}
        The vector of the text: the hidden state of its first token, as in BERT (Devlin et al. 2018, section 4), or the
        mean over all real tokens. The layer with tanh is the "pooler" of BERT's code.
    dropout : float
    rng, dtype

    Attributes
    ----------
    dense : Linear (C, C)
    out_proj : Linear (C, K)
        The names are RoBERTa's.
    """

    def __init__(
        self,
        n_embd: int,
        n_labels: int,
        pooling: str = "first",
        dropout: float = 0.0,
        *,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        if pooling not in ("first", "mean"):
            raise ValueError(f'pooling must be "first" or "mean", got {pooling!r}')
        self.pooling = pooling
        self.dense = Linear(n_embd, n_embd, rng=rng, dtype=dtype)
        self.out_proj = Linear(n_embd, n_labels, rng=rng, dtype=dtype)
        self.drop = Dropout(dropout)

    def forward(
        self, x: Array, mask: Array | None = None, rng: np.random.Generator | None = None
    ) -> tuple[Array, Cache]:
        """x (B, T, C) -> logits (B, K). ``mask`` is bool (B, T), True for a real token."""
        pooled, pool_cache = pool_first(x) if self.pooling == "first" else pool_mean(x, mask)  # (B, C)
        hidden, dense_cache = self.dense.forward(pooled)  # (B, C)
        active, tanh_cache = tanh(hidden)
        dropped, drop_cache = self.drop.forward(active, rng)
        logits, out_cache = self.out_proj.forward(dropped)  # (B, K)
        return logits, (pool_cache, dense_cache, tanh_cache, drop_cache, out_cache)

    def backward(self, dlogits: Array, cache: Cache) -> Array:
        """dlogits (B, K) -> dx (B, T, C); adds to the gradients of the head."""
        pool_cache, dense_cache, tanh_cache, drop_cache, out_cache = cache
        dactive = self.drop.backward(self.out_proj.backward(dlogits, out_cache), drop_cache)  # (B, C)
        dpooled = self.dense.backward(tanh_backward(dactive, tanh_cache), dense_cache)  # (B, C)
        return (pool_first_backward if self.pooling == "first" else pool_mean_backward)(dpooled, pool_cache)


# ---------------------------------------------------------------------------------------------- pooling


def pool_first(x: Array) -> tuple[Array, Cache]:
    """The first position: x (B, T, C) -> (B, C)."""
    return x[:, 0], x.shape


def pool_first_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `pool_first`: dy at the first position, zero elsewhere."""
    dx = np.zeros(cache, dy.dtype)
    dx[:, 0] = dy
    return dx


def pool_mean(x: Array, mask: Array | None = None) -> tuple[Array, Cache]:
    """The mean over all real positions: x (B, T, C) -> (B, C). ``mask`` is bool (B, T), True for a real token.

    y = Σ_t m_t x_t / n with n = Σ_t m_t, so dx_t = m_t dy / n.
    """
    real = np.ones(x.shape[:2], bool) if mask is None else np.asarray(mask, bool)
    share = (real / np.maximum(real.sum(axis=1, keepdims=True), 1)).astype(x.dtype)  # (B, T): m / n
    return (share[:, None] @ x)[:, 0], share  # (B, 1, T) @ (B, T, C)


def pool_mean_backward(dy: Array, cache: Any) -> Array:
    """Gradient of `pool_mean`: dx (B, T, C)."""
    share = cache
    return share[..., None] * dy[:, None]
