"""The checker finds faults, names the place, and passes what is right; and all our layers are right."""

import copy

import numpy as np
import pytest

from numpylm import GPT, Dropout, Embedding, GPTConfig, LayerNorm, Linear, Module, Parameter, gradcheck, softmax
from numpylm.check import selfcheck
from numpylm.check.selfcheck_inputs import ModelLoss, TrainingLoss
from numpylm.cli.main import main

X = np.random.default_rng(0).standard_normal((2, 5, 6))


def row(report, name):
    return next(r for r in report.rows if r.name == name)


@pytest.mark.slow  # the test of the command checks the same layers in the fast suite
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_layer_block_and_the_whole_gpt_pass(seed):
    for report in selfcheck.run(np.random.default_rng(seed)):
        assert report.ok, str(report)
        assert max(r.max_rel_error for r in report.rows) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "encoder-decoder", "bert"])
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_every_layer_of_the_other_models_passes(family, seed):
    shared = {title for title, *_ in selfcheck.cases(np.random.default_rng(seed), families=())}
    rng = np.random.default_rng(seed)
    for title, layer, inputs, options in selfcheck.cases(rng, families=(family,)):
        if title not in shared:
            report = gradcheck(layer, *inputs, rng=rng, **options)
            assert report.ok, f"{title}\n{report}"
            assert max(r.max_rel_error for r in report.rows) < 1e-6


def test_families_keep_what_was_checked_before_and_add_to_it():
    def titles(*families):
        return [title for title, *_ in selfcheck.cases(np.random.default_rng(0), families=families)]

    shared, everything = titles(), titles("gpt", "llama", "encoder-decoder", "bert")
    assert titles("gpt") == [title for title, *_ in selfcheck.cases(np.random.default_rng(0))]
    packed = ["CausalSelfAttention, packed rows", "GPT, packed rows, with its loss"]
    assert titles("gpt")[len(shared) :] == ["CausalSelfAttention", "MLP", "Block", "GPT", "GPT with its loss", *packed]
    assert len(everything) == len(set(everything))  # what two families share is checked once
    assert set(everything) == {*titles("gpt"), *titles("llama"), *titles("encoder-decoder"), *titles("bert")}
    with pytest.raises(ValueError, match="t5 is no family of models: choose from gpt, llama, encoder-decoder, bert"):
        titles("t5")


def test_the_loss_of_a_model_adds_to_its_gradients_and_scales_with_the_upstream_gradient():
    class Model(Module):
        def __init__(self):
            self.p = Parameter(np.array([2.0, 3.0]))

        def loss(self, x):
            return float(self.p.data @ x)

        def loss_and_grad(self, x):
            self.p.grad += x
            return self.loss(x)

    layer, x = TrainingLoss(Model()), np.array([5.0, 7.0])
    layer.model.p.grad += 1
    loss, cache = layer.forward(x)
    layer.backward(2.0, cache)
    assert loss == 31.0
    np.testing.assert_array_equal(layer.model.p.grad, [11.0, 15.0])


@pytest.mark.slow
def test_every_parameter_of_a_whole_gpt_element_by_element(monkeypatch):
    """Not sampled: each of some thousand coordinates on its own, with repeated ids and ignored targets."""
    monkeypatch.setattr("numpylm.check.measure.verdict.FULL_CHECK", 10**9)
    rng = np.random.default_rng(7)
    ids, targets = rng.integers(0, 7, (2, 5)), rng.integers(0, 7, (2, 5))
    ids[0, 1:4] = ids[1, 0]
    targets[1, 2:] = -100
    report = gradcheck(ModelLoss(GPT(GPTConfig(7, 6, 2, 2, 6))), ids, targets)
    assert report.ok, str(report)
    assert len(report.rows) == 28
    assert max(r.max_rel_error for r in report.rows) < 1e-6


def test_the_layer_itself_is_left_alone():
    layer = Linear(6, 4)
    before = copy.deepcopy(layer)
    x = X.copy()
    gradcheck(layer, x)
    np.testing.assert_array_equal(layer.weight.data, before.weight.data)
    assert not layer.weight.grad.any()
    np.testing.assert_array_equal(x, X)


def test_a_report_reads_as_a_table():
    text = str(gradcheck(LayerNorm(6), X))
    assert text.splitlines()[0].startswith("LayerNorm")
    assert [line.split()[0] for line in text.splitlines()[2:]] == ["x", "weight", "bias"]
    assert "2×5×6" in text


class WrongGain(LayerNorm):
    """The gain outside the means: right as long as the gain is 1."""

    def backward(self, dy, cache):
        xhat, rstd = cache
        self.weight.grad += (dy * xhat).sum((0, 1))
        self.bias.grad += dy.sum((0, 1))
        return rstd * self.weight.data * (dy - dy.mean(-1, keepdims=True) - xhat * (dy * xhat).mean(-1, keepdims=True))


class ForgottenBias(Linear):
    def backward(self, dy, cache):
        before = self.bias.grad.copy()
        dx = super().backward(dy, cache)
        self.bias.grad[...] = before
        return dx


class Assigned(Linear):
    def backward(self, dy, cache):
        dx = super().backward(dy, cache)
        self.weight.grad = cache.reshape(-1, 6).T @ dy.reshape(-1, 4)
        return dx


class LastIdWins(Embedding):
    def backward(self, dy, cache):
        self.weight.grad[cache] += dy


class KeepsState(Linear):
    def forward(self, x):
        self.x = x
        return super().forward(x)

    def backward(self, dy, cache):
        return super().backward(dy, self.x)


class WritesUpstream(Linear):
    def backward(self, dy, cache):
        dx = super().backward(dy, cache)
        dy *= 0
        return dx


class WritesInput(Linear):
    def forward(self, x):
        out = super().forward(x)
        x += 1
        return out


class NewMask(Dropout):
    """Draws another mask in backward."""

    def backward(self, dy, cache):
        return dy * (np.random.default_rng(1).random(dy.shape) >= self.p) / (1 - self.p)


class Transposed(Linear):
    def backward(self, dy, cache):
        return super().backward(dy, cache).swapaxes(-1, -2)


class MissingInput(Linear):
    def backward(self, dy, cache):
        super().backward(dy, cache)


@pytest.mark.parametrize(
    ("layer", "inputs", "wrong_rows", "said"),
    [
        (WrongGain(6), (X,), ["x"], "right at the initial values"),
        (ForgottenBias(6, 4), (X,), ["bias"], "received no gradient"),
        (Assigned(6, 4), (X,), ["weight"], "assigned (=)"),
        (LastIdWins(5, 3), (np.array([[1, 2, 1], [1, 4, 0]]),), ["weight"], "occur more than once"),
        (KeepsState(6, 4), (X,), ["weight"], "kept on the layer"),
        (WritesUpstream(6, 4), (X,), [], "writes into its upstream gradient"),
        (NewMask(0.4), (X,), ["x"], "mask of its own forward"),
        (Transposed(6, 4), (X,), ["x"], "(2, 6, 5)"),
        (MissingInput(6, 4), (X,), ["x"], "no gradient for this input"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Module) else "",
)
def test_faulty_layers_fail_in_the_right_row(layer, inputs, wrong_rows, said):
    report = gradcheck(layer, *inputs)
    assert not report.ok
    assert [r.name for r in report.rows if not r.ok] == wrong_rows
    assert said in str(report)


def test_a_forward_that_writes_into_its_input_fails():
    report = gradcheck(WritesInput(6, 4), X)
    assert not report.ok
    assert "writes into its input x" in str(report)


@pytest.mark.parametrize(
    ("factor", "said"), [(-1, "wrong sign"), (0.5, "0.5 times"), (np.nan, "NaN"), (0, "no gradient")]
)
def test_simple_faults_of_a_pair_are_named(factor, said):
    def double(x):
        return 2 * x, None

    def double_backward(dout, cache):
        return factor * 2 * dout

    report = gradcheck((double, double_backward), X)
    assert not report.ok
    assert said in report.rows[0].hint


def test_pairs_with_several_inputs_and_names():
    def scale(x, gain):
        return x * gain, (x, gain)

    def scale_backward(dout, cache):
        x, gain = cache
        return dout * gain, (dout * x).sum((0, 1))

    report = gradcheck((scale, scale_backward), X, np.arange(6.0))
    assert report.ok
    assert [r.name for r in report.rows] == ["x", "gain"]


def test_kinks_and_large_inputs_give_no_false_alarm():
    from numpylm import relu, relu_backward

    near = np.array([1e-5, -1e-5, 4e-4, -3e-4, 2.0])
    assert gradcheck((relu, relu_backward), near).ok
    assert gradcheck(Linear(6, 4), 1e4 * X).ok
    assert gradcheck(Linear(6, 4), 1e-4 * X).ok


def test_a_gradient_that_is_truly_zero_passes():
    """Softmax does not change when all logits shift: a shift's gradient is zero, and that is right."""

    class Shifted(Module):
        def __init__(self):
            self.shift = Parameter(np.zeros(1))

        def forward(self, x):
            return softmax(x + self.shift.data)

        def backward(self, dout, cache):
            from numpylm import softmax_backward

            dx = softmax_backward(dout, cache)
            self.shift.grad += dx.sum()
            return dx

    assert gradcheck(Shifted(), X).ok


def test_float32_layers_are_checked_in_float64():
    assert gradcheck(Linear(6, 4, dtype=np.float32), X.astype(np.float32)).ok


@pytest.mark.slow
def test_the_command_prints_the_table_and_succeeds(capsys):
    assert main(["gradcheck"]) == 0
    out = capsys.readouterr().out
    assert "GPT with its loss" in out
    assert "WRONG" not in out


@pytest.mark.slow
def test_the_command_fails_when_a_layer_is_wrong(monkeypatch, capsys):
    monkeypatch.setattr("numpylm.check.selfcheck.LayerNorm", WrongGain)
    assert main(["gradcheck"]) == 1
    assert "WRONG" in capsys.readouterr().out


class AlmostLoss:
    """Forward adds 1e-7 before the logarithm, backward does not: an error that is too small for most patterns."""

    def forward(self, x, t):
        e = np.exp(x - x.max(-1, keepdims=True))
        self.p, self.t = e / e.sum(-1, keepdims=True), t
        return -np.log(self.p[np.arange(len(x)), t] + 1e-7).mean()

    def backward(self, dout=1):
        d = self.p.copy()
        d[np.arange(len(d)), self.t] -= 1
        return d * dout / len(d)


def test_a_small_error_does_not_stop_the_search_for_its_cause():
    for seed in range(3):
        rng = np.random.default_rng(seed)
        report = gradcheck(AlmostLoss(), rng.standard_normal((6, 12)), rng.integers(0, 12, 6))
        assert not any("fault of the checker" in note for note in report.notes), str(report)
        assert "Right would be" not in str(report)  # the same formula fits both numbers
        assert "almost right" in str(report)
