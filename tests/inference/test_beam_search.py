"""Beam search: greedy, exhaustive search, limits, and the same text alone and in a batch."""

import itertools

import numpy as np
import pytest

from numpylm import Transformer, TransformerConfig
from numpylm.inference.beam_search import beam_search, best_continuations
from numpylm.inference.log_probs import log_softmax

V, START, END = 6, 5, 0


def make(seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    model = Transformer(TransformerConfig(V, 16, 1, 2, 8, start_id=START), rng, np.float64)
    for p in model.parameters():
        p.data[...] = scale * rng.standard_normal(p.shape)
    return model


def sources(count=5):
    rng = np.random.default_rng(1)
    return rng.integers(1, V, (count, 7)), np.arange(7) < rng.integers(1, 8, (count, 1))


def search(model, source, mask, limit, beam, penalty=1.0, **options):
    return beam_search(model, model.new_past(source, mask), START, END, limit, beam, penalty, (START,), **options)


def log_prob(model, source, mask, ids):
    """log P(ids | source), with the start token forbidden, from one forward pass over the whole text."""
    logits, _ = model.forward(source, np.array([[START, *ids[:-1]]]), mask)
    return float(allowed(logits[0])[np.arange(len(ids)), ids].sum())


def allowed(logits):
    return log_softmax(logits, (START,))


def test_a_beam_of_one_is_greedy():
    model, (source, mask) = make(), sources()
    for i, best in enumerate(search(model, source, mask, 8, 1)):
        ids = []
        while len(ids) < 8 and END not in ids:
            logits = model.forward(source[i : i + 1], np.array([[START, *ids]]), mask[i : i + 1])[0][0, -1]
            ids.append(int(allowed(logits[None])[0].argmax()))
        assert best.ids == ids
        assert best.log_prob == pytest.approx(log_prob(model, source[i : i + 1], mask[i : i + 1], ids), rel=1e-9)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_beam_as_wide_as_the_tree_finds_the_best_text(penalty):
    """All texts of at most three tokens are compared by hand."""
    model, (source, mask) = make(3, 0.7), sources(2)
    tokens = [t for t in range(V) if t not in (START, END)]
    texts = [[*body, END] for n in range(3) for body in itertools.product(tokens, repeat=n)]
    texts += [list(body) for body in itertools.product(tokens, repeat=3)]
    for i, best in enumerate(search(model, source, mask, 3, 200, penalty)):
        row = source[i : i + 1], mask[i : i + 1]
        scores = [log_prob(model, *row, ids) / len(ids) ** penalty for ids in texts]
        assert best.ids == texts[int(np.argmax(scores))]
        assert best.score == pytest.approx(max(scores), rel=1e-9)


@pytest.mark.parametrize("beam", [2, 3, 5])
def test_never_below_greedy(beam):
    for seed in range(8):
        model, (source, mask) = make(seed), sources()
        found = search(model, source, mask, 8, beam)
        greedy = search(model, source, mask, 8, 1)
        assert all(a.score >= b.score - 1e-12 for a, b in zip(found, greedy, strict=True))


def test_each_source_has_its_own_limit_and_the_same_text_alone():
    model, (source, mask) = make(2), sources()
    limits = [1, 3, 8, 2, 5]
    together = search(model, source, mask, limits, 3)
    for i, best in enumerate(together):
        assert len(best.ids) <= limits[i]
        alone = search(model, source[i : i + 1], mask[i : i + 1], limits[i], 3)[0]
        assert best.ids == alone.ids
        assert best.score == pytest.approx(alone.score, rel=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", [1, 3])
def test_the_best_continuations_are_those_of_a_full_sort(width, dtype):
    rng = np.random.default_rng(0)
    logits = (3 * rng.standard_normal((4 * width, 50))).astype(dtype)
    log_probs = -np.sort(rng.exponential(1, (4, width)))
    expected = log_softmax(logits, (7, 9)).reshape(4, width, 50) + log_probs[..., None]
    for source, found in zip(expected, best_continuations(logits, log_probs, 6, (7, 9)), strict=True):
        order = np.argsort(-source.ravel(), kind="stable")[:6]
        assert [(parent, token) for parent, token, _ in found] == [divmod(int(i), 50) for i in order]
        np.testing.assert_allclose([value for _, _, value in found], source.ravel()[order], rtol=1e-5)


def test_all_continuations_are_returned_if_there_are_few():
    found = best_continuations(np.zeros((1, 3)), np.zeros((1, 1)), 10)
    assert [(parent, token) for parent, token, _ in found[0]] == [(0, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam": 0}, "beam must be a whole number"),
        ({"beam": 2.5}, "beam must be a whole number"),
        ({"limit": 0}, "max_new_tokens must be a whole number"),
        ({"penalty": float("nan")}, "length_penalty must lie between"),
        ({"penalty": 1e9}, "length_penalty must lie between"),
    ],
)
def test_impossible_options_are_explained(options, message):
    with pytest.raises(ValueError, match=message):
        search(make(), *sources(), **({"limit": 4, "beam": 2} | options))


def test_a_past_can_be_used_once():
    model, (source, mask) = make(), sources()
    past = model.new_past(source, mask)
    model.read(np.full((5, 1), START), past)
    with pytest.raises(ValueError, match="this past was used already"):
        beam_search(model, past, START, END, 4)
