"""Workers change nothing but the order of sums."""

import gc

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


# ------------------------------------------------------------------------------------------ processes


@pytest.fixture(scope="module")
def processes():
    """One model with a worker process, for all tests that do not harm it: a process takes a second to start."""
    gpt = make(dropout=0.3)
    return gpt, DataParallel(gpt, 2, processes=True)


def test_processes_give_the_same_bits_as_threads(processes):
    gpt, parallel = processes
    twin = make(dropout=0.3)
    twin.load_state_dict(gpt.state_dict())
    threads = DataParallel(twin, 2)
    rng = np.random.default_rng(1)
    ids, targets = rng.integers(0, 11, (5, 8)), rng.integers(0, 11, (5, 8))
    targets[0, :6] = -100
    for model in (gpt, twin):
        model.zero_grad()
    for seed in (None, 1, 2):  # three times: what was summed must not be added again
        rngs = [None if seed is None else np.random.default_rng(seed) for _ in range(2)]
        assert parallel.loss_and_grad(ids, targets, rngs[0]) == threads.loss_and_grad(ids, targets, rngs[1])
    for p, q in zip(gpt.parameters(), twin.parameters(), strict=True):
        np.testing.assert_array_equal(p.grad, q.grad)


def test_processes_see_weights_that_move_and_weights_that_are_put_in_their_place(processes):
    gpt, parallel = processes
    ids = np.random.default_rng(1).integers(0, 11, (4, 8))
    gpt.wte.weight.data += 1
    assert parallel.loss_and_grad(ids, ids) == pytest.approx(gpt.loss(ids, ids), rel=1e-12)
    other = {name: value + 0.5 for name, value in gpt.state_dict().items()}
    gpt.load_state_dict(other, assign=True)
    assert parallel.loss_and_grad(ids, ids) == pytest.approx(gpt.loss(ids, ids), rel=1e-12)


def loss_of(gpt, ids):
    return gpt.loss(ids, ids)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_parts_are_shared_and_come_back_in_order(processes, count):
    gpt, parallel = processes
    parts = [(np.random.default_rng(i).integers(0, 11, (2, 8)),) for i in range(count)]
    expected = [gpt.loss(ids, ids) for (ids,) in parts]
    assert list(parallel.map(loss_of, parts)) == pytest.approx(expected, rel=1e-12)
    assert list(DataParallel(gpt, 3).map(loss_of, parts)) == pytest.approx(expected, rel=1e-12)


def test_what_a_process_raises_is_raised_here_and_it_goes_on(processes):
    _, parallel = processes
    ids = np.array([[1, 2], [3, 11]])
    with pytest.raises(ValueError, match=r"ids must lie in \[0, 11\)"):
        parallel.loss_and_grad(ids, ids)
    assert parallel.loss_and_grad(ids % 11, ids % 11) > 0


def test_a_process_that_dies_is_one_clear_error():
    parallel = DataParallel(make(), 2, processes=True)
    ids = np.array([[1, 2], [3, 4]])
    parallel.loss_and_grad(ids, ids)
    parallel.replicas[1].process.kill()
    with pytest.raises(RuntimeError, match="a worker process ended"):
        parallel.loss_and_grad(ids, ids)


def test_a_model_that_cannot_be_sent_is_one_clear_error():
    class Own(GPT):
        pass

    with pytest.raises(ValueError, match="let threads share the batch"):
        DataParallel(Own(GPTConfig(11, 8, 1, 2, 8)), 2, processes=True)


def test_a_process_ends_with_its_object():
    parallel = DataParallel(make(), 2, processes=True)
    process = parallel.replicas[1].process
    assert process.is_alive()
    del parallel
    gc.collect()
    process.join(10)
    assert process.exitcode == 0
