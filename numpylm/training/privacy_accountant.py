"""Privacy accounting: which (ε, δ) the steps of private training have spent, and how much noise a wanted ε needs.

A training algorithm is (ε, δ)-differentially private if, for any two texts that differ in one example and any set S of
models, P(model in S | one text) <= e^ε P(model in S | the other) + δ (Dwork & Roth 2014, definition 2.4). ε of many
noisy steps is computed with Rényi differential privacy, because its numbers of several steps are simply added.
"""

import math
from collections.abc import Sequence

import numpy as np

from numpylm.nn.module import Array

# The orders at which the Rényi divergence is computed: those of Opacus, and larger ones for small ε.
ORDERS: tuple[float, ...] = (
    *(1 + i / 10 for i in range(1, 100)),
    *range(11, 64),
    *(64, 72, 80, 96, 112, 128, 160, 192, 256, 512, 1024),
)
TAIL = 12.0  # standard deviations: exp(-12² / 2) = 5e-32
SMALLEST_NOISE, LARGEST_NOISE = 0.1, 1e6


def log_moment(q: float, noise: float, order: float) -> float:
    """log A_α of one step of the sampled Gaussian mechanism (Mironov et al. 2019, arXiv:1908.10530, section 3.3).

        A_α = E_z [((1 - q) + q exp((2z - 1) / 2σ²))^α],    z ~ N(0, σ²)

    Parameters
    ----------
    q : float in [0, 1]
        The probability that an example is in the batch.
    noise : float
        σ, the standard deviation of the noise divided by the largest norm of an example's gradient.
    order : float
        α > 1, a whole number or not.

    Notes
    -----
    One example moves the sum of the clipped gradients by at most 1 (in units of the clipping norm). In that direction,
    the noisy sum has the density μ₀ = N(0, σ²) without the example, and μ = (1 - q) N(0, σ²) + q N(1, σ²) with it. A_α
    is E[(μ/μ₀)^α] under μ₀; theorem 5 of the paper shows that the divergence in the other direction is not larger.

    The paper has a series for fractional α. Here the trapezoidal rule computes the integral for any α. The integrand is
    a smooth bump of width σ around each of 0, 1 … α, and its nearest singularity is πσ² beside the real axis. So with
    steps h <= σ²/4 the error is about exp(-2π · πσ² / h) < 1e-34, below the rounding of floats.
    """
    if q == 0:
        return 0.0
    if noise == 0:
        return math.inf
    if q == 1 or noise < SMALLEST_NOISE:  # an upper bound for q < 1, whose grid would be too fine
        return (order * order - order) / (2 * noise**2)
    low, high = -TAIL * noise, order + TAIL * noise
    z = np.linspace(low, high, math.ceil(4 * (high - low) / min(noise, noise**2)))
    log_ratio = np.logaddexp(math.log1p(-q), math.log(q) + (2 * z - 1) / (2 * noise**2))  # log μ/μ₀
    exponents = order * log_ratio - z**2 / (2 * noise**2)
    top = exponents.max()
    step = (high - low) / (len(z) - 1)
    integral = math.log(float(np.exp(exponents - top).sum()) * step) + float(top)
    return max(0.0, integral - math.log(noise * math.sqrt(2 * math.pi)))


def renyi(q: float, noise: float, steps: int, orders: Sequence[float] = ORDERS) -> Array:
    """The Rényi divergence of all steps at each order (float64): steps · log A_α / (α - 1). It is added over steps."""
    if not (0 <= q <= 1 and noise >= 0 and steps >= 0 and all(order > 1 for order in orders)):
        raise ValueError(
            f"expected 0 <= q <= 1, noise >= 0, steps >= 0 and orders above 1; got {q=}, {noise=}, {steps=}, {orders=}"
        )
    if steps == 0:
        return np.zeros(len(orders))
    return np.array([steps * log_moment(q, noise, order) / (order - 1) for order in orders])


def classic_epsilon(divergences: Array, orders: Sequence[float], delta: float) -> float:
    """ε of Rényi divergences R_α at a given δ (Mironov 2017, arXiv:1702.07476, proposition 3).

        ε = min_α R_α + log(1/δ) / (α - 1)

    The tables of the examples of Opacus and TensorFlow Privacy were computed with it.
    """
    return float((divergences - math.log(delta) / (np.asarray(orders) - 1)).min())


def improved_epsilon(divergences: Array, orders: Sequence[float], delta: float) -> float:
    """A lower ε for the same divergences (Balle et al. 2020, arXiv:1905.09982, theorem 21). Opacus computes it, too.

        ε = min_α R_α + log((α - 1)/α) - (log δ + log α) / (α - 1)

    The two added terms are negative: the proof leaves out less than the classic one. ε is at least 0.
    """
    a = np.asarray(orders)
    return max(0.0, float((divergences + np.log1p(-1 / a) - (math.log(delta) + np.log(a)) / (a - 1)).min()))


def epsilon_spent(q: float, noise: float, steps: int, delta: float, orders: Sequence[float] = ORDERS) -> float:
    """ε after so many steps of private training, by `improved_epsilon`; 0 before the first step, inf without noise."""
    check_delta(delta)
    return improved_epsilon(renyi(q, noise, steps, orders), orders, delta) if steps else 0.0


def noise_for(epsilon: float, delta: float, q: float, steps: int) -> float:
    """The smallest σ (to 4 digits, rounded up) with which all steps together spend at most ε; see `log_moment`.

    Raises
    ------
    ValueError
        If no σ below 10⁶ is enough.
    """
    check_delta(delta)
    low, high = 0.0, 1.0
    while epsilon_spent(q, high, steps, delta) > epsilon:
        low, high = high, 2 * high
        if high > LARGEST_NOISE:
            raise ValueError(
                f"no noise makes {steps} steps private with epsilon {epsilon} and delta {delta}: allow more"
            )
    while high - low > 1e-4 * high:
        middle = (low + high) / 2
        if epsilon_spent(q, middle, steps, delta) > epsilon:
            low = middle
        else:
            high = middle
    return high


def check_delta(delta: float) -> None:
    """Raise ValueError unless 0 < δ < 1."""
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie between 0 and 1, got {delta}")
