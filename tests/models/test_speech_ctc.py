"""SpeechCTC: padding changes nothing, the loss is that of its logits, and parts can be frozen or computed again."""

import numpy as np
import pytest

from numpylm.models.speech_ctc import SpeechCTC, SpeechCTCConfig
from numpylm.nn.ctc import ctc_loss

CONFIG = SpeechCTCConfig(6, 10, 2, 2, 8, n_mels=5, blank_id=5)
TARGETS = np.array([[1, 1], [2, -100]])


def model(**options):
    return SpeechCTC(SpeechCTCConfig(**vars(CONFIG) | options), np.random.default_rng(0), np.float64)


def mels(T=13, seed=1):
    return np.random.default_rng(seed).standard_normal((2, 5, T))


def test_padding_changes_neither_logits_nor_gradients():
    """Fails if conv2 sees what conv1 made of the padding, or attention looks at it."""
    ctc, x, lengths = model(), mels(), np.array([13, 8])
    logits, _ = ctc.forward(x, lengths)
    alone, _ = ctc.forward(x[1:, :, :8])
    np.testing.assert_allclose(logits[1, :4], alone[0], atol=1e-14)
    ctc.loss_and_grad(x, TARGETS, lengths)
    grads = [p.grad.copy() for p in ctc.parameters()]
    x[1, :, 8:] = 7
    ctc.zero_grad()
    ctc.loss_and_grad(x, TARGETS, lengths)
    for p, grad in zip(ctc.parameters(), grads, strict=True):
        np.testing.assert_allclose(p.grad, grad, atol=1e-14)


def test_another_microphone_changes_nothing():
    """Fails if the mean of a band is taken over the padding, too, or over all bands together."""
    ctc, x, lengths = model(), mels(), np.array([13, 8])
    logits, _ = ctc.forward(x, lengths)
    other, _ = ctc.forward(x + np.random.default_rng(2).standard_normal((2, 5, 1)), lengths)
    np.testing.assert_allclose(other, logits, atol=1e-13)


def test_the_loss_is_that_of_the_logits():
    ctc, x, lengths = model(), mels(), np.array([13, 8])
    logits, _ = ctc.forward(x, lengths)
    assert logits.shape == (2, 7, 6)
    expected, _ = ctc_loss(logits, TARGETS, np.array([7, 4]), blank=5)
    assert ctc.loss(x, TARGETS, lengths) == pytest.approx(expected)
    assert ctc.loss_and_grad(x, TARGETS, lengths, count=1) == pytest.approx(3 * expected)


def test_recompute_gives_the_same_gradients():
    ctc, x = model(dropout=0.2), mels()
    grads = []
    for recompute in (False, True):
        ctc.recompute = recompute
        ctc.zero_grad()
        ctc.loss_and_grad(x, TARGETS, rng=np.random.default_rng(3))
        grads.append(np.concatenate([p.grad.ravel() for p in ctc.parameters()]))
    np.testing.assert_array_equal(*grads)


def test_frozen_blocks_get_no_gradient():
    ctc = model()
    ctc.freeze(1)
    ctc.loss_and_grad(mels(), TARGETS)
    assert not ctc.conv1.weight.grad.any()
    assert not ctc.layers[0].mlp.c_fc.weight.grad.any()
    assert ctc.layers[1].mlp.c_fc.weight.grad.any()


@pytest.mark.parametrize(
    ("mel", "lengths", "message"),
    [
        (np.zeros((2, 4, 9)), None, r"floats of shape \(B, 5, T\)"),
        (np.zeros((2, 5, 9), int), None, "floats of shape"),
        (np.zeros((2, 5, 21)), None, "2 block_size = 20 frames"),
        (np.zeros((2, 5, 9)), np.array([9, 10]), "each in 1 … 9"),
        (np.zeros((2, 5, 9)), np.array([9]), "2 numbers of frames"),
    ],
)
def test_bad_input_is_refused(mel, lengths, message):
    with pytest.raises(ValueError, match=message):
        model().forward(mel, lengths)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blank_id": 6}, "blank_id must be below"),
        ({"vocab_size": 1, "blank_id": 0}, "at least 2"),
        ({"n_embd": 9, "n_head": 3}, "n_embd must be even"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        model(**options)
