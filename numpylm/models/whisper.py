"""Whisper: an encoder-decoder that reads sound and writes text (Radford et al. 2022, arXiv:2212.04356, figure 1)."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from numpylm.models.checks import check_ids
from numpylm.models.configs import WhisperConfig
from numpylm.models.decoder_past import DecoderPast
from numpylm.models.stack import StackCache, StackModel, full_cache, run_block
from numpylm.nn.attention import causal_mask
from numpylm.nn.conv import Conv1d
from numpylm.nn.encoder_decoder import DecoderBlock, EncoderBlock
from numpylm.nn.functional import cross_entropy, gelu, gelu_backward
from numpylm.nn.kv_cache import KVCache
from numpylm.nn.layers import Dropout, Embedding, LayerNorm, tied_head, tied_head_backward
from numpylm.nn.module import Array, Cache
from numpylm.nn.positions import sinusoidal


class EarCache(NamedTuple):
    """What `Whisper.listen` saves for its backward."""

    conv1: Cache
    gelu1: Cache
    conv2: Cache
    gelu2: Cache
    drop: Cache


class Whisper(StackModel):
    """A Whisper: the Transformer of 2017 in pre-norm, with two convolutions as its ear.

        m = gelu(conv1(mel))                       x = tokens[ids] + positions
        m = gelu(conv2(m)) + sinusoids
        m = encoder block(m)                       x = decoder block(x, m)          for each block
        m = norm(m)                                logits = norm(x) tokensᵀ

    conv2 has a stride of 2, so 30 seconds of sound, 3000 frames of 10 ms, become 1500 positions.

    Parameters
    ----------
    config : WhisperConfig
    rng : numpy.random.Generator, optional
        Draws the initial weights from N(0, 0.02²).
    dtype : dtype

    Attributes
    ----------
    conv1, conv2 : Conv1d (M, C), (C, C)
        With a kernel of 3 and a padding of 1.
    audio_positions : Embedding (S, C)
        Sinusoids, in halves: constants. They are in the published files, so they are parameters here, always frozen.
    tokens : Embedding (V, C)
        Token embedding and output layer.
    positions : Embedding (block_size, C)
        Learned positions of the text.
    encoder : list of EncoderBlock
    decoder : list of DecoderBlock
    encoder_norm, decoder_norm : LayerNorm
    speech_tokens
        The ids of the special tokens that `transcribe` needs, or None; see `numpylm.inference.speech_tokens`.
    recompute, tokenizer
        As in `StackModel`.
    """

    speech_tokens: Any = None

    def __init__(
        self, config: WhisperConfig, rng: np.random.Generator | None = None, dtype: DTypeLike = np.float32
    ) -> None:
        rng = rng or np.random.default_rng()
        c, C = config, config.n_embd
        draw: dict[str, Any] = {"rng": rng, "dtype": dtype}
        options = draw | {
            "norm_first": True,
            "activation": c.activation,
            "attention_dropout": c.attention_dropout,
            "key_bias": False,
        }
        shape = (C, c.n_head, c.n_inner or None, c.dropout)
        self.config = config
        self.conv1 = Conv1d(c.n_mels, C, 3, padding=1, **draw)
        self.conv2 = Conv1d(C, C, 3, stride=2, padding=1, **draw)
        self.audio_positions = Embedding(c.audio_positions, C, **draw)
        self.audio_positions.weight.data[:] = sinusoidal(c.audio_positions, C, "halves", dtype, longest_included=True)
        self.audio_positions.weight.frozen = True
        self.encoder = [EncoderBlock(*shape, **options) for _ in range(c.n_layer)]
        self.encoder_norm = LayerNorm(C, dtype=dtype)
        self.tokens = Embedding(c.vocab_size, C, **draw)
        self.positions = Embedding(c.block_size, C, **draw)
        self.decoder = [DecoderBlock(*shape, **options) for _ in range(c.n_decoder_layer or c.n_layer)]
        self.decoder_norm = LayerNorm(C, dtype=dtype)
        self.drop = Dropout(c.dropout)

    def forward(self, mel: Array, ids: Array, rng: np.random.Generator | None = None) -> tuple[Array, Cache]:
        """Logits for the token after each position of the text.

        Parameters
        ----------
        mel : float array (B, M, F)
            Log-mel spectrograms, as of `numpylm.audio.mel.log_mel`: M bands of F frames, at most 2 audio_positions.
            Published models were trained with exactly 30 seconds, silence included; see `pad_or_trim`.
        ids : int array (B, T)
            The text so far, from the start token on. Padding at its end changes nothing before it.
        rng : numpy.random.Generator, optional
            Given: dropout. Not given: evaluation.

        Returns
        -------
        logits : array (B, T, V)
        cache
        """
        if len(mel) != len(ids):
            raise ValueError(f"each sound needs one text: got {len(mel)} sounds and {len(ids)} texts")
        memory, encoder_cache = self.encode(mel, rng)  # (B, S, C)
        x, decoder_cache = self.decode(ids, memory, rng)  # (B, T, C)
        logits, head_cache = tied_head(x, self.tokens)  # (B, T, V)
        return logits, (encoder_cache, decoder_cache, head_cache)

    def backward(self, dlogits: Array, cache: Cache) -> Array | None:
        """dlogits (B, T, V) -> dmel (B, M, F); adds to every ``.grad``. None if everything below a block is frozen."""
        encoder_cache, decoder_cache, head_cache = cache
        dx = tied_head_backward(dlogits, head_cache, self.tokens)  # (B, T, C)
        dmemory = self.decode_backward(dx, decoder_cache)  # (B, S, C)
        return None if dmemory is None else self.encode_backward(dmemory, encoder_cache)

    # ------------------------------------------------------------------------------------------- the encoder

    def encode(self, mel: Array, rng: np.random.Generator | None = None, keep: bool = True) -> tuple[Array, StackCache]:
        """The memory that the decoder looks at: mel (B, M, F) -> (B, ⌈F/2⌉, C).

        Without ``keep``, the caches of the blocks are thrown away, and there is no backward. They take much memory,
        because each position attends to all others.
        """
        x, ear_cache = self.listen(mel, rng)
        lowest = self.first_trained_block()
        caches: list[Cache] = []
        for i, block in enumerate(self.encoder):
            x, cache = run_block(block, self.recompute, x, None, rng)  # (B, S, C)
            caches.append(cache if keep and i >= lowest else None)
        x, norm_cache = self.encoder_norm.forward(x)
        return x, StackCache(ear_cache if keep else None, caches, norm_cache)

    def encode_backward(self, dmemory: Array, cache: StackCache) -> Array | None:
        """Gradient of `encode`: dmemory (B, S, C) -> dmel (B, M, F), or None if nothing below a block is trained."""
        dx = self.encoder_norm.backward(dmemory, cache.norm)
        for block, block_cache in zip(reversed(self.encoder), reversed(cache.blocks), strict=True):
            if block_cache is None:
                return None
            dx = block.backward(dx, full_cache(block, block_cache))
        return self.listen_backward(dx, cache.embed)

    def listen(self, mel: Array, rng: np.random.Generator | None = None) -> tuple[Array, EarCache]:
        """The two convolutions, and positions: mel (B, M, F) -> (B, S, C), S = ⌈F/2⌉."""
        c, mel = self.config, np.asarray(mel)
        if mel.ndim != 3 or mel.shape[1] != c.n_mels or not 1 <= mel.shape[2] <= 2 * c.audio_positions:
            raise ValueError(
                f"Whisper expects log-mel spectrograms (B, {c.n_mels}, F) of 1 to {2 * c.audio_positions} frames, "
                f"got {mel.shape}"
            )
        frames = np.ascontiguousarray(mel.swapaxes(1, 2), self.conv1.weight.dtype)  # (B, F, M)
        x, conv1_cache = self.conv1.forward(frames)  # (B, F, C)
        x, gelu1_cache = gelu(x, "none")
        x, conv2_cache = self.conv2.forward(x)  # (B, S, C)
        x, gelu2_cache = gelu(x, "none")
        x = x + self.audio_positions.weight.data[: x.shape[1]]
        x, drop_cache = self.drop.forward(x, rng)
        return x, EarCache(conv1_cache, gelu1_cache, conv2_cache, gelu2_cache, drop_cache)

    def listen_backward(self, dx: Array, cache: EarCache) -> Array:
        """Gradient of `listen`: dx (B, S, C) -> dmel (B, M, F). The positions are constants."""
        dx = self.drop.backward(dx, cache.drop)
        dx = self.conv2.backward(gelu_backward(dx, cache.gelu2), cache.conv2)  # (B, F, C)
        dframes = self.conv1.backward(gelu_backward(dx, cache.gelu1), cache.conv1)  # (B, F, M)
        return dframes.swapaxes(1, 2)

    # ------------------------------------------------------------------------------------------- the decoder

    def decode(self, ids: Array, memory: Array, rng: np.random.Generator | None = None) -> tuple[Array, StackCache]:
        """The trunk of the decoder: ids (B, T), memory (B, S, C) -> hidden states (B, T, C)."""
        ids = np.asarray(ids)
        check_ids(self, ids)
        x, embed_cache = self._embed(ids, 0, rng)
        lowest = self.first_trained_block() - len(self.encoder)
        earlier = causal_mask(ids.shape[1], ids.shape[1])  # (T, T)
        caches: list[Cache] = []
        for i, block in enumerate(self.decoder):
            x, cache = run_block(block, self.recompute, x, memory, earlier, None, rng)  # (B, T, C)
            caches.append(cache if i >= lowest else None)
        x, norm_cache = self.decoder_norm.forward(x)
        return x, StackCache(embed_cache, caches, norm_cache)

    def decode_backward(self, dx: Array, cache: StackCache) -> Array | None:
        """Gradient of `decode`: dx (B, T, C) -> dmemory (B, S, C), the sum over all blocks; None as in `backward`."""
        dx = self.decoder_norm.backward(dx, cache.norm)
        dmemory: Any = 0
        for block, block_cache in zip(reversed(self.decoder), reversed(cache.blocks), strict=True):
            if block_cache is None:
                return None
            dx, block_dmemory = block.backward(dx, full_cache(block, block_cache))
            dmemory = dmemory + block_dmemory
        tokens_cache, positions_cache, drop_cache = cache.embed
        dx = self.drop.backward(dx, drop_cache)
        self.tokens.backward(dx, tokens_cache)
        self.positions.backward(dx.sum(axis=0), positions_cache)  # added to each row of the batch
        return dmemory

    def _embed(self, ids: Array, start: int, rng: np.random.Generator | None = None) -> tuple[Array, Cache]:
        """dropout(tokens[ids] + positions): ids (B, T) -> (B, T, C), at positions start … start + T - 1."""
        x, tokens_cache = self.tokens.forward(ids)  # (B, T, C)
        where, positions_cache = self.positions.forward(np.arange(start, start + ids.shape[1]))  # (T, C)
        x, drop_cache = self.drop.forward(x + where, rng)
        return x, (tokens_cache, positions_cache, drop_cache)

    # -------------------------------------------------------------------------------------------- generation

    def new_past(self, mel: Array, longest: int | None = None) -> DecoderPast:
        """Hear the sounds (B, M, F), and return what `read` needs to write up to ``longest`` tokens for each."""
        c = self.config
        memory, _ = self.encode(mel, keep=False)  # (B, S, C)
        shape = (len(memory), c.n_head, min(longest or c.block_size, c.block_size), c.n_embd // c.n_head)
        written = [KVCache(shape, memory.dtype) for _ in self.decoder]
        return DecoderPast(written, [block.encoder_attn.keys_values(memory) for block in self.decoder], None)

    def read(self, ids: Array, past: DecoderPast, every: bool = False) -> Array:
        """Logits (R, V) for the token that follows ids (R, T), which follow the tokens in ``past``.

        With ``every``, logits (R, T, V) for the token after each of them.
        """
        ids = np.asarray(ids)
        check_ids(self, ids, past.written[0].length)
        x, _ = self._embed(ids, past.written[0].length)
        for block, written, source in zip(self.decoder, past.written, past.sources, strict=True):
            x = block.forward_after(x, written, source)  # (R, T, C)
        return tied_head(self.decoder_norm.forward(x if every else x[:, -1])[0], self.tokens)[0]

    # ------------------------------------------------------------------------------------------------- the loss

    def loss(self, mel: Array, ids: Array, targets: Array) -> float:
        """Mean cross-entropy in nats per counted token, without dropout. A target of -100 is not counted."""
        return cross_entropy(self.forward(mel, ids)[0], np.asarray(targets))[0]

    def loss_and_grad(
        self,
        mel: Array,
        ids: Array,
        targets: Array,
        rng: np.random.Generator | None = None,
        count: int | None = None,
        label_smoothing: float = 0.0,
    ) -> float:
        """Compute `loss`, with dropout if ``rng`` is given, and add its gradient to every parameter's ``.grad``.

        For ``count`` and ``label_smoothing`` see `cross_entropy`.
        """
        logits, cache = self.forward(mel, ids, rng)
        loss, dlogits = cross_entropy(logits, np.asarray(targets), count=count, label_smoothing=label_smoothing)
        self.backward(dlogits, cache)
        return loss

    # ---------------------------------------------------------------------------------------------- fine-tuning

    @property
    def blocks(self) -> list[EncoderBlock]:
        """All blocks, the lowest first: those of the encoder, then those of the decoder."""
        return [*self.encoder, *self.decoder]

    @property
    def embeddings(self) -> list[Any]:
        """The layers below the lowest block of each stack."""
        return [self.conv1, self.conv2, self.tokens, self.positions]

    def freeze(self, below: int) -> None:
        """Freeze the convolutions, embeddings and the lowest ``below`` of all blocks; see `StackModel.freeze`."""
        super().freeze(below)
        self.audio_positions.weight.frozen = True
        if below >= len(self.encoder):  # the norm ends the frozen encoder
            for parameter in self.encoder_norm.parameters():
                parameter.frozen = True

    def first_trained_block(self) -> int:
        """The lowest of all blocks that needs a backward."""
        lowest = super().first_trained_block()
        if self.encoder_norm.trainable_parameters():
            return min(lowest, len(self.encoder))  # its gradient comes through all blocks of the decoder
        return lowest

    # Code that uses a trained model is in other files. numpylm/__init__.py attaches it as these methods.
    transcribe: ClassVar[Callable[..., Any]]
    recognize: ClassVar[Callable[..., list]]
