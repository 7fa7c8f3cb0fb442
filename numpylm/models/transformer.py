"""Transformer: the encoder-decoder of "Attention Is All You Need" (Vaswani et al. 2017, arXiv:1706.03762, figure 1).

The encoder reads a source text. The decoder writes a target text, token by token, and looks at the source while it
writes: P(target | source).
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from numpylm.models.checks import check_ids
from numpylm.models.configs import TransformerConfig
from numpylm.models.decoder_past import DecoderPast
from numpylm.models.stack import StackCache, StackModel, full_cache, run_block
from numpylm.nn.attention import causal_mask
from numpylm.nn.encoder_decoder import DecoderBlock, EncoderBlock
from numpylm.nn.functional import cross_entropy
from numpylm.nn.kv_cache import KVCache
from numpylm.nn.layers import Dropout, Embedding, LayerNorm, tied_head, tied_head_backward
from numpylm.nn.module import Array, Cache, Parameter
from numpylm.nn.positions import sinusoidal
from numpylm.nn.self_and_cross_attention import padding_mask


class Transformer(StackModel):
    """An encoder-decoder Transformer.

        m = embed(source)              x = embed(target so far)         embed(t) = √C E[t] + positions
        m = encoder block(m)           x = decoder block(x, m)          for each block
                                       logits = x Eᵀ

    With pre-norm, a norm follows each of the two stacks.

    Parameters
    ----------
    config : TransformerConfig
    rng : numpy.random.Generator, optional
        Draws the initial weights from N(0, 1/C). (The paper does not say how to draw them.)
    dtype : dtype

    Attributes
    ----------
    shared : Embedding (V, C)
        Token embedding and output layer. Its gradient is a sum of three: source, target, output.
    source_tokens : Embedding (V, C)
        The encoder's token embedding: ``shared`` itself, if embeddings are shared.
    encoder : list of EncoderBlock
    decoder : list of DecoderBlock
    encoder_norm, decoder_norm : LayerNorm or None
        Only in pre-norm.
    logits_bias : Parameter (V,) or None
    recompute, tokenizer
        As in `StackModel`.
    """

    def __init__(
        self, config: TransformerConfig, rng: np.random.Generator | None = None, dtype: DTypeLike = np.float32
    ) -> None:
        rng = rng or np.random.default_rng()
        c, C = config, config.n_embd
        std = C**-0.5
        self.config = config
        self.shared = Embedding(c.vocab_size, C, std=std, rng=rng, dtype=dtype)
        self.source_tokens = (
            self.shared if c.share_embeddings else Embedding(c.vocab_size, C, std=std, rng=rng, dtype=dtype)
        )
        self.position_vectors = sinusoidal(c.block_size, C, c.position_layout, dtype)  # (block_size, C), constants
        self.drop = Dropout(c.dropout)
        shape = (C, c.n_head, c.n_inner or None, c.dropout)
        options: dict[str, Any] = {
            "norm_first": c.norm_first,
            "activation": c.activation,
            "attention_dropout": c.attention_dropout,
            "layer_norm_eps": c.layer_norm_eps,
            "std": std,
            "rng": rng,
            "dtype": dtype,
        }
        self.encoder = [EncoderBlock(*shape, **options) for _ in range(c.n_layer)]
        self.decoder = [DecoderBlock(*shape, **options) for _ in range(c.n_decoder_layer or c.n_layer)]
        self.encoder_norm = LayerNorm(C, c.layer_norm_eps, dtype=dtype) if c.norm_first else None
        self.decoder_norm = LayerNorm(C, c.layer_norm_eps, dtype=dtype) if c.norm_first else None
        self.logits_bias = Parameter(np.zeros(c.vocab_size, dtype)) if c.logits_bias else None

    def forward(
        self,
        source: Array,
        ids: Array,
        source_mask: Array | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Cache]:
        """Logits for the token after each position of the target.

        Parameters
        ----------
        source : int array (B, S)
        ids : int array (B, T)
            The target so far: ``start_id``, then the target without its last token. Padding at its end changes nothing
            before it, because the causal mask hides it.
        source_mask : bool array (B, S), optional
            True for a real token, False for padding. Default: all are real.
        rng : numpy.random.Generator, optional
            Given: dropout. Not given: evaluation.

        Returns
        -------
        logits : array (B, T, V)
        cache
        """
        if len(source) != len(ids):
            raise ValueError(f"each source needs one target: got {len(source)} sources and {len(ids)} targets")
        memory, encoder_cache = self.encode(source, source_mask, rng)  # (B, S, C)
        x, decoder_cache = self.decode(ids, memory, source_mask, rng)  # (B, T, C)
        logits, head_cache = self.head(x)  # (B, T, V)
        return logits, (encoder_cache, decoder_cache, head_cache)

    def backward(self, dlogits: Array, cache: Cache) -> None:
        """Add dL/dparameter to every ``.grad``. dlogits (B, T, V) is dL/dlogits. Ids have no gradient."""
        encoder_cache, decoder_cache, head_cache = cache
        dx = self.head_backward(dlogits, head_cache)  # (B, T, C)
        dmemory = self.decode_backward(dx, decoder_cache)  # (B, S, C)
        if dmemory is not None:
            self.encode_backward(dmemory, encoder_cache)

    # ------------------------------------------------------------------------------------- the two stacks

    def encode(
        self, source: Array, mask: Array | None = None, rng: np.random.Generator | None = None
    ) -> tuple[Array, StackCache]:
        """The memory that the decoder looks at: source (B, S) -> (B, S, C). ``mask`` is True for a real token."""
        source = np.asarray(source)
        check_ids(self, source, source_mask=mask)
        x, embed_cache = self.embed(source, self.source_tokens, rng)
        lowest, keys = self.first_trained_block(), padding_mask(mask)  # (B, 1, 1, S)
        caches: list[Cache] = []
        for i, block in enumerate(self.encoder):
            x, cache = run_block(block, self.recompute, x, keys, rng)  # (B, S, C)
            caches.append(cache if i >= lowest else None)
        x, norm_cache = (x, None) if self.encoder_norm is None else self.encoder_norm.forward(x)
        return x, StackCache(embed_cache, caches, norm_cache)

    def encode_backward(self, dmemory: Array, cache: StackCache) -> None:
        """Gradient of `encode`: dmemory (B, S, C); adds to the gradients of the encoder and its embedding."""
        dx = dmemory if self.encoder_norm is None else self.encoder_norm.backward(dmemory, cache.norm)
        for block, block_cache in zip(reversed(self.encoder), reversed(cache.blocks), strict=True):
            if block_cache is None:
                return
            dx = block.backward(dx, full_cache(block, block_cache))
        self.embed_backward(dx, cache.embed, self.source_tokens)

    def decode(
        self,
        ids: Array,
        memory: Array,
        memory_mask: Array | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, StackCache]:
        """The trunk of the decoder: ids (B, T), memory (B, S, C) -> hidden states (B, T, C)."""
        ids = np.asarray(ids)
        check_ids(self, ids)
        x, embed_cache = self.embed(ids, self.shared, rng)
        lowest = self.first_trained_block() - len(self.encoder)
        earlier, keys = causal_mask(ids.shape[1], ids.shape[1]), padding_mask(memory_mask)  # (T, T), (B, 1, 1, S)
        caches: list[Cache] = []
        for i, block in enumerate(self.decoder):
            x, cache = run_block(block, self.recompute, x, memory, earlier, keys, rng)  # (B, T, C)
            caches.append(cache if i >= lowest else None)
        x, norm_cache = (x, None) if self.decoder_norm is None else self.decoder_norm.forward(x)
        return x, StackCache(embed_cache, caches, norm_cache)

    def decode_backward(self, dx: Array, cache: StackCache) -> Array | None:
        """Gradient of `decode`: dx (B, T, C) -> dmemory (B, S, C), the sum over all blocks.

        None if everything below a decoder block is frozen: then the encoder needs no gradient.
        """
        dx = dx if self.decoder_norm is None else self.decoder_norm.backward(dx, cache.norm)
        dmemory: Any = 0
        for block, block_cache in zip(reversed(self.decoder), reversed(cache.blocks), strict=True):
            if block_cache is None:
                return None
            dx, block_dmemory = block.backward(dx, full_cache(block, block_cache))
            dmemory = dmemory + block_dmemory
        self.embed_backward(dx, cache.embed, self.shared)
        return dmemory

    def head(self, x: Array) -> tuple[Array, Cache]:
        """The output layer: x (..., C) -> logits (..., V)."""
        logits, cache = tied_head(x, self.shared)
        if self.logits_bias is not None:
            logits += self.logits_bias.data
        return logits, cache

    def head_backward(self, dlogits: Array, cache: Cache) -> Array:
        """Gradient of `head`: dlogits (..., V) -> dx (..., C); adds to the gradients of the output layer."""
        if self.logits_bias is not None and not self.logits_bias.frozen:
            self.logits_bias.grad += dlogits.reshape(-1, dlogits.shape[-1]).sum(axis=0)
        return tied_head_backward(dlogits, cache, self.shared)

    def embed(
        self, ids: Array, tokens: Embedding, rng: np.random.Generator | None = None, start: int = 0
    ) -> tuple[Array, Cache]:
        """dropout(√C tokens[ids] + positions): ids (B, T) -> (B, T, C), at positions start … start + T - 1."""
        x, tokens_cache = tokens.forward(ids)  # (B, T, C)
        if self.config.scale_embedding:
            x *= math.sqrt(self.config.n_embd)
        x += self.position_vectors[start : start + ids.shape[1]]
        x, drop_cache = self.drop.forward(x, rng)
        return x, (tokens_cache, drop_cache)

    def embed_backward(self, dx: Array, cache: Cache, tokens: Embedding) -> None:
        """Gradient of `embed`: dx (B, T, C); adds to the gradient of ``tokens``."""
        tokens_cache, drop_cache = cache
        dx = self.drop.backward(dx, drop_cache)
        if self.config.scale_embedding:
            dx = dx * math.sqrt(self.config.n_embd)
        tokens.backward(dx, tokens_cache)

    # ------------------------------------------------------------------------------------------ generation

    def new_past(self, source: Array, source_mask: Array | None = None, longest: int | None = None) -> DecoderPast:
        """Read the sources (B, S), and return what `read` needs to write up to ``longest`` tokens for each."""
        c = self.config
        memory, _ = self.encode(source, source_mask)  # (B, S, C)
        shape = (len(memory), c.n_head, min(longest or c.block_size, c.block_size), c.n_embd // c.n_head)
        written = [KVCache(shape, memory.dtype) for _ in self.decoder]
        sources = [block.encoder_attn.keys_values(memory) for block in self.decoder]
        return DecoderPast(written, sources, padding_mask(source_mask))

    def read(self, ids: Array, past: DecoderPast) -> Array:
        """Logits (R, V) for the token that follows ids (R, T), which follow the tokens in ``past``."""
        ids = np.asarray(ids)
        x, _ = self.embed(ids, self.shared, None, past.written[0].length)
        for block, written, source in zip(self.decoder, past.written, past.sources, strict=True):
            x = block.forward_after(x, written, source, past.source_mask)  # (R, T, C)
        x = x[:, -1]
        return self.head(x if self.decoder_norm is None else self.decoder_norm.forward(x)[0])[0]

    # ---------------------------------------------------------------------------------------- the loss

    def loss(self, source: Array, ids: Array, targets: Array, source_mask: Array | None = None) -> float:
        """Mean cross-entropy in nats per counted token, without dropout. A target of -100 is not counted."""
        return cross_entropy(self.forward(source, ids, source_mask)[0], np.asarray(targets))[0]

    def loss_and_grad(
        self,
        source: Array,
        ids: Array,
        targets: Array,
        rng: np.random.Generator | None = None,
        count: int | None = None,
        source_mask: Array | None = None,
        label_smoothing: float = 0.0,
    ) -> float:
        """Compute `loss`, with dropout if ``rng`` is given, and add its gradient to every parameter's ``.grad``.

        For ``count`` and ``label_smoothing`` see `cross_entropy`.
        """
        logits, cache = self.forward(source, ids, source_mask, rng)
        loss, dlogits = cross_entropy(logits, np.asarray(targets), count=count, label_smoothing=label_smoothing)
        self.backward(dlogits, cache)
        return loss

    # ---------------------------------------------------------------------------------------- fine-tuning

    @property
    def blocks(self) -> list[EncoderBlock]:
        """All blocks, the lowest first: those of the encoder, then those of the decoder."""
        return [*self.encoder, *self.decoder]

    @property
    def embeddings(self) -> list[Embedding]:
        """The layers below the lowest block."""
        return [self.shared, self.source_tokens]

    def freeze(self, below: int) -> None:
        """Freeze the embeddings and the lowest ``below`` of all blocks; see `StackModel.freeze`."""
        super().freeze(below)
        if self.encoder_norm is not None and below >= len(self.encoder):  # it ends the frozen encoder
            for parameter in self.encoder_norm.parameters():
                parameter.frozen = True

    def first_trained_block(self) -> int:
        """The lowest of all blocks that needs a backward."""
        lowest = super().first_trained_block()
        if self.encoder_norm is not None and self.encoder_norm.trainable_parameters():
            return min(lowest, len(self.encoder))  # its gradient comes through all blocks of the decoder
        return lowest

    # Code that uses a trained model is in other files. numpylm/__init__.py attaches it as these methods.
    translate: ClassVar[Callable[..., list[str]]]
