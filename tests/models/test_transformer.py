"""Transformer: who sees whom, padding, generation with caches, freezing, recomputation, workers and LoRA."""

import numpy as np
import pytest

from numpylm import DataParallel, Transformer, TransformerConfig, sinusoidal
from numpylm.models.lora import add_lora, merge_lora

KINDS = {
    "paper": {},
    "pre-norm": {"norm_first": True},
    "marian": {
        "position_layout": "halves",
        "activation": "silu",
        "share_embeddings": False,
        "logits_bias": True,
        "n_decoder_layer": 3,
        "attention_dropout": 0.1,
    },
}
V, S, T = 13, 8, 6


def rng(seed=0):
    return np.random.default_rng(seed)


def make(kind="paper", dtype=np.float64, **options):
    model = Transformer(TransformerConfig(V, 14, 2, 3, 12, n_inner=10, **(KINDS[kind] | options)), rng(), dtype)
    for p in model.parameters():
        p.data[...] = 0.4 * rng(p.size).standard_normal(p.shape)
    return model


def batch():
    source, target = rng(1).integers(0, V, (4, S)), rng(2).integers(0, V, (4, T))
    mask = np.arange(S) < np.array([[8], [3], [6], [1]])
    ids = np.concatenate([np.zeros((4, 1), int), target[:, :-1]], axis=1)
    targets = np.where(np.arange(T) < np.array([[6], [4], [2], [6]]), target, -100)
    return source, ids, targets, mask


def gradients(model):
    return {name: p.grad.copy() for name, p in model.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_no_position_sees_a_later_one_and_all_see_the_source(kind):
    model, (source, ids, _, mask) = make(kind), batch()
    before = model.forward(source, ids, mask)[0]
    changed = ids.copy()
    changed[:, 4] = (ids[:, 4] + 1) % V
    after = model.forward(source, changed, mask)[0]
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert (np.abs(before[:, 4:] - after[:, 4:]).max(axis=-1) > 1e-9).all()
    other = source.copy()
    other[:, 0] = (source[:, 0] + 1) % V
    assert (np.abs(before - model.forward(other, ids, mask)[0]).max(axis=-1) > 1e-9).all()


@pytest.mark.parametrize("kind", KINDS)
def test_more_padding_changes_nothing(kind):
    model, (source, ids, targets, mask) = make(kind), batch()
    wide = np.pad(source, ((0, 0), (0, 4)), constant_values=7)
    wider = np.pad(ids, ((0, 0), (0, 3)), constant_values=5)
    found = []
    for arrays in (
        {"source": source, "ids": ids, "targets": targets, "source_mask": mask},
        {
            "source": wide,
            "ids": wider,
            "targets": np.pad(targets, ((0, 0), (0, 3)), constant_values=-100),
            "source_mask": np.pad(mask, ((0, 0), (0, 4))),
        },
    ):
        model.zero_grad()
        found.append((model.loss_and_grad(**arrays), gradients(model)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12)
    for name, grad in found[0][1].items():
        np.testing.assert_allclose(found[1][1][name], grad, rtol=1e-8, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_gets_a_gradient(kind):
    """A key bias moves all scores of a query equally, so only its gradient is zero."""
    model, (source, ids, targets, mask) = make(kind), batch()
    model.loss_and_grad(source, ids, targets, source_mask=mask)
    for name, p in model.named_parameters():
        assert p.grad.any() or name.endswith("k_proj.bias"), name


@pytest.mark.parametrize("chunks", [[1] * T, [2, 1, 3], [T]])
@pytest.mark.parametrize("kind", KINDS)
def test_generation_with_caches_gives_the_logits_of_the_whole_text(kind, chunks):
    model, (source, ids, _, mask) = make(kind), batch()
    logits, _ = model.forward(source, ids, mask)
    past, at = model.new_past(source, mask), 0
    for size in chunks:
        found = model.read(ids[:, at : at + size], past)
        at += size
        np.testing.assert_allclose(found, logits[:, at - 1], rtol=1e-10, atol=1e-12)


def test_several_texts_can_continue_one_source():
    """As in beam search: rows 0 and 1 of each source, with the memory stored once."""
    model, (source, _, _, mask) = make(), batch()
    twice = np.repeat(np.arange(4), 2)
    texts = rng(5).integers(0, V, (8, 3))
    expected = [model.forward(source[twice], texts, mask[twice])[0][:, t] for t in range(3)]
    past = model.new_past(source, mask).select(twice, np.arange(4))
    for t in range(3):
        np.testing.assert_allclose(model.read(texts[:, t : t + 1], past), expected[t], rtol=1e-10, atol=1e-12)
    kept = past.select(np.array([6, 6]), np.array([3]))
    more = np.concatenate([texts[[6, 6]], [[1], [2]]], axis=1)
    expected = model.forward(source[[3, 3]], more, mask[[3, 3]])[0][:, -1]
    np.testing.assert_allclose(model.read(np.array([[1], [2]]), kept), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_recomputing_gives_the_same_bits(kind):
    model, (source, ids, targets, mask) = make(kind, dropout=0.2), batch()
    found = []
    for model.recompute in (False, True):
        model.zero_grad()
        found.append((model.loss_and_grad(source, ids, targets, rng(3), source_mask=mask), gradients(model)))
    assert found[0][0] == found[1][0]
    for name, grad in found[0][1].items():
        np.testing.assert_array_equal(found[1][1][name], grad, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [False, True])
def test_workers_share_a_batch(processes):
    model, twin, (source, ids, targets, mask) = make(), make(), batch()
    loss = twin.loss_and_grad(source, ids, targets, source_mask=mask, label_smoothing=0.1)
    workers = DataParallel(model, 2, processes=processes)
    arrays = {"source": source, "ids": ids, "targets": targets, "source_mask": mask}
    assert workers.add_gradients(arrays, options={"label_smoothing": 0.1}) == pytest.approx(loss, rel=1e-12)
    for (name, p), q in zip(model.named_parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(p.grad, q.grad, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("kind", ["paper", "pre-norm"])
@pytest.mark.parametrize("below", range(5))
def test_frozen_blocks_get_no_gradient_and_the_others_the_same(below, kind):
    model, (source, ids, targets, mask) = make(kind), batch()
    model.loss_and_grad(source, ids, targets, source_mask=mask)
    expected = gradients(model)
    model.zero_grad()
    model.freeze(below)
    model.loss_and_grad(source, ids, targets, source_mask=mask)
    frozen = ("shared", *(f"encoder.{i}." for i in range(below)), *(f"decoder.{i}." for i in range(below - 2)))
    for name, p in model.named_parameters():
        zero = below > 0 and name.startswith(frozen)
        zero |= name.startswith("encoder_norm") and below >= 2  # it belongs to the frozen encoder
        assert p.frozen == zero, name
        np.testing.assert_allclose(p.grad, 0 if zero else expected[name], rtol=1e-12, atol=1e-14, err_msg=name)


def test_a_norm_between_frozen_stacks_gets_its_gradient():
    """The user freezes all but encoder_norm: its gradient comes through the frozen decoder."""
    model, (source, ids, targets, mask) = make("pre-norm"), batch()
    model.loss_and_grad(source, ids, targets, source_mask=mask)
    expected = model.encoder_norm.weight.grad.copy()
    model.zero_grad()
    for name, p in model.named_parameters():
        p.frozen = not name.startswith("encoder_norm")
    model.loss_and_grad(source, ids, targets, source_mask=mask)
    np.testing.assert_allclose(model.encoder_norm.weight.grad, expected, rtol=1e-12)
    trained = [name for name, p in model.named_parameters() if p.grad.any()]
    assert trained == ["encoder_norm.weight", "encoder_norm.bias"]


@pytest.mark.parametrize("below", [0, 1, 3])
def test_lora_trains_only_its_adapters_and_merges_to_the_same_function(below):
    model, (source, ids, targets, mask) = make(), batch()
    add_lora(model, 2, below=below, rng=rng())
    for p in model.trainable_parameters():
        p.data += 0.1 * rng(p.size).standard_normal(p.shape)
    model.loss_and_grad(source, ids, targets, source_mask=mask)
    trained = {name for name, p in model.named_parameters() if p.grad.any()}
    assert trained == {name for name, p in model.named_parameters() if not p.frozen}
    changed = model.loss(source, ids, targets, mask)
    merge_lora(model)
    assert model.loss(source, ids, targets, mask) == pytest.approx(changed, rel=1e-12)


def test_float32_stays_float32():
    model, (source, ids, targets, mask) = make("marian", np.float32, dropout=0.1), batch()
    model.loss_and_grad(source, ids, targets, rng(), source_mask=mask, label_smoothing=0.1)
    assert model.forward(source, ids, mask)[0].dtype == np.float32
    assert model.read(ids, model.new_past(source, mask)).dtype == np.float32
    assert all(p.data.dtype == p.grad.dtype == np.float32 for p in model.parameters())


def test_sinusoidal_positions_of_the_paper():
    """Section 3.5, written out for position 3 and C = 4, and the rotation by which positions shift."""
    import math

    found = sinusoidal(5, 4, dtype=np.float64)
    np.testing.assert_allclose(found[3], [math.sin(3), math.cos(3), math.sin(3 / 100), math.cos(3 / 100)])
    np.testing.assert_allclose(sinusoidal(5, 4, "halves", np.float64)[3], found[3][[0, 2, 1, 3]])
    for pair, w in ((0, 1.0), (2, 0.01)):
        turn = np.array([[math.cos(2 * w), math.sin(2 * w)], [-math.sin(2 * w), math.cos(2 * w)]])
        np.testing.assert_allclose(turn @ found[1, pair : pair + 2], found[3, pair : pair + 2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_embd": 9, "n_head": 3}, "n_embd must be even"),
        ({"start_id": 5}, "start_id must be below vocab_size=5"),
        ({"position_layout": "learned"}, "layout must be"),
        ({"activation": "elu"}, "activation must be one of"),
        ({"dropout": 1.0}, "dropout must lie in"),
    ],
)
def test_impossible_shapes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TransformerConfig(**({"vocab_size": 5, "block_size": 4, "n_layer": 1, "n_head": 2, "n_embd": 8} | changes))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": np.zeros((1, 15), int)}, "reads 1 to block_size=14 tokens at a time, got 15"),
        ({"ids": np.zeros((1, 0), int)}, "reads 1 to block_size=14 tokens at a time, got 0"),
        ({"source_mask": np.ones((1, 3), bool)}, "source_mask must have the shape of ids"),
        ({"source": np.zeros((1, 2))}, "integer ids"),
    ],
)
def test_wrong_inputs_are_explained(arguments, message):
    with pytest.raises(ValueError, match=message):
        make().forward(**({"source": np.zeros((1, 2), int), "ids": np.zeros((1, 2), int)} | arguments))
