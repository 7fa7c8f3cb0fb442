"""Private gradients: clipped one by one, bounded in what an example can do, and with the noise that is promised."""

import math
import tracemalloc

import numpy as np
import pytest

from numpylm import GPT, DataParallel, GPTConfig
from numpylm.models.configs import LlamaConfig
from numpylm.models.llama import Llama
from numpylm.training.private_gradients import add_noise, clip_factor, clipped_loss_and_grad, poisson_sample

V, T = 11, 8


def gpt(seed=0, dropout=0.0):
    return randomized(GPT(GPTConfig(V, T, 2, 2, 8, dropout=dropout), np.random.default_rng(seed), np.float64))


def llama():
    return randomized(Llama(LlamaConfig(V, T, 2, 4, 8, n_kv_head=2), np.random.default_rng(0), np.float64))


def randomized(model):
    """Weights of order 1, so that gradients of different examples have different sizes."""
    rng = np.random.default_rng(7)
    for p in model.parameters():
        p.data[...] = 0.5 * rng.standard_normal(p.shape)
    return model


def examples(n=6, seed=1):
    """Rows of different lengths, padded at the right."""
    rng = np.random.default_rng(seed)
    ids, targets = rng.integers(0, V, (n, T)), rng.integers(0, V, (n, T))
    for row, length in enumerate(rng.integers(1, T + 1, n)):
        targets[row, length:] = -100
    return ids, targets


def gradients(model):
    return [p.grad.copy() for p in model.trainable_parameters()]


def norm(arrays):
    return math.sqrt(sum(float((a * a).sum()) for a in arrays))


def clipped_sum(model, ids, targets, clip, **options):
    model.zero_grad()
    clipped_loss_and_grad(model, ids, targets, clip, **options)
    return gradients(model)


def brute_force(model, ids, targets, clip):
    """Each example alone in the padded batch, with all others masked out."""
    total = [np.zeros_like(p.data) for p in model.trainable_parameters()]
    for i in range(len(ids)):
        only = np.full_like(targets, -100)
        only[i] = targets[i]
        model.zero_grad()
        model.loss_and_grad(ids, only)
        g = gradients(model)
        for t, a in zip(total, g, strict=True):
            t += a * min(1, clip / norm(g))
    return total


@pytest.mark.parametrize("make", [gpt, llama])
@pytest.mark.parametrize("clip", [0.3, 3.0, 1e6])
def test_the_sum_is_that_of_brute_force(make, clip):
    model, (ids, targets) = make(), examples()
    expected = brute_force(model, ids, targets, clip)
    for found, want in zip(clipped_sum(model, ids, targets, clip, count=1), expected, strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-9)


def test_without_clipping_it_is_the_gradient_of_the_mean_loss_of_the_examples():
    model, (ids, targets) = gpt(), examples()
    targets = np.where(targets == -100, 0, targets)  # equally long examples
    model.zero_grad()
    loss = model.loss_and_grad(ids, targets)
    expected = gradients(model)
    model.zero_grad()
    assert clipped_loss_and_grad(model, ids, targets, 1e9) == pytest.approx(loss)
    for found, want in zip(gradients(model), expected, strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-9, atol=1e-12)


def test_an_example_moves_the_sum_by_at_most_c_and_a_changed_one_by_2c():
    model, clip = gpt(), 0.7
    ids, targets = examples()
    whole = clipped_sum(model, ids, targets, clip, count=1)
    other_ids, other_targets = examples(seed=2)
    moved = []
    for i in range(len(ids)):
        without = clipped_sum(model, np.delete(ids, i, 0), np.delete(targets, i, 0), clip, count=1)
        moved.append(norm([a - b for a, b in zip(whole, without, strict=True)]))
        new_ids, new_targets = ids.copy(), targets.copy()
        new_ids[i], new_targets[i] = other_ids[i], other_targets[i]
        changed = clipped_sum(model, new_ids, new_targets, clip, count=1)
        assert norm([a - b for a, b in zip(whole, changed, strict=True)]) <= 2 * clip + 1e-9
    assert max(moved) <= clip + 1e-9
    assert max(moved) == pytest.approx(clip, rel=1e-5)  # the bound is reached, so the gradients were clipped


def test_the_two_gradients_of_a_tied_embedding_are_one():
    """Two norms, one for the lookup and one for the output layer, would let an example move the embedding by √2 C."""
    model, (ids, targets) = gpt(), examples(1)
    clip = 0.01
    (embedding, *_) = clipped_sum(model, ids, targets, clip, count=1)
    model.zero_grad()
    model.loss_and_grad(ids[:, : (targets >= 0).sum()], targets[:, : (targets >= 0).sum()])
    raw = gradients(model)
    np.testing.assert_allclose(embedding, raw[0] * clip / norm(raw), rtol=1e-3)
    assert norm(clipped_sum(model, ids, targets, clip, count=1)) == pytest.approx(clip, rel=1e-3)


def test_frozen_parameters_have_no_part_in_the_norm_and_get_no_noise():
    model, (ids, targets) = gpt(), examples(2)
    model.freeze(1)
    assert norm(clipped_sum(model, ids[:1], targets[:1], 0.01, count=1)) == pytest.approx(0.01, rel=1e-3)
    add_noise(model.trainable_parameters(), 1.0, np.random.default_rng(0))
    assert all((p.grad == 0).all() for p in model.parameters() if p.frozen)


def test_it_adds_to_the_gradients_and_leaves_them_in_place_after_an_error():
    model, (ids, targets) = gpt(), examples()
    once = clipped_sum(model, ids, targets, 1.0)
    before = [p.grad for p in model.parameters()]
    clipped_loss_and_grad(model, ids, targets, 1.0)
    for p, array, g in zip(model.parameters(), before, once, strict=True):
        assert p.grad is array
        np.testing.assert_allclose(p.grad, 2 * g, rtol=1e-12)
    with pytest.raises(ValueError, match="ids must lie in"):
        clipped_loss_and_grad(model, ids + V, targets, 1.0)
    assert all(p.grad is array for p, array in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_share_a_batch_and_the_sum_is_the_same(workers):
    model, (ids, targets) = gpt(), examples(7)
    expected = clipped_sum(model, ids, targets, 0.5, count=4)
    model.zero_grad()
    arrays = {"ids": ids, "targets": targets}
    DataParallel(model, workers).add_gradients(arrays, None, 4, {"clip": 0.5}, clipped_loss_and_grad)
    for found, want in zip(gradients(model), expected, strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-9, atol=1e-12)


def test_the_memory_does_not_grow_with_the_batch():
    """48 gradients would take 48 times the size of the model; there are the sum, one gradient, and what made it."""
    model = GPT(GPTConfig(64, 8, 1, 2, 64), np.random.default_rng(0))
    ids = np.random.default_rng(1).integers(0, 64, (48, 8))
    model.zero_grad()
    clipped_loss_and_grad(model, ids[:1], ids[:1], 1.0)
    tracemalloc.start()
    clipped_loss_and_grad(model, ids, ids, 1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * sum(p.data.nbytes for p in model.parameters())


def test_a_huge_gradient_is_clipped_and_one_that_is_not_a_number_stays_so():
    """NaN must be seen by the training loop, and not be scaled to something small."""
    model = gpt()
    for p in model.parameters():
        p.grad = np.full(p.shape, 1e150)
    assert 0 < clip_factor(model.parameters(), 1.0) < 1e-150
    model.parameters()[0].grad[0, 0] = np.nan
    assert not np.isfinite(clip_factor(model.parameters(), 1.0) * model.parameters()[0].grad).all()


def test_the_noise_has_the_promised_size_and_is_independent():
    """100,000 numbers: the standard deviation of their mean is std / 316, that of their std is std / 447."""
    model = GPT(GPTConfig(500, 8, 1, 2, 64), np.random.default_rng(0))
    parameters = model.parameters()
    for p in parameters:
        p.grad = np.full_like(p.data, 3)
    add_noise(parameters, 0.25, np.random.default_rng(5))
    drawn = np.concatenate([p.grad.ravel() for p in parameters]).astype(np.float64) - 3
    n = len(drawn)
    assert abs(drawn.mean()) < 5 * 0.25 / math.sqrt(n)
    assert drawn.std() == pytest.approx(0.25, rel=5 / math.sqrt(2 * n))
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 5 / math.sqrt(n)
    assert (np.abs(drawn) > 0.5).mean() == pytest.approx(0.0455, rel=0.1)  # two standard deviations of a Gaussian
    for p in parameters:
        assert p.grad.dtype == np.float32


def test_noise_is_repeatable_and_each_array_has_its_own():
    first, again = gpt(), gpt()
    add_noise(first.parameters(), 1.0, np.random.default_rng(3))
    add_noise(again.parameters(), 1.0, np.random.default_rng(3))
    for p, q in zip(first.parameters(), again.parameters(), strict=True):
        np.testing.assert_array_equal(p.grad, q.grad)
    assert (first.h[0].ln_1.weight.grad != first.h[1].ln_1.weight.grad).all()


def test_batches_are_drawn_example_by_example():
    rng, n, q = np.random.default_rng(0), 200, 0.05
    batches = [poisson_sample(n, q, rng) for _ in range(2000)]
    sizes = np.array([len(batch) for batch in batches])
    assert sizes.mean() == pytest.approx(n * q, rel=0.03)
    assert sizes.var() == pytest.approx(n * q * (1 - q), rel=0.15)  # a fixed size would have variance 0
    counts = np.bincount(np.concatenate(batches), minlength=n)
    assert counts.min() > 50
    assert counts.max() < 160
    assert all(len(np.unique(batch)) == len(batch) for batch in batches)


def test_the_tracked_loss_is_the_sum_over_the_expected_batch():
    model, (ids, targets) = gpt(), examples(4)
    losses = [model.loss(ids[i : i + 1], targets[i : i + 1]) for i in range(4)]
    assert clipped_loss_and_grad(model, ids, targets, 1.0, count=10) == pytest.approx(sum(losses) / 10)
