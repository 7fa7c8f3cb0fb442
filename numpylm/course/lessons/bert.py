"""Exercises of lesson 16: hiding tokens, post-norm, the masked-LM head and mean pooling."""

from typing import Any

import numpy as np

from numpylm.course.exercise import Exercise, Lesson, Result
from numpylm.course.judge import Rng, both, gradients, outputs
from numpylm.nn.blocks import MLP
from numpylm.nn.heads import MaskedLMHead, pool_mean, pool_mean_backward
from numpylm.nn.layers import Embedding, LayerNorm
from numpylm.nn.module import Array, Cache, Module

B, T, C, V = 3, 4, 6, 7
MASK, ORDINARY = 12, 10


def hide_tokens(
    ids: Array, chosen: Array, mask_id: int, n_ordinary: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Of the chosen tokens, 80 % become the mask, 10 % a random token, 10 % stay; the targets are -100 elsewhere."""
    dice = rng.random(ids.shape)
    hidden = np.where(chosen & (dice < 0.8), mask_id, ids)
    at_random = chosen & (dice >= 0.8) & (dice < 0.9)
    hidden[at_random] = rng.integers(0, n_ordinary, at_random.sum())
    return hidden, np.where(chosen, ids, -100)


class PostNorm(Module):
    """y = norm(x + layer(x))."""

    def __init__(self, norm: Any, layer: Any) -> None:
        self.norm, self.layer = norm, layer

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """x -> y, both of the same shape."""
        out, layer_cache = self.layer.forward(x)
        y, norm_cache = self.norm.forward(x + out)
        return y, (layer_cache, norm_cache)

    def backward(self, dy: Array, cache: Cache) -> Array:
        """The gradient at the sum, plus what the layer makes of it."""
        layer_cache, norm_cache = cache
        dsum = self.norm.backward(dy, norm_cache)
        return dsum + self.layer.backward(dsum, layer_cache)


class HeadOfTheLesson(MaskedLMHead):
    """`MaskedLMHead` with the GELU that the lessons use, GPT-2's, and the usual ε."""

    def __init__(self, n_embd: int, vocab_size: int, **options: Any) -> None:
        super().__init__(n_embd, vocab_size, "gelu_new", layer_norm_eps=1e-5, **options)


class WithEmbedding(Module):
    """A head together with the embedding that it shares, so that both are checked."""

    def __init__(self, head: Any) -> None:
        self.head = head
        self.embedding = Embedding(V, C, dtype=np.float64)

    def forward(self, x: Array) -> tuple[Array, Cache]:
        """x (B, T, C) -> logits (B, T, V)."""
        return self.head.forward(x, self.embedding)

    def backward(self, dlogits: Array, cache: Cache) -> Array:
        """dlogits (B, T, V) -> dx (B, T, C)."""
        return self.head.backward(dlogits, cache, self.embedding)


def _hides_as_bert(hide: Any) -> Result:
    """The shares of masks, random and kept tokens among the chosen ones, in a large array."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, ORDINARY, (200, 100))
    chosen = rng.random(ids.shape) < 0.5
    given = ids.copy()
    hidden, targets = hide(given, chosen.copy(), MASK, ORDINARY, np.random.default_rng(1))
    name = hide.__name__
    if not np.array_equal(given, ids):
        return Result([f"{name} changes its argument ids: make a copy, ids.copy()."])
    for what, array in (("hidden", hidden), ("targets", targets)):
        if np.shape(array) != ids.shape:
            return Result([f"{name}: {what} must have the shape of ids, {ids.shape}; it has {np.shape(array)}."])
    if not (targets[~chosen] == -100).all():
        return Result(
            [f"{name}: where nothing was chosen, the target must be -100, so that the loss does not count it."]
        )
    if not np.array_equal(targets[chosen], ids[chosen]):
        return Result([f"{name}: the target of a chosen token is the token itself, as it was before it was hidden."])
    if not np.array_equal(hidden[~chosen], ids[~chosen]):
        return Result([f"{name}: tokens that were not chosen must stay as they are."])
    masks = float((hidden[chosen] == MASK).mean())
    if abs(masks - 0.8) > 0.02:
        return Result([f"{name}: {masks:.0%} of the chosen tokens became the mask; it should be 80 %."])
    others = hidden[chosen & (hidden != MASK)]
    if others.min() < 0 or others.max() >= ORDINARY:
        return Result([f"{name}: a random token must lie between 0 and n_ordinary - 1."])
    random = hidden[chosen & (hidden != MASK) & (hidden != ids)]
    if len(random) and len(set(random.tolist())) < ORDINARY - 1:
        return Result(
            [
                f"{name}: only {len(set(random.tolist()))} of {ORDINARY} ordinary tokens occur among the random ones. Draw "
                "a token for each place: rng.integers(0, n_ordinary, how many)."
            ]
        )
    kept = float((hidden[chosen] == ids[chosen]).mean())
    expected = 0.1 + 0.1 / ORDINARY  # some random tokens are the right ones
    if abs(kept - expected) > 0.015:
        return Result(
            [
                f"{name}: {kept:.0%} of the chosen tokens are still right; it should be about {expected:.0%}: 10 % stay, "
                "and 10 % become a random token, one for each place."
            ]
        )
    return Result([], "80 % masks, 10 % random, 10 % kept")


def _sums(cls: Any) -> Result:
    """The forward of a post-norm residual around an MLP."""
    rng = np.random.default_rng(0)
    norm, mlp = LayerNorm(C, dtype=np.float64), MLP(C, rng=rng, dtype=np.float64)
    for p in mlp.parameters():
        p.data = rng.standard_normal(p.shape)
    test = outputs(
        lambda x: norm.forward(x + mlp.forward(x)[0])[0],
        lambda rng: iter([(rng.standard_normal((B, T, C)),)]),
        {
            "this is pre-norm, x + layer(norm(x)). Here the norm comes after the sum: norm(x + layer(x)).": lambda x: (
                x + mlp.forward(norm.forward(x)[0])[0]
            ),
            "x itself is missing in the sum: norm(x + layer(x)).": lambda x: norm.forward(mlp.forward(x)[0])[0],
            "only the layer's output is normalized. The norm comes after the sum: norm(x + layer(x)).": lambda x: (
                x + norm.forward(mlp.forward(x)[0])[0]
            ),
            "the norm is missing.": lambda x: x + mlp.forward(x)[0],
        },
        cached=True,
    )
    return test(cls(norm, mlp).forward)


def _head_forward(cls: Any) -> Result:
    """The forward of the head with random weights, against ours."""
    rng = np.random.default_rng(0)
    theirs, ours = cls(C, V, dtype=np.float64), HeadOfTheLesson(C, V, dtype=np.float64)
    for mine, p in zip(ours.parameters(), theirs.parameters(), strict=True):
        mine.data = rng.standard_normal(mine.shape)
        p.data = mine.data.copy()
    embedding = Embedding(V, C, dtype=np.float64)
    embedding.weight.data = rng.standard_normal((V, C))
    test = outputs(
        lambda x: ours.forward(x, embedding)[0],
        lambda rng: iter([(rng.standard_normal((B, T, C)),)]),
        {
            "the bias is not added to the logits.": lambda x: ours.forward(x, embedding)[0] - ours.bias.data,
        },
        cached=True,
    )

    def forward(x: Array) -> Any:
        return theirs.forward(x, embedding)

    forward.__name__ = f"{cls.__name__}.forward"
    return test(forward)


def _texts(rng: Rng) -> Any:
    yield np.arange(12.0).reshape(1, 3, 4), np.array([[True, True, False]])
    yield rng.standard_normal((B, T, C)), _mask()


def _mask() -> Array:
    return np.arange(T) < np.array([2, 4, 1])[:, None]  # (B, T)


def _masked(forward: Any, backward: Any) -> tuple:
    def pooled(x: Array) -> tuple[Array, Cache]:
        return forward(x, _mask())

    pooled.__name__ = forward.__name__
    return pooled, backward


def _x(rng: Rng) -> tuple:
    return (rng.standard_normal((B, T, C)),)


LESSON = Lesson(
    "16_bert",
    "BERT: reading in both directions",
    (
        Exercise("hide_tokens", "masks, random tokens and kept ones", _hides_as_bert, (hide_tokens,)),
        Exercise(
            "PostNorm",
            "the norm after the sum",
            both(_sums, gradients(_x, lambda cls: cls(LayerNorm(C), MLP(C)))),
            (PostNorm,),
        ),
        Exercise(
            "MaskedLMHead",
            "the output layer for hidden tokens",
            both(_head_forward, gradients(_x, lambda cls: WithEmbedding(cls(C, V, dtype=np.float64)))),
            (HeadOfTheLesson,),
        ),
        Exercise(
            "mean_pool",
            "one vector for a text",
            both(
                outputs(
                    lambda x, mask: pool_mean(x, mask)[0],
                    _texts,
                    {
                        "the mean is taken over padding as well: divide by the number of real tokens, and count only "
                        "these.": lambda x, mask: x.mean(axis=1),
                        "the sum has only real tokens, but it is divided by T: divide by the number of real tokens in each "
                        "row.": lambda x, mask: (x * mask[..., None]).sum(axis=1) / x.shape[1],
                        "this is the sum of the real tokens, not their mean.": lambda x, mask: (
                            x * mask[..., None]
                        ).sum(axis=1),
                        "divided by the number of real tokens in the whole batch: each row has its own "
                        "number.": lambda x, mask: (x * mask[..., None]).sum(axis=1) / mask.sum(),
                    },
                    cached=True,
                ),
                gradients(_x, _masked),
            ),
            (pool_mean, pool_mean_backward),
        ),
    ),
)
