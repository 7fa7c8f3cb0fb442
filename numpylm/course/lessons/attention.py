"""Exercises of lesson 06: attention and its gradient."""

import math
from typing import Any

import numpy as np

from numpylm.course.exercise import Exercise, Lesson, Result
from numpylm.course.judge import Rng, both, drops, gradients, held_against, outputs
from numpylm.nn import attention as A
from numpylm.nn import functional as F
from numpylm.nn.module import Array

B, T, H, D = 2, 5, 3, 4


def causal_average_weights(length: int) -> Array:
    """(T, T): row t averages the positions 0 … t."""
    weights = np.tri(length)
    return weights / weights.sum(axis=1, keepdims=True)


def softmax_jacobian(p: Array) -> Array:
    """(S, S): ∂p_i/∂z_j = p_i ([i = j] - p_j)."""
    return np.diag(p) - np.outer(p, p)


def weighted_sum_backward(dout: Array, p: Array, v: Array) -> tuple[Array, Array]:
    """Back through O = P V: dP = dO Vᵀ, dV = Pᵀ dO."""
    return dout @ _t(v), _t(p) @ dout


def scores_backward(dscores: Array, q: Array, k: Array, scale: float) -> tuple[Array, Array]:
    """Back through scale · Q Kᵀ."""
    return dscores @ k * scale, _t(dscores) @ q * scale


def _t(x: Array) -> Array:
    return x.swapaxes(-1, -2)


def _probabilities(rng: Rng) -> Any:
    yield (np.array([0.7, 0.2, 0.1]),)
    yield (F.softmax(rng.standard_normal(6))[0],)


def _weighted_sum(rng: Rng) -> Any:
    for sizes in ((1, 1, 2, 3, 4), (B, H, T, 6, D), (B, H, T, T, T)):  # (B, H, T, S, D); all equal: any order fits
        b, h, t, s, d = sizes
        p = F.softmax(rng.standard_normal((b, h, t, s)))[0]
        yield rng.standard_normal((b, h, t, d)), p, rng.standard_normal((b, h, s, d))


def _score_gradients(rng: Rng) -> Any:
    for _, p, v in _weighted_sum(rng):
        b, h, t, s = p.shape
        q, k = rng.standard_normal((b, h, t, v.shape[-1])), rng.standard_normal(v.shape)
        yield rng.standard_normal((b, h, t, s)), q, k, 1 / math.sqrt(v.shape[-1])


def _tri(n: int, k: int = 0, axis: int = 1) -> Array:
    weights = np.tri(n, k=k)
    return weights / weights.sum(axis=axis, keepdims=True)


def _qkv(rng: Rng) -> tuple:
    return tuple(rng.standard_normal((3, B, H, T, D)))


def _attention_cases(rng: Rng) -> Any:
    yield _qkv(rng)
    yield *_qkv(rng), A.causal_mask(T, T)


def _attend(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None = None,
    scale: float | None = None,
    axis: int = -1,
    after: bool = False,
    times: bool = False,
) -> Array:
    """Attention with one of several mistakes."""
    scores = q @ k.swapaxes(-1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if mask is not None and times:
        scores = scores * mask
    elif mask is not None and not after:
        scores = scores + np.where(mask, 0, -np.inf)
    p = F.softmax(scores, axis)[0]
    return (p * mask if after and mask is not None else p) @ v


def _split(rng: Rng) -> Any:
    yield np.arange(12.0).reshape(1, 3, 4), 2
    yield rng.standard_normal((B, T, H * D)), H


def _heads(split: Any, merge: Any) -> Result:
    """Splitting as ours does, and merging as its inverse."""
    x = np.random.default_rng(0).standard_normal((B, T, H * D))
    result = outputs(
        A.split_heads,
        _split,
        {
            "reshaped straight to (B, H, T, D). That cuts the numbers in another order: head 0 would get the first "
            "positions instead of the first channels. First (B, T, H, D), then swap the axes.": lambda x, h: x.reshape(
                x.shape[0], h, x.shape[1], -1
            ),
            "this is (B, T, H, D). Heads and positions still have to be swapped: swapaxes(1, 2).": lambda x, h: (
                x.reshape(*x.shape[:2], h, -1)
            ),
            "channel c belongs to head c // D: the first D channels to head 0. Here adjacent channels go to different "
            "heads.": lambda x, h: x.reshape(*x.shape[:2], -1, h).transpose(0, 3, 1, 2),
        },
    )(split)
    if result.problems:
        return result
    merged = merge(A.split_heads(x, H))
    if merged is not None and np.shape(merged) == x.shape and not np.allclose(merged, x):
        return Result(
            [
                f"{merge.__name__}: the shape is right, the numbers are in the wrong places: (B, H, T, D) was reshaped "
                "to (B, T, C) without swapping the axes back first. reshape never moves a number in memory."
            ]
        )
    return outputs(A.merge_heads, lambda rng: iter([(rng.standard_normal((B, H, T, D)),)]))(merge)


def _drops_weights(attention: Any) -> Result:
    """Half of the weights of 400 keys with equal scores are dropped, and the others doubled."""
    q, k, v = np.zeros((1, 1, 1, 4)), np.zeros((1, 1, 400, 4)), np.eye(400)[None, None]
    out, _ = attention(q, k, v, None, 0.5, np.random.default_rng(0))
    weights = 400 * np.asarray(out)
    if np.allclose(weights, 1):
        return Result([f"{attention.__name__}: with dropout_p = 0.5 and an rng, no weight is dropped."])
    if not np.isin(weights.round(6), (0.0, 2.0)).all():
        return Result(
            [f"{attention.__name__}: dropout must act on the weights after the softmax, and on nothing else."]
        )
    again, _ = attention(q, k, v, None, 0.5)
    return Result([] if np.allclose(400 * again, 1) else [f"{attention.__name__}: without an rng nothing is dropped."])


LESSON = Lesson(
    "06_attention",
    "Attention",
    (
        Exercise(
            "causal_average_weights",
            "the mean of all positions so far, as a matrix",
            outputs(
                causal_average_weights,
                lambda rng: iter([(3,), (6,)]),
                {
                    "each row must sum to 1, here the columns do. Position t averages what is in row t.": lambda n: (
                        _tri(n, axis=0)
                    ),
                    "position t must see itself as well: the diagonal is missing.": lambda n: _tri(n, k=-1),
                    "position t sees one position of the future.": lambda n: _tri(n, k=1),
                    "every position averages all of them, the future too: only 0 … t.": lambda n: np.full(
                        (n, n), 1 / n
                    ),
                    "the future and the past are exchanged: row t must look at columns 0 … t.": lambda n: (
                        np.triu(np.ones((n, n))) / np.triu(np.ones((n, n))).sum(1, keepdims=True)
                    ),
                    "row t is a mean of t + 1 numbers: divide it by t + 1, not by T.": lambda n: np.tri(n) / n,
                    "these are ones and zeros; divide each row by its sum to make it a mean.": np.tri,
                },
            ),
            (causal_average_weights,),
        ),
        Exercise(
            "softmax_jacobian",
            "every ∂p/∂z",
            outputs(
                softmax_jacobian,
                _probabilities,
                {
                    "row i, column j needs p_i · p_j: all products, np.outer(p, p), and not p * p.": (
                        lambda p: np.diag(p) - p * p
                    ),
                    "row i, column j needs p_i · p_j, np.outer(p, p), and not p alone.": lambda p: np.diag(p) - p,
                    "the case i = j has another term: where i = j, the numerator changes as well.": lambda p: (
                        -np.outer(p, p)
                    ),
                    "the case i ≠ j is missing: every p depends on every z, through the sum E.": lambda p: np.diag(
                        p - p * p
                    ),
                    "on the diagonal p is missing: the derivative is p - p², here it is 1 - p².": lambda p: (
                        np.eye(len(p)) - np.outer(p, p)
                    ),
                    "the sign of both parts is wrong: if a logit rises, its own probability rises.": lambda p: (
                        np.outer(p, p) - np.diag(p)
                    ),
                    "on the diagonal the derivative is p - p²: the square is missing.": lambda p: (
                        np.diag(p) - np.outer(p, p) + np.diag(p * p)
                    ),
                },
            ),
            (softmax_jacobian,),
        ),
        Exercise(
            "softmax_backward",
            "softmax's Jacobian, contracted",
            held_against("softmax"),
            (F.softmax, F.softmax_backward),
            ("softmax", "softmax_backward"),
        ),
        Exercise(
            "attention",
            "softmax(Q Kᵀ / √D) V",
            both(
                outputs(
                    lambda *args: A.scaled_dot_product_attention(*args)[0],
                    _attention_cases,
                    {
                        "the scores are not scaled: divide them by √D.": lambda q, k, v, m=None: _attend(
                            q, k, v, m, scale=1.0
                        ),
                        "the scores are divided by D, not by √D.": lambda q, k, v, m=None: _attend(
                            q, k, v, m, scale=1 / q.shape[-1]
                        ),
                        "the scores are divided by √T, the number of positions. √D is meant: q.shape[-1].": (
                            lambda q, k, v, m=None: _attend(q, k, v, m, scale=1 / math.sqrt(q.shape[-2]))
                        ),
                        "the scores are multiplied by √D where they must be divided.": lambda q, k, v, m=None: _attend(
                            q, k, v, m, scale=math.sqrt(q.shape[-1])
                        ),
                        "the softmax runs over the queries. Each query distributes its attention over the keys: the last "
                        "axis.": lambda q, k, v, m=None: _attend(q, k, v, m, axis=-2),
                        "queries and keys are exchanged: a row of Q Kᵀ belongs to a query.": lambda q, k, v, m=None: (
                            _attend(k, q, v, m)
                        ),
                        "the mask is the wrong way round: True means that the query may look there.": lambda q, k, v, m=None: (
                            _attend(q, k, v, None if m is None else ~m)
                        ),
                        "right without a mask, but the mask is not used.": lambda q, k, v, m=None: _attend(q, k, v),
                        "the mask multiplies the scores; but e⁰ is 1, not 0. Where a query may not look, the score must be "
                        "-inf.": lambda q, k, v, m=None: _attend(q, k, v, m, times=True),
                        "the mask is multiplied in after the softmax: then the rows do not sum to 1, and the future still "
                        "counts in the denominator. Set the scores to -inf before it.": lambda q, k, v, m=None: _attend(
                            q, k, v, m, after=True
                        ),
                    },
                    cached=True,
                ),
                _drops_weights,
            ),
            (A.scaled_dot_product_attention,),
        ),
        Exercise(
            "weighted_sum_backward",
            "back through P V",
            outputs(
                weighted_sum_backward,
                _weighted_sum,
                {
                    "dv: V_sd is used at every t, with factor P_ts: P is transposed, p.swapaxes(-1, -2) @ dout.": (
                        lambda g, p, v: (g @ _t(v), p @ g)
                    ),
                    "dp: the sum over d makes dO Vᵀ; here v is not transposed.": lambda g, p, v: (g @ v, _t(p) @ g),
                    "dv: a reshape has the right shape, but it does not transpose. swapaxes(-1, -2) does.": (
                        lambda g, p, v: (g @ _t(v), p.reshape(*p.shape[:2], p.shape[3], p.shape[2]) @ g)
                    ),
                    "the two gradients are exchanged: return dp first, then dv.": lambda g, p, v: (
                        _t(p) @ g,
                        g @ _t(v),
                    ),
                },
            ),
            (weighted_sum_backward,),
        ),
        Exercise(
            "scores_backward",
            "back through Q Kᵀ",
            outputs(
                scores_backward,
                _score_gradients,
                {
                    "dk: K_sd is used by every query t, so dscores is transposed: dscores.swapaxes(-1, -2) @ q.": (
                        lambda g, q, k, c: (g @ k * c, g @ q * c)
                    ),
                    "dk: a reshape has the right shape, but it does not transpose. swapaxes(-1, -2) does.": (
                        lambda g, q, k, c: (g @ k * c, g.reshape(*g.shape[:2], g.shape[3], g.shape[2]) @ q * c)
                    ),
                    "the scale is missing: the forward multiplies by it, so the backward does as well.": (
                        lambda g, q, k, c: (g @ k, _t(g) @ q)
                    ),
                    "dk: the scale is missing.": lambda g, q, k, c: (g @ k * c, _t(g) @ q),
                    "dq: the scale is missing.": lambda g, q, k, c: (g @ k, _t(g) @ q * c),
                    "the backward multiplies by the scale, as the forward does; here it divides.": (
                        lambda g, q, k, c: (g @ k / c, _t(g) @ q / c)
                    ),
                    "the two gradients are exchanged: return dq first, then dk.": lambda g, q, k, c: (
                        _t(g) @ q * c,
                        g @ k * c,
                    ),
                    "q and k are exchanged: dq is a product with k, and dk is a product with q.": (
                        lambda g, q, k, c: (g @ q * c, _t(g) @ k * c)
                    ),
                },
            ),
            (scores_backward,),
        ),
        Exercise(
            "attention_backward",
            "dQ, dK and dV",
            both(
                held_against("attention"),
                gradients(_qkv, mask=A.causal_mask(T, T)),
                gradients(_qkv, dropout_p=0.3),
            ),
            (A.scaled_dot_product_attention, A.scaled_dot_product_attention_backward),
            ("attention", "attention_backward"),
        ),
        Exercise(
            "heads",
            "split C channels into H heads, and merge them again",
            _heads,
            (A.split_heads, A.merge_heads),
            ("split_heads", "merge_heads"),
        ),
        Exercise(
            "CausalSelfAttention",
            "the whole layer",
            both(
                held_against("CausalSelfAttention"),
                drops(lambda cls: cls(H * D, H, 0.5), (B, T, H * D)),
                gradients(lambda rng: (rng.standard_normal((B, T, H * D)),), lambda cls: cls(H * D, H, 0.3)),
            ),
            (A.CausalSelfAttention,),
            ("CausalSelfAttention",),
        ),
    ),
)
