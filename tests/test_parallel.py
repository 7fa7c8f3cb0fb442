"""Threads change nothing but the order of sums."""

import numpy as np
import pytest

from numpylm import GPT, DataParallel, GPTConfig
from numpylm.parallel import replica, set_blas_threads


def make(seed=0, dropout=0.0):
    return GPT(GPTConfig(11, 8, 2, 2, 8, dropout=dropout), np.random.default_rng(seed), np.float64)


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
@pytest.mark.parametrize("batch", [1, 4, 5])
def test_equal_to_the_plain_gradient_for_any_number_of_workers(workers, batch):
    rng = np.random.default_rng(1)
    ids, targets = rng.integers(0, 11, (batch, 8)), rng.integers(0, 11, (batch, 8))
    targets[0, :6] = -100  # workers count unequally many targets
    plain, shared = make(), make()
    parallel = DataParallel(shared, workers)
    for _ in range(2):  # twice: gradients of the replicas must not be added again
        expected = plain.loss_and_grad(ids, targets)
        assert parallel.loss_and_grad(ids, targets) == pytest.approx(expected, rel=1e-12)
    for p, q in zip(plain.parameters(), shared.parameters(), strict=True):
        np.testing.assert_allclose(p.grad, q.grad, rtol=1e-10, atol=1e-14)


def test_replicas_share_weights_and_not_gradients():
    gpt = make()
    twin = replica(gpt)
    for p, q in zip(gpt.parameters(), twin.parameters(), strict=True):
        assert p.data is q.data
        assert p.grad is not q.grad


def test_dropout_is_repeatable_with_a_seed():
    ids = np.random.default_rng(1).integers(0, 11, (4, 8))
    losses = [DataParallel(make(dropout=0.3), 2).loss_and_grad(ids, ids, np.random.default_rng(5)) for _ in range(2)]
    assert losses[0] == losses[1]
    assert losses[0] != DataParallel(make(dropout=0.3), 2).loss_and_grad(ids, ids, np.random.default_rng(6))


def test_blas_threads_are_given_back():
    before = set_blas_threads(2)
    if before is None:
        pytest.skip("NumPy was built with a BLAS whose threads cannot be set")
    ids = np.random.default_rng(1).integers(0, 11, (4, 8))
    DataParallel(make(), 2).loss_and_grad(ids, ids)
    assert set_blas_threads(before) == 2


def test_no_workers_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        DataParallel(make(), 0)
