"""Induction heads: their score, and switching heads off."""

import numpy as np
import pytest

from numpylm import GPT, GPTConfig
from numpylm.inference.heads import induction_scores, strongest, without_heads
from numpylm.inference.trace import trace


@pytest.fixture
def gpt():
    model = GPT(GPTConfig(9, 8, n_layer=2, n_head=3, n_embd=12), np.random.default_rng(0), np.float64)
    for p in model.parameters():
        p.data = p.data + 0.5 * np.random.default_rng(1).standard_normal(p.shape)
    return model


def test_the_score_is_the_weight_on_tokens_after_all_earlier_occurrences(gpt):
    ids = np.array([[1, 2, 1, 3, 1, 4, 2, 5], [6, 6, 7, 8, 0, 1, 2, 3]])
    expected = []
    for maps in trace(gpt, ids).attention:
        weights = [maps[0, :, 2, 1], maps[0, :, 4, [1, 3]].sum(axis=0), maps[0, :, 6, 2], maps[1, :, 1, 1]]
        expected.append(np.mean(weights, axis=0))
    np.testing.assert_allclose(induction_scores(gpt, ids), expected, rtol=1e-12)


def test_only_the_queries_count(gpt):
    ids = np.array([[1, 2, 1, 3, 1, 4, 2, 5]])
    found = induction_scores(gpt, ids, queries=np.arange(8) == 6)
    np.testing.assert_allclose(found, [maps[0, :, 6, 2] for maps in trace(gpt, ids).attention], rtol=1e-12)


def test_without_repetition_there_is_no_score(gpt):
    with pytest.raises(ValueError, match="no token occurs twice"):
        induction_scores(gpt, np.array([[1, 2, 3]]))


def test_a_head_that_is_off_has_no_effect_and_the_others_keep_theirs(gpt):
    """Its values may be anything then. The other heads' values still matter."""
    ids = np.array([[1, 2, 3, 4]])
    before = gpt.state_dict()
    off = without_heads(gpt, [(1, 2)])
    for name, value in gpt.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    logits = off.forward(ids)[0]
    assert np.abs(logits - gpt.forward(ids)[0]).max() > 1e-3
    values = off.h[1].attn.c_attn.weight.data  # (C, 3C): q, k, v
    values[:, 24 + 8 : 36] += 5  # the values of head 2
    np.testing.assert_allclose(off.forward(ids)[0], logits, rtol=1e-12)
    values[:, 24 + 4 : 24 + 8] += 5
    assert np.abs(off.forward(ids)[0] - logits).max() > 1e-3


def test_without_all_heads_a_token_reads_nothing_from_other_positions(gpt):
    off = without_heads(gpt, [(layer, head) for layer in range(2) for head in range(3)])
    a, b = off.forward(np.array([[1, 2, 5], [4, 3, 5]]))[0]
    np.testing.assert_allclose(a[2], b[2], rtol=1e-12)


@pytest.mark.parametrize("head", [(2, 0), (0, 3), (-1, 0), (0, -1)])
def test_a_head_that_does_not_exist_is_refused(gpt, head):
    with pytest.raises(ValueError, match="there is no head"):
        without_heads(gpt, [head])


def test_the_strongest_come_first():
    assert strongest(np.array([[0.1, 0.5], [0.9, 0.3]]), 0.3) == [(1, 0), (0, 1), (1, 1)]
