"""Exercises of lesson 07: embedding, block, the whole GPT, and counting its parameters."""

from dataclasses import replace
from typing import Any

import numpy as np

from numpylm.check.gradcheck import gradcheck
from numpylm.course.exercise import Exercise, Lesson, Result
from numpylm.course.judge import Rng, both, drops, from_report, gradients, held_against, hurried, outputs
from numpylm.models.gpt import GPT, GPTConfig
from numpylm.nn.blocks import Block
from numpylm.nn.layers import Embedding

CONFIG = GPTConfig(vocab_size=11, block_size=7, n_layer=2, n_head=3, n_embd=12)


def count_parameters(vocab_size: int, block_size: int, n_layer: int, n_embd: int) -> int:
    """V C + T C + L (12 C² + 13 C) + 2 C."""
    V, T, L, C = vocab_size, block_size, n_layer, n_embd
    return V * C + T * C + L * (12 * C * C + 13 * C) + 2 * C


def _models(rng: Rng) -> Any:
    yield 11, 7, 2, 12
    yield 50257, 1024, 12, 768


def _gpt(cls: Any) -> Result:
    """The same parameter names and logits as ours, and right gradients for all parameters at once."""
    theirs, ours = cls(CONFIG, np.random.default_rng(0), np.float64), GPT(CONFIG, np.random.default_rng(0), np.float64)
    rng = np.random.default_rng(1)
    for p in ours.parameters():
        p.data = 0.3 * rng.standard_normal(p.shape)
    names = dict(theirs.named_parameters())
    want = dict(ours.named_parameters())
    if missing := [name for name in want if name not in names]:
        return Result(
            [f"{cls.__name__} has no parameter {missing[0]}; do the attributes have the names from the text?"]
        )
    for name, p in names.items():
        p.data = want[name].data.copy()
    ids = rng.integers(0, CONFIG.vocab_size, (2, 5))
    ids[:, 1:3] = ids[0, 0]
    logits, _ = theirs.forward(ids)
    right, _ = ours.forward(ids)
    if np.shape(logits) != right.shape:
        return Result([f"{cls.__name__}: logits of shape {np.shape(logits)}, expected (B, T, V) = {right.shape}."])
    if not np.allclose(logits, right):
        return Result([f"{cls.__name__}: the logits differ from ours (by {np.abs(logits - right).max():.2g})."])
    if hurried() == "outputs":
        return Result()
    dropping = cls(replace(CONFIG, dropout=0.5), np.random.default_rng(0), np.float64)
    if np.array_equal(dropping.forward(ids)[0], dropping.forward(ids, np.random.default_rng(0))[0]):
        return Result([f"{cls.__name__}: its forward was given an rng, but nothing is dropped. Is rng passed on?"])
    return both(
        lambda it: from_report(gradcheck(it(CONFIG), ids)),
        lambda it: from_report(gradcheck(it(replace(CONFIG, dropout=0.2)), ids)),
    )(cls)


def _drops_twice(cls: Any) -> Result:
    """Both branches go through dropout: with branches of ones and p = 1/2 they add 0, 2 or 4 to x."""
    block = cls(12, 3, 0.5, dtype=np.float64)
    for projection in (block.attn.c_proj, block.mlp.c_proj):
        projection.weight.data[...] = 0
        projection.bias.data[...] = 1
    block.attn.dropout = 0.0
    added = np.asarray(block.forward(np.zeros((2, 5, 12)), np.random.default_rng(0))[0]).round(6)
    if np.isin(added, (1.0, 3.0)).any():
        return Result([f"{cls.__name__}: only one of the two branches goes through dropout. Does each get the rng?"])
    if not np.isin(added, (0.0, 2.0, 4.0)).all() or len(np.unique(added)) < 3:
        return Result([f"{cls.__name__}: each branch must go through dropout on its own, with its own mask."])
    return Result()


def _attention_drops(cls: Any) -> Any:
    block = cls(12, 3, 0.5, dtype=np.float64)
    block.drop.p = 0.0
    return block


LESSON = Lesson(
    "07_the_whole_model",
    "The whole model",
    (
        Exercise(
            "Embedding",
            "look up rows, and add up their gradients",
            held_against("Embedding"),
            (Embedding,),
            ("Embedding",),
        ),
        Exercise(
            "Block",
            "attention and MLP, each with a norm before it and a residual connection around it",
            both(
                held_against("Block"),
                _drops_twice,
                drops(_attention_drops, (2, 5, 12)),
                gradients(lambda rng: (rng.standard_normal((2, 5, 12)),), lambda cls: cls(12, 3, 0.2)),
            ),
            (Block,),
            ("Block",),
        ),
        Exercise("GPT", "everything, with a tied head", _gpt, (GPT,), ("GPT",)),
        Exercise(
            "count_parameters",
            "the number of parameters",
            outputs(
                count_parameters,
                _models,
                {
                    "the output layer is counted, but it is tied: it is the embedding once more, and adds "
                    "nothing.": lambda V, T, L, C: count_parameters(V, T, L, C) + V * C,
                    "the last layer norm is missing: 2 C.": lambda V, T, L, C: count_parameters(V, T, L, C) - 2 * C,
                    "the position embedding is missing: T C.": lambda V, T, L, C: count_parameters(V, T, L, C) - T * C,
                    "the biases of the four linear layers are missing: 3C + C + 4C + C = 9 C in each "
                    "block.": lambda V, T, L, C: count_parameters(V, T, L, C) - 9 * L * C,
                    "the biases of c_attn are missing: 3 C in each block.": lambda V, T, L, C: (
                        count_parameters(V, T, L, C) - 3 * L * C
                    ),
                    "a layer norm has 2 C parameters, and there are two in each block.": lambda V, T, L, C: (
                        count_parameters(V, T, L, C) - 2 * L * C
                    ),
                    "the blocks are counted once; there are L of them.": lambda V, T, L, C: count_parameters(
                        V, T, 1, C
                    ),
                    "the two layer norms of each block are missing: 4 C.": lambda V, T, L, C: (
                        count_parameters(V, T, L, C) - 4 * L * C
                    ),
                    "the matrices of a block have 12 C² numbers: 3C² and C² in attention, 4C² and 4C² in the MLP. Attention's "
                    "output matrix is missing.": lambda V, T, L, C: count_parameters(V, T, L, C) - L * C * C,
                },
            ),
            (count_parameters,),
        ),
    ),
)
