"""Transformer: the encoder-decoder of "Attention Is All You Need" (Vaswani et al. 2017, arXiv:1706.03762, figure 1).

The encoder reads a source text. The decoder writes a target text, token by token, and looks at the source while it
writes: P(target | source).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from numpylm.models.config_checks import check_dropout, check_epsilon, check_sizes
from numpylm.models.stack import first_trained, freeze_below, full_cache, run_block, set_dropout
from numpylm.nn.attention import causal_mask
from numpylm.nn.encoder_decoder import DecoderBlock, EncoderBlock
from numpylm.nn.functional import ACTIVATIONS, cross_entropy
from numpylm.nn.kv_cache import KVCache
from numpylm.nn.layers import Dropout, Embedding, LayerNorm, tied_head, tied_head_backward
from numpylm.nn.module import Array, Cache, Module, Parameter
from numpylm.nn.positions import sinusoidal
from numpylm.nn.self_and_cross_attention import padding_mask


@dataclass(frozen=True)
class TransformerConfig:
    """The shape of a Transformer. The defaults of the options are the paper's.

    Attributes
    ----------
    vocab_size : int
        V, number of tokens of both languages together.
    block_size : int
        The longest source and the longest target, in tokens.
    n_layer, n_decoder_layer : int
        Blocks of the encoder and of the decoder; n_decoder_layer = 0: as many as the encoder has.
    n_head, n_embd : int
        H heads, C channels. H must divide C.
    n_inner : int
        F, hidden channels of the MLPs. 0: 4C.
    start_id : int
        The decoder's first token.
    dropout : float in [0, 1)
        Dropout probability of embeddings and sublayers (section 5.4).
    attention_dropout : float in [0, 1)
        Dropout probability of the attention weights; 0 in the paper.
    norm_first : bool
        Pre-norm instead of post-norm; see `Residual`. Both stacks then end with a norm.
    activation : str
        As in `MLP`.
    position_layout : {"interleaved", "halves"}
        See `sinusoidal`.
    scale_embedding : bool
        Multiply token embeddings by √C (section 3.4).
    share_embeddings : bool
        One matrix for source tokens, target tokens and output layer (section 3.4). Otherwise the encoder has its own.
    logits_bias : bool
        A bias for each token in the output layer, as in Marian.
    layer_norm_eps : float
    """

    vocab_size: int
    block_size: int
    n_layer: int
    n_head: int
    n_embd: int
    n_inner: int = 0
    n_decoder_layer: int = 0
    start_id: int = 0
    dropout: float = 0.0
    attention_dropout: float = 0.0
    norm_first: bool = False
    activation: str = "relu"
    position_layout: str = "interleaved"
    scale_embedding: bool = True
    share_embeddings: bool = True
    logits_bias: bool = False
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        check_sizes(self, "vocab_size", "block_size", "n_layer", "n_head", "n_embd")
        check_sizes(self, "n_inner", "n_decoder_layer", "start_id", least=0)
        check_dropout(self.dropout)
        check_dropout(self.attention_dropout)
        check_epsilon(self.layer_norm_eps)
        if self.start_id >= self.vocab_size:
            raise ValueError(f"start_id must be below vocab_size={self.vocab_size}, got {self.start_id}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")
        sinusoidal(1, self.n_embd, self.position_layout)


class StackCache(NamedTuple):
    """What the encoder or the decoder saves for its backward."""

    embed: Cache
    blocks: list[Cache]  # None for the blocks below the lowest trained one
    norm: Cache


class DecoderPast(NamedTuple):
    """What generation keeps between two tokens: of each text so far, and of its source.

    A row is a text. Several rows may continue one source, as in beam search: R rows, B sources, R / B rows for each.
    """

    written: list[KVCache]  # for each decoder block, the keys and values of the tokens so far: (R, H, T, D)
    sources: list[tuple[Array, Array]]  # for each decoder block, those of the memory: (B, S, C)
    source_mask: Array | None  # (B, 1, 1, S)

    def select(self, rows: Array, sources: Array) -> "DecoderPast":
        """A copy with these rows and these sources, in this order; both may repeat."""
        written = [cache.select(rows) for cache in self.written]
        kept = [(k[sources], v[sources]) for k, v in self.sources]
        return DecoderPast(written, kept, None if self.source_mask is None else self.source_mask[sources])

    def reorder(self, rows: Array) -> None:
        """Make row i a copy of what row ``rows[i]`` was, in place; it must belong to the same source."""
        for cache in self.written:
            cache.reorder(rows)


class Transformer(Module):
    """An encoder-decoder Transformer.

        m = embed(source)              x = embed(target so far)
        m = encoder block(m)           x = decoder block(x, m)          L times each
                                       logits = x Eᵀ

    Parameters
    ----------
    config : TransformerConfig
    rng : numpy.random.Generator, optional
        Draws the initial weights from N(0, 1/C).
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
    recompute : bool
        As in `GPT`.
    """

    recompute = False

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
        source = self._checked(source, mask)
        x, embed_cache = self._embed(source, self.source_tokens, rng)
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
        self._embed_backward(dx, cache.embed, self.source_tokens)

    def decode(
        self,
        ids: Array,
        memory: Array,
        memory_mask: Array | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, StackCache]:
        """The trunk of the decoder: ids (B, T), memory (B, S, C) -> hidden states (B, T, C)."""
        ids = self._checked(ids, None)
        x, embed_cache = self._embed(ids, self.shared, rng)
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
        self._embed_backward(dx, cache.embed, self.shared)
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

    def _embed(
        self, ids: Array, tokens: Embedding, rng: np.random.Generator | None, start: int = 0
    ) -> tuple[Array, Cache]:
        """dropout(√C tokens[ids] + positions): ids (B, T) -> (B, T, C), at positions start … start + T - 1."""
        x, tokens_cache = tokens.forward(ids)  # (B, T, C)
        if self.config.scale_embedding:
            x *= math.sqrt(self.config.n_embd)
        x += self.position_vectors[start : start + ids.shape[1]]
        x, drop_cache = self.drop.forward(x, rng)
        return x, (tokens_cache, drop_cache)

    def _embed_backward(self, dx: Array, cache: Cache, tokens: Embedding) -> None:
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
        x, _ = self._embed(ids, self.shared, None, past.written[0].length)
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

    def freeze(self, below: int) -> None:
        """Freeze the embeddings and the lowest ``below`` of all blocks; see `freeze_below`."""
        freeze_below(self, [self.shared, self.source_tokens], self.blocks, below)
        if self.encoder_norm is not None and below >= len(self.encoder):  # it ends the frozen encoder
            for parameter in self.encoder_norm.parameters():
                parameter.frozen = True

    def set_dropout(self, p: float) -> None:
        """Set the dropout probability of embeddings and sublayers."""
        set_dropout(self, p)

    def first_trained_block(self) -> int:
        """The lowest of all blocks that needs a backward; see `first_trained`."""
        lowest = first_trained([self.shared, self.source_tokens], self.blocks)
        if self.encoder_norm is not None and self.encoder_norm.trainable_parameters():
            return min(lowest, len(self.encoder))  # its gradient comes through all blocks of the decoder
        return lowest

    # Code that uses a trained model is in other files. numpylm/__init__.py attaches it as these methods.
    translate: ClassVar[Callable[..., list[str]]]
    from_pretrained: ClassVar[Any]  # a classmethod
    save_pretrained: ClassVar[Callable[..., None]]
    tokenizer: Any = None  # the tokenizer that was loaded with the model

    def _checked(self, ids: Array, mask: Array | None) -> Array:
        ids = np.asarray(ids)
        if ids.ndim != 2 or ids.dtype.kind not in "iu":
            raise ValueError(f"Transformer expects integer ids of shape (B, T), got {ids.dtype} {ids.shape}")
        if not 1 <= ids.shape[1] <= self.config.block_size:
            raise ValueError(f"Transformer reads 1 to block_size={self.config.block_size} tokens, got {ids.shape[1]}")
        if mask is not None and np.shape(mask) != ids.shape:
            raise ValueError(f"the mask must have the shape of ids, {ids.shape}, got {np.shape(mask)}")
        return ids
