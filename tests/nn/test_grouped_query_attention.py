"""GroupedQueryAttention: ordinary attention for K = H, sums over groups, causality, the cache and padding."""

import numpy as np
import pytest

from numpylm import CausalSelfAttention, GroupedQueryAttention, Rotary
from numpylm.nn.kv_cache import KVCache

B, T, C, H, D = 2, 6, 12, 6, 4


def rng(seed=0):
    return np.random.default_rng(seed)


def make(K=2, **options):
    return GroupedQueryAttention(C, H, K, head_dim=D, std=0.5, proj_std=0.5, rng=rng(), dtype=np.float64, **options)


def x_and_dy():
    return rng(1).standard_normal((B, T, C)), rng(2).standard_normal((B, T, C))


def still():
    """A rotary that turns nothing."""
    rotary = Rotary(D)
    rotary.frequencies = np.zeros_like(rotary.frequencies)
    return rotary


def run(layer, x, dy, **options):
    y, cache = layer.forward(x, **options)
    return y, layer.backward(dy, cache)


def test_with_as_many_key_heads_and_no_rotation_it_is_ordinary_attention():
    ours = GroupedQueryAttention(C, 3, rotary=still(), bias=True, out_bias=True, std=0.5, rng=rng(), dtype=np.float64)
    plain = CausalSelfAttention(C, 3, dtype=np.float64)
    parts = (ours.q_proj, ours.k_proj, ours.v_proj)
    for part in (*parts, ours.o_proj):
        part.bias.data[:] = rng(part.weight.size).standard_normal(part.bias.shape)
    plain.c_attn.weight.data = np.concatenate([part.weight.data for part in parts], axis=1)
    plain.c_attn.bias.data = np.concatenate([part.bias.data for part in parts])
    plain.c_proj.weight.data, plain.c_proj.bias.data = ours.o_proj.weight.data, ours.o_proj.bias.data
    for found, expected in zip(run(ours, *x_and_dy()), run(plain, *x_and_dy()), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)
    for kind in ("weight", "bias"):
        grads = np.concatenate([getattr(part, kind).grad for part in parts], axis=-1)
        np.testing.assert_allclose(grads, getattr(plain.c_attn, kind).grad, atol=1e-11)


@pytest.mark.parametrize("K", [1, 2, 3])
def test_it_is_attention_with_repeated_heads_and_the_gradient_is_the_sum_over_a_group(K):
    few, many = make(K), make(H)
    many.q_proj, many.o_proj = make(K).q_proj, make(K).o_proj
    for name in ("k_proj", "v_proj"):
        heads = getattr(few, name).weight.data.reshape(C, K, D)
        getattr(many, name).weight.data = np.repeat(heads, H // K, axis=1).reshape(C, H * D)
    for found, expected in zip(run(few, *x_and_dy()), run(many, *x_and_dy()), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)
    for name in ("k_proj", "v_proj"):
        groups = getattr(many, name).weight.grad.reshape(C, K, H // K, D)
        np.testing.assert_allclose(getattr(few, name).weight.grad.reshape(C, K, D), groups.sum(axis=2), atol=1e-11)
    np.testing.assert_allclose(few.q_proj.weight.grad, many.q_proj.weight.grad, atol=1e-11)


def test_no_position_sees_a_later_one():
    layer, (x, _) = make(), x_and_dy()
    changed = x.copy()
    changed[:, 3] += 1
    before, after = layer.forward(x)[0], layer.forward(changed)[0]
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert (np.abs(before - after)[:, 3:].max(-1) > 1e-3).all()


def test_a_shift_of_all_positions_changes_nothing():
    """Scores depend on distances alone: nothing but the positions differs from zeros that nobody may see."""
    layer, (x, _) = make(), x_and_dy()
    past = KVCache((B, 2, 20, D), np.float64, padding=np.array([5, 5]))
    past.length = 9  # positions 4, 5, ...; what is before them is hidden below
    past.k[:], past.v[:] = 0, 0
    past.mask = lambda T: np.tri(T, 9 + T, 9, dtype=bool) & (np.arange(9 + T) >= 9)
    np.testing.assert_allclose(layer.forward(x, past=past)[0], layer.forward(x)[0], atol=1e-12)


@pytest.mark.parametrize("chunks", [[1] * T, [3, 1, 2], [T]])
@pytest.mark.parametrize("K", [1, 2, H])
def test_with_a_cache_of_k_heads_it_is_the_same_as_at_once(K, chunks):
    layer, (x, _) = make(K), x_and_dy()
    whole, past, at = layer.forward(x)[0], KVCache((B, K, T, D), np.float64), 0
    for size in chunks:
        y, _ = layer.forward(x[:, at : at + size], past=past)
        np.testing.assert_allclose(y, whole[:, at : at + size], atol=1e-12)
        at += size


@pytest.mark.parametrize("chunks", [[T], [4, 1, 1]])
def test_a_text_is_the_same_alone_and_in_a_left_padded_batch(chunks):
    layer, (x, _) = make(), x_and_dy()
    padding, at, found = np.array([3, 0]), 0, []
    past = KVCache((B, 2, T, D), np.float64, padding)
    for size in chunks:
        found.append(layer.forward(x[:, at : at + size], past=past)[0])
        at += size
    together = np.concatenate(found, axis=1)
    for row, pad in enumerate(padding):
        alone, _ = layer.forward(x[row : row + 1, pad:])
        np.testing.assert_allclose(together[row : row + 1, pad:], alone, atol=1e-12)


def test_dropout_of_the_weights_needs_a_generator():
    layer, (x, dy) = make(dropout=0.5), x_and_dy()
    plain, first = layer.forward(x)[0], run(layer, x, dy, rng=rng(3))
    np.testing.assert_array_equal(make().forward(x)[0], plain)
    assert np.abs(first[0] - plain).max() > 1e-3
    for a, b in zip(first, run(layer, x, dy, rng=rng(3)), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_embd": 12, "n_head": 5}, "n_head must divide n_embd"),
        ({"n_embd": 12, "n_head": 6, "n_kv_head": 4}, "n_kv_head must divide n_head, .* got n_kv_head=4, n_head=6"),
        ({"n_embd": 12, "n_head": 4}, "a head must have an even number, got 3"),
        ({"n_embd": 12, "n_head": 2, "rotary": Rotary(4)}, "rotary turns heads of 4 channels, these have 6"),
    ],
)
def test_impossible_heads_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GroupedQueryAttention(**arguments)
