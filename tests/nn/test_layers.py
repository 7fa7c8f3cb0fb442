"""Forward values, errors, purity and dtypes of layers."""

import copy

import numpy as np
import pytest

from numpylm import (
    MLP,
    Block,
    CausalSelfAttention,
    Conv1d,
    Dropout,
    Embedding,
    GatedMLP,
    GroupedQueryAttention,
    LayerNorm,
    Linear,
    LlamaBlock,
    MixtureOfExperts,
    RMSNorm,
)
from numpylm.check import selfcheck


def rng(seed=0):
    return np.random.default_rng(seed)


def test_layer_norm_uses_the_biased_variance_with_eps_inside_the_root():
    layer = LayerNorm(3, eps=0.5, dtype=np.float64)
    x = np.array([[1.0, 2.0, 6.0]])
    expected = (x - 3) / np.sqrt(14 / 3 + 0.5)
    np.testing.assert_allclose(layer.forward(x)[0], expected, rtol=1e-15)


def test_rms_norm_divides_by_the_root_mean_square_with_eps_inside_the_root():
    layer = RMSNorm(3, eps=0.5, dtype=np.float64)
    layer.weight.data[:] = [1, 2, 3]
    y = layer.forward(np.array([[1.0, 2.0, 6.0]]))[0]
    np.testing.assert_allclose(y, np.array([[1, 4, 18]]) / np.sqrt(41 / 3 + 0.5), rtol=1e-15)


def test_rms_norm_ignores_the_scale_of_a_row_and_not_a_shift():
    layer, x, dy = RMSNorm(5, eps=0.0, dtype=np.float64), rng().standard_normal((3, 5)), rng(1).standard_normal((3, 5))
    layer.weight.data[:] = rng(2).standard_normal(5)
    y, cache = layer.forward(x)
    stretched, stretched_cache = layer.forward(x * np.array([[0.01], [7.0], [1e6]]))
    np.testing.assert_allclose(stretched, y, rtol=1e-12)
    np.testing.assert_allclose(layer.forward(-x)[0], -y, rtol=1e-12)
    assert np.abs(layer.forward(x + 1)[0] - y).max() > 0.1
    dx, smaller = layer.backward(dy, cache), layer.backward(dy, stretched_cache)
    np.testing.assert_allclose((dx * x).sum(-1), 0, atol=1e-12)  # stretching x changes nothing
    np.testing.assert_allclose(smaller, dx / np.array([[0.01], [7.0], [1e6]]), rtol=1e-10)


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


LAYERS = [
    Linear(8, 8),
    LayerNorm(8),
    RMSNorm(8),
    Dropout(0.5),
    Conv1d(8, 8, 3, padding=1),
    MLP(8),
    CausalSelfAttention(8, 2, 0.5),
    Block(8, 2, 0.5),
    GatedMLP(8, 5, bias=True),
    GatedMLP(8, 5, "gelu"),
    GroupedQueryAttention(8, 4, 2, dropout=0.5, bias=True, out_bias=True),
    MixtureOfExperts(8, 5, 3, 2),
    LlamaBlock(GroupedQueryAttention(8, 4, 2, dropout=0.5), GatedMLP(8, 5), 8, 0.5),
    LlamaBlock(GroupedQueryAttention(8, 4, 1), MixtureOfExperts(8, 5, 3, 2), 8, 0.5),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_float32_stays_float32(layer):
    x = rng().standard_normal((2, 3, 8)).astype(np.float32)
    random = (Dropout, CausalSelfAttention, Block, GroupedQueryAttention, LlamaBlock)
    options = {"rng": rng()} if isinstance(layer, random) else {}
    out, cache = layer.forward(x, **options)
    balance = {"dbalance": 0.1} if isinstance(layer, (MixtureOfExperts, LlamaBlock)) else {}
    dx = layer.backward(out, cache, **balance)
    assert out.dtype == dx.dtype == np.float32
    assert all(p.grad.dtype == np.float32 for p in layer.parameters())


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_frozen_parameters_get_no_gradient_and_all_others_the_same(layer):
    """Each parameter is frozen alone. Its gradient is not even allocated."""
    layer = copy.deepcopy(layer).astype(np.float64)
    x, dy = rng().standard_normal((2, 2, 3, 8))
    balance = {"dbalance": 0.5} if isinstance(layer, (MixtureOfExperts, LlamaBlock)) else {}
    dx = layer.backward(dy, layer.forward(x)[1], **balance)
    expected = {name: p.grad.copy() for name, p in layer.named_parameters()}
    for chosen, parameter in layer.named_parameters():
        for name, p in layer.named_parameters():
            p.frozen, p._grad = name == chosen, None
        np.testing.assert_array_equal(layer.backward(dy, layer.forward(x)[1], **balance), dx)
        assert parameter._grad is None
        for name, p in layer.named_parameters():
            np.testing.assert_array_equal(p.grad, 0 if name == chosen else expected[name], err_msg=f"{chosen}: {name}")


def test_functions_keep_float32():
    for _, layer, inputs, options in selfcheck.cases(rng(), families=("gpt", "llama")):
        if not isinstance(layer, tuple):
            continue
        forward, backward = layer
        single = [x.astype(np.float32) if x.dtype.kind == "f" else x for x in inputs]
        more = {"rng": rng()} if "dropout_p" in options else {}
        out, cache = forward(*single, **options, **more)
        grads = backward(out, cache)
        arrays = [out, *(grads if isinstance(grads, tuple) else (grads,))]
        assert all(isinstance(a, float) or a.dtype == np.float32 for a in arrays), forward.__name__


def arrays_in(value):
    """Every array inside a cache, however it is nested."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from arrays_in(item)


@pytest.mark.parametrize("case", list(selfcheck.cases(rng(), families=("gpt", "llama"))), ids=lambda case: case[0])
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
