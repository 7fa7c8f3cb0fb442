"""Linear, Embedding, LayerNorm, Dropout: the layers that everything else is built from.

Each is an object that owns its parameters; see `numpylm.nn.module` for the two methods that all of them have. The
gradients are derived in each docstring's Notes; ``dy`` is short for dL/dy, and · between arrays is the
elementwise product.
"""

import numpy as np
from numpy.typing import DTypeLike

from numpylm.nn.functional import dropout, dropout_backward
from numpylm.nn.module import Array, Cache, Module, Parameter, check_last_axis, normal


class Linear(Module):
    """Affine map of the last axis: y = x W + b.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
        Whether to add b.
    std : float
        Standard deviation of the initial weights, 0.02 in GPT-2; the bias starts at zero.
    rng : numpy.random.Generator, optional
    dtype : dtype

    Attributes
    ----------
    weight : Parameter (in_features, out_features)
        Input first, as in GPT-2's files; ``torch.nn.Linear`` keeps the transpose.
    bias : Parameter (out_features,) or None

    Notes
    -----
    With the leading axes flattened to N rows, y_nj = Σ_i x_ni W_ij + b_j. Each partial derivative is a single
    factor of that sum, as ∂y_nj/∂W_ij = x_ni; the chain rule adds up over all y that a variable reaches:

        dx_ni = Σ_j dy_nj W_ij    dx = dy Wᵀ
        dW_ij = Σ_n x_ni dy_nj    dW = xᵀ dy
        db_j  = Σ_n dy_nj         db = column sums of dy
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        std: float = 0.02,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        rng = rng or np.random.default_rng()
        self.weight = normal(rng, (in_features, out_features), std, dtype)
        self.bias = Parameter(np.zeros(out_features, dtype)) if bias else None

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """x (..., in) -> y (..., out)."""
        n_in, n_out = self.weight.shape
        check_last_axis(self, x, n_in)
        y = x.reshape(-1, n_in) @ self.weight.data  # (N, out)
        if self.bias is not None:
            y += self.bias.data
        return y.reshape(*x.shape[:-1], n_out), x

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dy (..., out) -> dx (..., in); adds to weight.grad and bias.grad."""
        x = cache
        n_in, n_out = self.weight.shape
        dy2 = dy.reshape(-1, n_out)  # (N, out)
        if not self.weight.frozen:  # spares the product
            self.weight.grad += x.reshape(-1, n_in).T @ dy2  # (in, N) @ (N, out)
        if self.bias is not None and not self.bias.frozen:
            self.bias.grad += dy2.sum(axis=0)
        return (dy2 @ self.weight.data.T).reshape(x.shape)


class Embedding(Module):
    """A table of vectors, one a row; the forward looks rows up.

    Parameters
    ----------
    num_embeddings : int
        V, how many ids there are.
    embedding_dim : int
        C, the length of each vector.
    std, rng, dtype
        As in `Linear`.

    Attributes
    ----------
    weight : Parameter (num_embeddings, embedding_dim)

    Notes
    -----
    y_n = W[id_n]. Row v of W is used wherever id_n = v, so its gradient is the *sum* over those places:

        dW_v = Σ_{n : id_n = v} dy_n.

    ``dW[ids] += dy`` would keep only the last of several equal ids. Ids are not differentiable: no dx.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        std: float = 0.02,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        rng = rng or np.random.default_rng()
        self.weight = normal(rng, (num_embeddings, embedding_dim), std, dtype)

    def forward(self, ids: Array) -> tuple[Array, Cache]:
        """ids int (...) -> y (..., C). Raises ValueError for an id outside [0, V)."""
        ids = np.asarray(ids)
        if ids.dtype.kind not in "iu":
            raise ValueError(f"Embedding expects integer ids, got {ids.dtype}")
        V = self.weight.shape[0]
        if ids.min(initial=0) < 0 or ids.max(initial=0) >= V:  # initial: there may be no ids at all
            bad = ids[(ids < 0) | (ids >= V)].flat[0]
            raise ValueError(f"Embedding has {V} rows: ids must lie in [0, {V}), got {bad}")
        return self.weight.data[ids], ids

    def backward(self, dy: Array, cache: Cache) -> None:
        """dy (..., C); adds to weight.grad. There is no gradient for ids."""
        ids = cache.reshape(-1)
        if self.weight.frozen or not len(ids):
            return
        dy = dy.reshape(len(ids), -1)  # (N, C)
        # Equal ids are sorted next to each other, and the rows of each run are summed. For sorted ids 2 2 5 the runs
        # start at 0 and 2. Then each id comes once, so += is safe. (np.add.at alone would do, and takes longer.)
        order = np.argsort(ids, kind="stable")
        sorted_ids = ids[order]
        starts = np.flatnonzero(np.r_[True, sorted_ids[1:] != sorted_ids[:-1]])
        self.weight.grad[sorted_ids[starts]] += np.add.reduceat(dy[order], starts, axis=0)


class LayerNorm(Module):
    """Layer normalisation over the last axis (Ba, Kiros & Hinton 2016, arXiv:1607.06450, equations 3-4).

        μ = mean(x),  σ² = mean((x - μ)²),  x̂ = (x - μ) / √(σ² + ε),  y = γ · x̂ + β

    The variance is the biased one (divided by C, not C - 1) and ε stands inside the root, as in GPT-2.

    Parameters
    ----------
    dim : int
        C, the number of features that are normalised together.
    eps : float
        ε, in units of x²; keeps a constant row finite.
    bias : bool
        Whether to add β.
    dtype : dtype

    Attributes
    ----------
    weight : Parameter (C,)
        γ, ones at first.
    bias : Parameter (C,) or None
        β, zeros at first.

    Notes
    -----
    Write r = 1/√(σ² + ε) and g = dy · γ, the gradient that arrives at x̂. For one row of C features,

        ∂σ²/∂x_j  = 2 (x_j - μ) / C           (μ's own share vanishes: Σ (x_i - μ) = 0)
        ∂r/∂x_j   = -½ r³ ∂σ²/∂x_j = -r² x̂_j / C
        ∂x̂_i/∂x_j = r (δ_ij - 1/C) + (x_i - μ) ∂r/∂x_j = r (δ_ij - 1/C - x̂_i x̂_j / C).

    Multiplying by g_i and summing over i:

        dx = r (g - mean(g) - x̂ · mean(g · x̂)).

    The two means take out of g the directions of x that leave y as it is: shifting and (but for ε) stretching the
    row. The gain belongs *inside* them, in g. Summed over all rows n: dγ = Σ dy_n · x̂_n and dβ = Σ dy_n.
    """

    def __init__(self, dim: int, eps: float = 1e-5, bias: bool = True, *, dtype: DTypeLike = np.float32) -> None:
        self.eps = eps
        self.weight = Parameter(np.ones(dim, dtype))
        self.bias = Parameter(np.zeros(dim, dtype)) if bias else None

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """x (..., C) -> y (..., C)."""
        C = self.weight.shape[0]
        check_last_axis(self, x, C)
        # sum / C and vecdot are mean(x) and (centred * centred).sum(-1), with less overhead and without a temporary.
        centred = x - x.sum(axis=-1, keepdims=True) / C
        variance = np.vecdot(centred, centred)[..., None] / C  # (..., 1)
        rstd = 1 / np.sqrt(variance + self.eps)  # (..., 1)
        xhat = centred * rstd
        y = xhat * self.weight.data
        if self.bias is not None:
            y += self.bias.data
        return y, (xhat, rstd)

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dy (..., C) -> dx (..., C); adds to weight.grad and bias.grad."""
        xhat, rstd = cache
        C = xhat.shape[-1]
        rows = dy.reshape(-1, C)  # (N, C)
        if not self.weight.frozen:  # einsum: (rows * x̂).sum(axis=0) without the product in memory
            self.weight.grad += np.einsum("nc,nc->c", rows, xhat.reshape(-1, C))
        if self.bias is not None and not self.bias.frozen:
            self.bias.grad += rows.sum(axis=0)
        g = dy * self.weight.data
        mean_g = g.sum(axis=-1, keepdims=True) / C  # (..., 1)
        mean_gx = np.vecdot(g, xhat)[..., None] / C  # (..., 1)
        dx = g - mean_g
        dx -= xhat * mean_gx
        dx *= rstd
        return dx


class Dropout(Module):
    """Dropout as a layer: `numpylm.nn.functional.dropout` with a fixed p.

    There is no training flag: dropout happens when, and only when, the forward is given an ``rng``. The cache and not
    the layer keeps the mask, so a layer that is called three times has three masks.

    Parameters
    ----------
    p : float in [0, 1)
        The probability of dropping a number.
    """

    def __init__(self, p: float) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: p must lie in [0, 1), got {p}")
        self.p = p

    def forward(self, x: Array, rng: np.random.Generator | None = None) -> tuple[Array, Cache]:
        """x (any shape) -> y (same shape). Without ``rng`` (evaluation), or with p = 0, y is x."""
        return dropout(x, self.p, rng)

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dy -> dx, through the mask of that very call."""
        return dropout_backward(dy, cache)


def tied_head(x: Array, embedding: Embedding) -> tuple[Array, Cache]:
    """The output layer that shares the embedding's matrix: logits = x Wᵀ (Press & Wolf 2017, arXiv:1608.05859).

    Parameters
    ----------
    x : array (..., C)
    embedding : Embedding (V, C)

    Returns
    -------
    logits : array (..., V)
        How well each token's vector fits x.
    cache : array (N, C)

    Notes
    -----
    A linear layer without bias whose weight is Wᵀ (see `Linear`): dx = dlogits W and dW = dlogitsᵀ x. W is used as
    the look-up table, too, so `tied_head_backward` and `Embedding.backward` add to the same gradient.
    """
    rows = x.reshape(-1, x.shape[-1])  # (N, C): one product of matrices; a stack of small ones is slower
    logits = rows @ embedding.weight.data.T  # (N, V)
    return logits.reshape(*x.shape[:-1], -1), rows


def tied_head_backward(dlogits: Array, cache: Cache, embedding: Embedding) -> Array:
    """Gradient of `tied_head`: dlogits (..., V) -> dx (..., C); adds to embedding.weight.grad."""
    rows, weight = cache, embedding.weight
    dlogits2 = dlogits.reshape(len(rows), -1)  # (N, V)
    if not weight.frozen:
        weight.grad += dlogits2.T @ rows  # (V, N) @ (N, C)
    return (dlogits2 @ weight.data).reshape(*dlogits.shape[:-1], -1)
