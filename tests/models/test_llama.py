"""Llama: gradients, causality, caches and padding, experts, freezing, recomputation, workers, LoRA and errors."""

import numpy as np
import pytest

from numpylm import DataParallel, Llama, LlamaConfig, gradcheck
from numpylm.check.selfcheck_inputs import ModelLoss
from numpylm.files.checkpoint import check_size
from numpylm.models.lora import add_lora, has_lora, lora_settings, merge_lora, merged

V, S, L, H, C = 13, 10, 3, 4, 16
SHAPE = {"vocab_size": V, "block_size": S, "n_layer": L, "n_head": H, "n_embd": C, "n_inner": 10}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8,
}
KINDS = {
    "llama": {"n_kv_head": 2, "rope_scaling": LLAMA3},
    "qwen2": {"n_kv_head": 1, "attention_bias": True, "tie_embeddings": False},
    "odd": {
        "head_dim": 6,  # H D is not C
        "rope_layout": "interleaved",
        "rope_scaling": {"type": "linear", "factor": 2.0},
        "attention_out_bias": True,
        "mlp_bias": True,
        "activation": "gelu",
    },
    "mixtral": {"n_kv_head": 2, "n_experts": 3, "tie_embeddings": False},
}


def rng(seed=0):
    return np.random.default_rng(seed)


def make(kind="llama", dtype=np.float64, **options):
    model = Llama(LlamaConfig(**(SHAPE | KINDS[kind] | options)), rng(), dtype)
    for p in model.parameters():
        p.data[...] = 0.4 * rng(p.size).standard_normal(p.shape)
    return model


def batch():
    ids, targets = rng(1).integers(0, V, (4, 7)), rng(2).integers(0, V, (4, 7))
    targets[0, :3] = -100
    return ids, targets


def gradients(model):
    return {name: p.grad.copy() for name, p in model.named_parameters() if not p.frozen}


# --------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_along_a_direction_through_all_parameters(kind):
    """Of `loss_and_grad` itself, with the load-balancing loss in it."""
    options = {"router_aux_loss_coef": 0.3} if kind == "mixtral" else {}
    model, (ids, targets) = make(kind, **options), batch()
    model.loss_and_grad(ids, targets)
    directions = {name: rng(p.size + 1).standard_normal(p.shape) for name, p in model.named_parameters()}
    expected = sum(float((p.grad * directions[name]).sum()) for name, p in model.named_parameters())
    losses = []
    for step in (1e-6, -1e-6):
        moved = make(kind, **options)
        for name, p in moved.named_parameters():
            p.data += step * directions[name]
        losses.append(moved.loss_and_grad(ids, targets))
    assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_gradient_is_right(kind):
    options = {"router_aux_loss_coef": 0.3} if kind == "mixtral" else {}
    report = gradcheck(ModelLoss(make(kind, n_layer=2, **options)), *batch())
    assert report.ok, str(report)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_gets_a_gradient(kind):
    """A key bias is turned by another angle at each position, so that even its gradient is not zero."""
    model, (ids, targets) = make(kind), batch()
    model.loss_and_grad(ids, targets)
    for name, p in model.named_parameters():
        assert p.grad.any(), name


# ------------------------------------------------------------------------------------- positions and caches


@pytest.mark.parametrize("kind", KINDS)
def test_no_position_sees_a_later_one(kind):
    model, (ids, _) = make(kind), batch()
    changed = ids.copy()
    changed[:, 4] = (ids[:, 4] + 1) % V
    before, after = model.forward(ids)[0], model.forward(changed)[0]
    np.testing.assert_allclose(before[:, :4], after[:, :4], rtol=0, atol=1e-13)  # an expert gets other batches
    assert (np.abs(before[:, 4:] - after[:, 4:]).max(axis=-1) > 1e-9).all()


def test_the_order_of_tokens_matters():
    """Without rotation, the last position would see a bag of tokens."""
    model, (ids, _) = make(n_layer=1), batch()
    swapped = ids[:, [1, 0, *range(2, 7)]]
    assert np.abs(model.forward(ids)[0] - model.forward(swapped)[0])[:, -1].max() > 1e-3


@pytest.mark.parametrize("chunks", [[1] * 7, [3, 1, 3], [7]])
@pytest.mark.parametrize("kind", KINDS)
def test_reading_with_a_past_gives_the_logits_of_the_whole_text(kind, chunks):
    model, (ids, _) = make(kind), batch()
    logits, past, at = model.forward(ids)[0], model.new_past(4), 0
    for size in chunks:
        found = model.read(ids[:, at : at + size], past)
        at += size
        np.testing.assert_allclose(found, logits[:, at - 1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_is_the_same_alone_and_in_a_left_padded_batch(kind):
    model, (ids, _) = make(kind), batch()
    padding = np.array([0, 3, 6, 1])
    past, padded = model.new_past(4, padding), ids.copy()
    for row, pad in enumerate(padding):
        padded[row, :pad] = 12
    found = [model.read(padded, past), *(model.read(np.full((4, 1), token), past) for token in (5, 2))]
    for row, pad in enumerate(padding):
        text = [*ids[row, pad:], 5, 2]
        alone = model.forward(np.array([text]))[0][0, -3:]
        np.testing.assert_allclose(np.stack([logits[row] for logits in found]), alone, rtol=1e-9, atol=1e-12)


def test_the_cache_holds_key_heads_and_not_query_heads():
    past = make("qwen2").new_past(2, longest=5)
    assert [cache.k.shape for cache in past] == [(2, 1, 5, 4)] * L


@pytest.mark.parametrize("kind", KINDS)
def test_generating_a_batch_gives_what_each_prompt_gives_alone(kind):
    """Past block_size, the window moves on, too."""
    model, prompts = make(kind), [[1, 2, 3, 4, 5], [6], [7, 8, 9]]
    together = model.generate_batch(prompts, 8, temperature=0)
    assert together == [list(model.generate(prompt, 8, temperature=0)) for prompt in prompts]
    slow, window = [], list(prompts[0])
    for _ in range(8):
        window.append(int(model.forward(np.array([window[-S:]]))[0][0, -1].argmax()))
        slow.append(window[-1])
    assert together[0][:5] == slow[:5]  # as long as the window does not move


# -------------------------------------------------------------------------------------------- the experts


def test_the_load_balancing_loss_is_the_mean_over_blocks_and_part_of_the_training_loss_only():
    model, (ids, targets) = make("mixtral"), batch()
    plain, hidden_cache = model.loss_and_grad(ids, targets), model.forward(ids)[1][0]
    balances = [block_cache.mlp.balance for block_cache in hidden_cache.blocks]
    assert model.balance(hidden_cache) == pytest.approx(sum(balances) / L)
    assert all(balance > 1.5 for balance in balances)  # k = 2 if all experts get the same
    weighted = make("mixtral", router_aux_loss_coef=0.5)
    assert weighted.loss_and_grad(ids, targets) == pytest.approx(plain + 0.5 * sum(balances) / L)
    assert weighted.loss(ids, targets) == pytest.approx(plain) == model.loss(ids, targets)
    assert make().balance(make().forward(ids)[1][0]) == 0


def test_parts_of_a_batch_are_balanced_by_themselves_with_the_weight_of_their_targets():
    """As DataParallel and micro-batches call it. With the whole coefficient in each part it would count twice."""
    model, (ids, targets) = make("mixtral", router_aux_loss_coef=0.5), batch()
    count = int((targets >= 0).sum())
    loss = sum(model.loss_and_grad(ids[rows], targets[rows], count=count) for rows in (slice(2), slice(2, 4)))
    balances = [model.balance(model.forward(ids[rows])[1][0]) for rows in (slice(2), slice(2, 4))]
    shares = [(targets[rows] >= 0).sum() / count for rows in (slice(2), slice(2, 4))]
    assert shares[0] != shares[1]
    expected = model.loss(ids, targets) + 0.5 * float(np.dot(shares, balances))
    assert loss == pytest.approx(expected, rel=1e-12)
    twin = make("mixtral", router_aux_loss_coef=0.5)
    assert DataParallel(twin, 2).loss_and_grad(ids, targets) == pytest.approx(expected, rel=1e-12)
    for name, p in twin.named_parameters():
        np.testing.assert_allclose(p.grad, gradients(model)[name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("change", [lambda m: m.freeze(1), lambda m: setattr(m, "recompute", True)])
def test_the_load_balancing_loss_needs_the_caches_of_all_blocks(change):
    model = make("mixtral", router_aux_loss_coef=0.5)
    change(model)
    with pytest.raises(ValueError, match="router_aux_loss_coef needs all blocks trained, and recompute off"):
        model.loss_and_grad(*batch())


# ------------------------------------------------------------- freezing, recomputing, workers, dropout, adapters


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("below", range(1, L + 1))
def test_frozen_blocks_get_no_gradient_and_the_others_the_same(kind, below):
    model, (ids, targets) = make(kind), batch()
    loss = model.loss_and_grad(ids, targets)
    whole = gradients(model)
    model.freeze(below)
    for p in model.parameters():
        p._grad = None
    assert model.loss_and_grad(ids, targets) == loss
    frozen = ("embed_tokens", *(f"layers.{i}." for i in range(below)))
    for name, p in model.named_parameters():
        assert p.frozen == name.startswith(frozen), name
        assert (p._grad is None) == p.frozen, name
    for name, grad in gradients(model).items():
        np.testing.assert_array_equal(grad, whole[name], err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_recomputing_gives_the_same_bits_with_dropout(kind):
    model, (ids, targets) = make(kind, dropout=0.2), batch()
    found = []
    for model.recompute in (False, True):
        model.zero_grad()
        found.append((model.loss_and_grad(ids, targets, rng(3)), gradients(model)))
    assert found[0][0] == found[1][0]
    for name, grad in found[0][1].items():
        np.testing.assert_array_equal(found[1][1][name], grad, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_workers_share_a_batch(kind):
    model, twin, (ids, targets) = make(kind), make(kind), batch()
    loss = twin.loss_and_grad(ids, targets)
    assert DataParallel(model, 3).loss_and_grad(ids, targets) == pytest.approx(loss, rel=1e-12)
    for name, grad in gradients(twin).items():
        np.testing.assert_allclose(gradients(model)[name], grad, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.slow
def test_processes_share_a_batch():
    model, twin, (ids, targets) = make("mixtral"), make("mixtral"), batch()
    loss = twin.loss_and_grad(ids, targets)
    assert DataParallel(model, 2, processes=True).loss_and_grad(ids, targets) == pytest.approx(loss, rel=1e-12)
    for name, grad in gradients(twin).items():
        np.testing.assert_allclose(gradients(model)[name], grad, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_set_dropout_makes_the_model_one_that_was_built_with_this_dropout(kind):
    """With one place forgotten (embeddings, attention weights, either branch), the two outputs differ."""
    model, built, (ids, _) = make(kind), make(kind, dropout=0.4), batch()
    model.set_dropout(0.4)
    assert model.config == built.config
    np.testing.assert_array_equal(model.forward(ids, rng(1))[0], built.forward(ids, rng(1))[0])
    np.testing.assert_array_equal(model.forward(ids)[0], make(kind).forward(ids)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_lora_trains_only_its_adapters_and_merges_to_the_same_function(kind):
    model, (ids, targets) = make(kind), batch()
    names = [name for name, _ in model.named_parameters()]
    add_lora(model, 2, below=1, rng=rng())
    for name, p in model.named_parameters():
        if name.endswith("lora_B"):
            p.data[:] = 0.3 * rng(p.size).standard_normal(p.shape)
    model.loss_and_grad(ids, targets)
    trained = {name for name, p in model.named_parameters() if p.grad.any()}
    assert trained == {name for name, p in model.named_parameters() if not p.frozen}
    assert len(trained) == 2 * 2 * (4 + 3 * max(1, model.config.n_experts))  # A and B in two blocks
    assert not any(".gate." in name or name.startswith("layers.0.") for name in trained)
    changed = model.loss(ids, targets)
    assert merged(model).loss(ids, targets) == pytest.approx(changed, rel=1e-12)
    other = Llama(model.config, dtype=np.float64)
    add_lora(other, **lora_settings(model))
    assert [(n, p.shape) for n, p in other.named_parameters()] == [(n, p.shape) for n, p in model.named_parameters()]
    merge_lora(model)
    assert model.loss(ids, targets) == pytest.approx(changed, rel=1e-12)
    assert [name for name, _ in model.named_parameters()] == names
    assert not has_lora(model)


# ------------------------------------------------------------------------------------- initial values and dtypes


@pytest.mark.parametrize("kind", KINDS)
def test_float32_stays_float32(kind):
    options = {"router_aux_loss_coef": 0.3} if kind == "mixtral" else {}
    model, (ids, targets) = make(kind, np.float32, dropout=0.1, **options), batch()
    model.loss_and_grad(ids, targets, rng(), label_smoothing=0.1)
    assert model.forward(ids, rng())[0].dtype == np.float32
    assert model.read(ids, model.new_past(4)).dtype == np.float32
    assert all(p.data.dtype == p.grad.dtype == np.float32 for p in model.parameters())


def test_initial_values():
    model = Llama(LlamaConfig(500, 30, 8, 4, 64, n_kv_head=2, attention_bias=True, tie_embeddings=False), rng())
    assert model.embed_tokens.weight.data.std() == pytest.approx(0.02, rel=0.03)
    assert model.lm_head.weight.data.std() == pytest.approx(0.02, rel=0.03)
    for block in model.layers:
        for layer, std in (
            (block.self_attn.q_proj, 0.02),
            (block.mlp.gate_proj, 0.02),
            (block.self_attn.o_proj, 0.02 / 4),  # √(2 · 8) = 4
            (block.mlp.down_proj, 0.02 / 4),
        ):
            assert layer.weight.data.std() == pytest.approx(std, rel=0.06)
        assert (block.input_layernorm.weight.data == 1).all()
        assert not block.self_attn.k_proj.bias.data.any()
    loss = model.loss(*[rng(1).integers(0, 500, (4, 30)) for _ in range(2)])
    assert loss == pytest.approx(np.log(500), abs=0.05)


def test_sizes_that_follow_from_others():
    config = LlamaConfig(100, 8, 1, 4, 48)
    assert (config.D, config.K, config.F) == (12, 4, 128)  # 8 · 48 / 3 = 128
    assert LlamaConfig(100, 8, 1, 4, 64).F == 192  # 170.7, rounded up to a multiple of 32
    wide = LlamaConfig(100, 8, 1, 5, 64, head_dim=10)  # 5 does not divide 64
    assert Llama(wide, rng()).layers[0].self_attn.q_proj.weight.shape == (64, 50)
    counted = Llama(LlamaConfig(V, S, 1, H, C, n_kv_head=2, n_inner=10), rng()).num_parameters()
    assert counted == V * C + 2 * C * C + 2 * C * 8 + 3 * C * 10 + 3 * C


def test_a_dict_of_rope_scaling_and_its_pairs_are_one_config():
    pairs = tuple(LLAMA3.items())
    configs = [LlamaConfig(**SHAPE, rope_scaling=kind) for kind in (LLAMA3, pairs, [list(pair) for pair in pairs])]
    assert configs[0] == configs[1] == configs[2]
    assert configs[0].rope_scaling == pairs
    assert LlamaConfig(**SHAPE, rope_scaling=None) == LlamaConfig(**SHAPE)
    assert hash(configs[0]) == hash(configs[1])


# --------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_head": 3}, "n_head must divide n_embd"),
        ({"n_head": 0, "head_dim": 4}, "n_head must be a whole number of at least 1, got 0"),
        ({"n_kv_head": 3}, "n_kv_head must divide n_head=4, got 3"),
        ({"n_kv_head": -1}, "n_kv_head must be a whole number of at least 0"),
        ({"n_embd": 12}, "a head must have an even number, got 3"),
        ({"head_dim": 5}, "a head must have an even number, got 5"),
        ({"dropout": 1.0}, "dropout must lie in"),
        ({"rms_norm_eps": -1}, "rms_norm_eps must be a number of at least 0, got -1"),
        ({"rope_theta": 0}, "rope_theta must be a number above 0, got 0"),
        ({"rope_theta": float("inf")}, "rope_theta must be a number above 0, got inf"),
        ({"rope_layout": "pairs"}, "layout must be 'interleaved' or 'halves', got 'pairs'"),
        ({"rope_scaling": {"rope_type": "yarn"}}, 'rope_scaling of the kind "yarn" is not computed here'),
        ({"rope_scaling": {"rope_type": "linear"}}, 'rope_scaling "linear" needs factor'),
        ({"rope_scaling": 2.0}, "rope_scaling must be a dict or pairs of names and values, got 2.0"),
        ({"rope_scaling": ("linear", 2.0)}, "rope_scaling must be a dict or pairs"),
        ({"activation": "swish"}, "activation must be one of"),
        ({"tie_embeddings": "yes"}, "tie_embeddings must be True or False, got 'yes'"),
        ({"attention_bias": 1}, "attention_bias must be True or False, got 1"),
        ({"n_experts": 2, "experts_per_token": 3}, "experts_per_token must lie in 1 … 2, got 3"),
        ({"n_experts": 2, "experts_per_token": 1.5}, "experts_per_token must be a whole number"),
        ({"router_aux_loss_coef": -0.1}, "router_aux_loss_coef must be a number of at least 0, got -0.1"),
        ({"router_aux_loss_coef": "0.1"}, "router_aux_loss_coef must be a number of at least 0, got '0.1'"),
    ],
)
def test_impossible_shapes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        LlamaConfig(**(SHAPE | changes))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.zeros(4, int), "add a batch axis"),
        (np.zeros((1, S + 1), int), f"Llama reads 1 to block_size={S} tokens at a time, got {S + 1}"),
        (np.zeros((1, 0), int), "got 0"),
        (np.zeros((1, 3)), "integer ids"),
        (np.full((1, 3), V), rf"\[0, {V}\), got {V}"),
    ],
)
def test_bad_ids_are_explained(ids, message):
    with pytest.raises(ValueError, match=message):
        make().forward(ids)


def test_a_past_of_other_texts_or_without_room_is_refused():
    model = make()
    past = model.new_past(2)
    with pytest.raises(ValueError, match="past holds 2 texts, ids 3"):
        model.read(np.zeros((3, 1), int), past)
    model.read(np.zeros((2, S - 1), int), past)
    with pytest.raises(ValueError, match=f"block_size={S} tokens at a time, got 2 after {S - 1}"):
        model.read(np.zeros((2, 2), int), past)


@pytest.mark.parametrize(
    "bomb", [{"head_dim": 2**28}, {"n_experts": 2**17, "n_kv_head": 1}, {"n_inner": 2**30}, {"n_layer": 10**7}], ids=str
)
def test_settings_that_ask_for_far_more_than_the_file_holds_cost_no_memory(bomb):
    sizes = {"vocab_size": 11, "block_size": 8, "n_layer": 1, "n_head": 2, "n_embd": 8}
    with pytest.raises(ValueError, match="do not belong together"):
        check_size(LlamaConfig(**sizes | bomb), 2000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"router_aux_loss_coef": 0.1}, "needs n_experts"),
        ({"n_experts": 2, "mlp_bias": True}, "experts have no biases"),
    ],
    ids=str,
)
def test_options_without_effect_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LlamaConfig(11, 8, 1, 2, 8, **options)
