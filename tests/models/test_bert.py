"""Bert: both directions are read, padding changes nothing, heads, freezing, recomputation, workers and LoRA."""

import numpy as np
import pytest

from numpylm import Bert, BertConfig, DataParallel
from numpylm.models.bert import with_head
from numpylm.models.lora import add_lora, merge_lora

HEADS = {
    "masked-lm": {},
    "first": {"head": "classification", "n_labels": 3, "pooling": "first"},
    "mean": {"head": "classification", "n_labels": 3, "pooling": "mean"},
}


def rng(seed=0):
    return np.random.default_rng(seed)


def make(dtype=np.float64, **options):
    bert = Bert(BertConfig(11, 12, 2, 3, 12, **options), rng(), dtype)
    for p in bert.parameters():
        p.data[...] = 0.4 * rng(p.size).standard_normal(p.shape)
    return bert


def batch(head, seed=0):
    ids = rng(seed).integers(1, 11, (4, 9))
    mask = np.arange(9) < np.array([[9], [4], [7], [1]])
    if head == "masked-lm":
        return ids, np.where(rng(1).random(ids.shape) < 0.4, ids, -100) * mask - 100 * ~mask, mask
    return ids, rng(1).integers(0, 3, 4), mask


def gradients(model):
    return {name: p.grad.copy() for name, p in model.named_parameters()}


def test_every_position_sees_all_others():
    bert = make()
    ids = rng().integers(0, 11, (1, 8))
    for changed in (0, 7):
        other = ids.copy()
        other[0, changed] = (ids[0, changed] + 1) % 11
        assert (np.abs(bert.hidden(ids)[0] - bert.hidden(other)[0]).max(axis=-1) > 1e-6).all()


@pytest.mark.parametrize("offset", [0, 2])
@pytest.mark.parametrize("head", HEADS)
def test_more_padding_changes_nothing(head, offset):
    bert = make(position_offset=offset, **HEADS[head])
    ids, targets, mask = batch(head)
    wide = np.full((4, 12), 5)
    wide[:, :9] = ids
    more = np.pad(mask, ((0, 0), (0, 3)))
    wide_targets = np.pad(targets, ((0, 0), (0, 3)), constant_values=-100) if targets.ndim == 2 else targets
    found = {}
    for name, arrays in {"narrow": (ids, targets, mask), "wide": (wide, wide_targets, more)}.items():
        bert.zero_grad()
        loss = bert.loss_and_grad(*arrays[:2], mask=arrays[2])
        found[name] = loss, gradients(bert)
    assert found["narrow"][0] == pytest.approx(found["wide"][0], rel=1e-12)
    for name, grad in found["narrow"][1].items():
        np.testing.assert_allclose(found["wide"][1][name], grad, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("head", HEADS)
def test_what_stands_at_padding_is_not_read(head):
    bert = make(**HEADS[head])
    ids, targets, mask = batch(head)
    assert bert.loss(ids, targets, mask) == bert.loss(np.where(mask, ids, 3), targets, mask)


def test_the_loss_of_masked_tokens_is_that_of_the_full_logits():
    from numpylm import cross_entropy

    bert = make()
    ids, targets, mask = batch("masked-lm")
    logits, _ = bert.forward(ids, mask)
    assert bert.loss(ids, targets, mask) == pytest.approx(cross_entropy(logits, targets)[0], rel=1e-12)
    assert bert.loss_and_grad(ids, np.full_like(ids, -100), mask=mask) == 0


@pytest.mark.parametrize("head", HEADS)
def test_recomputing_gives_the_same_bits(head):
    bert = make(dropout=0.2, **HEADS[head])
    ids, targets, mask = batch(head)
    found = []
    for bert.recompute in (False, True):
        bert.zero_grad()
        found.append((bert.loss_and_grad(ids, targets, rng(3), mask=mask), gradients(bert)))
    assert found[0][0] == found[1][0]
    for name, grad in found[0][1].items():
        np.testing.assert_array_equal(found[1][1][name], grad, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [False, True])
@pytest.mark.parametrize("head", ["masked-lm", "mean"])
def test_workers_share_a_batch(head, processes):
    bert, twin = make(**HEADS[head]), make(**HEADS[head])
    ids, targets, mask = batch(head)
    loss = twin.loss_and_grad(ids, targets, mask=mask)
    workers = DataParallel(bert, 2, processes=processes)
    assert workers.add_gradients({"ids": ids, "targets": targets, "mask": mask}) == pytest.approx(loss, rel=1e-12)
    for (name, p), q in zip(bert.named_parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(p.grad, q.grad, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("below", [0, 1, 2])
def test_frozen_blocks_get_no_gradient_and_the_others_the_same(below):
    bert = make(**HEADS["mean"])
    ids, targets, mask = batch("mean")
    bert.loss_and_grad(ids, targets, mask=mask)
    expected = gradients(bert)
    bert.zero_grad()
    bert.freeze(below)
    bert.loss_and_grad(ids, targets, mask=mask)
    for name, p in bert.named_parameters():
        frozen = below and (
            not name.startswith(("layer.", "head.")) or name.startswith(tuple(f"layer.{i}." for i in range(below)))
        )
        np.testing.assert_allclose(p.grad, 0 if frozen else expected[name], rtol=1e-12, atol=1e-14, err_msg=name)


def test_lora_trains_only_its_adapters_and_merges_to_the_same_function():
    bert = make(**HEADS["mean"])
    ids, targets, mask = batch("mean")
    before = bert.loss(ids, targets, mask)
    add_lora(bert, 2, rng=rng())
    assert bert.loss(ids, targets, mask) == pytest.approx(before, rel=1e-12)
    for p in bert.trainable_parameters():
        p.data += 0.1 * rng(p.size).standard_normal(p.shape)
    bert.loss_and_grad(ids, targets, mask=mask)
    assert {name.split(".")[-1] for name, p in bert.named_parameters() if p.grad.any()} == {"lora_A", "lora_B"}
    changed = bert.loss(ids, targets, mask)
    merge_lora(bert)
    assert bert.loss(ids, targets, mask) == pytest.approx(changed, rel=1e-12)


def test_float32_stays_float32():
    bert = make(np.float32, dropout=0.1, **HEADS["mean"])
    ids, targets, mask = batch("mean")
    bert.loss_and_grad(ids, targets, rng(), mask=mask, label_smoothing=0.1)
    assert bert.forward(ids, mask)[0].dtype == np.float32
    assert all(p.data.dtype == p.grad.dtype == np.float32 for p in bert.parameters())


def test_a_new_head_stands_on_the_same_trunk():
    bert = make()
    other = with_head(bert, "classification", rng(), n_labels=4, pooling="mean")
    ids, _, mask = batch("mean")
    np.testing.assert_array_equal(other.hidden(ids, mask)[0], bert.hidden(ids, mask)[0])
    assert other.forward(ids, mask)[0].shape == (4, 4)


def test_sentence_embeddings_have_length_one():
    bert = make(head="none")
    ids, _, mask = batch("mean")
    vectors = bert.sentence_embeddings(ids, mask)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-12)
    with pytest.raises(ValueError, match="no head"):
        bert.forward(ids, mask)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ids": np.zeros((2, 13), int)}, "reads 1 to block_size=12 tokens at a time, got 13"),
        ({"ids": np.zeros(4, int)}, r"shape \(B, T\), got int64 \(4,\)"),
        ({"ids": np.zeros((2, 4))}, "integer ids"),
        ({"ids": np.zeros((2, 4), int), "mask": np.ones((2, 5), bool)}, "mask must have the shape of ids"),
        ({"ids": np.full((1, 2), 11)}, r"ids must lie in \[0, 11\), got 11"),
        ({"ids": np.zeros((1, 2), int), "token_types": np.full((1, 2), 2)}, r"ids must lie in \[0, 2\), got 2"),
    ],
)
def test_wrong_inputs_are_explained(arguments, message):
    with pytest.raises(ValueError, match=message):
        make().forward(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": "lm"}, "head must be one of"),
        ({"head": "classification"}, "needs n_labels"),
        ({"n_labels": 3}, "needs n_labels"),
        ({"pooling": "max"}, "pooling must be"),
        ({"activation": "elu"}, "activation must be one of"),
        ({"n_head": 5}, "n_head must divide n_embd"),
    ],
)
def test_impossible_shapes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        BertConfig(**({"vocab_size": 5, "block_size": 4, "n_layer": 1, "n_head": 2, "n_embd": 8} | changes))
