"""Forward values, errors, purity and dtypes of layers, attention and GPT."""

import copy

import numpy as np
import pytest

from numpylm import (
    GPT,
    MLP,
    Block,
    CausalSelfAttention,
    Dropout,
    Embedding,
    GPTConfig,
    LayerNorm,
    Linear,
    gradcheck,
    scaled_dot_product_attention,
)
from numpylm.check import selfcheck
from numpylm.nn.attention import causal_mask, merge_heads, scaled_dot_product_attention_backward, split_heads
from numpylm.nn.fast_attention import causal_attention, causal_attention_backward


def rng(seed=0):
    return np.random.default_rng(seed)


def test_layer_norm_uses_the_biased_variance_with_eps_inside_the_root():
    layer = LayerNorm(3, eps=0.5, dtype=np.float64)
    x = np.array([[1.0, 2.0, 6.0]])
    expected = (x - 3) / np.sqrt(14 / 3 + 0.5)
    np.testing.assert_allclose(layer.forward(x)[0], expected, rtol=1e-15)


def test_dropout_keeps_the_mean_and_has_a_new_mask_each_call():
    layer = Dropout(0.25)
    x = np.ones((200, 200))
    generator = rng()
    (first, _), (second, _) = layer.forward(x, generator), layer.forward(x, generator)
    assert first.mean() == pytest.approx(1, abs=0.01)
    assert set(np.unique(first)) == {0, 1 / 0.75}
    assert (first != second).any()
    assert layer.forward(x)[0] is x


@pytest.mark.parametrize("p", [-0.1, 1.0, 2])
def test_dropout_refuses_impossible_probabilities(p):
    with pytest.raises(ValueError, match="p must lie in"):
        Dropout(p)


def test_embedding_adds_up_the_gradients_of_equal_ids():
    layer = Embedding(4, 2, dtype=np.float64)
    _, cache = layer.forward(np.array([[1, 3, 1], [1, 0, 3]]))
    layer.backward(np.arange(12.0).reshape(2, 3, 2), cache)
    np.testing.assert_array_equal(layer.weight.grad, [[8, 9], [0 + 4 + 6, 1 + 5 + 7], [0, 0], [2 + 10, 3 + 11]])


@pytest.mark.parametrize(("ids", "message"), [([4], "got 4"), ([-1], "got -1"), ([0.5], "integer")])
def test_embedding_names_bad_ids(ids, message):
    with pytest.raises(ValueError, match=message):
        Embedding(4, 2).forward(np.array(ids))


def test_linear_names_the_shape_it_expects():
    with pytest.raises(ValueError, match=r"\(\.\.\., 3\), got \(2, 4\)"):
        Linear(3, 5).forward(np.zeros((2, 4)))


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


def test_no_position_of_a_gpt_sees_a_later_one():
    gpt = GPT(GPTConfig(11, 8, 2, 2, 8), rng(), np.float64)
    ids = rng(1).integers(0, 11, (2, 8))
    changed = ids.copy()
    changed[:, 5] = (ids[:, 5] + 1) % 11
    before, after = gpt.forward(ids)[0], gpt.forward(changed)[0]
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert (before[:, 5:] != after[:, 5:]).any(-1).all()


@pytest.mark.parametrize(
    "layer",
    [Linear(6, 6), LayerNorm(6), Dropout(0.5), MLP(6), CausalSelfAttention(6, 2, 0.5), Block(6, 2, 0.5)],
    ids=lambda layer: type(layer).__name__,
)
def test_float32_stays_float32(layer):
    x = rng().standard_normal((2, 3, 6)).astype(np.float32)
    options = {"rng": rng()} if isinstance(layer, (Dropout, CausalSelfAttention, Block)) else {}
    out, cache = layer.forward(x, **options)
    dx = layer.backward(out, cache)
    assert out.dtype == dx.dtype == np.float32
    assert all(p.grad.dtype == np.float32 for p in layer.parameters())


def test_functions_keep_float32():
    for _, layer, inputs, options in selfcheck.cases(rng()):
        if not isinstance(layer, tuple):
            continue
        forward, backward = layer
        single = [x.astype(np.float32) if x.dtype.kind == "f" else x for x in inputs]
        more = {"rng": rng()} if "dropout_p" in options else {}
        out, cache = forward(*single, **options, **more)
        grads = backward(out, cache)
        arrays = [out, *(grads if isinstance(grads, tuple) else (grads,))]
        assert all(isinstance(a, float) or a.dtype == np.float32 for a in arrays), forward.__name__


@pytest.mark.parametrize("bias", [True, False])
def test_a_whole_gpt_stays_in_float32(bias):
    gpt = GPT(GPTConfig(11, 6, 2, 2, 8, dropout=0.1, bias=bias), rng())
    ids = rng().integers(0, 11, (2, 6))
    logits, _ = gpt.forward(ids, rng())
    gpt.loss_and_grad(ids, ids, rng())
    assert logits.dtype == np.float32
    assert all(p.data.dtype == p.grad.dtype == np.float32 for p in gpt.parameters())


def arrays_in(value):
    """Every array inside a cache, however it is nested."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from arrays_in(item)


@pytest.mark.parametrize("case", list(selfcheck.cases(rng())), ids=lambda case: case[0])
def test_nothing_is_ever_written_to(case):
    """Inputs, caches and upstream gradients may be read-only, and a second forward changes no gradient."""
    _, layer, inputs, options = case
    layer = copy.deepcopy(layer)
    forward, backward = layer if isinstance(layer, tuple) else (layer.forward, layer.backward)
    for x in inputs:
        x.setflags(write=False)
    if "dropout_p" in options:
        options = options | {"rng": rng()}
    out, cache = forward(*inputs, **options)
    dout = np.asarray(out) * 0.5
    dout.setflags(write=False)
    for array in arrays_in(cache):
        array.setflags(write=False)
    dout = dout if dout.ndim else float(dout)
    first = backward(dout, cache)
    forward(*[x[::-1] for x in inputs], **{k: v for k, v in options.items() if k not in ("mask", "rng")})
    second = backward(dout, cache)
    for a, b in zip(arrays_in([first]), arrays_in([second]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_gpt2s_initialisation():
    gpt = GPT(GPTConfig(500, 300, 8, 4, 64), rng())
    assert gpt.wte.weight.data.std() == pytest.approx(0.02, rel=0.03)
    assert gpt.wpe.weight.data.std() == pytest.approx(0.02, rel=0.03)
    assert gpt.h[0].mlp.c_fc.weight.data.std() == pytest.approx(0.02, rel=0.03)
    for block in gpt.h:
        assert block.attn.c_proj.weight.data.std() == pytest.approx(0.02 / 4, rel=0.05)  # √(2 · 8) = 4
        assert block.mlp.c_proj.weight.data.std() == pytest.approx(0.02 / 4, rel=0.05)
        assert not block.attn.c_attn.bias.data.any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_head": 3}, "n_head must divide n_embd"),
        ({"n_layer": 0}, "n_layer must be a whole number"),
        ({"vocab_size": 2.5}, "vocab_size must be a whole number"),
        ({"dropout": 1.0}, "dropout must lie in"),
        ({"gelu_approximate": "relu"}, "gelu_approximate"),
    ],
)
def test_impossible_shapes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        GPTConfig(**({"vocab_size": 5, "block_size": 4, "n_layer": 1, "n_head": 2, "n_embd": 8} | changes))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.zeros(4, int), "add a batch axis"),
        (np.zeros((1, 9), int), "block_size=8"),
        (np.zeros((1, 0), int), "got 0"),
        (np.zeros((1, 3)), "integer ids"),
        (np.full((1, 3), 11), r"\[0, 11\), got 11"),
    ],
)
def test_gpt_explains_bad_ids(ids, message):
    with pytest.raises(ValueError, match=message):
        GPT(GPTConfig(11, 8, 1, 2, 8), rng()).forward(ids)


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
