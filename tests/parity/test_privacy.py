"""The same ε and the same noise as Opacus."""

import math

import numpy as np
import pytest

WHY = "pip install -e '.[parity]' to run the parity tests"
pytest.importorskip("opacus", reason=WHY)

from opacus.accountants import RDPAccountant  # noqa: E402
from opacus.accountants.analysis import rdp as theirs  # noqa: E402
from opacus.accountants.utils import get_noise_multiplier  # noqa: E402

from numpylm.training.privacy_accountant import epsilon_spent, noise_for, renyi  # noqa: E402

ORDERS = tuple(RDPAccountant.DEFAULT_ALPHAS)


@pytest.mark.parametrize("q", [0.0001, 0.004, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("noise", [0.3, 0.7, 1.1, 4.0])
def test_divergences_are_those_of_opacus(q, noise):
    """All orders, fractional ones included. 1e-12 is the rounding of log(1 + tiny) in both programs."""
    expected = theirs.compute_rdp(q=q, noise_multiplier=noise, steps=1, orders=ORDERS)
    np.testing.assert_allclose(renyi(q, noise, 1, ORDERS), expected, rtol=1e-8, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Optimal order is")
@pytest.mark.parametrize("delta", [1e-5, 1e-7])
@pytest.mark.parametrize(("q", "noise", "steps"), [(0.004, 1.1, 15_000), (0.02, 0.6, 400), (0.3, 2.0, 50), (1, 5.0, 3)])
def test_epsilon_is_that_of_opacus(q, noise, steps, delta):
    accountant = RDPAccountant()
    accountant.history = [(noise, q, steps)]
    assert epsilon_spent(q, noise, steps, delta, ORDERS) == pytest.approx(
        max(0, accountant.get_epsilon(delta)), rel=1e-7
    )
    assert epsilon_spent(q, noise, steps, delta) <= accountant.get_epsilon(delta) * (1 + 1e-9)  # more orders: no larger


@pytest.mark.filterwarnings("ignore:Optimal order is")
@pytest.mark.parametrize(("epsilon", "q", "steps"), [(8, 0.0133, 400), (1, 0.004, 2000)])
def test_the_noise_is_that_of_opacus(epsilon, q, steps):
    expected = get_noise_multiplier(
        target_epsilon=epsilon, target_delta=1e-5, sample_rate=q, steps=steps, epsilon_tolerance=1e-4
    )
    assert math.isclose(noise_for(epsilon, 1e-5, q, steps), expected, rel_tol=1e-3)
