"""Bert: an encoder that reads a text in both directions (BERT: Devlin et al. 2018; RoBERTa: Liu et al. 2019).

A stack of `EncoderBlock`s on token, position and segment embeddings, with one of two heads: predict masked tokens, or
classify the text.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from numpylm.models.checks import check_ids
from numpylm.models.configs import BertConfig
from numpylm.models.stack import StackCache, StackModel, full_cache, run_block
from numpylm.nn.encoder_decoder import EncoderBlock
from numpylm.nn.functional import IGNORE_INDEX, cross_entropy
from numpylm.nn.heads import ClassificationHead, MaskedLMHead, pool_mean
from numpylm.nn.layers import Dropout, Embedding, LayerNorm
from numpylm.nn.module import Array, Cache, Module
from numpylm.nn.self_and_cross_attention import padding_mask


class EmbedCache(NamedTuple):
    """What `Bert.embed` saves for its backward."""

    tokens: Cache
    positions: Cache
    segments: Cache
    norm: Cache
    drop: Cache


class Bert(StackModel):
    """A bidirectional Transformer encoder.

        x = dropout(embed_norm(tokens[ids] + positions[0 … T-1] + segments[token_types]))
        x = block(x), for each of the L blocks
        logits = head(x)

    Parameters
    ----------
    config : BertConfig
    rng : numpy.random.Generator, optional
        Draws the initial weights from N(0, 0.02²).
    dtype : dtype

    Attributes
    ----------
    tokens : Embedding (V, C)
        The masked-LM head uses its transpose as output layer. Its gradient is then a sum of two.
    positions : Embedding (position_offset + block_size, C)
    segments : Embedding (token_types, C)
    embed_norm : LayerNorm (C)
    layer : list of EncoderBlock
    head : MaskedLMHead, ClassificationHead or None
    labels : tuple of str
        The names of the K labels of a classification head.
    recompute, tokenizer
        As in `StackModel`.
    """

    labels: tuple[str, ...] = ()

    def __init__(
        self, config: BertConfig, rng: np.random.Generator | None = None, dtype: DTypeLike = np.float32
    ) -> None:
        rng = rng or np.random.default_rng()
        c, C = config, config.n_embd
        self.config = config
        self.tokens = Embedding(c.vocab_size, C, rng=rng, dtype=dtype)
        self.positions = Embedding(c.position_offset + c.block_size, C, rng=rng, dtype=dtype)
        self.segments = Embedding(c.token_types, C, rng=rng, dtype=dtype)
        self.embed_norm = LayerNorm(C, c.layer_norm_eps, dtype=dtype)
        self.drop = Dropout(c.dropout)
        self.layer = [
            EncoderBlock(
                C,
                c.n_head,
                c.n_inner or None,
                c.dropout,
                activation=c.activation,
                attention_dropout=c.dropout,
                layer_norm_eps=c.layer_norm_eps,
                rng=rng,
                dtype=dtype,
            )
            for _ in range(c.n_layer)
        ]
        self.head: Any = None
        if c.head == "masked-lm":
            activation, eps = c.head_activation or c.activation, c.layer_norm_eps
            self.head = MaskedLMHead(C, c.vocab_size, activation, layer_norm_eps=eps, rng=rng, dtype=dtype)
        elif c.head == "classification":
            self.head = ClassificationHead(C, c.n_labels, c.pooling, c.dropout, rng=rng, dtype=dtype)

    def forward(
        self,
        ids: Array,
        mask: Array | None = None,
        token_types: Array | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Cache]:
        """Logits of the head: (B, T, V) for masked tokens, (B, K) for a classification.

        Parameters
        ----------
        ids : int array (B, T), T <= block_size
        mask : bool array (B, T), optional
            True for a real token, False for padding. Default: all are real.
        token_types : int array (B, T), optional
            0 for the first text of a pair, 1 for the second. Default: 0.
        rng : numpy.random.Generator, optional
            Given: dropout. Not given: evaluation.

        Raises
        ------
        ValueError
            If an array has the wrong shape, ids contains an id outside [0, V), or the model has no head.
        """
        if self.head is None:
            raise ValueError("this Bert has no head: use hidden or sentence_embeddings")
        x, hidden_cache = self.hidden(ids, mask, token_types, rng)  # (B, T, C)
        if isinstance(self.head, MaskedLMHead):
            logits, head_cache = self.head.forward(x, self.tokens)  # (B, T, V)
        else:
            logits, head_cache = self.head.forward(x, mask, rng)  # (B, K)
        return logits, (hidden_cache, head_cache)

    def backward(self, dlogits: Array, cache: Cache) -> None:
        """Add dL/dparameter to every ``.grad``. dlogits has the shape of the logits. Ids have no gradient."""
        hidden_cache, head_cache = cache
        if isinstance(self.head, MaskedLMHead):
            dx = self.head.backward(dlogits, head_cache, self.tokens)  # (B, T, C)
        else:
            dx = self.head.backward(dlogits, head_cache)  # (B, T, C)
        self.hidden_backward(dx, hidden_cache)

    def embed(
        self,
        ids: Array,
        mask: Array | None = None,
        token_types: Array | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Cache]:
        """The input of the first block: ids (B, T) -> (B, T, C)."""
        tokens, tokens_cache = self.tokens.forward(ids)  # (B, T, C)
        positions, positions_cache = self.positions.forward(self._positions(ids, mask))  # (T, C) or (B, T, C)
        types = np.zeros(ids.shape, np.intp) if token_types is None else np.asarray(token_types)
        segments, segments_cache = self.segments.forward(types)  # (B, T, C)
        x, norm_cache = self.embed_norm.forward(tokens + positions + segments)
        x, drop_cache = self.drop.forward(x, rng)
        return x, EmbedCache(tokens_cache, positions_cache, segments_cache, norm_cache, drop_cache)

    def embed_backward(self, dx: Array, cache: Cache) -> None:
        """Gradient of `embed`: dx (B, T, C); adds to the gradients of the embeddings and their norm."""
        tokens_cache, positions_cache, segments_cache, norm_cache, drop_cache = cache
        dx = self.embed_norm.backward(self.drop.backward(dx, drop_cache), norm_cache)
        self.segments.backward(dx, segments_cache)
        self.positions.backward(dx if positions_cache.ndim == 2 else dx.sum(axis=0), positions_cache)
        self.tokens.backward(dx, tokens_cache)

    def hidden(
        self,
        ids: Array,
        mask: Array | None = None,
        token_types: Array | None = None,
        rng: np.random.Generator | None = None,
        differentiable: bool = True,
    ) -> tuple[Array, StackCache]:
        """The trunk, which is the model without its head: ids (B, T) -> hidden states (B, T, C). For caches see `GPT`.

        The hidden states of real tokens do not depend on padding.
        """
        ids = np.asarray(ids)
        check_ids(self, ids, mask=mask, token_types=token_types)
        x, embed_cache = self.embed(ids, mask, token_types, rng)
        lowest = self.first_trained_block() if differentiable else len(self.layer)
        keys = padding_mask(mask)  # (B, 1, 1, T)
        caches: list[Cache] = []
        for i, block in enumerate(self.layer):
            x, cache = run_block(block, self.recompute, x, keys, rng)  # (B, T, C)
            caches.append(cache if i >= lowest else None)
        return x, StackCache(embed_cache, caches, None)

    def hidden_backward(self, dx: Array, cache: StackCache) -> None:
        """Gradient of `hidden`: dx (B, T, C); adds to the gradients of the trunk's parameters."""
        for block, block_cache in zip(reversed(self.layer), reversed(cache.blocks), strict=True):
            if block_cache is None:
                return
            dx = block.backward(dx, full_cache(block, block_cache))
        self.embed_backward(dx, cache.embed)

    def sentence_embeddings(self, ids: Array, mask: Array | None = None, token_types: Array | None = None) -> Array:
        """One vector of length 1 for each text: (B, C). Texts of similar meaning have a large dot product.

        It is the mean of the hidden states of all real tokens, divided by its length, as in Sentence-BERT (Reimers &
        Gurevych 2019, arXiv:1908.10084, section 3).
        """
        x, _ = self.hidden(ids, mask, token_types, differentiable=False)
        mean, _ = pool_mean(x, mask)  # (B, C)
        return mean / np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), 1e-12)

    def loss(self, ids: Array, targets: Array, mask: Array | None = None, token_types: Array | None = None) -> float:
        """Mean cross-entropy in nats per counted target, without dropout. A target of -100 is not counted.

        ``targets`` are token ids (B, T) for masked tokens, or label numbers (B,) for a classification.
        """
        return self._loss(ids, targets, mask, token_types, differentiable=False)[0]

    def loss_and_grad(
        self,
        ids: Array,
        targets: Array,
        rng: np.random.Generator | None = None,
        count: int | None = None,
        mask: Array | None = None,
        token_types: Array | None = None,
        label_smoothing: float = 0.0,
    ) -> float:
        """Compute `loss`, with dropout if ``rng`` is given, and add its gradient to every parameter's ``.grad``.

        For ``count`` and ``label_smoothing`` see `cross_entropy`.
        """
        loss, dlogits, cache = self._loss(ids, targets, mask, token_types, rng, True, count, label_smoothing)
        hidden_cache, head_cache, counted = cache
        if counted is None:
            dx = self.head.backward(dlogits, head_cache)  # (B, T, C)
        else:
            dx = np.zeros((*counted.shape, self.config.n_embd), dlogits.dtype)
            dx[counted] = self.head.backward(dlogits, head_cache, self.tokens)  # (N, C)
        self.hidden_backward(dx, hidden_cache)
        return loss

    def _loss(
        self,
        ids: Array,
        targets: Array,
        mask: Array | None,
        token_types: Array | None,
        rng: np.random.Generator | None = None,
        differentiable: bool = True,
        count: int | None = None,
        label_smoothing: float = 0.0,
    ) -> tuple[float, Array, Cache]:
        """The loss, its gradient at the logits, and the caches.

        About 15 % of the positions are predicted, and only these N positions need logits. So the masked-LM head, which
        is half of a small model's work, runs on (N, C) instead of (B, T, C).
        """
        if self.head is None:
            raise ValueError("this Bert has no head, so it has no loss")
        x, hidden_cache = self.hidden(ids, mask, token_types, rng, differentiable)  # (B, T, C)
        targets, counted = np.asarray(targets), None
        if isinstance(self.head, MaskedLMHead):
            if targets.shape != x.shape[:2]:
                raise ValueError(f"masked tokens need targets of the shape of ids, {x.shape[:2]}, got {targets.shape}")
            counted = targets != IGNORE_INDEX  # (B, T)
            targets = targets[counted]  # (N,)
            logits, head_cache = self.head.forward(x[counted], self.tokens)  # (N, V)
        else:
            logits, head_cache = self.head.forward(x, mask, rng)  # (B, K)
        loss, dlogits = cross_entropy(logits, targets, count=count, label_smoothing=label_smoothing)
        return loss, dlogits, (hidden_cache, head_cache, counted)

    @property
    def blocks(self) -> list[EncoderBlock]:
        """All blocks, the lowest first."""
        return self.layer

    @property
    def embeddings(self) -> list[Module]:
        """The layers below the lowest block."""
        return [self.tokens, self.positions, self.segments, self.embed_norm]

    def _positions(self, ids: Array, mask: Array | None) -> Array:
        """Positions (T,). With RoBERTa's offset, only real tokens are numbered: (B, T)."""
        offset = self.config.position_offset
        if not offset or mask is None:
            return offset + np.arange(ids.shape[1])
        return offset + np.maximum(np.cumsum(mask, axis=1) - 1, 0)

    # Code that uses a trained model is in other files. numpylm/__init__.py attaches it as these methods.
    classify: ClassVar[Callable[..., list]]


def with_head(bert: Bert, head: str, rng: np.random.Generator, **options: Any) -> Bert:
    """A model with the same trunk (it uses the same arrays) and a new head. For ``options`` see `BertConfig`."""
    keep = {"n_labels": 0} | options
    other = Bert(replace(bert.config, head=head, **keep), rng, bert.tokens.weight.dtype)
    own = dict(other.named_parameters())
    for name, parameter in bert.named_parameters():
        if not name.startswith("head."):
            own[name].data = parameter.data
    other.tokenizer = bert.tokenizer
    return other
