"""Sampling: the distribution each option makes, and many tokens in a row, with and without a cache."""

import itertools
import weakref

import numpy as np
import pytest

from numpylm import GPT, Block, CausalSelfAttention, DataParallel, GPTConfig
from numpylm.inference.generation import generate, generate_batch
from numpylm.inference.sampling import next_token_probabilities

P = np.array([0.4, 0.1, 0.3, 0.2])
LOGITS = np.log(P).astype(np.float32)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, P),
        ({"temperature": 0}, [1, 0, 0, 0]),
        ({"temperature": 0.5}, P**2 / (P**2).sum()),
        ({"top_k": 1}, [1, 0, 0, 0]),
        ({"top_k": 2}, [4 / 7, 0, 3 / 7, 0]),
        ({"top_k": 99}, P),
        ({"top_p": 0.39}, [1, 0, 0, 0]),
        ({"top_p": 0.41}, [4 / 7, 0, 3 / 7, 0]),
        ({"top_p": 1.0}, P),
        ({"top_k": 3, "top_p": 0.5}, [4 / 7, 0, 3 / 7, 0]),
        ({"temperature": 1e-4}, [1, 0, 0, 0]),
        ({"min_p": 0.6}, [4 / 7, 0, 3 / 7, 0]),
        ({"min_p": 0.0}, P),
        ({"min_p": 1.0}, [1, 0, 0, 0]),
        ({"min_p": 0.6, "temperature": 0.5}, [1, 0, 0, 0]),  # temperature comes first: 9/16 is below 0.6
        ({"repetition_penalty": 2.0, "previous": [0]}, [0.16 / 0.76, 0.1 / 0.76, 0.3 / 0.76, 0.2 / 0.76]),
        ({"repetition_penalty": 2.0}, P),
    ],
)
def test_distribution(options, expected):
    np.testing.assert_allclose(next_token_probabilities(LOGITS, **options), expected, atol=1e-6)


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": -1},
        {"temperature": np.nan},
        {"top_k": 0},
        {"top_p": 0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"repetition_penalty": 0},
        {"repetition_penalty": 1e-320},
        {"temperature": 1e-310},
        {"top_k": 2.5},
    ],
)
def test_impossible_options_are_refused_at_once(bad):
    gpt = GPT(GPTConfig(5, 4, 1, 1, 4))
    with pytest.raises(ValueError, match=next(iter(bad))):
        gpt.generate([1], 3, **bad)


def test_a_repetition_penalty_lowers_positive_and_negative_logits_alike():
    p = next_token_probabilities(np.array([2.0, -2.0, 0.5]), repetition_penalty=2.0, previous=[0, 1, 1])
    np.testing.assert_allclose(np.log(p) - np.log(p[2]), [0.5, -4.5, 0], atol=1e-12)


def test_options_on_a_large_vocabulary_agree_with_sorting_all_of_it():
    """`largest` and `nucleus` avoid sorting; equal logits at the border are kept in the order of their ids."""
    z = np.round(np.random.default_rng(0).standard_normal(5000) * 3, 1)  # many ties
    order = np.argsort(-z, kind="stable")
    p = np.exp(z) / np.exp(z).sum()
    for k in (1, 17, 4999, 5000):
        kept = np.flatnonzero(next_token_probabilities(z, top_k=k))
        assert set(kept) == set(order[:k])
    for top_p in (0.01, 0.5, 0.999):
        before = np.cumsum(p[order]) - p[order]
        assert set(np.flatnonzero(next_token_probabilities(z, top_p=top_p))) == set(order[before < top_p])


def test_logits_that_are_not_finite_are_explained():
    with pytest.raises(ValueError, match="diverged"):
        next_token_probabilities(np.array([0.0, np.nan]))


def strong(config):
    """Large weights in float64: logits differ clearly, and depend on all that the model reads."""
    gpt = GPT(config, np.random.default_rng(0), np.float64)
    rng = np.random.default_rng(1)
    for p in gpt.parameters():
        p.data += 0.4 * rng.standard_normal(p.shape)
    gpt.ln_f.bias.data[:] = 0  # or the same token would always be the likeliest
    return gpt


@pytest.fixture
def gpt():
    return strong(GPTConfig(9, 5, 2, 2, 8))


def uncached(gpt, ids, count, choose):
    """What `generate` promises, without a cache: each token from a whole forward over the window."""
    window, new = list(ids), []
    for _ in range(count):
        if len(window) > gpt.config.block_size:
            window = window[-max(1, gpt.config.block_size // 2) :]
        new.append(choose(gpt.forward(np.array([window]))[0][0, -1]))
        window.append(new[-1])
    return new


def test_greedy_is_argmax_of_the_last_position_also_beyond_the_window(gpt):
    """The window is filled to its last place; then its newest half stays, and so on for four windows."""
    new = list(gpt.generate([1, 2, 3], 20, temperature=0))
    assert new == uncached(gpt, [1, 2, 3], 20, np.argmax)
    assert len(set(new)) >= 3  # or hardly any mistake would show


@pytest.mark.parametrize("block_size", [1, 2, 3])
def test_the_smallest_windows(block_size):
    gpt = strong(GPTConfig(9, block_size, 1, 2, 8))
    assert list(gpt.generate([1, 2], 9, temperature=0)) == uncached(gpt, [1, 2][-block_size:], 9, np.argmax)


def test_sampling_with_a_cache_draws_what_it_would_draw_without(gpt):
    one, two = np.random.default_rng(5), np.random.default_rng(5)
    options = {"temperature": 0.9, "top_p": 0.9}
    new = list(gpt.generate([1, 2], 30, rng=one, **options))
    assert new == uncached(gpt, [1, 2], 30, lambda z: two.choice(9, p=next_token_probabilities(z, **options)))


def test_every_position_has_the_logits_of_the_uncached_model():
    """Read in pieces of several lengths, in a batch with fillings at the left."""
    gpt = strong(GPTConfig(13, 12, 3, 2, 8))
    rng = np.random.default_rng(0)
    ids, padding = rng.integers(0, 13, (3, 12)), np.array([0, 5, 2])
    past = gpt.new_past(3, padding)
    cuts = [0, 6, 7, 8, 11, 12]
    logits = [gpt.head(gpt.hidden_after(ids[:, a:b], past))[0] for a, b in itertools.pairwise(cuts)]
    logits = np.concatenate(logits, axis=1)  # (B, T, V)
    for row, n, got in zip(ids, padding, logits, strict=True):
        np.testing.assert_allclose(got[n:], gpt.forward(row[None, n:])[0][0], atol=1e-10)


def test_a_full_window_and_a_wrong_batch_are_refused(gpt):
    past = gpt.new_past(1)
    gpt.read(np.array([[1, 2, 3, 4]]), past)
    with pytest.raises(ValueError, match="after 4"):
        gpt.read(np.array([[1, 2]]), past)
    with pytest.raises(ValueError, match="past holds 1 texts, ids 2"):
        gpt.read(np.array([[1], [2]]), past)


@pytest.mark.parametrize("options", [{"temperature": 0}, {"temperature": 0.8, "top_k": 7, "repetition_penalty": 1.3}])
def test_a_batch_writes_what_each_prompt_alone_would(options):
    """Prompts of different lengths, which reach the window's edge at different times."""
    gpt = strong(GPTConfig(13, 10, 2, 2, 8))
    prompts = [[1], [2, 3, 4, 5, 6, 7, 8, 9, 10], [4, 5, 6], [7, 7]]
    rngs = np.random.default_rng(3).spawn(4)
    alone = [list(gpt.generate(p, 30, rng=r, stop_ids={0}, **options)) for p, r in zip(prompts, rngs, strict=True)]
    together = gpt.generate_batch(prompts, 30, rng=np.random.default_rng(3), stop_ids={0}, **options)
    assert together == alone
    assert len({tuple(text) for text in alone}) > 1


def test_a_text_of_a_batch_ends_at_its_own_stop_token():
    gpt = strong(GPTConfig(5, 10, 1, 2, 8))
    texts = gpt.generate_batch([[1], [2, 3], [4]], 40, rng=np.random.default_rng(0), stop_ids={0})
    assert len({len(text) for text in texts}) > 1
    assert all(0 not in text[:-1] for text in texts)


def test_any_model_with_a_forward_can_write(gpt):
    """A student's model has no cache: the same tokens, computed anew each time."""

    class Plain:
        def forward(self, ids):
            return gpt.forward(ids)

    assert list(generate(Plain(), [1, 2], 12, 5, temperature=0)) == list(gpt.generate([1, 2], 12, temperature=0))
    prompts = [[1, 2, 3], [4]]
    expected = gpt.generate_batch(prompts, 12, temperature=0)
    assert generate_batch(Plain(), prompts, 12, 5, temperature=0) == expected


def test_layers_of_a_students_own_write_and_train_without_a_past(gpt):
    """An attention (x, rng) or a block (x, rng), as the lessons have them, in our model."""

    class Attention(CausalSelfAttention):
        def forward(self, x, rng=None):
            return super().forward(x, rng)

    class OwnBlock(Block):
        def forward(self, x, rng=None):
            return super().forward(x, rng)

    expected = list(gpt.generate([1, 2], 12, temperature=0))
    logits = gpt.forward(np.array([[1, 2, 3]]))[0]
    gpt.h[0].attn.__class__ = Attention
    gpt.h[1].__class__ = OwnBlock
    np.testing.assert_array_equal(gpt.forward(np.array([[1, 2, 3]]))[0], logits)
    assert list(gpt.generate([1, 2], 12, temperature=0)) == expected
    assert DataParallel(gpt, 2).loss_and_grad(np.array([[1, 2], [3, 4]]), np.array([[2, 3], [4, 5]])) > 0


def test_a_prompt_longer_than_the_window_is_cut_at_its_left(gpt):
    long, short = ([7, 7, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    assert list(gpt.generate(long, 4, temperature=0)) == list(gpt.generate(short, 4, temperature=0))


def test_a_seed_repeats_a_text(gpt):
    one, two = (list(gpt.generate([1], 20, rng=np.random.default_rng(3))) for _ in range(2))
    assert one == two
    assert one != list(gpt.generate([1], 20, rng=np.random.default_rng(4)))


def test_generation_stops_after_a_stop_token(gpt):
    tokens = list(gpt.generate([1], 200, rng=np.random.default_rng(0), stop_ids={4}))
    assert tokens[-1] == 4
    assert 4 not in tokens[:-1]


@pytest.mark.parametrize("prompt", ["text", [0.5], ["one", "two"], [[1], [2]]])
def test_what_is_not_ids_is_explained(gpt, prompt):
    with pytest.raises(ValueError, match="generate continues"):
        gpt.generate(prompt, 3)


def test_an_empty_prompt_is_refused(gpt):
    with pytest.raises(ValueError, match="at least one token"):
        gpt.generate([], 3)


class Counted:
    """A model that notes the shape of all that it is given to read."""

    def __init__(self, gpt):
        self.gpt, self.shapes = gpt, []
        self.h, self.new_past = gpt.h, gpt.new_past

    def read(self, ids, past):
        self.shapes.append(ids.shape)
        return self.gpt.read(ids, past)


def test_a_long_prompt_is_read_in_pieces(monkeypatch):
    """Rows with fillings included: one has a piece of nothing else, and one begins with token 0, as fillings do."""
    monkeypatch.setattr("numpylm.inference.generation.PREFILL", 6)
    counted = Counted(strong(GPTConfig(13, 12, 2, 2, 8)))
    prompts = [[0, 2, 3, 4, 5, 6, 7], [8, 9], [0, 0, 8, 9]]
    alone = [list(generate(counted, p, 9, 12, temperature=0)) for p in prompts]
    assert counted.shapes[:3] == [(1, 6), (1, 1), (1, 1)]
    counted.shapes.clear()
    assert generate_batch(counted, prompts, 9, 12, temperature=0) == alone
    assert counted.shapes[:5] == [(3, 2), (3, 2), (3, 2), (3, 1), (3, 1)]
    assert generate_batch(counted, [[0, 8, 9], [0, 0, 8, 9]], 5, 12, temperature=0) == [
        list(generate(counted, p, 5, 12, temperature=0)) for p in ([0, 8, 9], [0, 0, 8, 9])
    ]


def test_equal_prompts_are_read_once():
    counted = Counted(strong(GPTConfig(13, 10, 2, 2, 8)))
    rngs = np.random.default_rng(3).spawn(3)
    alone = [list(generate(counted, [1, 2, 3], 12, 10, rng=rng)) for rng in rngs]
    counted.shapes.clear()
    assert generate_batch(counted, [[1, 2, 3]] * 3, 12, 10, rng=np.random.default_rng(3)) == alone
    assert counted.shapes[:3] == [(1, 3), (3, 1), (3, 1)]
    assert len({tuple(text) for text in alone}) == 3


def test_the_old_cache_is_gone_before_a_new_one_is_made():
    counted, living = Counted(strong(GPTConfig(13, 6, 1, 2, 8))), []

    def new_past(*arguments):
        assert all(cache() is None for cache in living)
        past = counted.gpt.new_past(*arguments)
        living.extend(weakref.ref(cache) for cache in past)
        return past

    counted.new_past = new_past
    assert len(list(generate(counted, [1, 2], 20, 6))) == 20
    assert len(living) > 1
