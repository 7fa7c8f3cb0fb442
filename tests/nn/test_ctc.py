"""CTC: the loss is the sum over all alignments, counted one by one; padding, repeats and impossible targets."""

import itertools

import numpy as np
import pytest

from numpylm.inference.ctc_decoding import collapsed
from numpylm.nn.ctc import ctc_loss, ctc_loss_backward
from numpylm.nn.functional import softmax


def probability(y, labels, blank):
    """p(labels) for y (T, V), as the sum over all V^T paths."""
    T, V = y.shape
    paths = (path for path in itertools.product(range(V), repeat=T) if collapsed(path, blank) == labels)
    return sum(np.prod([y[t, k] for t, k in enumerate(path)]) for path in paths)


@pytest.mark.parametrize("labels", [[], [1], [1, 2], [1, 1], [2, 1, 2], [1, 1, 2], [2, 2, 2]])
@pytest.mark.parametrize("blank", [0, 3])
def test_the_loss_is_the_sum_over_all_alignments(labels, blank):
    """Fails if the skip rule forgets repeats, or if the last or the first blank is left out."""
    logits = np.random.default_rng(0).standard_normal((1, 6, 4))
    loss, _ = ctc_loss(logits, np.array([labels], int), blank=blank, count=1)
    assert loss == pytest.approx(-np.log(probability(softmax(logits)[0][0], labels, blank)), abs=1e-12)


def test_padding_changes_nothing():
    rng = np.random.default_rng(1)
    logits, lengths = rng.standard_normal((3, 9, 5)), np.array([9, 4, 6])
    targets = np.array([[1, 1, 2, 4], [3, -100, -100, -100], [-100] * 4])
    loss, grad = ctc_loss(logits, targets, lengths, count=1)
    alone = [
        ctc_loss(logits[i : i + 1, :T], targets[i : i + 1][targets[i : i + 1] != -100][None], count=1)
        for i, T in enumerate(lengths)
    ]
    assert loss == pytest.approx(sum(part for part, _ in alone), abs=1e-12)
    for i, T in enumerate(lengths):
        np.testing.assert_allclose(grad[i, :T], alone[i][1][0], atol=1e-14)
        assert (grad[i, T:] == 0).all()


def test_the_loss_is_a_mean_over_labels_and_count_replaces_their_number():
    logits, targets = np.random.default_rng(2).standard_normal((2, 5, 4)), np.array([[1, 2], [3, -100]])
    mean, total = ctc_loss(logits, targets), ctc_loss(logits, targets, count=1)
    assert mean[0] == pytest.approx(total[0] / 3)
    np.testing.assert_allclose(3 * mean[1], total[1])
    np.testing.assert_allclose(ctc_loss_backward(2.0, mean[1]), 2 * mean[1])


def test_an_impossible_target_has_infinite_loss_or_none():
    """Two equal labels need three frames, with a blank between them."""
    logits, targets = np.random.default_rng(3).standard_normal((2, 2, 4)), np.array([[1, 1], [1, 2]])
    loss, grad = ctc_loss(logits, targets)
    assert loss == np.inf
    assert np.isnan(grad[0]).all()
    loss, grad = ctc_loss(logits, targets, zero_infinity=True, count=1)
    assert loss == pytest.approx(ctc_loss(logits[1:], targets[1:], count=1)[0])
    assert (grad[0] == 0).all()
    assert np.isfinite(grad[1]).all()


def test_long_sounds_do_not_underflow_in_float32():
    logits = np.random.default_rng(4).standard_normal((1, 800, 30)).astype(np.float32)
    loss, grad = ctc_loss(logits, np.arange(1, 30)[None], count=1)
    assert 800 < loss < 4000
    assert grad.dtype == np.float32
    np.testing.assert_allclose(grad.sum(axis=-1), 0, atol=1e-6)  # softmax: what one label gains, the others lose


@pytest.mark.parametrize(
    ("targets", "lengths", "blank", "message"),
    [
        ([[1, 0]], [4], 0, "target 0 is no label"),
        ([[1, 5]], [4], 0, "target 5 is no label"),
        ([[-100, 1]], [4], 0, "must follow the labels"),
        ([[1, 2]], [5], 0, "lengths must lie in 1 … 4"),
        ([[1, 2]], [0], 0, "lengths must lie in 1 … 4"),
        ([[1, 2]], [4], 5, "blank must be one of the 5 ids"),
        ([[1], [2]], [4], 0, r"targets \(B, S\)"),
    ],
)
def test_bad_input_is_refused(targets, lengths, blank, message):
    with pytest.raises(ValueError, match=message):
        ctc_loss(np.zeros((1, 4, 5)), np.array(targets), np.array(lengths), blank=blank)
