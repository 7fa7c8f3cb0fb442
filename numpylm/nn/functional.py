"""Operations without parameters, as pairs: ``out, cache = f(x)`` and ``dx = f_backward(dout, cache)``.

Notation in every docstring: L is the loss, ``dx`` is dL/dx and has x's shape, · between arrays is the
elementwise product. dtypes are kept: float32 in, float32 out.
"""

import math

import numpy as np

from numpylm.nn.elementwise_chunks import chunks
from numpylm.nn.module import Array, Cache

IGNORE_INDEX = -100  # a target that is not counted; the value torch uses


# ---------------------------------------------------------------------------------------------- softmax


def softmax(x: Array, axis: int = -1) -> tuple[Array, Cache]:
    """Softmax: p_i = exp(x_i) / Σ_j exp(x_j), along one axis.

    The maximum is subtracted first, which changes nothing (numerator and denominator are both multiplied by
    exp(-max)) and keeps exp from overflowing. Entries of -inf get probability 0; a slice of nothing but -inf has
    no maximum to subtract and gives all zeros instead of NaN: nothing to choose from, nothing chosen.

    Parameters
    ----------
    x : array, any shape, floating point
    axis : int
        The axis that sums to one.

    Returns
    -------
    p : array, x's shape
    cache : (p, axis)

    Notes
    -----
    ∂p_i/∂x_j = p_i (δ_ij - p_j), so with g = dL/dp:

        dx_j = Σ_i g_i p_i (δ_ij - p_j) = p_j (g_j - Σ_i g_i p_i).
    """
    limits = np.finfo(x.dtype)  # min: lowest finite number, so -inf - min is -inf, not NaN; then 0 / tiny is 0
    p = x - x.max(axis=axis, keepdims=True, initial=limits.min)
    np.exp(p, out=p)
    p /= np.maximum(p.sum(axis=axis, keepdims=True), limits.tiny)
    return p, (p, axis)


def softmax_backward(dp: Array, cache: Cache) -> Array:
    """Gradient of `softmax`: dx = p · (dp - Σ dp · p)."""
    p, axis = cache
    total = np.vecdot(dp, p, axis=axis)  # type: ignore[call-overload]  # NumPy's stubs do not know axis
    dx = dp - np.expand_dims(total, axis)
    dx *= p
    return dx


# ------------------------------------------------------------------------------------------ activations


def relu(x: Array) -> tuple[Array, Cache]:
    """ReLU: max(x, 0). The slope at exactly 0 is taken as 0, as everywhere in the field."""
    return np.maximum(x, 0), x


def relu_backward(dout: Array, cache: Cache) -> Array:
    """Gradient of `relu`: dx = dout where x > 0, else 0."""
    return dout * (cache > 0)


SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
GELU_CUBIC = 0.044715


def gelu(x: Array, approximate: str = "tanh") -> tuple[Array, Cache]:
    """Gaussian error linear unit (Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2).

    ``"none"``: the definition, x Φ(x), with Φ the normal distribution function.
    ``"tanh"``: GPT-2's form, x · ½ (1 + tanh u) with u = √(2/π) (x + 0.044715 x³).

    Parameters
    ----------
    x : array, any shape, floating point
    approximate : {"tanh", "none"}
        The same words as in ``torch.nn.functional.gelu``.

    Returns
    -------
    out : array, x's shape
    cache : (x, g(x) or None, approximate)
        The tanh form makes g anew in the backward: that takes as long as to fetch it, and saves its memory.

    Notes
    -----
    Both forms are x · g(x), so the derivative is g + x g'.

    - exact: g = Φ,              g' = φ(x) = exp(-x²/2) / √(2π)
    - tanh:  g = ½ (1 + tanh u), g' = ½ (1 - tanh² u) u' = 2 g (1 - g) u',  u' = √(2/π) (1 + 3 · 0.044715 x²)
    """
    if approximate == "tanh":
        out = np.empty(x.shape, x.dtype)
        for x_i, out_i in chunks(x.reshape(-1), out.reshape(-1)):
            np.multiply(x_i, _tanh_gate(x_i), out=out_i)
        return out, (x, None, approximate)
    if approximate == "none":
        cdf = 0.5 * (1 + _erf(x * math.sqrt(0.5)))
        return x * cdf, (x, cdf, approximate)
    raise ValueError(f'gelu: approximate must be "tanh" or "none", got {approximate!r}')


def gelu_backward(dout: Array, cache: Cache) -> Array:
    """Gradient of `gelu`: dx = dout · (g + x g')."""
    x, g, approximate = cache
    if approximate == "tanh":
        dx = np.empty(x.shape, x.dtype)
        for x_i, dout_i, dx_i in chunks(x.reshape(-1), dout.reshape(-1), dx.reshape(-1)):
            g = _tanh_gate(x_i)
            slope = x_i * x_i  # x · 2u', with u' = √(2/π) (1 + 3 · 0.044715 x²)
            slope *= 2 * SQRT_2_OVER_PI * 3 * GELU_CUBIC
            slope += 2 * SQRT_2_OVER_PI
            slope *= x_i
            slope *= 1 - g  # x g' = g · x · 2u' (1 - g)
            slope += 1
            slope *= g
            np.multiply(dout_i, slope, out=dx_i)
        return dx
    pdf = np.exp(-0.5 * (x * x)) * (1 / math.sqrt(2 * math.pi))
    return dout * (g + x * pdf)


def _tanh_gate(x: Array) -> Array:
    """g = ½ (1 + tanh u), in few arrays that are changed in place: memory is what it waits for."""
    u = x * x  # u = √(2/π) (x + 0.044715 x³)
    u *= SQRT_2_OVER_PI * GELU_CUBIC
    u += SQRT_2_OVER_PI
    u *= x
    g = np.tanh(u, out=u)
    g += 1
    g *= 0.5
    return g


def _erf_table(per_unit: int = 128, end: int = 6) -> Array:
    """Taylor coefficients c_0 … c_5 of erf around each knot k / per_unit, k = 0 … end · per_unit."""
    knots = np.arange(end * per_unit + 1) / per_unit
    k2 = knots * knots
    slope = (2 / math.sqrt(math.pi)) * np.exp(-k2)  # erf'; each further derivative is a polynomial times it
    return np.stack(
        [
            np.array([math.erf(k) for k in knots]),
            slope,
            slope * -knots,
            slope * (2 * k2 - 1) / 3,
            slope * knots * (3 - 2 * k2) / 6,
            slope * (4 * k2 * k2 - 12 * k2 + 3) / 30,
        ]
    )


_ERF_TABLE: dict[np.dtype, Array] = {}


def _erf(x: Array) -> Array:
    """Error function, in float64 within 2e-15 of ``math.erf``; NumPy has none of its own.

    A Taylor polynomial of degree five around the nearest of 769 knots, at most 1/256 away: the first term
    left out is below (1/256)⁶ · max|erf⁽⁶⁾| / 6! < 1e-15. Beyond |x| = 6, erf is ±1 to the last bit.
    """
    if x.dtype not in _ERF_TABLE:
        _ERF_TABLE[x.dtype] = _erf_table().astype(x.dtype)
    table = _ERF_TABLE[x.dtype]
    size = np.minimum(np.abs(x), 6)
    nearest = np.rint(size * 128)
    knot = nearest.astype(np.intp)
    d = size - nearest * (1 / 128)
    out = table[5][knot]
    for coefficients in table[4::-1]:
        out = out * d + coefficients[knot]
    return np.copysign(out, x)


# ---------------------------------------------------------------------------------------------- dropout


def dropout(x: Array, p: float, rng: np.random.Generator | None = None) -> tuple[Array, Cache]:
    """Inverted dropout: y = x · m / (1 - p), m ~ Bernoulli(1 - p) (Srivastava et al. 2014, JMLR 15, section 4).

    There, p is the probability of keeping, and evaluation scales; here training does. The division keeps the mean of
    y at x, so evaluation needs no correction.

    Parameters
    ----------
    x : array, any shape, floating point
    p : float in [0, 1)
        The probability of dropping a number.
    rng : numpy.random.Generator, optional
        Without it (evaluation), or with p = 0, y is x.

    Returns
    -------
    y : array, x's shape
    cache : m / (1 - p), or None if nothing was dropped

    Notes
    -----
    y is linear in x for a fixed mask: dx = dy · m / (1 - p), with the *same* mask.
    """
    if rng is None or p == 0:
        return x, None
    keep = rng.random(x.shape, dtype=np.float32) >= p
    mask = keep * x.dtype.type(1 / (1 - p))  # m / (1 - p); bool times a Python float would be float64
    return x * mask, mask


def dropout_backward(dy: Array, cache: Cache) -> Array:
    """Gradient of `dropout`: dx = dy · m / (1 - p), through the mask of that very call."""
    mask = cache
    return dy if mask is None else dy * mask


# ---------------------------------------------------------------------------------------- cross-entropy


def cross_entropy(
    logits: Array, targets: Array, ignore_index: int = IGNORE_INDEX, count: int | None = None
) -> tuple[float, Cache]:
    """Mean negative log-likelihood of the targets under softmax(logits), in nats per counted token.

        L = -1/n Σ log p[i, y_i] over the n counted rows i,    p = softmax(z).

    Parameters
    ----------
    logits : array (..., V), floating point
        z, unnormalised log-probabilities. Not changed.
    targets : int array (...)
        y, each in [0, V), or ``ignore_index`` for a position that is not counted.
    ignore_index : int
        Marks padding, prompts and whatever else should not be learnt.
    count : int, optional
        Divide by this instead of n. For a batch that is processed in parts, give each part the number of
        counted targets in the *whole* batch; then losses and gradients of the parts add up.

    Returns
    -------
    loss : float
        0.0 if nothing is counted (and then the gradient is zero).
    cache : array, logits' shape
        dL/dlogits.

    Raises
    ------
    ValueError
        If shapes do not match or a target lies outside [0, V).

    Notes
    -----
    -log p_y = log Σ_j exp z_j - z_y, therefore

        ∂L/∂z_j = (p_j - [j = y]) / n,    and a row that is not counted has gradient 0.

    Probabilities and gradient share one buffer of logits' size, filled in place: for GPT-2's vocabulary and
    1,024 tokens one such buffer is 206 MB, so the number of copies matters.
    """
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"cross_entropy: logits {logits.shape} need targets of shape {logits.shape[:-1]}, got {targets.shape}"
        )
    V = logits.shape[-1]
    z = logits.reshape(-1, V)  # (N, V)
    y = targets.reshape(-1)  # (N,)
    counted = y != ignore_index
    bad = counted & ((y < 0) | (y >= V))
    if bad.any():
        raise ValueError(
            f"cross_entropy: target {y[bad][0]} is outside [0, {V}); use {ignore_index} for targets to ignore"
        )
    n = int(counted.sum()) if count is None else count
    rows = np.arange(len(y))
    y = np.where(counted, y, 0)  # any id will do where nothing is counted: its weight is 0

    grad = z - z.max(axis=-1, keepdims=True)  # (N, V), the one buffer
    z_y = grad[rows, y]
    np.exp(grad, out=grad)
    total = grad.sum(axis=-1)  # (N,)
    nll = np.log(total) - z_y  # the maximum that was taken off both cancels
    loss = float(nll[counted].sum(dtype=np.float64)) / max(n, 1)
    weight = (counted / max(n, 1)).astype(logits.dtype)  # (N,)
    grad *= (weight / total)[:, None]  # exp / total = p; times 1/n, or 0 where nothing is counted
    grad[rows, y] -= weight
    return loss, grad.reshape(logits.shape)


def cross_entropy_backward(dloss: float, cache: Cache) -> Array:
    """Gradient of `cross_entropy`: dlogits = dloss · (p - onehot(y)) / n, already made by the forward."""
    return cache if dloss == 1 else cache * cache.dtype.type(dloss)
