"""Packed rows: the picture of the lesson, and fast attention, which is the formula with the block-diagonal mask."""

import numpy as np
import pytest

from numpylm.nn.attention import CausalSelfAttention, packed_attention
from numpylm.nn.blocks import Block
from numpylm.nn.fast_attention import FastCausalSelfAttention
from numpylm.nn.grouped_query_attention import GroupedQueryAttention
from numpylm.nn.kv_cache import KVCache
from numpylm.nn.packing import Span, checked_segments, restarted_positions, same_segment, spans

SEGMENTS = np.array([[1, 1, 1, 2, 2, 0], [0, 7, 7, 7, 7, 3]])
LONG = np.repeat([[1, 2, 0], [1, 2, 3]], [100, 70, 1], axis=1)  # longer than the blocks of fast attention


def test_two_texts_and_padding():
    np.testing.assert_array_equal(restarted_positions(SEGMENTS), [[0, 1, 2, 0, 1, 0], [0, 0, 1, 2, 3, 0]])
    assert spans(SEGMENTS) == [Span(0, 0, 3), Span(0, 3, 5), Span(1, 1, 5), Span(1, 5, 6)]
    picture = """
        x x x . . .
        x x x . . .
        x x x . . .
        . . . x x .
        . . . x x .
        . . . . . ."""
    drawn = ["".join("x" if seen else "." for seen in row) for row in same_segment(SEGMENTS)[0, 0]]
    assert drawn == picture.replace(" ", "").split()


@pytest.mark.parametrize("segments", [SEGMENTS, LONG])
def test_text_after_text_equals_the_formula_with_the_mask(segments):
    slow, fast = (kind(12, 3, dtype=np.float64) for kind in (CausalSelfAttention, FastCausalSelfAttention))
    rng = np.random.default_rng(0)
    for p, q in zip(slow.parameters(), fast.parameters(), strict=True):
        p.data = q.data = rng.standard_normal(p.shape)
    x, dy = rng.standard_normal((2, *segments.shape, 12))
    (y, cache), (expected, slow_cache) = (layer.forward(x, segments=segments) for layer in (fast, slow))
    np.testing.assert_allclose(y, expected, atol=1e-11)
    np.testing.assert_allclose(fast.backward(dy, cache), slow.backward(dy, slow_cache), atol=1e-11)
    for p, q in zip(slow.parameters(), fast.parameters(), strict=True):
        np.testing.assert_allclose(q.grad, p.grad, atol=1e-10)


def test_padding_attends_to_nothing_and_outputs_zeros():
    q, k, v = np.random.default_rng(0).standard_normal((3, 2, 2, 6, 4))
    out, _ = packed_attention(q, k, v, SEGMENTS)
    assert not out.swapaxes(1, 2)[SEGMENTS == 0].any()
    assert out.swapaxes(1, 2)[SEGMENTS > 0].all()


def test_attention_that_knows_no_segments_still_fits_into_a_block():
    class Own(CausalSelfAttention):
        def forward(self, x, rng=None):
            return super().forward(x, rng)

    block = Block(8, 2)
    block.attn = Own(8, 2)
    x = np.ones((1, 3, 8), np.float32)
    assert block.forward(x)[0].shape == x.shape
    with pytest.raises(TypeError, match="segments"):  # and is not silently run without them
        block.forward(x, segments=np.ones((1, 3), int))


@pytest.mark.parametrize("layer", [CausalSelfAttention(8, 2), GroupedQueryAttention(8, 2)])
def test_a_key_value_cache_is_refused(layer):
    past = KVCache((1, 2, 5, 4), np.float32)
    with pytest.raises(ValueError, match="each text has its own row"):
        layer.forward(np.ones((1, 3, 8), np.float32), None, past, np.ones((1, 3), int))


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([[1, 1]], r"shape of ids, \(1, 3\), got \(1, 2\)"),
        ([[1, 2, 1]], "1 comes again"),
        ([[1, 1, -1]], "got the number -1"),
        ([[1.0, 1.0, 0.0]], "got float64"),
        ([[True, True, False]], "got bool"),
    ],
)
def test_segments_that_mean_nothing_are_refused(segments, message):
    with pytest.raises(ValueError, match=message):
        checked_segments(segments, np.zeros((1, 3), int))
    assert checked_segments([[2, 0, 1]], np.zeros((1, 3), int)).tolist() == [[2, 0, 1]]
