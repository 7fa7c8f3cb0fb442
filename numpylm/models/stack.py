"""StackModel: what all models do with their stack of blocks: freeze the lowest, keep little memory, set dropout."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

from numpylm.nn.layers import Dropout
from numpylm.nn.module import Array, Cache, Module


class StackModel(Module):
    """A model that is mainly a stack of blocks. A subclass says which layers are its ``blocks`` and ``embeddings``.

    Attributes
    ----------
    config : dataclass
    recompute : bool
        Whether to keep only each block's input, and to run its forward again in the backward, instead of keeping its
        cache (activation checkpointing: Chen et al. 2016, arXiv:1604.06174, section 4.2). The results are the same to
        the bit. Only one block's cache is in memory at a time, and a step takes about a third longer.
    tokenizer
        The tokenizer that was loaded with the model, or None.
    """

    config: Any
    recompute = False
    tokenizer: Any = None
    # Code that reads and writes files is in other packages. numpylm/__init__.py attaches it as these methods.
    from_pretrained: ClassVar[Any]  # a classmethod
    save_pretrained: ClassVar[Callable[..., None]]

    @property
    def blocks(self) -> Sequence[Module]:
        """All blocks, the lowest first."""
        raise NotImplementedError

    @property
    def embeddings(self) -> Sequence[Module]:
        """The layers below the lowest block."""
        raise NotImplementedError

    def freeze(self, below: int) -> None:
        """Freeze the embeddings and the lowest ``below`` blocks, and unfreeze everything else. With 0, freeze nothing.

        The low blocks of a trained model encode words and grammar, which hardly change for a new text. Training only
        the top blocks adapts subject and tone in a fraction of the time and memory. An output layer that is tied to a
        frozen embedding is frozen, too.
        """
        if not 0 <= below <= len(self.blocks):
            raise ValueError(
                f"a model of {len(self.blocks)} blocks can be frozen below 0 … {len(self.blocks)}, got {below}"
            )
        for parameter in self.parameters():
            parameter.frozen = False
        for layer in (*self.embeddings, *self.blocks[:below]) if below else ():
            for parameter in layer.parameters():
                parameter.frozen = True

    def first_trained_block(self) -> int:
        """The lowest block that needs a backward: 0 if an embedding is trained, len(blocks) if no block is trained."""
        if any(layer.trainable_parameters() for layer in self.embeddings):
            return 0
        return next((i for i, block in enumerate(self.blocks) if block.trainable_parameters()), len(self.blocks))

    def set_dropout(self, p: float) -> None:
        """Set the probability of all `Dropout` layers, and of the attention weights unless they have their own rate.

        (The 2017 Transformer has one: its config's attention_dropout.)
        """
        self.config = replace(self.config, dropout=p)
        own_rate = hasattr(self.config, "attention_dropout")
        layers: list[Any] = [layer for _, layer in self.named_modules()]
        for layer in layers:
            if isinstance(layer, Dropout):
                layer.p = p
            elif hasattr(layer, "dropout") and not own_rate:
                layer.dropout = p


class StackCache(NamedTuple):
    """What a stack saves for its backward."""

    embed: Cache
    blocks: list[Cache]  # None for the blocks below the lowest trained one
    norm: Cache  # of the norm after the last block


class BlockInput(NamedTuple):
    """The arguments of a block's forward: enough to run it again with the same dropout masks."""

    arguments: tuple
    given: dict[str, Any]


def run_block(block: Any, recompute: bool, *arguments: Any, segments: Array | None = None) -> tuple[Any, Cache]:
    """``block.forward(*arguments)``, whose last argument is the random generator of dropout; with segments if given.

    With ``recompute``, the cache holds only the arguments, and `full_cache` runs the forward again when the backward
    needs the rest.
    """
    given = {} if segments is None else {"segments": segments}  # a student's block may not take this argument
    kept = BlockInput((*arguments[:-1], copy.deepcopy(arguments[-1])), given) if recompute else None
    out, cache = block.forward(*arguments, **given)
    return out, cache if kept is None else kept


def full_cache(block: Any, cache: Cache) -> Cache:
    """The cache that the block's backward needs."""
    return block.forward(*cache.arguments, **cache.given)[1] if isinstance(cache, BlockInput) else cache
