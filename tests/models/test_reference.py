"""Our numbers against PyTorch's, as stored by tests/reference/make_reference.py: parity without PyTorch."""

from pathlib import Path

import numpy as np
import pytest

from numpylm import AdamW, clip_grad_norm
from tests.reference.cases import BETAS, CLIP, CONFIGS, DECAY, EPS, LR, batches, random_model


@pytest.fixture(scope="module")
def stored():
    with np.load(Path(__file__).parents[1] / "reference" / "reference.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.mark.parametrize("name", CONFIGS)
def test_logits(stored, name):
    ids, _ = next(batches(name))
    np.testing.assert_allclose(random_model(name).forward(ids)[0], stored[f"{name}/logits"], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_gradient(stored, name):
    gpt = random_model(name)
    gpt.loss_and_grad(*next(batches(name)))
    named = list(gpt.named_parameters())
    assert {f"{name}/grad/{key}" for key, _ in named} == {k for k in stored if k.startswith(f"{name}/grad/")}
    for key, p in named:
        reference = stored[f"{name}/grad/{key}"]
        worst = np.abs(p.grad - reference).max() / np.abs(reference).max()
        assert worst < 1e-11, (key, worst)


@pytest.mark.parametrize("name", CONFIGS)
def test_ten_losses_of_training(stored, name):
    gpt = random_model(name)
    optimizer = AdamW(gpt.parameters(), LR, BETAS, EPS, DECAY)
    losses = []
    for ids, targets in batches(name):
        gpt.zero_grad()
        losses.append(gpt.loss_and_grad(ids, targets))
        clip_grad_norm(optimizer.parameters, CLIP)
        optimizer.step()
    np.testing.assert_allclose(losses, stored[f"{name}/losses"], rtol=1e-9)
