"""Names, identity and state of parameters."""

import numpy as np
import pytest

from numpylm import GPT, GPTConfig, Linear, Module, Parameter
from numpylm.nn.module import named_parameters


class Tied(Module):
    """Two attributes, one parameter, and one in a list."""

    def __init__(self):
        self.first = Linear(2, 3, rng=np.random.default_rng(0))
        self.again = self.first
        self.stack = [Linear(3, 1, bias=False)]
        self.number = 7


def small_gpt(seed=0, dtype=np.float32):
    return GPT(GPTConfig(11, 6, 2, 2, 8), np.random.default_rng(seed), dtype)


def test_names_are_attribute_paths_and_each_parameter_comes_once():
    assert [name for name, _ in Tied().named_parameters()] == ["first.weight", "first.bias", "stack.0.weight"]


def test_gpt_has_gpt2s_names():
    names = [name for name, _ in small_gpt().named_parameters()]
    block = ["ln_1.weight", "ln_1.bias", "attn.c_attn.weight", "attn.c_attn.bias", "attn.c_proj.weight"]
    block += ["attn.c_proj.bias", "ln_2.weight", "ln_2.bias", "mlp.c_fc.weight", "mlp.c_fc.bias"]
    block += ["mlp.c_proj.weight", "mlp.c_proj.bias"]
    expected = ["wte.weight", "wpe.weight"] + [f"h.{i}.{name}" for i in range(2) for name in block]
    assert names == expected + ["ln_f.weight", "ln_f.bias"]


def test_parameters_of_an_object_without_base_class_are_found():
    class Mine:
        def __init__(self):
            self.w = Parameter(np.zeros(3))

        def forward(self, x):
            return x, None

        def backward(self, dout, cache):
            return dout

    assert [name for name, _ in named_parameters(Mine())] == ["w"]


def test_astype_converts_values_and_gradients_and_keeps_shared_parameters_shared():
    tied = Tied()
    weight = tied.first.weight
    values = weight.data.copy()
    weight.grad += 1
    assert tied.astype(np.float64) is tied
    assert tied.again.weight is weight
    np.testing.assert_array_equal(weight.data, values)
    assert {p.data.dtype for p in tied.parameters()} == {p.grad.dtype for p in tied.parameters()} == {np.dtype(float)}
    assert not weight.grad.any()


def test_state_dict_round_trip_copies_values():
    source, target = small_gpt(0), small_gpt(1)
    target.load_state_dict(source.state_dict())
    source.wte.weight.data[0, 0] += 1
    assert target.wte.weight.data[0, 0] != source.wte.weight.data[0, 0]
    np.testing.assert_array_equal(target.h[1].mlp.c_fc.weight.data, source.h[1].mlp.c_fc.weight.data)


def test_load_state_dict_names_every_problem_and_loads_nothing():
    gpt = small_gpt()
    state = {name: value.copy() + 1 for name, value in gpt.state_dict().items()}
    del state["ln_f.bias"]
    state["lm_head.weight"] = np.zeros((2, 2))
    state["wpe.weight"] = np.zeros((8, 6))
    state["h.0.ln_1.weight"] = np.zeros(8, int)
    before = gpt.wte.weight.data.copy()
    with pytest.raises(ValueError, match="4 problems") as error:
        gpt.load_state_dict(state)
    for part in ("missing: ln_f.bias", "unexpected: lm_head.weight", "wpe.weight should be (6, 8), is (8, 6)", "int64"):
        assert part in str(error.value)
    np.testing.assert_array_equal(gpt.wte.weight.data, before)


def test_zero_grad_clears_every_gradient():
    gpt = small_gpt()
    gpt.loss_and_grad(np.array([[1, 2]]), np.array([[2, 3]]))
    assert all(p.grad.any() for p in [gpt.wte.weight, gpt.ln_f.bias])
    gpt.zero_grad()
    assert not any(p.grad.any() for p in gpt.parameters())


def test_one_seed_gives_the_same_weights_in_both_dtypes():
    single, double = small_gpt(3, np.float32), small_gpt(3, np.float64)
    assert double.wte.weight.dtype == np.float64
    np.testing.assert_array_equal(single.wte.weight.data, double.wte.weight.data.astype(np.float32))
