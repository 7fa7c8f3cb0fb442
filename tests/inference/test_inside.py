"""Inside models of every family: attention, logit lens, gradient times input and muted heads, each computed again."""

import copy

import numpy as np
import pytest

from numpylm.inference.inside.measure import ablations, forward, gradient_times_input, logit_lens
from numpylm.inference.inside.views import batch_of, view_of
from numpylm.inference.log_probs import log_softmax
from numpylm.inference.trace import trace
from tests.inference.inside_models import KINDS, of

SOURCE, IDS = [4, 1, 7, 3, 2, 6], [3, 5, 1, 2]  # no token twice: a change of its row is a change of one position
DECODERS = ("gpt", "llama", "post-norm", "pre-norm")


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def case(kind):
    """A view, the ids of each stream, the forward pass, and targets."""
    view = view_of(of(kind))
    ids = [IDS] if len(view.streams) == 1 else [SOURCE, IDS]
    return view, ids, forward(view, [batch_of(part) for part in ids]), targets_of(view)


def targets_of(view):
    return np.array([2] if view.per_text else [5, 1, 2, 0])


def by_model(model, ids):
    return model.forward(*(batch_of(part) for part in ids))[0]


def surprise(model, ids, targets):
    """-log P of the targets, from the model's own forward."""
    log_p = log_softmax(by_model(model, ids)).reshape(len(targets), -1)
    return -log_p[np.arange(len(targets)), targets]


def test_logits_are_those_of_the_model(kind):
    view, ids, found, _ = case(kind)
    np.testing.assert_array_equal(found.logits, by_model(view.model, ids))


def test_attention_has_all_heads_and_sums_to_one(kind):
    view, ids, found, _ = case(kind)
    maps = found.attention(view)
    assert set(maps) == set(view.kinds)
    for name, layers in maps.items():
        T, S = (len(ids[stream]) for stream in view.kinds[name])
        for weights in layers:
            assert weights.shape == (1, view.model.config.n_head, T, S)
            np.testing.assert_allclose(weights.sum(axis=-1), 1)
            assert (np.triu(weights[0, 0], 1) == 0).all() == (name in view.causal)


def test_cross_attention_is_softmax_of_queries_and_keys():
    view, _, found, _ = case("post-norm")
    block, memory, x = view.model.decoder[0], found.states[2][0], found.states[2][1]  # after the two encoder blocks
    y, _ = block.self_attn.forward(x, np.tri(4, dtype=bool))
    x, _ = block.self_attn_layer_norm.forward(x + y)
    q, k = (
        layer.forward(z)[0][0] for layer, z in ((block.encoder_attn.q_proj, x), (block.encoder_attn.k_proj, memory))
    )
    for head, part in enumerate((slice(0, 4), slice(4, 8))):
        scores = q[:, part] @ k[:, part].T / 2  # √4
        by_hand = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(found.attention(view)["cross"][0][0, head], by_hand)


def test_the_lens_ends_with_the_prediction_and_ranks_the_targets(kind):
    view, ids, found, targets = case(kind)
    lens = logit_lens(view, found, targets, k=3)
    log_p = log_softmax(by_model(view.model, ids)).reshape(len(targets), -1)
    np.testing.assert_allclose(lens.log_p[-1], -np.sort(-log_p, axis=-1)[:, :3])
    np.testing.assert_allclose(np.take_along_axis(log_p, lens.ids[-1], axis=-1), lens.log_p[-1])
    np.testing.assert_allclose(lens.target_log_p[-1], -surprise(view.model, ids, targets))
    order = np.argsort(-log_p, axis=-1)
    assert lens.target_rank[-1].tolist() == [
        1 + int(np.flatnonzero(o == t)[0]) for o, t in zip(order, targets, strict=True)
    ]
    assert len(lens.ids) == 1 + len(view.model.blocks) - (2 if len(view.streams) == 2 else 0)


def test_the_lens_of_a_gpt_is_its_norm_and_output_layer_on_each_layer():
    view, ids, found, targets = case("gpt")
    gpt = view.model
    lens = logit_lens(view, found, targets)
    for layer, x in enumerate(trace(gpt, batch_of(ids[0])).hidden):
        log_p = log_softmax(gpt.ln_f.forward(x)[0] @ gpt.wte.weight.data.T)[0]
        np.testing.assert_allclose(lens.target_log_p[layer], log_p[np.arange(4), targets])


def test_gradient_times_input_is_the_derivative_along_the_embedding(kind):
    """d/ds of the target's logit, when the embedding of one position is multiplied by 1 + s."""
    view, ids, _, targets = case(kind)
    found = gradient_times_input(view, ids, targets)

    def logit(output, stream, t, s):
        table = view.tables()[stream].weight
        kept = table.data.copy()
        if len(ids) == 2 and view.tables()[0] is view.tables()[1]:  # one table: the other stream keeps its rows
            view.tables = lambda: tables
            tables = [copy.deepcopy(view.model.shared), view.model.shared]
            table, kept = tables[stream].weight, tables[stream].weight.data.copy()
        table.data = kept.copy()
        table.data[ids[stream][t]] *= 1 + s
        state, _ = view.embed([batch_of(part) for part in ids])
        table.data = kept  # the output layer may use the same table, and stays as it is
        for step in view.steps:
            state, _ = step.forward(state)
        logits = view.readout(state[-1])[0].reshape(len(targets), -1)
        return logits[output, targets[output]]

    for output in {0, len(targets) - 1}:
        for stream, part in enumerate(ids):
            for t in range(len(part)):
                slope = (logit(output, stream, t, 1e-6) - logit(output, stream, t, -1e-6)) / 2e-6
                np.testing.assert_allclose(found[stream][output, t], slope, rtol=1e-5, atol=1e-8)


def test_chunks_of_outputs_give_the_same_gradients(kind, monkeypatch):
    view, ids, _, targets = case(kind)
    whole = gradient_times_input(view, ids, targets)
    monkeypatch.setattr("numpylm.inference.inside.measure.AT_ONCE", 1)  # one output at a time
    for a, b in zip(whole, gradient_times_input(view, ids, targets), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


def test_a_muted_head_is_one_whose_rows_of_the_output_projection_are_zero(kind):
    view, ids, found, targets = case(kind)
    changes = ablations(view, found, targets)
    base = surprise(view.model, ids, targets)
    for name in view.kinds:
        steps = [number for number, step in enumerate(view.steps) if name in step.kinds]
        assert changes[name].shape == (len(steps), view.model.config.n_head, len(targets))
        layer, head = len(steps) - 1, 1
        model = copy.deepcopy(view.model)
        attention = getattr(view_of(model).steps[steps[layer]].block, view.steps[steps[layer]].kinds[name])
        projection = next(getattr(attention, n) for n in ("c_proj", "o_proj", "out_proj") if hasattr(attention, n))
        D = projection.weight.shape[0] // attention.n_head
        projection.weight.data[head * D : (head + 1) * D] = 0
        np.testing.assert_allclose(changes[name][layer, head], surprise(model, ids, targets) - base, atol=1e-10)


def test_the_model_is_unchanged(kind):
    view, ids, found, targets = case(kind)
    parameters = view.model.parameters()
    parameters[0].frozen = True
    before = [p.data.copy() for p in parameters]
    gradient_times_input(view, ids, targets)
    ablations(view, found, targets)
    assert [p.frozen for p in parameters] == [True] + [False] * (len(parameters) - 1)
    assert all(np.array_equal(p.data, old) for p, old in zip(parameters, before, strict=True))
    assert not any(p.grad.any() for p in parameters)
    np.testing.assert_array_equal(by_model(view.model, ids), found.logits)


def test_trace_gives_both_stacks_of_a_transformer():
    view, ids, found, _ = case("pre-norm")
    traced = trace(view.model, batch_of(ids[1]), batch_of(ids[0]))
    np.testing.assert_array_equal(traced.logits, found.logits)
    assert [len(part) for part in (traced.hidden, traced.attention, traced.cross_attention)] == [2, 1, 1]
    assert [len(part) for part in (traced.encoder_hidden, traced.encoder_attention)] == [3, 2]
    memory, _ = view.model.encode(batch_of(ids[0]))
    np.testing.assert_allclose(view.model.encoder_norm.forward(traced.encoder_hidden[-1])[0], memory)


def test_trace_says_whether_a_source_is_needed():
    with pytest.raises(ValueError, match="a Transformer needs a source"):
        trace(of("post-norm"), batch_of(IDS))
    with pytest.raises(ValueError, match="a GPT reads ids alone"):
        trace(of("gpt"), batch_of(IDS), batch_of(SOURCE))


def test_a_family_without_a_view_is_named():
    with pytest.raises(ValueError, match="expected a GPT, Llama, Bert or Transformer, got a int"):
        view_of(3)
    with pytest.raises(ValueError, match="this Bert has no head"):
        view_of(of("masked words", head="none"))
