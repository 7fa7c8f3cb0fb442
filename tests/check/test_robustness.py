"""Nothing that a student returns, raises, prints or computes in ends the check, or is passed over in silence."""

import sys

import numpy as np
import pytest

from numpylm import LayerNorm, gradcheck
from numpylm.check import explain

RNG = np.random.default_rng(0)
X, W, B = RNG.standard_normal((2, 5, 6)), RNG.standard_normal((6, 4)), RNG.standard_normal(4)


def rows(a):
    return a.reshape(-1, a.shape[-1])


def affine(x, w, b):
    return x @ w + b, (x, w)


def right(d, cache):
    x, w = cache
    return d @ w.T, rows(x).T @ rows(d), rows(d).sum(0)


def returned(change):
    """The report of an affine pair whose right gradients are changed into something else."""
    return gradcheck((affine, lambda d, cache: change(*right(d, cache))), X, W, B)


@pytest.mark.parametrize(
    ("change", "wrong", "said"),
    [
        (lambda dx, dw, db: (dx, dw.T, db), ["w"], "expected (6, 4), got (4, 6): transposed?"),
        (lambda dx, dw, db: (dx, dw, db[None]), ["b"], "keepdims=True?"),
        (lambda dx, dw, db: (dx, dw, np.ones((5, 4))), ["b"], "not summed over the first axis?"),
        (lambda dx, dw, db: (dx, dw, db.sum()), ["b"], "summed over too many axes?"),
        (lambda dx, dw, db: dx, ["w", "b"], "returned no gradient for this input, w"),
        (lambda dx, dw, db: (dx, dw), ["b"], "returned no gradient for this input, b"),
        (lambda dx, dw, db: None, ["x", "w", "b"], "returned no gradient"),
        (lambda dx, dw, db: ((dx, dw, db),), ["x", "w", "b"], "a tuple of 3 inside what backward returned"),
        (lambda dx, dw, db: {"x": dx}, ["w", "b"], "returned no gradient for this input, w"),
        (lambda dx, dw, db: {"zebra": dx}, ["x", "w", "b"], "a dict with zebra"),
        (lambda dx, dw, db: ("dx", dw, db), ["x"], "is a str"),
        (lambda dx, dw, db: (dx.astype(object), dw, db), ["x"], "dtype object"),
        (lambda dx, dw, db: (dx.astype(complex), dw, db), ["x"], "is complex"),
        (lambda dx, dw, db: (dx, dw, [[1.0], [2.0, 3.0]]), ["b"], "a list of 2"),
        (lambda dx, dw, db: (dx, dw * np.nan, db), ["w"], "NaN or infinity"),
    ],
)
def test_whatever_is_returned_becomes_a_row(change, wrong, said):
    report = returned(change)
    assert [row.name for row in report.rows if not row.ok] == wrong
    assert said in " ".join(str(report).split())
    assert not any("fault of the checker" in note for note in report.notes), report.notes


def test_gradients_in_a_dict_by_the_names_of_the_inputs():
    assert returned(lambda dx, dw, db: {"b": db, "dx": dx, "w": dw}).ok


@pytest.mark.parametrize("extra", [lambda d: (d * 3, d, d), lambda d: (d * 3, "what")])
def test_surplus_gradients_are_no_gradients(extra):
    report = gradcheck((lambda x: (3 * x, None), lambda d, cache: extra(d)), X)
    assert not report.ok
    assert f"returned {len(extra(X))} gradients, forward has 1 floating-point input." in " ".join(str(report).split())


def test_none_for_options_is_not_surplus():
    assert gradcheck((lambda x: (3 * x, None), lambda d, cache: (3 * d, None, None)), X).ok


def test_an_error_in_the_search_for_causes_does_not_end_the_check(monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("a fault of ours")

    for search in ("behavior", "inner_causes", "formula", "unknown"):
        monkeypatch.setattr(explain, search, broken)
    report = returned(lambda dx, dw, db: (2 * dx, dw.T, db))
    assert [row.name for row in report.rows if not row.ok] == ["x", "w"]
    assert report.row("x").max_rel_error == pytest.approx(0.5)
    assert "transposed?" in report.row("w").hint
    assert any("a fault of ours" in note for note in report.notes)


@pytest.mark.parametrize("leave", [lambda: sys.exit(3), lambda: exit()])
def test_exit_does_not_end_the_run(leave):
    report = gradcheck((lambda x: (x, x), lambda d, x: leave()), X)
    assert not report.ok
    assert "It calls exit()" in str(report)


POSITIVE = np.exp(4 * RNG.standard_normal((2, 5, 12)))


@pytest.mark.parametrize(
    ("forward", "backward", "x"),
    [
        (lambda x: (np.log(x), x), lambda d, x: d / x, POSITIVE),
        (lambda x: (np.sqrt(x), x), lambda d, x: d / (2 * np.sqrt(x)), POSITIVE),
        (lambda x: (1 / x, x), lambda d, x: -d / x**2, POSITIVE),
        (lambda x: (np.log(x / (1 - x)), x), lambda d, x: d / (x * (1 - x)), 1 / (1 + POSITIVE)),
        (lambda x: (x * np.log(x), x), lambda d, x: d * (1 + np.log(x)), np.minimum(POSITIVE, 1)),
    ],
    ids=["log", "sqrt", "1/x", "logit", "x log x"],
)
def test_steps_stay_within_the_domain(forward, backward, x):
    report = gradcheck((forward, backward), x)
    assert report.ok, str(report)
    assert not gradcheck((forward, lambda d, x: 1.01 * backward(d, x)), x).ok


def test_where_no_step_is_legal_it_is_said():
    x = np.array([0.0, 1.0, 4.0])
    report = gradcheck((lambda x: (np.sqrt(x), x), lambda d, x: d / (2 * np.sqrt(np.maximum(x, 1e-12)))), x)
    assert report.ok, str(report)
    assert any("x was not checked where forward gives NaN" in note for note in report.notes)


# ---------------------------------------------------------------- float32 and float16


def slope(x):
    return np.tanh(x) + x * (1 - np.tanh(x) ** 2)


def rounded(kind, where):
    """x tanh(x) with rounding in the forward, in the cache, or on its way."""

    def forward(x):
        h = x.astype(kind)
        if where == "cache":
            return x * np.tanh(x), h
        y = h * np.tanh(h)
        return (y if where == "forward" else y.astype(np.float64)), h

    return forward


@pytest.mark.parametrize("where", ["forward", "cache", "on its way"])
@pytest.mark.parametrize("seed", range(4))
def test_float32_is_rounding_and_a_small_factor_is_not(where, seed):
    x = np.random.default_rng(seed).standard_normal((2, 5, 6))
    report = gradcheck((rounded(np.float32, where), lambda d, h: d * slope(h)), x)
    assert report.ok, str(report)
    assert not any("kink" in note for note in report.notes)
    assert not gradcheck((rounded(np.float32, where), lambda d, h: 1.0005 * d * slope(h)), x).ok


@pytest.mark.parametrize("where", ["forward", "cache"])
def test_float16_is_rounding_too(where):
    report = gradcheck((rounded(np.float16, where), lambda d, h: d * slope(h)), X)
    assert report.ok, str(report)
    assert any("float16" in note for note in report.notes)
    assert not gradcheck((rounded(np.float16, where), lambda d, h: 1.1 * d * slope(h)), X).ok


def test_a_softmax_in_float32_that_hands_out_float64_is_right():
    def forward(x):
        e = np.exp(x.astype(np.float32))
        p = e / e.sum(-1, keepdims=True)
        return p.astype(np.float64), p

    def backward(d, p):
        return p * (d - (d * p).sum(-1, keepdims=True))

    for seed in range(20):
        x = np.random.default_rng(seed).standard_normal((2, 5, 6))
        report = gradcheck((forward, backward), x, rng=np.random.default_rng(seed))
        assert report.ok, str(report)


# ---------------------------------------------------------------- constants among the inputs


def rotate(q, cos, sin):
    a, b = np.split(q, 2, -1)
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], -1), (cos, sin)


def rotate_back(d, cache):
    cos, sin = cache
    a, b = np.split(d, 2, -1)
    return np.concatenate([a * cos + b * sin, b * cos - a * sin], -1)


ANGLES = RNG.standard_normal((5, 3))


@pytest.mark.parametrize("tail", [(), (None, None)])
def test_tables_of_cosines_are_no_inputs(tail):
    pair = rotate, lambda d, cache: (rotate_back(d, cache), *tail)
    report = gradcheck(pair, X, np.cos(ANGLES), np.sin(ANGLES))
    assert report.ok, str(report)
    assert [row.name for row in report.rows] == ["q"]
    assert "not checked: cos and sin" in str(report)


def test_masks_are_constants_and_weights_are_not():
    def weighted(x, a):
        return x * a, a

    def backward(d, a):
        return d * a

    assert gradcheck((weighted, backward), X, np.tri(5, 6)).ok
    assert not gradcheck((weighted, backward), X, np.arange(1.0, 7.0)).row("a").ok
    assert not gradcheck((weighted, backward), X, RNG.standard_normal(6)).row("a").ok
    assert gradcheck((weighted, lambda d, a: (d * a, None)), X, RNG.standard_normal(6)).ok


# ---------------------------------------------------------------- comfort


def test_prints_are_muted_and_noted(capsys):
    def loud(x):
        print("shape", x.shape)
        return 2 * x, None

    report = gradcheck((loud, lambda d, cache: 2 * d), X)
    assert capsys.readouterr().out == ""
    assert report.ok
    assert sum("prints while it runs" in note for note in report.notes) == 1


def test_nan_in_an_input_is_not_the_forwards_fault():
    x = np.array([1.0, np.nan])
    text = " ".join(str(gradcheck((lambda x: (2 * x, None), lambda d, cache: 2 * d), x)).split())
    assert "because its input x holds NaN" in text
    assert "inputs that are finite" not in text


def test_a_plain_number_is_an_input_if_there_is_no_array():
    assert gradcheck((lambda x: (x * x, x), lambda d, x: 2 * d * x), 1.5).row("x").ok


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        (lambda x: x, "the pair (out, cache), got an array"),
        (lambda x: None, "got nothing (None): is a return missing?"),
        (lambda x: (x.tolist(), x), "one array (or number), got a list of 2"),
        (lambda x: (x * 1j, x), "forward gives complex numbers"),
    ],
)
def test_what_is_no_output_is_named(forward, said):
    assert said in " ".join(str(gradcheck((forward, lambda d, x: d), X)).split())


def test_a_backward_without_a_cache_argument_is_told():
    report = gradcheck((lambda x: (x, x), lambda d: d), X)
    assert "backward must take (dout, cache), it takes (d)" in " ".join(str(report).split())


def test_our_own_layers_are_looked_at_once_only():
    """Trying out what is a weight costs time; a layer that has nothing but Parameters needs no trial."""
    calls = []

    class Counted(LayerNorm):
        def forward(self, x):
            calls.append(1)
            return super().forward(x)

    gradcheck(Counted(3), np.ones((1, 3)) * np.arange(3.0))
    assert len(calls) < 80
