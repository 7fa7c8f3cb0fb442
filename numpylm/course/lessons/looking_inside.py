"""Exercises of lesson 11: the logit lens, ablation of a head, gradients of the residual stream, induction heads."""

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from numpylm.course.exercise import Exercise, Lesson, Result, Test
from numpylm.course.judge import Rng, outputs
from numpylm.inference.trace import trace
from numpylm.models.gpt import GPT, GPTConfig
from numpylm.nn.module import Array, Cache


def logit_lens(gpt: GPT, hidden: Sequence[Array]) -> list[Array]:
    """Logits (B, T, V) that the output layer computes from the residual stream (B, T, C) at each depth."""
    return [gpt.ln_f.forward(x)[0] @ gpt.wte.weight.data.T for x in hidden]


def without_head(weight: Array, head: int, n_head: int) -> Array:
    """A copy of an output projection (C, C) in which the rows of one head are 0."""
    D = len(weight) // n_head
    weight = weight.copy()
    weight[head * D : (head + 1) * D] = 0
    return weight


def residual_gradients(gpt: GPT, dlogits: Array, cache: Cache) -> list[Array]:
    """dL/dx (B, T, C) of the residual stream before the first block and after each; adds to parameters' gradients."""
    (_, block_caches, ln_f_cache), _ = cache
    gradients = [gpt.ln_f.backward(dlogits @ gpt.wte.weight.data, ln_f_cache)]
    for block, block_cache in zip(reversed(gpt.h), reversed(block_caches), strict=True):
        gradients.append(block.backward(gradients[-1], block_cache))
    return gradients[::-1]


def induction_score(attention: Array, period: Array) -> Array:
    """Mean attention (H,) from the second copy to the token after the previous occurrence.

    attention (B, H, T, T); row b of the batch repeats itself every period[b] tokens.
    """
    scores = []
    for weights, p in zip(attention, period, strict=True):
        t = np.arange(p, 2 * p)
        scores.append(weights[:, t, t - p + 1].mean(axis=-1))
    return np.mean(scores, axis=0)


# ------------------------------------------------------------------------------------------ test cases


def _gpt(rng: Rng) -> GPT:
    """A small GPT whose norms, biases and sizes are all different, so that mistakes show."""
    gpt = GPT(GPTConfig(vocab_size=11, block_size=7, n_layer=3, n_head=2, n_embd=8), rng, np.float64)
    for parameter in gpt.parameters():
        parameter.data = parameter.data + 0.3 * rng.standard_normal(parameter.shape)
    return gpt


def _streams(rng: Rng) -> Iterator[tuple]:
    gpt = _gpt(rng)
    yield gpt, trace(gpt, rng.integers(0, 11, (2, 5))).hidden


def _projections(rng: Rng) -> Iterator[tuple]:
    yield rng.standard_normal((6, 6)), 0, 2
    yield rng.standard_normal((6, 6)), 1, 3
    yield rng.standard_normal((8, 8)), 3, 4


def _passes(rng: Rng) -> Iterator[tuple]:
    yield _gpt(rng), rng.standard_normal((2, 5, 11)), rng.integers(0, 11, (2, 5))


def _from_ids(function: Callable) -> Callable:
    """The same as a function of ids instead of their cache; the result as a tuple if it is a list."""

    @functools.wraps(function)
    def run(gpt: GPT, dlogits: Array, ids: Array) -> object:
        found = function(gpt, dlogits, gpt.forward(ids)[1])
        return tuple(found) if isinstance(found, list) else found

    return run


def _maps(rng: Rng) -> Iterator[tuple]:
    T = 8
    t = np.arange(3, T)
    perfect = np.tile(np.eye(T), (1, 1, 1, 1))
    perfect[0, 0, t] = np.eye(T)[t - 3 + 1]
    weights = np.tril(rng.random((3, 2, T, T)))
    yield weights / weights.sum(axis=-1, keepdims=True), np.array([4, 3, 2])
    yield perfect, np.array([3])


# --------------------------------------------------------------------------------------- wrong answers


def _rows(weight: Array, rows: slice | Array) -> Array:
    weight = weight.copy()
    weight[rows] = 0
    return weight


def _columns(weight: Array, head: int, n_head: int) -> Array:
    return without_head(weight.T, head, n_head).T


def _back(
    gpt: GPT, dlogits: Array, cache: Cache, *, norm: bool = True, order: int = -1, last: bool = True
) -> list[Array]:
    """`residual_gradients` with a mistake: without the final norm, in the wrong order, or without the last entry."""
    (_, block_caches, ln_f_cache), _ = cache
    dx = dlogits @ gpt.wte.weight.data
    gradients = [gpt.ln_f.backward(dx, ln_f_cache) if norm else dx]
    for block, block_cache in list(zip(gpt.h, block_caches, strict=True))[::order]:
        gradients.append(block.backward(gradients[-1], block_cache))
    return (gradients if last else gradients[1:])[::-1]


def _same_upstream(gpt: GPT, dlogits: Array, cache: Cache) -> list[Array]:
    (_, block_caches, ln_f_cache), _ = cache
    dx = gpt.ln_f.backward(dlogits @ gpt.wte.weight.data, ln_f_cache)
    return [*(block.backward(dx, c) for block, c in zip(gpt.h, block_caches, strict=True)), dx]


def _score(shift: int, first: int = 1, last: int | None = 2, transposed: bool = False):
    """`induction_score` with other keys, or with other queries."""

    def slip(attention: Array, period: Array) -> Array:
        if transposed:
            attention = attention.swapaxes(-1, -2)
        scores = []
        for weights, p in zip(attention, period, strict=True):
            end = weights.shape[-1] if last is None else last * p
            t = np.arange(first * p, end)
            scores.append(weights[:, t, t - p + shift].mean(axis=-1))
        return np.mean(scores, axis=0)

    return slip


def _whole_square(attention: Array, period: Array) -> Array:
    scores = []
    for weights, p in zip(attention, period, strict=True):
        t = np.arange(p, 2 * p)
        scores.append(weights[:, t][:, :, t - p + 1].mean(axis=(-1, -2)))
    return np.mean(scores, axis=0)


def _all_heads(attention: Array, period: Array) -> float:
    return float(induction_score(attention, period).mean())


def _sums(attention: Array, period: Array) -> Array:
    return np.mean(
        [w[:, np.arange(p, 2 * p), np.arange(1, p + 1)].sum(axis=-1) for w, p in zip(attention, period, strict=True)],
        axis=0,
    )


def _pair_taken(test: Test) -> Test:
    """A test that also explains the error if a pair (out, cache) is used as an array."""

    def run(theirs: Callable) -> Result:
        try:
            return test(theirs)
        except ValueError as error:
            if "inhomogeneous" not in str(error):
                raise
            return Result([f"{theirs.__name__}: ln_f.forward returns the pair (out, cache); take its first part, [0]."])

    return run


LESSON = Lesson(
    "11_looking_inside",
    "Looking inside",
    (
        Exercise(
            "logit_lens",
            "the output layer, applied at every depth",
            _pair_taken(
                outputs(
                    lambda gpt, hidden: tuple(logit_lens(gpt, hidden)),
                    _streams,
                    {
                        "the norm ln_f is missing. The output layer was trained on normalized streams only.": lambda g, h: (
                            [x @ g.wte.weight.data.T for x in h]
                        ),
                        "these are normalized streams (B, T, C), not logits: multiply by the transposed embedding.": lambda g, h: (
                            [g.ln_f.forward(x)[0] for x in h]
                        ),
                        "ln_f has a gain and a bias, too: use gpt.ln_f.forward instead of normalizing by hand.": lambda g, h: (
                            [
                                (x - x.mean(-1, keepdims=True))
                                / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
                                @ g.wte.weight.data.T
                                for x in h
                            ]
                        ),
                        "only the last stream is used. Return one array of logits for each entry of hidden.": lambda g, h: (
                            logit_lens(g, h)[-1]
                        ),
                        "the stream before the first block is missing: hidden has L + 1 entries.": lambda g, h: (
                            logit_lens(g, h)[1:]
                        ),
                    },
                )
            ),
            (logit_lens,),
        ),
        Exercise(
            "without_head",
            "an output projection without one head",
            outputs(
                without_head,
                _projections,
                {
                    "the columns of the head are 0. Columns are what the projection writes; what it reads, the merged "
                    "heads, are the rows.": _columns,
                    "one row is 0. A head has D = C/H channels, so D rows belong to it.": lambda w, h, n: _rows(
                        w, slice(h, h + 1)
                    ),
                    "every H-th row is 0. A head's channels are adjacent: rows head · D … (head + 1) · D - "
                    "1.": lambda w, h, n: _rows(w, slice(h, None, n)),
                    "everything except the head is 0. It must be the opposite.": lambda w, h, n: (
                        w - without_head(w, h, n)
                    ),
                    "H rows are 0, from head · H on. A head has D = C/H channels.": lambda w, h, n: _rows(
                        w, slice(h * n, (h + 1) * n)
                    ),
                    "these are the wrong rows: heads are counted from 0, so head's rows begin at head · D.": lambda w, h, n: (
                        without_head(w, h - 1, n)
                    ),
                    "the rows of the head are cut out. Keep the shape (C, C) and set them to 0.": lambda w, h, n: (
                        np.delete(w, np.arange(h * len(w) // n, (h + 1) * len(w) // n), axis=0)
                    ),
                },
            ),
            (without_head,),
        ),
        Exercise(
            "residual_gradients",
            "the gradient, seen at each depth",
            lambda theirs: outputs(
                _from_ids(residual_gradients),
                _passes,
                {
                    "ln_f's backward is missing: the stream after the last block goes through the final norm before the "
                    "output layer.": _from_ids(lambda g, d, c: _back(g, d, c, norm=False)),
                    "the list is in reverse order: the gradient before the first block comes first. It is computed "
                    "last, so reverse the list.": _from_ids(lambda g, d, c: _back(g, d, c)[::-1]),
                    "the gradient after the last block is missing: L blocks have L + 1 gradients around them.": _from_ids(
                        lambda g, d, c: _back(g, d, c, last=False)
                    ),
                    "the blocks are run from the first to the last. A backward goes through them in reverse "
                    "order.": _from_ids(lambda g, d, c: _back(g, d, c, order=1)),
                    "every block gets the gradient that arrives after the last one. What one block returns is what arrives "
                    "at the block before it.": _from_ids(_same_upstream),
                    "the blocks are walked in reverse, but their caches are not: each block needs its own.": _from_ids(
                        lambda g, d, c: _back(g, d, (c[0]._replace(blocks=c[0].blocks[::-1]), c[1]))
                    ),
                },
            )(_from_ids(theirs)),
            (residual_gradients,),
        ),
        Exercise(
            "induction_score",
            "how much a head looks at the token after the previous occurrence",
            outputs(
                induction_score,
                _maps,
                {
                    "this is the attention to the previous occurrence of the token itself, t - p. The token after it is "
                    "one position to the right: t - p + 1.": _score(0),
                    "this is one position too far to the left, t - p - 1: the token before the previous occurrence. The one "
                    "after it is t - p + 1.": _score(-1),
                    "queries and keys are swapped: attention[b, h, t, s] is what position t takes from position "
                    "s.": _score(1, transposed=True),
                    "the heads are averaged, too. Keep them apart: the result has shape (H,).": _all_heads,
                    "this averages over all pairs of positions. Each t has one position that counts: index with both arrays "
                    "at once, weights[:, t, t - p + 1].": _whole_square,
                    "all positions from p to the end are used. Only those of the second copy should: p … 2p - "
                    "1.": _score(1, last=None),
                    "these are sums over positions. A score is their mean.": _sums,
                    "the positions of the first copy are used. Nothing is repeated there yet: t runs from p to 2p - "
                    "1.": _score(1, first=0, last=1),
                },
            ),
            (induction_score,),
        ),
    ),
)
