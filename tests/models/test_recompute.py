"""Blocks that are computed again in the backward: the same numbers, less memory."""

import tracemalloc

import numpy as np
import pytest

from numpylm import GPT, DataParallel, GPTConfig, gradcheck
from numpylm.check.selfcheck_inputs import ModelLoss
from numpylm.models.lora import add_lora

IDS = np.random.default_rng(0).integers(0, 11, (2, 7))


def model(dropout=0.2):
    gpt = GPT(GPTConfig(11, 6, 3, 2, 8, dropout=dropout), np.random.default_rng(0), np.float64)
    rng = np.random.default_rng(1)
    for p in gpt.parameters():
        p.data += 0.5 * rng.standard_normal(p.shape)
    return gpt


def gradients(gpt, train=lambda gpt: gpt):
    gpt.zero_grad()
    loss = train(gpt).loss_and_grad(IDS[:, :-1], IDS[:, 1:], np.random.default_rng(5))
    return loss, {name: p.grad.copy() for name, p in gpt.named_parameters() if not p.frozen}


@pytest.mark.parametrize("change", [lambda gpt: None, lambda gpt: gpt.freeze(1), lambda gpt: add_lora(gpt, 2)])
@pytest.mark.parametrize("train", [lambda gpt: gpt, lambda gpt: DataParallel(gpt, 2)])
def test_the_same_gradients_to_the_bit_with_dropout(change, train):
    gpt = model()
    change(gpt)
    loss, kept = gradients(gpt, train)
    gpt.recompute = True
    again, computed = gradients(gpt, train)
    assert again == loss
    assert kept.keys() == computed.keys()
    assert all(np.array_equal(kept[name], computed[name]) for name in kept)


@pytest.mark.slow
def test_every_gradient_is_right():
    gpt = model(dropout=0.0)  # with dropout the checker objects to a backward that draws random numbers
    gpt.recompute = True
    assert gradcheck(ModelLoss(gpt), IDS[:, :-1], IDS[:, 1:]).ok


def test_it_takes_the_memory_of_one_block():
    """Six blocks: what is kept must be nearer to one than to six."""
    gpt = GPT(GPTConfig(11, 64, 6, 2, 32), np.random.default_rng(0))
    ids = np.random.default_rng(0).integers(0, 11, (8, 64))
    gpt.loss_and_grad(ids, ids)  # gradients have their memory now
    peaks = []
    for gpt.recompute in (False, True):
        tracemalloc.start()
        gpt.loss_and_grad(ids, ids)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 0.4 * peaks[0]
