"""Exercises of lesson 10: temperature, top-k, top-p, the draw, and attention with a KV cache."""

from collections.abc import Callable, Iterator

import numpy as np

from numpylm.course.exercise import Exercise, Lesson
from numpylm.course.judge import Rng, outputs
from numpylm.nn.attention import CausalSelfAttention, merge_heads, scaled_dot_product_attention, split_heads
from numpylm.nn.module import Array

Past = tuple[Array, Array] | None  # keys and values (B, H, t, D) of the positions before


def temperature_probabilities(logits: Array, temperature: float) -> Array:
    """Softmax of logits / temperature; 0 is the limit: all probability on the first largest logit."""
    if temperature == 0:
        return np.eye(len(logits))[np.argmax(logits)]
    z = logits / temperature
    e = np.exp(z - z.max())
    return e / e.sum()


def top_k(p: Array, k: int) -> Array:
    """Keep the k most likely tokens of p (V,), for equal ones those with smaller ids, and make them sum to 1."""
    return _only(p, np.argsort(-p, kind="stable")[:k])


def top_p(p: Array, mass: float) -> Array:
    """Keep the smallest set of most likely tokens of p (V,) that reaches mass, and make them sum to 1."""
    order = np.argsort(-p, kind="stable")
    before = np.cumsum(p[order]) - p[order]
    return _only(p, order[before < mass])


def sample(p: Array, u: float) -> int:
    """The first token whose cumulative sum is larger than u in [0, 1)."""
    F = np.cumsum(p)
    return int(np.searchsorted(F / F[-1], u, side="right"))


def attend_one(attn: CausalSelfAttention, x_t: Array, past: Past) -> tuple[Array, Past]:
    """Attention for one new position x_t (B, 1, C), given the keys and values of earlier positions."""
    q, k, v = _qkv(attn, x_t)
    if past is not None:
        k = np.concatenate([past[0], k], axis=2)
        v = np.concatenate([past[1], v], axis=2)
    return _project(attn, q, k, v), (k, v)


def _only(p: Array, kept: Array) -> Array:
    q = np.zeros_like(p)
    q[kept] = p[kept] / p[kept].sum()
    return q


def _qkv(attn: CausalSelfAttention, x: Array) -> tuple[Array, ...]:
    return tuple(split_heads(part, attn.n_head) for part in np.split(attn.c_attn.forward(x)[0], 3, axis=-1))


def _project(attn: CausalSelfAttention, q: Array, k: Array, v: Array) -> Array:
    return attn.c_proj.forward(merge_heads(scaled_dot_product_attention(q, k, v)[0]))[0]


# ------------------------------------------------------------------------------------------ test cases


def _temperatures(rng: Rng) -> Iterator[tuple]:
    z = np.array([2.0, 1.0, 0.0, -1.0])
    yield z, 1.0
    yield z, 0.5
    yield 3 * rng.standard_normal(7), 2.0
    yield np.array([1.0, 3.0, 2.0, 3.0]), 0
    yield np.array([50.0, 20.0, 49.0]), 0.05


def _kept(rng: Rng) -> Iterator[tuple]:
    yield np.array([0.4, 0.1, 0.3, 0.2]), 2
    yield np.array([0.4, 0.1, 0.3, 0.2]), 1
    yield rng.dirichlet(np.ones(9)), 4
    yield np.array([0.125, 0.25, 0.25, 0.25, 0.125]), 2
    yield np.array([0.5, 0.5]), 7


def _masses(rng: Rng) -> Iterator[tuple]:
    p = np.array([0.125, 0.125, 0.5, 0.25])
    yield p, 0.6
    yield p, 0.1
    yield p, 0.75  # exactly what the first two have
    yield p, 1.0
    yield rng.dirichlet(np.ones(9)), 0.7
    yield np.array([0.125, 0.25, 0.25, 0.25, 0.125]), 0.4


def _draws(rng: Rng) -> Iterator[tuple]:
    p = np.array([0.25, 0.5, 0.25])
    for u in (0.1, 0.6, 0.9, 0.25):
        yield p, u
    yield np.array([0.0, 0.5, 0.5]), 0.0
    yield np.array([0.5, 0.49999, 0.0]), 0.999999  # sums to a little less than 1
    q = rng.dirichlet(np.ones(20))
    for u in rng.random(20):
        yield q, float(u)


def _positions(rng: Rng) -> Iterator[tuple]:
    attn = CausalSelfAttention(12, 3, rng=rng, dtype=np.float64)
    for parameter in attn.parameters():
        parameter.data = 0.5 * rng.standard_normal(parameter.shape)
    x = rng.standard_normal((2, 5, 12))
    _, k, v = _qkv(attn, x)
    yield attn, x[:, :1], None
    for t in (1, 4):
        yield attn, x[:, t : t + 1], (k[:, :, :t], v[:, :, :t])


# --------------------------------------------------------------------------------------- wrong answers


def _soft(z: Array) -> Array:
    e = np.exp(z - z.max())
    return e / e.sum()


def _p(rule: Callable[[Array, float], Array]) -> Callable[[Array, float], Array]:
    """A wrong top_p: ``rule(sorted p, mass)`` says which of the sorted tokens stay."""

    def slip(p: Array, mass: float) -> Array:
        order = np.argsort(-p, kind="stable")
        return _only(p, order[rule(p[order], mass)])

    return slip


def _attend(change: Callable[..., tuple]) -> Callable[..., tuple]:
    """A wrong attend_one: ``change(attn, q, k, v, past)`` gives y and what is kept."""

    def slip(attn: CausalSelfAttention, x_t: Array, past: Past) -> tuple:
        return change(attn, *_qkv(attn, x_t), past)

    return slip


def _forgot(attn, q, k, v, past):
    return _project(attn, q, k, v), (k, v)


def _kept_new_only(attn, q, k, v, past):
    if past is None:
        return _project(attn, q, k, v), (k, v)
    every = [np.concatenate([old, new], axis=2) for old, new in zip(past, (k, v), strict=True)]
    return _project(attn, q, *every), (k, v)


def _past_only(attn, q, k, v, past):
    if past is None:
        return _project(attn, q, k, v), (k, v)
    every = tuple(np.concatenate([old, new], axis=2) for old, new in zip(past, (k, v), strict=True))
    return _project(attn, q, *past), every


def _in_front(attn, q, k, v, past):
    if past is not None:
        k, v = (np.concatenate([new, old], axis=2) for old, new in zip(past, (k, v), strict=True))
    return _project(attn, q, k, v), (k, v)


def _exchanged(attn, q, k, v, past):
    if past is not None:
        k, v = np.concatenate([past[1], k], axis=2), np.concatenate([past[0], v], axis=2)
    return _project(attn, q, k, v), (k, v)


def _unprojected(attn, q, k, v, past):
    if past is not None:
        k, v = (np.concatenate([old, new], axis=2) for old, new in zip(past, (k, v), strict=True))
    return merge_heads(scaled_dot_product_attention(q, k, v)[0]), (k, v)


def _unscaled(attn, q, k, v, past):
    if past is not None:
        k, v = (np.concatenate([old, new], axis=2) for old, new in zip(past, (k, v), strict=True))
    return _project(attn, q * np.sqrt(q.shape[-1]), k, v), (k, v)


LESSON = Lesson(
    "10_generation",
    "Generation: from logits to text",
    (
        Exercise(
            "temperature_probabilities",
            "softmax of logits / T",
            outputs(
                temperature_probabilities,
                _temperatures,
                {
                    "the logits are multiplied by the temperature. Divide: a small temperature must make differences "
                    "larger.": lambda z, T: _soft(z * T),
                    "the probabilities are divided by the temperature, after softmax. Divide the logits, before "
                    "it.": lambda z, T: _soft(z) / T,
                    "right for T > 0. At T = 0 all probability belongs on the largest logit: treat it separately, or "
                    "you divide by 0.": lambda z, T: _soft(z / T),
                    "at T = 0 this gives every largest logit a share. Only the first one should have it: "
                    "np.argmax.": lambda z, T: (
                        temperature_probabilities(z, T) if T else (z == z.max()) / np.sum(z == z.max())
                    ),
                    "at T = 0 this returns the logits of T = 1. All probability belongs on the largest "
                    "logit.": lambda z, T: _soft(z / (T or 1)),
                    "right for small numbers, but logits / T may be 1,000, and exp of that is infinite. Subtract the "
                    "maximum after dividing by T.": lambda z, T: (
                        np.exp(z / T) / np.exp(z / T).sum() if T else temperature_probabilities(z, T)
                    ),
                    "not divided by the sum: this does not add up to 1.": lambda z, T: np.exp(z / T - (z / T).max()),
                },
            ),
            (temperature_probabilities,),
        ),
        Exercise(
            "top_k",
            "keep the k most likely tokens",
            outputs(
                top_k,
                _kept,
                {
                    "what is left must sum to 1 again: divide by its sum.": lambda p, k: (
                        top_k(p, k) * p[np.argsort(-p)[:k]].sum()
                    ),
                    "these are the k least likely tokens. np.argsort sorts in increasing order; sort -p.": lambda p, k: (
                        _only(p, np.argsort(p, kind="stable")[:k])
                    ),
                    "several tokens are equally likely here, and all of them were kept. Exactly k should stay, those "
                    "with the smaller ids: np.argsort(-p, kind='stable')[:k].": lambda p, k: _only(
                        p, p >= np.sort(p)[-min(k, len(p))]
                    ),
                    "several tokens are equally likely here, and those with the larger ids were kept. Sorting "
                    "in increasing order and reading from the end reverses their order; sort -p, "
                    "kind='stable'.": lambda p, k: _only(p, np.argsort(p, kind="stable")[-k:]),
                    "the probabilities are sorted. Each token must keep its index, its id: put them back with "
                    "q[kept] = ….": lambda p, k: np.sort(top_k(p, k))[::-1],
                    "p are probabilities already: no exp. Divide p[kept] by its sum.": lambda p, k: _only(
                        np.exp(p), np.argsort(-p, kind="stable")[:k]
                    ),
                    "only k numbers are returned. Each token must keep its index among all V: start from "
                    "np.zeros_like(p).": lambda p, k: (lambda best: best / best.sum())(-np.sort(-p)[:k]),
                    "the k kept tokens are made equally likely. They keep their proportions: p[kept] divided by its "
                    "sum.": lambda p, k: _only(np.ones_like(p), np.argsort(-p, kind="stable")[:k]),
                },
            ),
            (top_k,),
        ),
        Exercise(
            "top_p",
            "the smallest set that reaches p",
            outputs(
                top_p,
                _masses,
                {
                    "the token that crosses the line is missing. Without it the set does not reach the mass: look at "
                    "the sum *before* each token.": _p(lambda s, m: np.cumsum(s) <= m),
                    "the token that crosses the line is missing. Without it the set does not reach the mass: look at "
                    "the sum before each token.": _p(lambda s, m: np.cumsum(s) < m),
                    "one token too many, where the sum reaches the mass exactly: the set is complete then. before < "
                    "mass, not <=.": _p(lambda s, m: np.cumsum(s) - s <= m),
                    "what is left must sum to 1 again: divide by its sum.": lambda p, m: p * (top_p(p, m) > 0),
                    "each probability is compared with the mass. Compare the sum of all more likely ones.": _p(
                        lambda s, m: s >= m
                    ),
                    "the tokens are taken in the order of their ids. Sort them first, most likely first.": lambda p, m: (
                        _only(p, np.cumsum(p) - p < m)
                    ),
                    "the tokens are taken from the least likely on. np.argsort sorts in increasing order; sort -p.": lambda p, m: (
                        (lambda order: _only(p, order[np.cumsum(p[order]) - p[order] < m]))(
                            np.argsort(p, kind="stable")
                        )
                    ),
                    "the choice of tokens was made in sorted order, but used in the order of ids: kept = "
                    "order[before < mass].": lambda p, m: _only(p, np.cumsum(-np.sort(-p)) + np.sort(-p) < m),
                    "the probabilities are sorted. Each token must keep its index, its id: put them back with "
                    "q[kept] = ….": lambda p, m: np.sort(top_p(p, m))[::-1],
                },
            ),
            (top_p,),
        ),
        Exercise(
            "sample",
            "a random number becomes a token",
            outputs(
                sample,
                _draws,
                {
                    "where u is exactly a cumulative sum, the next token begins (and a token of probability 0 must "
                    "never be drawn): side='right'.": lambda p, u: int(np.searchsorted(np.cumsum(p) / p.sum(), u)),
                    "the sum of p may be a little below 1, by rounding; then a large u finds no token at all. Divide "
                    "the cumulative sums by the last one.": lambda p, u: int(
                        np.searchsorted(np.cumsum(p), u, side="right")
                    ),
                    "this looks u up among the probabilities themselves. It must be looked up among their cumulative "
                    "sums.": lambda p, u: int(np.searchsorted(p, u, side="right")),
                    "this is the most likely token, whatever u is.": lambda p, u: int(np.argmax(p)),
                    "one token too few: the first cumulative sum belongs to token 0, so no - 1.": lambda p, u: (
                        sample(p, u) - 1
                    ),
                    "a token of probability 0 was drawn. Divide the cumulative sums by the last one instead of cutting "
                    "the index off at the end.": lambda p, u: min(
                        int(np.searchsorted(np.cumsum(p), u, side="right")), len(p) - 1
                    ),
                },
            ),
            (sample,),
        ),
        Exercise(
            "attend_one",
            "attention for one position, with a KV cache",
            outputs(
                attend_one,
                _positions,
                {
                    "the keys and values of earlier positions are not used: the new position sees only "
                    "itself. Append the new k and v to past.": _attend(_forgot),
                    "y is right, but only the new key and value are returned. The next position needs them all: "
                    "return the appended ones.": _attend(_kept_new_only),
                    "the new position attends to the past only. It must see itself, too: append first, then "
                    "attend.": _attend(_past_only),
                    "the new key and value are put in front of the old ones. y is still right, since a sum over "
                    "keys has no order; but the cache should be in the order of time: [past, new].": _attend(_in_front),
                    "keys and values are swapped in past: it is (k, v), k first.": _attend(_exchanged),
                    "the output projection is missing: attn.c_proj.": _attend(_unprojected),
                    "the scores are not divided by √D. scaled_dot_product_attention does that.": _attend(_unscaled),
                },
            ),
            (attend_one,),
        ),
    ),
)
