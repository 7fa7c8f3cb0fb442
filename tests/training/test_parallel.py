"""Workers change nothing but the order of sums."""

import gc
import os
import sys
import threading
import time
import types
from unittest import mock

import numpy as np
import pytest

from numpylm import GPT, DataParallel, GPTConfig, Linear
from numpylm.models.lora import add_lora
from numpylm.system import worker
from numpylm.system.processor import set_blas_threads
from numpylm.training.evaluation import evaluate
from numpylm.training.parallel import _loss_and_grad
from numpylm.training.replica import replica_in_this_process


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
    twin = replica_in_this_process(gpt)
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


def test_threads_follow_weights_that_are_put_in_the_place_of_others():
    gpt, ids = make(), np.random.default_rng(1).integers(0, 11, (4, 8))
    parallel = DataParallel(gpt, 2)
    gpt.load_state_dict({name: value + 0.5 for name, value in gpt.state_dict().items()}, assign=True)
    assert parallel.loss_and_grad(ids, ids) == pytest.approx(gpt.loss(ids, ids), rel=1e-12)


@pytest.mark.parametrize("change", [lambda gpt: gpt.freeze(1), lambda gpt: add_lora(gpt, 2), lambda gpt: gpt.h.pop()])
def test_a_model_that_is_changed_needs_new_workers(change):
    gpt, ids = make(), np.ones((4, 8), int)
    parallel = DataParallel(gpt, 2)
    change(gpt)
    with pytest.raises(ValueError, match="make a new DataParallel"):
        parallel.loss_and_grad(ids, ids)


@pytest.mark.slow
def test_nobody_works_on_after_an_interrupt(monkeypatch):
    """Ctrl-C in the middle of a step, and then another step: as when a notebook's cell is stopped and run again."""
    gpt, ids = make(), np.random.default_rng(1).integers(0, 11, (4, 8))
    parallel = DataParallel(gpt, 2)
    parallel.loss_and_grad(ids, ids)
    gpt.zero_grad()
    parallel.loss_and_grad(ids, ids)
    expected = [p.grad.copy() for p in gpt.parameters()]

    def slowly(*args):
        time.sleep(0.3)
        return type(gpt).loss_and_grad(*args)

    def interrupted(self, timeout=None):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("numpylm.training.parallel._add_grad", slowly)
        patch.setattr("concurrent.futures.Future.result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            parallel.loss_and_grad(ids, ids)
    gpt.zero_grad()
    parallel.loss_and_grad(ids, ids)
    time.sleep(0.4)
    for p, grad in zip(gpt.parameters(), expected, strict=True):
        np.testing.assert_array_equal(p.grad, grad)


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


def dies_halfway(gpt, *part):
    """Like a worker; but the process ends after computing its gradients, before it can report them."""
    loss = _loss_and_grad(gpt, *part)
    if worker._serving:
        os._exit(9)
    return loss


@pytest.mark.slow
def test_processes_that_die_change_no_bit(monkeypatch, capsys):
    rng = np.random.default_rng(1)
    ids, targets = rng.integers(0, 11, (5, 8)), rng.integers(0, 11, (5, 8))
    losses, grads = [], []
    for processes in (False, True):
        gpt = make(dropout=0.3)
        parallel, masks = DataParallel(gpt, 3, processes=processes), np.random.default_rng(2)
        losses.append([parallel.loss_and_grad(ids, targets, masks)])
        with monkeypatch.context() as patch:
            patch.setattr("numpylm.training.parallel._loss_and_grad", dies_halfway)
            losses[-1].append(parallel.loss_and_grad(ids, targets, masks))
        losses[-1].append(parallel.loss_and_grad(ids, targets, masks))
        grads.append([p.grad for p in gpt.parameters()])
    assert all(isinstance(worker, GPT) for worker in parallel.replicas)
    assert losses[0] == losses[1]
    for thread, process in zip(*grads, strict=True):
        np.testing.assert_array_equal(process, thread)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "a worker process ended with exit code 9; a thread continues in its place" in said


@pytest.mark.slow
def test_a_process_that_is_killed_between_steps_leaves_no_zombie(capsys):
    gpt, ids = make(), np.array([[1, 2], [3, 4]])
    parallel = DataParallel(gpt, 2, processes=True)
    expected = parallel.loss_and_grad(ids, ids)
    process = parallel.replicas[1].worker.process
    process.kill()
    assert parallel.loss_and_grad(ids, ids) == expected
    assert process.returncode is not None
    if sys.platform != "win32":
        assert "was killed (if memory was short" in capsys.readouterr().err


def dies_at_two(gpt, number):
    if worker._serving and number == 2:
        os._exit(9)
    return number


@pytest.mark.slow
def test_parts_of_a_process_that_dies_are_done_by_a_thread_and_come_in_order(capsys):
    parallel = DataParallel(make(), 3, processes=True)
    assert list(parallel.map(dies_at_two, [(i,) for i in range(8)])) == list(range(8))
    assert sum(isinstance(worker, GPT) for worker in parallel.replicas) == 2


def cannot_be_pickled(kind):
    if kind == "a class inside a function":

        class Own(GPT):
            pass

        return Own(GPTConfig(11, 8, 1, 2, 8))
    gpt = make()
    gpt.extra = lambda: None
    return gpt


@pytest.mark.parametrize("kind", ["a class inside a function", "a lambda"])
def test_a_model_that_cannot_be_sent_is_shared_by_threads(kind, capsys):
    gpt, ids = cannot_be_pickled(kind), np.array([[1, 2], [3, 4]])
    assert DataParallel(gpt, 2, processes=True).loss_and_grad(ids, ids) == pytest.approx(gpt.loss(ids, ids))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert (
        "threads share each batch, not processes: worker processes cannot be sent what they need (Can't pickle" in said
    )


@pytest.mark.parametrize("processes", [False, True])
def test_a_model_that_cannot_be_copied_is_one_clear_error(processes):
    gpt = make()
    gpt.extra = threading.Lock()
    with pytest.raises(ValueError, match="each worker needs a copy of the model, and it cannot be copied"):
        DataParallel(gpt, 2, processes=processes)


class OddError(Exception):
    """An exception that pickle cannot restore."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def fail_oddly(gpt, number):
    raise OddError("one", "another")


def test_an_error_that_cannot_be_sent_comes_as_text(processes):
    _, parallel = processes
    with pytest.raises(RuntimeError, match="OddError: one and another"):
        parallel.replicas[1].run(fail_oddly, 0)


def test_a_process_ends_with_its_object():
    parallel = DataParallel(make(), 2, processes=True)
    process = parallel.replicas[1].worker.process
    assert process.poll() is None
    del parallel
    gc.collect()
    assert process.returncode is not None


def nested(gpt):
    return type(DataParallel(gpt, 2, processes=True).replicas[1]).__name__


def test_a_worker_starts_no_workers(processes):
    """A module that a worker imports may create workers itself, and each of them would import it again."""
    _, parallel = processes
    assert parallel.replicas[1].run(nested) == "GPT"


def test_after_an_error_of_one_worker_the_answers_of_others_are_not_taken_for_later_ones(processes):
    gpt, parallel = processes
    good, bad = np.random.default_rng(1).integers(0, 11, (6, 8)), np.zeros((6, 8), int)
    bad[0, 0] = 11  # this process fails at once, the other one goes on with its three rows
    for _ in range(3):
        with pytest.raises(ValueError, match="ids must lie in"):
            parallel.loss_and_grad(bad, good)
        assert parallel.loss_and_grad(good, good) == pytest.approx(gpt.loss(good, good), rel=1e-12)


class Assigning(Linear):
    """A layer that replaces its gradient by a new array, where ours add to the existing one."""

    def backward(self, dy, cache):
        before = self.weight.grad.copy()
        dx = super().backward(dy, cache)
        self.weight.grad = before + (self.weight.grad - before)
        return dx


@pytest.mark.slow
def test_a_layer_that_assigns_its_gradient_is_summed_too():
    ids = np.random.default_rng(1).integers(0, 11, (5, 8))
    grads = []
    for processes in (False, True):
        gpt = make()
        odd = Assigning(8, 32, rng=np.random.default_rng(3), dtype=np.float64)
        gpt.h[0].mlp.c_fc = odd
        parallel = DataParallel(gpt, 2, processes=processes)
        for _ in range(2):
            parallel.loss_and_grad(ids, ids)
        grads.append(odd.weight.grad)
    np.testing.assert_allclose(grads[1], grads[0], rtol=1e-12)


def test_a_question_that_a_process_cannot_read_is_an_error_and_not_its_end(processes):
    gpt, parallel = processes
    function = types.FunctionType(loss_of.__code__, globals(), "nowhere")
    function.__module__, function.__qualname__ = "numpylm.training.parallel", "nowhere"
    with (
        mock.patch("numpylm.training.parallel.nowhere", function, create=True),
        pytest.raises(AttributeError, match="nowhere"),
    ):
        parallel.replicas[1].run(function, np.ones((1, 2), int))
    ids = np.ones((2, 4), int)
    assert parallel.replicas[1].run(loss_of, ids) == pytest.approx(gpt.loss(ids, ids))


def test_workers_of_another_model_are_refused():
    with pytest.raises(ValueError, match="another model's"):
        evaluate(make(), np.ones(20, int), workers=DataParallel(make(), 2))
