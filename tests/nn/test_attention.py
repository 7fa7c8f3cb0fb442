"""Attention: the formula, the mask, heads, and the fast version in blocks of queries."""

import numpy as np
import pytest

from numpylm import (
    gradcheck,
    scaled_dot_product_attention,
)
from numpylm.nn.attention import causal_mask, merge_heads, scaled_dot_product_attention_backward, split_heads
from numpylm.nn.fast_attention import causal_attention, causal_attention_backward


def rng(seed=0):
    return np.random.default_rng(seed)


def test_heads_are_split_and_merged_without_mixing():
    x = rng().standard_normal((2, 5, 12))
    heads = split_heads(x, 3)
    np.testing.assert_array_equal(heads[1, 2, 4], x[1, 4, 8:12])
    np.testing.assert_array_equal(merge_heads(heads), x)


def test_attention_is_the_formula_row_by_row():
    g = rng()
    q, k, v = g.standard_normal((1, 2, 3, 4)), g.standard_normal((1, 2, 5, 4)), g.standard_normal((1, 2, 5, 4))
    mask = g.random((3, 5)) < 0.7
    mask[:, 0] = True
    out, _ = scaled_dot_product_attention(q, k, v, mask)
    for h in range(2):
        for t in range(3):
            weight = np.exp(k[0, h] @ q[0, h, t] / 2) * mask[t]
            np.testing.assert_allclose(out[0, h, t], weight @ v[0, h] / weight.sum(), rtol=1e-12)


def test_a_query_that_may_attend_to_nothing_gives_zeros_and_no_gradient():
    g = rng()
    q, k, v = (g.standard_normal((1, 1, 3, 4)).astype(np.float32) for _ in range(3))
    mask = np.ones((3, 3), bool)
    mask[1] = False
    out, cache = scaled_dot_product_attention(q, k, v, mask)
    dq, dk, dv = scaled_dot_product_attention_backward(np.ones_like(out), cache)
    assert not out[0, 0, 1].any()
    assert not dq[0, 0, 1].any()
    assert np.isfinite(dk).all()
    assert np.isfinite(dv).all()


def test_attention_refuses_a_mask_of_numbers():
    q = np.zeros((1, 1, 2, 4))
    with pytest.raises(ValueError, match="boolean"):
        scaled_dot_product_attention(q, q, q, np.zeros((2, 2)))


def test_causal_mask_lines_up_with_the_last_queries():
    np.testing.assert_array_equal(causal_mask(2, 3), [[True, True, False], [True, True, True]])


@pytest.mark.parametrize("T", [1, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("masked", ["causal", "padded"])
def test_causal_attention_in_blocks_is_attention_under_the_causal_mask(T, masked):
    rng = np.random.default_rng(T)
    q, k, v, dout = rng.standard_normal((4, 2, 3, T, 6))
    mask = causal_mask(T, T)
    if masked == "padded":
        mask = mask & (np.arange(T) >= np.array([0, 2])[:, None, None, None])  # (B, 1, T, S)
    whole, whole_cache = scaled_dot_product_attention(q, k, v, mask)
    out, cache = causal_attention(q, k, v, mask, rows=4)
    np.testing.assert_allclose(out, whole, rtol=0, atol=1e-12)
    expected = scaled_dot_product_attention_backward(dout, whole_cache)
    for one, other in zip(causal_attention_backward(dout, cache), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_blocks_read_on_after_a_past():
    rng = np.random.default_rng(0)
    q = rng.standard_normal((1, 2, 6, 4))
    k, v = rng.standard_normal((2, 1, 2, 11, 4))  # five positions were read before
    whole, _ = scaled_dot_product_attention(q, k, v, causal_mask(6, 11))
    np.testing.assert_allclose(causal_attention(q, k, v, causal_mask(6, 11), rows=4)[0], whole, rtol=0, atol=1e-12)
    last, _ = causal_attention(q[:, :, -1:], k, v, None, rows=4)
    np.testing.assert_allclose(last, whole[:, :, -1:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("dropout_p", [0.0, 0.3])
def test_gradients_of_causal_attention_across_blocks(dropout_p):
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 2, 2, 7, 3))
    pair = (causal_attention, causal_attention_backward)
    report = gradcheck(pair, q, k, v, mask=causal_mask(7, 7), dropout_p=dropout_p, rows=3)
    assert report.ok, report
