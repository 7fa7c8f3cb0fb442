"""GatedMLP: its formula, the branch that a zero gate closes, and its options."""

import math

import numpy as np
import pytest

from numpylm import GatedMLP


def rng(seed=0):
    return np.random.default_rng(seed)


def make(activation="silu", bias=False):
    layer = GatedMLP(4, 5, activation, bias, std=1.0, proj_std=1.0, rng=rng(), dtype=np.float64)
    for p in (layer.gate_proj, layer.up_proj, layer.down_proj) if bias else ():
        p.bias.data[:] = rng(1).standard_normal(p.bias.shape)
    return layer


FUNCTIONS = {
    "silu": lambda z: z / (1 + np.exp(-z)),
    "gelu": lambda z: z * 0.5 * (1 + np.vectorize(math.erf)(z / math.sqrt(2))),
    "relu": lambda z: np.maximum(z, 0),
}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", FUNCTIONS)
def test_the_formula(activation, bias):
    layer, x = make(activation, bias), rng(2).standard_normal((2, 3, 4))
    parts = (layer.gate_proj, layer.up_proj, layer.down_proj)
    (g, u, d), (bg, bu, bd) = zip(*((p.weight.data, p.bias.data if bias else 0.0) for p in parts), strict=True)
    expected = (FUNCTIONS[activation](x @ g + bg) * (x @ u + bu)) @ d + bd
    np.testing.assert_allclose(layer.forward(x)[0], expected, rtol=1e-7, atol=1e-12)
    assert [name for name, _ in layer.named_parameters()] == [
        f"{part}_proj.{kind}"
        for part in ("gate", "up", "down")
        for kind in (("weight", "bias") if bias else ("weight",))
    ]


@pytest.mark.parametrize("zero", ["gate_proj", "up_proj"])
def test_one_zero_factor_closes_the_layer_and_its_own_branch_still_learns(zero):
    layer, x = make(), rng(2).standard_normal((2, 3, 4))
    getattr(layer, zero).weight.data[:] = 0
    y, cache = layer.forward(x)
    layer.backward(np.ones_like(y), cache)
    learns = {name for name, p in layer.named_parameters() if p.grad.any()}
    assert not y.any()
    assert learns == {f"{zero}.weight"}  # the other factor and down_proj are multiplied by zero


def test_initial_weights_have_two_standard_deviations():
    layer = GatedMLP(100, 300, std=0.02, proj_std=0.005, rng=rng())
    for part, std in (("gate_proj", 0.02), ("up_proj", 0.02), ("down_proj", 0.005)):
        assert getattr(layer, part).weight.data.std() == pytest.approx(std, rel=0.03)
    assert (layer.gate_proj.weight.data != layer.up_proj.weight.data).all()


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match=r"activation must be one of .*silu.*, got 'swish'"):
        GatedMLP(4, 5, "swish")
