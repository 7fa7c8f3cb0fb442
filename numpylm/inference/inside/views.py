"""A view of each family in one form: streams of tokens, embeddings, steps, and an output layer, all with a backward."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from numpylm.inference.inside.steps import DecoderStep, State, Step
from numpylm.models.bert import Bert
from numpylm.models.gpt import GPT
from numpylm.models.llama import Llama
from numpylm.models.transformer import Transformer
from numpylm.nn.heads import ClassificationHead
from numpylm.nn.layers import Embedding
from numpylm.nn.module import Array, Cache, Module


class View:
    """A model whose tokens, steps and output layer have the same names in all families.

    Attributes
    ----------
    streams : tuple of str
        The sequences of tokens that it reads: ("text",), or ("source", "target").
    kinds : dict
        For each kind of attention, the numbers of the streams that ask and that answer.
    causal : tuple of str
        The kinds in which a position sees no later one.
    steps : list of Step
        Everything between the embeddings and the output layer.
    per_text : bool
        Whether there is one output for the whole text, instead of one for each position of the last stream.
    """

    streams: tuple[str, ...] = ("text",)
    kinds: dict[str, tuple[int, int]]
    causal: tuple[str, ...] = ()
    steps: list[Step]
    per_text = False

    def __init__(self, model: Any) -> None:
        self.model = model

    def embed(self, ids: Sequence[Array]) -> tuple[State, Cache]:
        """The input of the first step: for each stream, ids (B, T) -> (B, T, C)."""
        x, cache = self.model.embed(ids[0])
        return (x,), cache

    def embed_backward(self, dstate: State, cache: Cache) -> State:
        """For each stream, the gradient (B, T, C) at the rows that were taken from the table of token embeddings."""
        return dstate

    def tables(self) -> list[Embedding]:
        """The table of token embeddings of each stream."""
        return [self.model.embeddings[0]]

    def readout(self, x: Array) -> tuple[Array, Cache]:
        """The output layer: hidden states of the last stream (..., C) -> logits (..., V)."""
        raise NotImplementedError

    def readout_backward(self, dlogits: Array, cache: Cache) -> Array:
        """Gradient of `readout`."""
        raise NotImplementedError


class LanguageView(View):
    """A GPT or a Llama."""

    kinds = {"self": (0, 0)}  # noqa: RUF012
    causal = ("self",)

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        name = "attn" if isinstance(model, GPT) else "self_attn"
        self.steps = [Step(block, kinds={"self": name}) for block in model.blocks]
        self.norm: Any = model.ln_f if isinstance(model, GPT) else model.norm

    def readout(self, x: Array) -> tuple[Array, Cache]:
        x, norm_cache = self.norm.forward(x)
        logits, head_cache = self.model.head(x)
        return logits, (norm_cache, head_cache)

    def readout_backward(self, dlogits: Array, cache: Cache) -> Array:
        return self.norm.backward(self.model.head_backward(dlogits, cache[1]), cache[0])


class EncoderView(View):
    """A Bert with a head."""

    kinds = {"self": (0, 0)}  # noqa: RUF012

    def __init__(self, model: Bert) -> None:
        if model.head is None:
            raise ValueError("this Bert has no head, so it predicts nothing: train one (numpylm train --init-from)")
        super().__init__(model)
        self.steps = [Step(block, kinds={"self": "self_attn"}) for block in model.blocks]
        self.per_text = isinstance(model.head, ClassificationHead)
        self.shared = () if self.per_text else (model.tokens,)  # the masked-LM head uses the table of embeddings

    def embed_backward(self, dstate: State, cache: Cache) -> State:
        return (self.model.embed_norm.backward(dstate[0], cache.norm),)

    def readout(self, x: Array) -> tuple[Array, Cache]:
        return self.model.head.forward(x, *self.shared)

    def readout_backward(self, dlogits: Array, cache: Cache) -> Array:
        return self.model.head.backward(dlogits, cache, *self.shared)


class TranslationView(View):
    """A Transformer with an encoder and a decoder."""

    streams = ("source", "target")
    kinds = {"encoder": (0, 0), "self": (1, 1), "cross": (1, 0)}  # noqa: RUF012
    causal = ("self",)

    def __init__(self, model: Transformer) -> None:
        super().__init__(model)
        norms = [] if model.encoder_norm is None else [Step(model.encoder_norm)]
        decoder = {"self": "self_attn", "cross": "encoder_attn"}
        self.steps = [
            *(Step(block, kinds={"encoder": "self_attn"}) for block in model.encoder),
            *norms,
            *(DecoderStep(block, 1, decoder) for block in model.decoder),
        ]
        self.scale = math.sqrt(model.config.n_embd) if model.config.scale_embedding else 1.0

    def embed(self, ids: Sequence[Array]) -> tuple[State, Cache]:
        found = [self.model.embed(part, table) for part, table in zip(ids, self.tables(), strict=True)]
        return tuple(x for x, _ in found), None

    def embed_backward(self, dstate: State, cache: Cache) -> State:
        return tuple(dx * self.scale for dx in dstate)

    def tables(self) -> list[Embedding]:
        return [self.model.source_tokens, self.model.shared]

    def readout(self, x: Array) -> tuple[Array, Cache]:
        norm = self.model.decoder_norm
        x, norm_cache = (x, None) if norm is None else norm.forward(x)
        logits, head_cache = self.model.head(x)
        return logits, (norm_cache, head_cache)

    def readout_backward(self, dlogits: Array, cache: Cache) -> Array:
        dx, norm = self.model.head_backward(dlogits, cache[1]), self.model.decoder_norm
        return dx if norm is None else norm.backward(dx, cache[0])


def view_of(model: Any) -> View:
    """The view of a model. Raises ValueError for a family that has none."""
    if isinstance(model, (GPT, Llama)):
        return LanguageView(model)
    if isinstance(model, Bert):
        return EncoderView(model)
    if isinstance(model, Transformer):
        return TranslationView(model)
    raise ValueError(f"expected a GPT, Llama, Bert or Transformer, got a {type(model).__name__}")


@contextmanager
def all_frozen(model: Module) -> Iterator[None]:
    """Inside, every parameter is frozen: a backward returns the gradient at its input and changes nothing else."""
    before = [(parameter, parameter.frozen) for parameter in model.parameters()]
    try:
        for parameter, _ in before:
            parameter.frozen = True
        yield
    finally:
        for parameter, frozen in before:
            parameter.frozen = frozen


def batch_of(ids: Sequence[int] | Array, copies: int = 1) -> Array:
    """``copies`` rows of the same ids: int (copies, T)."""
    return np.repeat(np.asarray(ids, np.int64)[None], copies, axis=0)
