"""What all models do with their stack of blocks: freeze the lowest ones, keep only each block's input, set dropout."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from numpylm.nn.layers import Dropout
from numpylm.nn.module import Cache, Module


class BlockInput(NamedTuple):
    """The arguments of a block's forward: enough to run it again with the same dropout masks."""

    arguments: tuple


def run_block(block: Any, recompute: bool, *arguments: Any) -> tuple[Any, Cache]:
    """``block.forward(*arguments)``, whose last argument is the random generator of dropout.

    With ``recompute``, the cache holds only the arguments, and `full_cache` runs the forward again when the backward
    needs the rest (activation checkpointing: Chen et al. 2016, arXiv:1604.06174, section 4.2).
    """
    kept = BlockInput((*arguments[:-1], copy.deepcopy(arguments[-1]))) if recompute else None
    out, cache = block.forward(*arguments)
    return out, cache if kept is None else kept


def full_cache(block: Any, cache: Cache) -> Cache:
    """The cache that the block's backward needs."""
    return block.forward(*cache.arguments)[1] if isinstance(cache, BlockInput) else cache


def freeze_below(model: Module, embeddings: Sequence[Module], blocks: Sequence[Module], below: int) -> None:
    """Freeze the embeddings and the lowest ``below`` blocks, and unfreeze everything else. With 0, nothing is frozen.

    The low blocks of a trained model encode words and grammar, which hardly change for a new text. Training only the
    top blocks adapts subject and tone in a fraction of the time and memory.
    """
    if not 0 <= below <= len(blocks):
        raise ValueError(f"a model of {len(blocks)} blocks can be frozen below 0 … {len(blocks)}, got {below}")
    for parameter in model.parameters():
        parameter.frozen = False
    for layer in (*embeddings, *blocks[:below]) if below else ():
        for parameter in layer.parameters():
            parameter.frozen = True


def first_trained(embeddings: Sequence[Module], blocks: Sequence[Module]) -> int:
    """The lowest block that needs a backward: 0 if an embedding is trained, len(blocks) if no block is trained."""
    if any(layer.trainable_parameters() for layer in embeddings):
        return 0
    return next((i for i, block in enumerate(blocks) if block.trainable_parameters()), len(blocks))


def set_dropout(model: Any, p: float) -> None:
    """Set the probability of all `Dropout` layers, and of the attention weights unless they have a rate of their own.

    (The 2017 Transformer has one: its config's attention_dropout.)
    """
    model.config = replace(model.config, dropout=p)
    own_rate = hasattr(model.config, "attention_dropout")
    for layer in submodules(model):
        if isinstance(layer, Dropout):
            layer.p = p
        elif hasattr(layer, "dropout") and not own_rate:
            layer.dropout = p


def submodules(module: Module) -> Iterator[Any]:
    """A module and all modules inside it, also those in lists."""
    yield module
    for value in vars(module).values():
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, Module):
                yield from submodules(item)
