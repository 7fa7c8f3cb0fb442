"""What the benchmarks compute; their timings are not tested."""

import numpy as np
import pytest

from benchmarks import texts
from benchmarks.scaling import Point, fit, predicted
from numpylm import GPT, GPTConfig
from numpylm.training.profiling import count_flops


def test_a_fit_finds_the_costs_that_made_the_values_and_none_below_zero():
    rng = np.random.default_rng(0)
    terms = [{"a": x, "b": y, "c": 1.0} for x, y in np.exp(rng.normal(0, 3, (12, 2)))]
    true = {"a": 2e-3, "b": 5.0, "c": 7.0}
    found = fit(terms, [predicted(true, term) for term in terms])
    assert found == pytest.approx(true)
    falling = fit(terms, [1 / (1 + term["a"]) for term in terms])  # as if a made it cheaper
    assert "a" not in falling
    assert all(cost >= 0 for cost in falling.values())


@pytest.mark.parametrize("point", [Point(V=65, T=16, L=2, C=128, B=3), Point(V=300, T=64, L=1, C=64, B=2)])
def test_the_theorys_flops_are_those_of_the_models_products(point):
    gpt = GPT(GPTConfig(point.V, point.T, point.L, point.C // 64, point.C))
    counted = sum(count_flops(gpt, point.B, point.T).values())
    pairs = 6 * point.L * point.C * point.tokens  # counted with the diagonal, of which theory counts one half
    assert counted == pytest.approx(point.flops + pairs)


def test_texts_to_test_on_have_nothing_of_those_to_train_on():
    items = [f"item {i % 400}" for i in range(1000)]
    text = texts.in_lines(items, 2000)
    train, test = text.train.splitlines(), text.test.splitlines()
    assert not set(train) & set(test)
    assert len(train) == len(set(train))
    assert 1900 <= len(text.train) <= 2000
    assert len(test) > 100
    assert texts.running("abcdefghij" * 1000, 5000) == texts.Text("abcdefghij" * 500, "abcdefghij" * 400)
