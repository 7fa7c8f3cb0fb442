"""What the zoo cannot hold: rounding, kinks, randomness, other ways to write a layer, and several causes at once."""

import math

import numpy as np
import pytest

from numpylm import Dropout, LayerNorm, Linear, Module, Parameter, gradcheck
from numpylm.check.measure.sizes import name_factor

RNG = np.random.default_rng(0)
X = RNG.standard_normal((2, 5, 6))


def gelu_like(x):
    return x * np.tanh(x), x


def gelu_like_backward(dout, x):
    return dout * (np.tanh(x) + x * (1 - np.tanh(x) ** 2))


def test_float32_inside_a_right_layer_is_rounding_and_said_so():
    def forward(x):
        out, _ = gelu_like(x.astype(np.float32))
        return out, x.astype(np.float32)

    report = gradcheck((forward, gelu_like_backward), X)
    assert report.ok, str(report)
    assert any("float32" in note for note in report.notes)


def test_float32_does_not_excuse_a_fault():
    def forward(x):
        return gelu_like(x.astype(np.float32))

    report = gradcheck((forward, lambda dout, x: 1.01 * gelu_like_backward(dout, x)), X)
    assert not report.ok


def test_float32_in_backward_alone_is_rounding_too():
    rows = np.random.default_rng(1).standard_normal((2000, 6))  # a long sum, in which much cancels

    def backward(dout, cache):
        return rows.T.astype(np.float32) @ dout.astype(np.float32)

    report = gradcheck((lambda w: (rows @ w, None), backward), X[0, :, :4].T[:, :].repeat(2, 0)[:6])
    assert report.ok, str(report)
    assert any("backward computes in float32" in note for note in report.notes)


class Linear32:
    """Computes in float32 and gives float64 back; ``cast`` says how, and whether that can be changed."""

    def __init__(self, cast, factor=1):
        rng = np.random.default_rng(0)
        self.cast, self.factor = cast, factor
        self.W, self.b = rng.standard_normal((6, 40)).astype(np.float32), np.zeros(40, np.float32)

    def forward(self, x):
        self.x = self.cast(x)
        return (self.x @ self.W + self.b).astype(np.float64)

    def backward(self, dout):
        self.dW = self.factor * self.x.reshape(-1, 6).T @ self.cast(dout).reshape(-1, 40)
        self.db = dout.sum((0, 1))
        return dout @ self.W.T


def by_type(x):
    return x.astype(np.float32)


def by_name(x):
    return x.astype("float32")


@pytest.mark.parametrize("cast", [by_type, by_name])
@pytest.mark.parametrize("seed", range(8))
def test_a_linear_layer_in_float32_is_right_and_on_no_kink(cast, seed):
    report = gradcheck(Linear32(cast), X, rng=np.random.default_rng(seed))
    assert report.ok, str(report)
    assert "kink" not in str(report)
    rough = cast is by_type or any(row.max_rel_error > 1e-6 for row in report.rows)
    assert any("float32" in note for note in report.notes) == rough


@pytest.mark.parametrize(("cast", "factor"), [(by_type, 1 + 1e-5), (by_name, 1.01)])
def test_a_wrong_gradient_in_float32_is_found(cast, factor):
    for seed in range(4):
        report = gradcheck(Linear32(cast, factor), X, rng=np.random.default_rng(seed), diagnose=False)
        assert [row.name for row in report.rows if not row.ok] == ["W"], str(report)


def test_float32_means_float32_again_after_a_check():
    gradcheck(Linear32(by_type), X)
    assert np.float32(1).dtype == np.dtype("float32")
    assert by_type(X).dtype == np.dtype("float32")


def relu_in_float32(x):
    x = x.astype("float32")
    return np.maximum(x, 0), x > 0


@pytest.mark.parametrize("seed", range(8))
def test_a_kink_near_by_is_no_fault_where_rounding_forbids_short_steps(seed):
    x = np.random.default_rng(seed).standard_normal((4, 50))
    assert gradcheck((relu_in_float32, lambda dout, mask: dout * mask), x).ok
    assert not gradcheck((relu_in_float32, lambda dout, mask: dout * (mask + 0.01)), x).ok


def relu(x):
    return np.maximum(x, 0), x


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_any_slope_between_both_sides_is_right_on_a_kink(slope):
    def backward(dout, x):
        return dout * np.where(x == 0, slope, x > 0)

    report = gradcheck((relu, backward), np.array([-1.0, 0.0, 2.0, 0.0]))
    assert report.ok, str(report)
    assert any("kink" in note for note in report.notes) == (slope != 0.5)  # 0.5 is the difference quotient itself


def test_a_slope_outside_both_sides_is_wrong_on_a_kink():
    def backward(dout, x):
        return dout * np.where(x == 0, 2.0, x > 0)

    assert not gradcheck((relu, backward), np.array([-1.0, 0.0, 2.0])).ok


def test_dropout_from_the_global_generator_is_checked_and_noted():
    def forward(x):
        mask = (np.random.rand(*x.shape) >= 0.3) / 0.7  # noqa: NPY002
        return x * mask, mask

    before = np.random.get_state()[1].copy()  # noqa: NPY002
    report = gradcheck((forward, lambda dout, mask: dout * mask), X)
    assert report.ok, str(report)
    assert any("global generator" in note for note in report.notes)
    assert gradcheck((forward, lambda dout, mask: dout), X).ok is False
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_a_forward_that_cannot_be_repeated_is_refused_with_advice():
    generator = np.random.default_rng(0)

    def forward(x):
        mask = generator.random(x.shape) >= 0.3
        return x * mask, mask

    report = gradcheck((forward, lambda dout, mask: dout * mask), X)
    assert not report.ok
    assert "forward(x, rng=None)" in " ".join(str(report).split())


def test_numbers_are_no_inputs_and_dicts_are_left_alone():
    def scale(x, factor, config):
        config["seen"] = True
        return factor * x, factor

    config = {"seen": False}
    report = gradcheck((scale, lambda dout, factor: factor * dout), X, 3.0, config)
    assert report.ok, str(report)
    assert [row.name for row in report.rows] == ["x"]


def test_a_layer_that_keeps_its_cache_is_checked_and_told():
    class Old:
        def __init__(self):
            self.params = {"W": np.ones((6, 3))}
            self.grads = {}

        def forward(self, x):
            self.x = x
            return x @ self.params["W"]

        def backward(self, dout):
            self.grads["W"] = self.x.reshape(-1, 6).T @ dout.reshape(-1, 3)
            return dout @ self.params["W"].T

    report = gradcheck(Old(), X)
    assert report.ok, str(report)
    assert [row.name for row in report.rows] == ["x", "W"]
    assert "keeps its cache on itself" in str(report)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ((relu,), "a pair"),
        ((relu, 3), "a pair"),
        (Linear, "pass an object"),
        (object(), "no forward and no backward"),
    ],
)
def test_what_is_no_layer_is_refused(target, said):
    with pytest.raises(TypeError, match=said):
        gradcheck(target, X)


def test_two_faults_are_both_told():
    class Twice(Linear):
        def backward(self, dy, x):
            self.weight.grad += 2 * x.reshape(-1, 6).T @ dy.reshape(-1, 4)
            self.bias.grad -= dy.sum((0, 1))
            return dy @ self.weight.data.T

    report = gradcheck(Twice(6, 4), X)
    assert report.row("weight").causes[0].kind == "factor"
    assert report.row("bias").causes[0].kind == "sign"
    assert report.row("x").ok


def test_where_several_causes_fit_both_are_said():
    """A gain that is forgotten: an elementwise factor is missing, and at the initial gain of 1 nothing shows."""

    class Scale(Module):
        def __init__(self):
            self.gain = Parameter(np.ones(6))

        def forward(self, x):
            return x * self.gain.data, x

        def backward(self, dout, x):
            self.gain.grad += (dout * x).sum((0, 1))
            return dout

    report = gradcheck(Scale(), X)
    assert [cause.kind for cause in report.row("x").causes][:2] == ["missing-factor", "initial-values"]
    assert "Also possible" in report.row("x").hint
    assert "gain" in report.row("x").hint


def test_where_nothing_fits_the_worst_places_are_printed_with_both_numbers():
    noise = np.random.default_rng(3).standard_normal(X.shape)
    report = gradcheck((lambda x: (x * x, x), lambda dout, x: 2 * x * dout + noise[: len(x)] * dout**1), X)
    assert not report.ok
    text = str(report)
    assert "backward" in text
    a, n = report.row("x").max_rel_error, report.row("x").hint
    assert a > 1e-3
    assert n


def test_a_factor_of_two_is_told_from_a_batch_of_two():
    def mean_loss(x):
        return x.mean(0), len(x)

    batch = gradcheck((mean_loss, lambda dout, n: np.broadcast_to(dout, (n, *dout.shape)) * 1.0), X)
    assert "B, the length of axis 0" in batch.row("x").hint
    plain = gradcheck((lambda x: (x * x, x), lambda dout, x: dout * x), X)
    assert "1/2" in plain.row("x").hint
    assert "axis 0" not in plain.row("x").hint.split("Also")[0]


@pytest.mark.parametrize(
    ("factor", "name"),
    [(2.0, "2"), (0.2, "1 / (T)"), (math.sqrt(5), "the root of T"), (10.0, "(B) times (T)"), (0.123, None)],
)
def test_factors_have_names(factor, name):
    names = name_factor(factor, {"B": 2.0, "T": 5.0})
    assert (name in names) if name else not names


def test_a_large_layer_is_sampled_and_still_explained():
    class Wrong(Linear):
        def backward(self, dy, x):
            dx = super().backward(dy, x)
            self.weight.grad *= -1
            return dx

    report = gradcheck(Wrong(200, 300), np.random.default_rng(0).standard_normal((4, 200)))
    assert report.row("weight").shape == (200, 300)
    assert report.causes[0].kind in ("sign", "assigned")


def test_the_layer_under_check_is_never_changed_by_the_diagnosis():
    layer = Dropout(0.3)
    norm = LayerNorm(6)
    gradcheck(layer, X)
    gradcheck(norm, X)
    assert vars(layer) == {"p": 0.3}
    assert (norm.weight.data == 1).all()


def test_diagnosis_can_be_switched_off():
    report = gradcheck((lambda x: (x * x, x), lambda dout, x: dout * x), X, diagnose=False)
    assert not report.ok
    assert not report.causes
