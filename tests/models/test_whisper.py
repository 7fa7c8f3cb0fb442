"""Whisper: shapes, freezing, recomputing, the cache of generation, and errors."""

import copy

import numpy as np
import pytest

from numpylm import Whisper, WhisperConfig
from numpylm.files.checkpoint import MODELS

CONFIG = WhisperConfig(11, 9, 2, 2, 8, 12, 2, n_mels=3, audio_positions=5, dropout=0.2)
RNG = np.random.default_rng(0)
MEL, IDS, TARGETS = RNG.standard_normal((2, 3, 10)), RNG.integers(0, 11, (2, 6)), RNG.integers(0, 11, (2, 6))


def model(**options):
    whisper = Whisper(WhisperConfig(**vars(CONFIG) | options), np.random.default_rng(0), np.float64)
    rng = np.random.default_rng(1)
    for p in whisper.trainable_parameters():
        p.data += 0.5 * rng.standard_normal(p.shape)
    return whisper


def gradients(whisper, seed=5):
    whisper.zero_grad()
    loss = whisper.loss_and_grad(MEL, IDS, TARGETS, np.random.default_rng(seed))
    return loss, {name: p.grad.copy() for name, p in whisper.named_parameters() if not p.frozen}


def test_two_frames_make_one_position():
    whisper = model()
    for frames, positions in ((10, 5), (9, 5), (1, 1)):
        assert whisper.encode(MEL[:, :, :frames])[0].shape == (2, positions, 8)
    assert whisper.forward(MEL, IDS)[0].shape == (2, 6, 11)


def test_no_token_sees_a_later_one_and_each_sees_the_whole_sound():
    whisper, ids, mel = model(), IDS.copy(), MEL.copy()
    before = whisper.forward(MEL, IDS)[0]
    ids[:, 4] = (ids[:, 4] + 1) % 11
    changed = np.abs(whisper.forward(MEL, ids)[0] - before).max(axis=(0, 2))
    assert changed[:4].max() == 0 < changed[4:].min()
    mel[:, :, -1] += 1
    assert np.abs(whisper.forward(mel, IDS)[0] - before).max(axis=2).min() > 1e-6


def test_generation_with_a_cache_gives_the_same_logits():
    whisper = model()
    past, expected = whisper.new_past(MEL), whisper.forward(MEL, IDS)[0]
    np.testing.assert_allclose(whisper.read(IDS[:, :3], past), expected[:, 2], rtol=1e-12)
    for t in range(3, 6):
        np.testing.assert_allclose(whisper.read(IDS[:, t : t + 1], past), expected[:, t], rtol=1e-12)
    with pytest.raises(ValueError, match="after 6"):
        whisper.read(IDS[:, :4], past)


@pytest.mark.parametrize("below", range(5))
def test_frozen_layers_get_no_gradient_and_all_others_the_same(below):
    whisper = model()
    _, expected = gradients(whisper)
    whisper.freeze(below)
    assert whisper.audio_positions.weight.frozen
    whisper.zero_grad()
    frozen = copy.deepcopy(whisper)
    _, found = gradients(frozen)
    assert found
    assert all(np.array_equal(found[name], expected[name]) for name in found)
    assert bool(below) == frozen.tokens.weight.frozen
    assert all(p._grad is None or not p._grad.any() for p in frozen.parameters() if p.frozen)


def test_the_sinusoids_are_never_trained():
    whisper = model()
    assert whisper.audio_positions.weight not in whisper.trainable_parameters()
    whisper.freeze(0)
    assert [name for name, p in whisper.named_parameters() if p.frozen] == ["audio_positions.weight"]
    assert whisper.num_parameters() == sum(p.size for p in whisper.trainable_parameters()) + 5 * 8


@pytest.mark.parametrize("below", [0, 1, 3])
def test_computing_blocks_again_changes_no_bit(below):
    whisper = model()
    whisper.freeze(below)
    loss, kept = gradients(whisper)
    whisper.recompute = True
    again, computed = gradients(whisper)
    assert again == loss
    assert all(np.array_equal(kept[name], computed[name]) for name in kept)


def test_the_gradient_of_the_sound():
    whisper, eps = model(dropout=0.0), 1e-6
    logits, cache = whisper.forward(MEL, IDS)
    dlogits = np.random.default_rng(3).standard_normal(logits.shape)
    dmel = whisper.backward(dlogits, cache)
    shifted = MEL.copy()
    shifted[1, 2, 4] += eps
    slope = ((whisper.forward(shifted, IDS)[0] - logits) * dlogits).sum() / eps
    assert dmel[1, 2, 4] == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize(
    ("mel", "ids", "message"),
    [
        (MEL[:, :2], IDS, r"\(B, 3, F\) of 1 to 10 frames, got \(2, 2, 10\)"),
        (np.zeros((2, 3, 11)), IDS, "of 1 to 10 frames"),
        (MEL[0, :2], IDS, "log-mel spectrograms"),
        (MEL[:1], IDS, "1 sounds and 2 texts"),
        (MEL, np.zeros((2, 10), int), "block_size=9"),
    ],
)
def test_inputs_that_do_not_fit_are_named(mel, ids, message):
    with pytest.raises(ValueError, match=message):
        model().forward(mel, ids)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_embd": 9, "n_head": 3}, "even"),
        ({"n_mels": 0}, "n_mels must be"),
        ({"start_id": 11}, "start_id must be below"),
        ({"activation": "sin"}, "activation must be one of"),
        ({"dropout": 1.0}, "dropout must lie"),
    ],
)
def test_impossible_shapes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        model(**options)


def test_checkpoints_know_it():
    assert MODELS["Whisper"] == (Whisper, WhisperConfig)
