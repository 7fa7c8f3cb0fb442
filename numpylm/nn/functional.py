"""Softmax, ReLU, SiLU, tanh, GELU, dropout and cross-entropy: functions without parameters, each with its backward.

They come in pairs: ``out, cache = f(x)`` and ``dx = f_backward(dout, cache)``.

Notation in every docstring: L is the loss, ``dx`` is dL/dx and has x's shape, · between arrays is the
elementwise product. Each function keeps the dtype: float32 in, float32 out.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from numpylm.nn.elementwise_chunks import in_chunks
from numpylm.nn.module import Array, Cache

IGNORE_INDEX = -100  # marks a target that is not counted, as in torch


# ---------------------------------------------------------------------------------------------- softmax


def softmax(x: Array, axis: int = -1) -> tuple[Array, Cache]:
    """Softmax: p_i = exp(x_i) / Σ_j exp(x_j), along one axis.

    The maximum is subtracted first. This keeps exp from overflowing and does not change the result: numerator and
    denominator are both multiplied by exp(-max). Entries of -inf get probability 0. If all entries of a slice are
    -inf, the result is all zeros instead of NaN.

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
    limits = np.finfo(x.dtype)  # min is the lowest finite number, so -inf - min is -inf and not NaN; then 0 / tiny is 0
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
    """ReLU: max(x, 0). The slope at exactly 0 is taken as 0, as in torch."""
    return np.maximum(x, 0), x


def relu_backward(dout: Array, cache: Cache) -> Array:
    """Gradient of `relu`: dx = dout where x > 0, else 0."""
    return dout * (cache > 0)


def silu(x: Array) -> tuple[Array, Cache]:
    """Sigmoid linear unit, also called swish: x σ(x) (Elfwing et al. 2018, arXiv:1702.03118, equation 7).

    Notes
    -----
    σ' = σ (1 - σ), so the derivative is σ + x σ (1 - σ) = σ (1 + x (1 - σ)). σ is computed as ½ (1 + tanh(x/2)), which
    is the same function and never overflows.
    """
    gate = 0.5 * (1 + np.tanh(0.5 * x))
    return x * gate, (x, gate)


def silu_backward(dout: Array, cache: Cache) -> Array:
    """Gradient of `silu`: dx = dout · σ (1 + x (1 - σ))."""
    x, gate = cache
    return dout * (gate * (1 + x * (1 - gate)))


def tanh(x: Array) -> tuple[Array, Cache]:
    """Hyperbolic tangent, which BERT's pooler uses."""
    out = np.tanh(x)
    return out, out


def tanh_backward(dout: Array, cache: Cache) -> Array:
    """Gradient of `tanh`: tanh' = 1 - tanh², so dx = dout · (1 - out²)."""
    out = cache
    return dout * (1 - out * out)


SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
GELU_CUBIC = 0.044715


def gelu(x: Array, approximate: str = "tanh") -> tuple[Array, Cache]:
    """Gaussian error linear unit (Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2).

    ``"none"``: the definition, x Φ(x), where Φ is the normal distribution function.
    ``"tanh"``: the approximation that GPT-2 uses, x · ½ (1 + tanh u) with u = √(2/π) (x + 0.044715 x³).

    Parameters
    ----------
    x : array, any shape, floating point
    approximate : {"tanh", "none"}
        The same values as in ``torch.nn.functional.gelu``.

    Returns
    -------
    out : array, x's shape
    cache : (x, g(x) or None, approximate)
        The tanh form computes g again in the backward. This takes as long as reading it from memory, and saves that
        memory.

    Notes
    -----
    Both forms are x · g(x), so the derivative is g + x g'.

    - exact: g = Φ,              g' = φ(x) = exp(-x²/2) / √(2π)
    - tanh:  g = ½ (1 + tanh u), g' = ½ (1 - tanh² u) u' = 2 g (1 - g) u',  u' = √(2/π) (1 + 3 · 0.044715 x²)
    """
    if approximate == "tanh":
        return in_chunks(_gelu_tanh, x), (x, None, approximate)
    if approximate == "none":
        cdf = 0.5 * (1 + _erf(x * math.sqrt(0.5)))
        return x * cdf, (x, cdf, approximate)
    raise ValueError(f'gelu: approximate must be "tanh" or "none", got {approximate!r}')


def gelu_backward(dout: Array, cache: Cache) -> Array:
    """Gradient of `gelu`: dx = dout · (g + x g')."""
    x, g, approximate = cache
    if approximate == "tanh":
        return in_chunks(_gelu_tanh_backward, dout, x)
    pdf = np.exp(-0.5 * (x * x)) * (1 / math.sqrt(2 * math.pi))
    return dout * (g + x * pdf)


def _gelu_tanh(x: Array) -> Array:
    """x · g."""
    return x * _tanh_gate(x)


def _gelu_tanh_backward(dout: Array, x: Array) -> Array:
    """dout · (g + x g') = dout · g (1 + 2 x u' (1 - g))."""
    g = _tanh_gate(x)
    two_x_du = x * (2 * SQRT_2_OVER_PI + 6 * SQRT_2_OVER_PI * GELU_CUBIC * (x * x))
    return dout * g * (1 + two_x_du * (1 - g))


def _tanh_gate(x: Array) -> Array:
    """g = ½ (1 + tanh u) with u = √(2/π) (x + 0.044715 x³)."""
    u = x * (SQRT_2_OVER_PI + SQRT_2_OVER_PI * GELU_CUBIC * (x * x))
    return 0.5 * (1 + np.tanh(u))


ERF_KNOTS = 128  # knots per unit of x
ERF_END = 6  # beyond it, erf is ±1 to the last bit


def _erf_table() -> Array:
    """Taylor coefficients c_0 … c_5 of erf around each of the knots 0, 1/128, … 6."""
    knots = np.arange(ERF_END * ERF_KNOTS + 1) / ERF_KNOTS
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
    """Error function, which NumPy does not have. In float64 it is within 2e-15 of ``math.erf``, in float32 within 5e-7.

    In float64 it uses a Taylor polynomial of degree five around the nearest of 769 knots, which is at most 1/256 away.
    The first omitted term is below (1/256)⁶ · max|erf⁽⁶⁾| / 6! < 1e-15. Beyond |x| = 6, erf is ±1 to the last bit.
    """
    if x.dtype == np.float32:
        return in_chunks(_erf_float32, x)
    if x.dtype not in _ERF_TABLE:
        _ERF_TABLE[x.dtype] = _erf_table().astype(x.dtype)
    table = _ERF_TABLE[x.dtype]
    size = np.minimum(np.abs(x), ERF_END)
    nearest = np.rint(size * ERF_KNOTS)
    knot = nearest.astype(np.intp)
    d = size - nearest * (1 / ERF_KNOTS)
    out = table[5][knot]
    for coefficients in table[4::-1]:
        out = out * d + coefficients[knot]
    return np.copysign(out, x)


def _erf_float32(x: Array) -> Array:
    """erf(x) = 1 - (a_1 t + … + a_5 t⁵) exp(-x²), t = 1/(1 + 0.3275911 x), x >= 0 (Abramowitz & Stegun 1964, 7.1.26).

    Its error is at most 1.5e-7, which is float32's rounding. It takes 40 % of the time of the table.
    """
    size = np.abs(x)
    t = 1 / (1 + 0.3275911 * size)
    rest = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    rest *= np.exp(-size * size)
    return np.copysign(1 - rest, x)


# An activation and its backward, by the names that transformers' config.json uses.
ACTIVATIONS: dict[str, tuple[Callable[[Array], tuple[Array, Cache]], Callable[[Array, Cache], Array]]] = {
    "relu": (relu, relu_backward),
    "gelu": (partial(gelu, approximate="none"), gelu_backward),
    "gelu_new": (gelu, gelu_backward),
    "silu": (silu, silu_backward),
}


# ---------------------------------------------------------------------------------------------- dropout


def dropout(x: Array, p: float, rng: np.random.Generator | None = None) -> tuple[Array, Cache]:
    """Inverted dropout: y = x · m / (1 - p), m ~ Bernoulli(1 - p) (Srivastava et al. 2014, JMLR 15, section 4).

    In the paper, p is the probability of keeping a number, and evaluation scales the activations. Here p is the
    probability of dropping one, and training scales them: the division by 1 - p keeps the mean of y at x, so
    evaluation needs no correction.

    Parameters
    ----------
    x : array, any shape, floating point
    p : float in [0, 1)
        The probability of dropping a number.
    rng : numpy.random.Generator, optional
        Without it (evaluation), or if p = 0, y is x.

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
    """Gradient of `dropout`: dx = dy · m / (1 - p), with the mask that the forward drew."""
    mask = cache
    return dy if mask is None else dy * mask


# ---------------------------------------------------------------------------------------- cross-entropy


def cross_entropy(
    logits: Array,
    targets: Array,
    ignore_index: int = IGNORE_INDEX,
    count: int | None = None,
    label_smoothing: float = 0.0,
) -> tuple[float, Cache]:
    """Mean negative log-likelihood of the targets under softmax(logits), in nats per counted token.

        L = -1/n Σ log p[i, y_i] over the n counted rows i,    p = softmax(z).

    Parameters
    ----------
    logits : array (..., V), floating point
        z, unnormalized log-probabilities. Not changed.
    targets : int array (...)
        y, each in [0, V), or ``ignore_index`` for a position that is not counted.
    ignore_index : int
        Marks padding, prompts and other positions that should not be learned.
    count : int, optional
        Divide by this instead of n. If a batch is processed in parts (gradient accumulation), give each part the number
        of counted targets in the *whole* batch. Then the losses and gradients of the parts add up to those of the
        batch.
    label_smoothing : float in [0, 1]
        ε. The target becomes the distribution q = (1 - ε) onehot(y) + ε/V (Szegedy et al. 2015, arXiv:1512.00567,
        section 7), and the loss of a row becomes -Σ_j q_j log p_j. A model then gains nothing from ever larger logits.

    Returns
    -------
    loss : float
        0.0 if nothing is counted. The gradient is then zero.
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

    With smoothing, -Σ_j q_j log p_j = log Σ_j exp z_j - Σ_j q_j z_j, because Σ_j q_j = 1. So z_y becomes
    (1 - ε) z_y + ε mean(z), and the gradient (p_j - q_j) / n.

    Probabilities and gradient share one buffer of the logits' size, which is updated in place. For GPT-2's vocabulary
    and 1,024 tokens one such buffer takes 206 MB, so the number of copies matters.
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
    y = np.where(counted, y, 0)  # where a target is not counted, any id will do: its weight is 0

    shifted = z - z.max(axis=-1, keepdims=True)  # (N, V), the one buffer
    z_y = shifted[rows, y]
    if label_smoothing:
        z_y = (1 - label_smoothing) * z_y + label_smoothing * shifted.mean(axis=-1)
    exp_z = np.exp(shifted, out=shifted)
    total = exp_z.sum(axis=-1)  # (N,)
    nll = np.log(total) - z_y  # the maximum was subtracted from both, so it cancels
    loss = float(nll[counted].sum(dtype=np.float64)) / max(n, 1)
    weight = (counted / max(n, 1)).astype(logits.dtype)  # (N,)
    grad = exp_z
    grad *= (weight / total)[:, None]  # exp / total = p; times 1/n, or 0 where nothing is counted
    grad[rows, y] -= weight
    if label_smoothing:
        grad[rows, y] += label_smoothing * weight
        grad -= (label_smoothing / V * weight)[:, None]
    return loss, grad.reshape(logits.shape)


def cross_entropy_backward(dloss: float, cache: Cache) -> Array:
    """Gradient of `cross_entropy`: dlogits = dloss · (p - q) / n, which the forward has already computed."""
    return cache if dloss == 1 else cache * cache.dtype.type(dloss)
