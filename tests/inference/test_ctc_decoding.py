"""CTC decoding: prefix beam search against all alignments counted one by one, and what greedy decoding misses."""

import itertools
from collections import defaultdict

import numpy as np
import pytest

from numpylm.inference.ctc_decoding import Decoded, collapsed, greedy_ctc, prefix_beam_search
from numpylm.nn.ctc import ctc_loss
from numpylm.nn.functional import softmax


def all_texts(logits, blank):
    """ln p of every label sequence, from all V^T paths."""
    y, totals = softmax(logits)[0], defaultdict(float)
    for path in itertools.product(range(y.shape[1]), repeat=len(y)):
        totals[tuple(collapsed(path, blank))] += np.prod([y[t, k] for t, k in enumerate(path)])
    return {labels: np.log(p) for labels, p in totals.items()}


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_is_exact(seed):
    """Every text, with the sum over all its paths. Fails if paths are dropped or equal labels are merged wrongly."""
    rng = np.random.default_rng(seed)
    logits, blank = 2 * rng.standard_normal((5, 3)), int(rng.integers(3))
    expected = all_texts(logits, blank)
    found = [d for d in prefix_beam_search(logits, 1000, blank) if np.isfinite(d.log_prob)]
    assert {tuple(d.ids) for d in found} == set(expected)
    for d in found:
        assert d.log_prob == pytest.approx(expected[tuple(d.ids)], abs=1e-12)
    assert [d.log_prob for d in found] == sorted((d.log_prob for d in found), reverse=True)
    best = found[0]
    assert -best.log_prob == pytest.approx(ctc_loss(logits[None], np.array([best.ids], int), blank=blank, count=1)[0])


def test_the_best_text_need_not_have_the_best_path():
    """Two blanks are the best path (0.36), but 1 has three paths with 0.64 together (Graves et al. 2006, figure 2)."""
    logits = np.log([[0.6, 0.4], [0.6, 0.4]])
    assert greedy_ctc(logits[None])[0].ids == []
    best = prefix_beam_search(logits, 4)[0]
    assert best.ids == [1]
    assert best.log_prob == pytest.approx(np.log(0.64))


def test_greedy_reads_only_real_frames():
    logits = np.full((2, 5, 4), -9.0)
    for t, k in enumerate([1, 1, 0, 1, 2]):
        logits[:, t, k] = 9
    found = greedy_ctc(logits, [5, 3])
    assert [d.ids for d in found] == [[1, 1, 2], [1]]
    assert found[0].log_prob == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("path", "ids"), [([], []), ([0, 0], []), ([2, 2, 1], [2, 1]), ([2, 0, 2], [2, 2])])
def test_collapsed(path, ids):
    assert collapsed(path) == ids


def test_a_beam_of_nothing_is_refused():
    with pytest.raises(ValueError, match="beam must be a whole number of at least 1"):
        prefix_beam_search(np.zeros((3, 4)), 0)


def test_impossible_texts_are_left_out_and_nan_is_refused():
    logits = np.full((2, 3), -np.inf)
    logits[:, 1] = 0.0  # the label 1 in both frames
    assert prefix_beam_search(logits, beam=50) == [Decoded([1], 0.0)]
    with pytest.raises(ValueError, match="NaN"):
        prefix_beam_search(np.full((2, 3), np.nan))
