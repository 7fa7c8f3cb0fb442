"""Linear, Embedding, LayerNorm, RMSNorm, Dropout, and the output layer tied to the embedding.

Each layer is an object that owns its parameters. `numpylm.nn.module` explains the two methods that all layers have.
The Notes of each docstring derive the gradients. ``dy`` is short for dL/dy, and · between arrays is the elementwise
product.
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
        Standard deviation of the initial weights, 0.02 in GPT-2. The bias starts at zero.
    rng : numpy.random.Generator, optional
    dtype : dtype

    Attributes
    ----------
    weight : Parameter (in_features, out_features)
        Input first, as in GPT-2's files. ``torch.nn.Linear`` stores the transpose.
    bias : Parameter (out_features,) or None

    Notes
    -----
    With the leading axes flattened to N rows, y_nj = Σ_i x_ni W_ij + b_j. Each partial derivative is a single
    factor of that sum, for example ∂y_nj/∂W_ij = x_ni. The chain rule sums over all y that a variable affects:

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
        dy_rows = dy.reshape(-1, n_out)  # (N, out)
        if not self.weight.frozen:  # a frozen weight does not need this product
            self.weight.grad += x.reshape(-1, n_in).T @ dy_rows  # (in, N) @ (N, out)
        if self.bias is not None and not self.bias.frozen:
            self.bias.grad += dy_rows.sum(axis=0)
        return (dy_rows @ self.weight.data.T).reshape(x.shape)


class Embedding(Module):
    """Lookup table of vectors: the forward returns row ``id`` of the table for each id.

    Parameters
    ----------
    num_embeddings : int
        V, the number of ids.
    embedding_dim : int
        C, the length of each vector.
    std, rng, dtype
        As in `Linear`.

    Attributes
    ----------
    weight : Parameter (num_embeddings, embedding_dim)

    Notes
    -----
    y_n = W[id_n]. Row v of W is used wherever id_n = v, so its gradient is the *sum* over those positions:

        dW_v = Σ_{n : id_n = v} dy_n.

    ``dW[ids] += dy`` would keep only the last of several equal ids. Ids are not differentiable, so there is no dx.
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
        # Sorting puts equal ids next to each other, and the rows of each run are summed. For sorted ids 2 2 5 the runs
        # start at 0 and 2. After that each id occurs once, so += is safe. (np.add.at would also work, but is slower.)
        order = np.argsort(ids, kind="stable")
        sorted_ids = ids[order]
        starts = np.flatnonzero(np.r_[True, sorted_ids[1:] != sorted_ids[:-1]])
        self.weight.grad[sorted_ids[starts]] += np.add.reduceat(dy[order], starts, axis=0)


class LayerNorm(Module):
    """Layer normalization over the last axis (Ba, Kiros & Hinton 2016, arXiv:1607.06450, equations 3-4).

        μ = mean(x),  σ² = mean((x - μ)²),  x̂ = (x - μ) / √(σ² + ε),  y = γ · x̂ + β

    The variance is the biased one (divided by C, not C - 1), and ε is inside the square root, as in GPT-2.

    Parameters
    ----------
    dim : int
        C, the number of features that are normalized together.
    eps : float
        ε, in units of x². It keeps the output finite for a constant row.
    bias : bool
        Whether to add β.
    dtype : dtype

    Attributes
    ----------
    weight : Parameter (C,)
        γ, initialized to ones.
    bias : Parameter (C,) or None
        β, initialized to zeros.

    Notes
    -----
    Write r = 1/√(σ² + ε) and g = dy · γ, the gradient that arrives at x̂. For one row of C features,

        ∂σ²/∂x_j  = 2 (x_j - μ) / C           (the term from ∂μ/∂x_j vanishes: Σ (x_i - μ) = 0)
        ∂r/∂x_j   = -½ r³ ∂σ²/∂x_j = -r² x̂_j / C
        ∂x̂_i/∂x_j = r (δ_ij - 1/C) + (x_i - μ) ∂r/∂x_j = r (δ_ij - 1/C - x̂_i x̂_j / C).

    Multiplying by g_i and summing over i:

        dx = r (g - mean(g) - x̂ · mean(g · x̂)).

    Shifting a row does not change y, and neither does stretching it (apart from ε). The two means remove these two
    directions from g. γ is part of g, so it belongs *inside* the means. Summed over all rows n: dγ = Σ dy_n · x̂_n and
    dβ = Σ dy_n.
    """

    def __init__(self, dim: int, eps: float = 1e-5, bias: bool = True, *, dtype: DTypeLike = np.float32) -> None:
        self.eps = eps
        self.weight = Parameter(np.ones(dim, dtype))
        self.bias = Parameter(np.zeros(dim, dtype)) if bias else None

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """x (..., C) -> y (..., C)."""
        C = self.weight.shape[0]
        check_last_axis(self, x, C)
        # sum / C is mean(x) with less overhead; vecdot is (centred * centred).sum(-1) without a temporary array.
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
        dy_rows = dy.reshape(-1, C)  # (N, C)
        if not self.weight.frozen:  # einsum is (dy_rows * x̂).sum(axis=0) without storing the product
            self.weight.grad += np.einsum("nc,nc->c", dy_rows, xhat.reshape(-1, C))
        if self.bias is not None and not self.bias.frozen:
            self.bias.grad += dy_rows.sum(axis=0)
        g = dy * self.weight.data
        mean_g = g.sum(axis=-1, keepdims=True) / C  # (..., 1)
        mean_gx = np.vecdot(g, xhat)[..., None] / C  # (..., 1)
        return rstd * (g - mean_g - xhat * mean_gx)


class RMSNorm(Module):
    """Normalize by the root mean square (Zhang & Sennrich 2019, arXiv:1910.07467, equation 4).

        r = 1/√(mean(x²) + ε),    x̂ = r x,    y = γ · x̂

    It is `LayerNorm` without the mean and without a bias. Llama adds ε inside the square root;
    the paper has none.

    Parameters
    ----------
    dim : int
        C, the number of features that are normalized together.
    eps : float
        ε, in units of x².
    dtype : dtype

    Attributes
    ----------
    weight : Parameter (C,)
        γ, initialized to ones.

    Notes
    -----
    Write g = dy · γ, the gradient that arrives at x̂. For one row of C features,

        ∂r/∂x_j   = -½ r³ · 2 x_j / C = -r² x̂_j / C
        ∂x̂_i/∂x_j = r δ_ij + x_i ∂r/∂x_j = r (δ_ij - x̂_i x̂_j / C).

    Multiplying by g_i and summing over i:

        dx = r (g - x̂ · mean(g · x̂)).

    Stretching a row does not change y (apart from ε). The mean removes this direction from g.
    LayerNorm removes a second one, because it also ignores shifts. Summed over all rows n:
    dγ = Σ dy_n · x̂_n.
    """

    def __init__(self, dim: int, eps: float = 1e-5, *, dtype: DTypeLike = np.float32) -> None:
        self.eps = eps
        self.weight = Parameter(np.ones(dim, dtype))

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """x (..., C) -> y (..., C)."""
        C = self.weight.shape[0]
        check_last_axis(self, x, C)
        r = 1 / np.sqrt(np.vecdot(x, x)[..., None] / C + self.eps)  # (..., 1)
        xhat = x * r
        return xhat * self.weight.data, (xhat, r)

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dy (..., C) -> dx (..., C); adds to weight.grad."""
        xhat, r = cache
        C = xhat.shape[-1]
        if not self.weight.frozen:
            self.weight.grad += np.einsum("nc,nc->c", dy.reshape(-1, C), xhat.reshape(-1, C))
        g = dy * self.weight.data
        mean_gx = np.vecdot(g, xhat)[..., None] / C  # (..., 1)
        return r * (g - xhat * mean_gx)


class Dropout(Module):
    """Dropout as a layer: `numpylm.nn.functional.dropout` with a fixed p.

    There is no training flag. The forward applies dropout if and only if it gets an ``rng``. The mask is stored in the
    cache, not in the layer, so three calls of one layer have three masks.

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
        """x (any shape) -> y (same shape). Without ``rng`` (evaluation), or if p = 0, y is x."""
        return dropout(x, self.p, rng)

    def backward(self, dy: Array, cache: Cache) -> Array:
        """dy -> dx, with the mask that the forward drew."""
        return dropout_backward(dy, cache)


def tied_head(x: Array, embedding: Embedding) -> tuple[Array, Cache]:
    """Output layer with the embedding's matrix ("weight tying"): logits = x Wᵀ (Press & Wolf 2017, arXiv:1608.05859).

    Parameters
    ----------
    x : array (..., C)
    embedding : Embedding (V, C)

    Returns
    -------
    logits : array (..., V)
        The dot product of x with each token's vector.
    cache : array (N, C)

    Notes
    -----
    This is a linear layer without bias whose weight is Wᵀ (see `Linear`): dx = dlogits W and dW = dlogitsᵀ x. W is also
    the lookup table, so `tied_head_backward` and `Embedding.backward` add to the same gradient.
    """
    x_rows = x.reshape(-1, x.shape[-1])  # (N, C): one large matrix product is faster than a batch of small ones
    logits = x_rows @ embedding.weight.data.T  # (N, V)
    return logits.reshape(*x.shape[:-1], logits.shape[-1]), x_rows


def tied_head_backward(dlogits: Array, cache: Cache, embedding: Embedding) -> Array:
    """Gradient of `tied_head`: dlogits (..., V) -> dx (..., C); adds to embedding.weight.grad."""
    x_rows, weight = cache, embedding.weight
    dlogits_rows = dlogits.reshape(-1, dlogits.shape[-1])  # (N, V)
    if not weight.frozen:
        weight.grad += dlogits_rows.T @ x_rows  # (V, N) @ (N, C)
    return (dlogits_rows @ weight.data).reshape(*dlogits.shape[:-1], weight.shape[1])
