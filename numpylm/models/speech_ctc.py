"""SpeechCTC: an encoder that gives a letter or a blank for each 20 ms of sound, trained with CTC."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from numpylm.models.checks import check_dropout, check_epsilon, check_sizes
from numpylm.models.stack import StackCache, StackModel, full_cache, run_block
from numpylm.nn.conv import Conv1d
from numpylm.nn.ctc import ctc_loss
from numpylm.nn.encoder_decoder import EncoderBlock
from numpylm.nn.functional import ACTIVATIONS
from numpylm.nn.layers import Dropout, LayerNorm, Linear
from numpylm.nn.module import Array, Cache, Module
from numpylm.nn.positions import sinusoidal
from numpylm.nn.self_and_cross_attention import padding_mask


@dataclass(frozen=True)
class SpeechCTCConfig:
    """The shape of a SpeechCTC.

    Attributes
    ----------
    vocab_size : int
        V, labels and the blank.
    block_size : int
        The longest sound, in frames after the convolutions: 50 a second.
    n_layer, n_head, n_embd : int
        L blocks, H heads in each, C channels. H must divide C, and C must be even.
    n_inner : int
        F, hidden channels of the MLPs. 0: 4C.
    n_mels : int
        M, bands of the log-mel spectrogram.
    blank_id : int
    dropout : float in [0, 1)
        Dropout probability of the first block's input and of both sublayers.
    activation : str
        As in `MLP`.
    layer_norm_eps : float
    """

    vocab_size: int
    block_size: int
    n_layer: int
    n_head: int
    n_embd: int
    n_inner: int = 0
    n_mels: int = 80
    blank_id: int = 0
    dropout: float = 0.0
    activation: str = "gelu"
    layer_norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        check_sizes(self, "vocab_size", "block_size", "n_layer", "n_head", "n_embd", "n_mels")
        check_sizes(self, "n_inner", "blank_id", least=0)
        check_dropout(self.dropout)
        check_epsilon(self.layer_norm_eps)
        if self.vocab_size < 2 or self.blank_id >= self.vocab_size:
            raise ValueError(
                f"the blank and at least one label are needed: blank_id must be below vocab_size, and vocab_size at "
                f"least 2, got blank_id={self.blank_id}, vocab_size={self.vocab_size}"
            )
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")
        sinusoidal(1, self.n_embd)


class SpeechCTC(StackModel):
    """From a log-mel spectrogram to the logits of labels and blank, 50 times a second.

        mel = mel - mean of each band over the sound   cepstral mean normalization (Atal 1974)
        x = φ(conv2(φ(conv1(mel)))) + positions        half as many frames, because conv2 has stride 2
        x = encoder block(x)                           for each block, in pre-norm
        logits = norm(x) W + b

    It has the entrance and the blocks of Whisper's encoder (Radford et al. 2022, arXiv:2212.04356, section 2.2), and no
    decoder: the labels of two frames are independent, given the sound. So it reads a sound in one pass, but it knows
    nothing of spelling beyond what it hears.

    A microphone and a throat multiply every spectrum of a sound by the same factors. In the logarithm they add the same
    number to all frames of a band, and the mean takes it away (Atal 1974, "Effectiveness of linear prediction
    characteristics of the speech wave for automatic speaker identification and verification").

    Parameters
    ----------
    config : SpeechCTCConfig
    rng : numpy.random.Generator, optional
        Draws the initial weights. Those of the convolutions have the standard deviation 1/√(inputs of a window), so
        that their outputs are as large as their inputs.
    dtype : dtype

    Attributes
    ----------
    conv1, conv2 : Conv1d
        M -> C and C -> C channels, windows of 3 frames.
    layers : list of EncoderBlock
    layer_norm : LayerNorm
        The names are those of Whisper's encoder.
    lm_head : Linear (C, V)
    """

    def __init__(
        self, config: SpeechCTCConfig, rng: np.random.Generator | None = None, dtype: DTypeLike = np.float32
    ) -> None:
        rng = rng or np.random.default_rng()
        c, C = config, config.n_embd
        std = C**-0.5
        self.config = config
        self.conv1 = Conv1d(c.n_mels, C, 3, padding=1, std=(3 * c.n_mels) ** -0.5, rng=rng, dtype=dtype)
        self.conv2 = Conv1d(C, C, 3, stride=2, padding=1, std=(3 * C) ** -0.5, rng=rng, dtype=dtype)
        self.activate, self.activate_backward = ACTIVATIONS[c.activation]
        self.position_vectors = sinusoidal(c.block_size, C, "halves", dtype)  # (block_size, C), constants
        self.drop = Dropout(c.dropout)
        options: dict[str, Any] = {"activation": c.activation, "layer_norm_eps": c.layer_norm_eps, "std": std}
        self.layers = [
            EncoderBlock(C, c.n_head, c.n_inner or None, c.dropout, norm_first=True, rng=rng, dtype=dtype, **options)
            for _ in range(c.n_layer)
        ]
        self.layer_norm = LayerNorm(C, c.layer_norm_eps, dtype=dtype)
        self.lm_head = Linear(C, c.vocab_size, std=std, rng=rng, dtype=dtype)

    def forward(
        self, mel: Array, lengths: Array | None = None, rng: np.random.Generator | None = None
    ) -> tuple[Array, Cache]:
        """Logits for each frame after the convolutions.

        Parameters
        ----------
        mel : array (B, M, T)
            Log-mel spectrograms, padded at their end with any finite values.
        lengths : int array (B,), optional
            The number of real frames of each, 1 … T. Default: all are real. The logits of a sound do not depend on
            its padding.
        rng : numpy.random.Generator, optional
            Given: dropout. Not given: evaluation.

        Returns
        -------
        logits : array (B, ⌈T/2⌉, V)
        cache
        """
        x, hidden_cache = self.hidden(mel, lengths, rng)  # (B, ⌈T/2⌉, C)
        logits, head_cache = self.lm_head.forward(x)  # (B, ⌈T/2⌉, V)
        return logits, (hidden_cache, head_cache)

    def backward(self, dlogits: Array, cache: Cache) -> Array | None:
        """Add dL/dparameter to every ``.grad``; return dmel (B, M, T). dlogits has the shape of the logits."""
        hidden_cache, head_cache = cache
        return self.hidden_backward(self.lm_head.backward(dlogits, head_cache), hidden_cache)

    def embed(self, mel: Array, lengths: Array, rng: np.random.Generator | None = None) -> tuple[Array, Cache]:
        """The input of the first block: mel (B, M, T) -> (B, ⌈T/2⌉, C).

        Padding is set to zero before each convolution, as the convolution itself adds zeros at both ends.
        """
        real = (np.arange(mel.shape[2]) < lengths[:, None])[:, :, None]  # (B, T, 1)
        share = (real / lengths[:, None, None]).astype(mel.dtype)  # (B, T, 1), of each frame in the mean
        x = mel.swapaxes(1, 2)  # (B, T, M)
        x = (x - (x * share).sum(axis=1, keepdims=True)) * real
        x, conv1_cache = self.conv1.forward(x)  # (B, T, C)
        x, act1_cache = self.activate(x)
        x, conv2_cache = self.conv2.forward(x * real)  # (B, ⌈T/2⌉, C)
        x, act2_cache = self.activate(x)
        x, drop_cache = self.drop.forward(x + self.position_vectors[: x.shape[1]], rng)
        return x, (real, share, conv1_cache, act1_cache, conv2_cache, act2_cache, drop_cache)

    def embed_backward(self, dx: Array, cache: Cache) -> Array:
        """Gradient of `embed`: dx (B, ⌈T/2⌉, C) -> dmel (B, M, T); adds to the gradients of the convolutions.

        Of T real frames, y_t = x_t - 1/T Σ_s x_s. So x_t is in y_t, and with the factor -1/T in every y_s:
        dx_t = dy_t - 1/T Σ_s dy_s.
        """
        real, share, conv1_cache, act1_cache, conv2_cache, act2_cache, drop_cache = cache
        dx = self.activate_backward(self.drop.backward(dx, drop_cache), act2_cache)
        dx = self.conv2.backward(dx, conv2_cache) * real  # (B, T, C)
        dx = self.conv1.backward(self.activate_backward(dx, act1_cache), conv1_cache) * real  # (B, T, M)
        dx -= dx.sum(axis=1, keepdims=True) * share
        return dx.swapaxes(1, 2)

    def hidden(
        self, mel: Array, lengths: Array | None = None, rng: np.random.Generator | None = None
    ) -> tuple[Array, StackCache]:
        """The trunk, which is the model without its head: mel (B, M, T) -> (B, ⌈T/2⌉, C)."""
        lengths = self._checked(mel, lengths)
        x, embed_cache = self.embed(mel, lengths, rng)
        keys = padding_mask(np.arange(x.shape[1]) < self.frames(lengths)[:, None])  # (B, 1, 1, ⌈T/2⌉)
        lowest, caches = self.first_trained_block(), []
        for i, block in enumerate(self.layers):
            x, cache = run_block(block, self.recompute, x, keys, rng)
            caches.append(cache if i >= lowest else None)
        x, norm_cache = self.layer_norm.forward(x)
        return x, StackCache(embed_cache, caches, norm_cache)

    def hidden_backward(self, dx: Array, cache: StackCache) -> Array | None:
        """Gradient of `hidden`. Returns dmel (B, M, T), or None if the lowest blocks are frozen."""
        dx = self.layer_norm.backward(dx, cache.norm)
        for block, block_cache in zip(reversed(self.layers), reversed(cache.blocks), strict=True):
            if block_cache is None:
                return None
            dx = block.backward(dx, full_cache(block, block_cache))
        return self.embed_backward(dx, cache.embed)

    def loss(self, mel: Array, targets: Array, lengths: Array | None = None) -> float:
        """-ln p(targets | sound) in nats per label, without dropout: see `ctc_loss`.

        ``targets`` are labels (B, S), padded with -100.
        """
        return self._loss(mel, targets, lengths)[0]

    def loss_and_grad(
        self,
        mel: Array,
        targets: Array,
        lengths: Array | None = None,
        rng: np.random.Generator | None = None,
        count: int | None = None,
    ) -> float:
        """Compute `loss`, with dropout if ``rng`` is given, and add its gradient to every parameter's ``.grad``.

        For ``count`` see `ctc_loss`.
        """
        loss, dlogits, cache = self._loss(mel, targets, lengths, rng, count)
        self.backward(dlogits, cache)
        return loss

    def _loss(
        self,
        mel: Array,
        targets: Array,
        lengths: Array | None,
        rng: np.random.Generator | None = None,
        count: int | None = None,
    ) -> tuple[float, Array, Cache]:
        logits, cache = self.forward(mel, lengths, rng)
        frames = self.frames(self._checked(mel, lengths))
        loss, dlogits = ctc_loss(logits, np.asarray(targets), frames, count=count, blank=self.config.blank_id)
        return loss, dlogits, cache

    def frames(self, length: Any) -> Any:
        """How many frames the convolutions make of ``length`` frames of the spectrogram: half as many, rounded up."""
        return self.conv2.output_length(length)

    @property
    def blocks(self) -> list[EncoderBlock]:
        """All blocks, the lowest first."""
        return self.layers

    @property
    def embeddings(self) -> list[Module]:
        """The layers below the lowest block."""
        return [self.conv1, self.conv2]

    def _checked(self, mel: Array, lengths: Array | None) -> Array:
        """The lengths. Raises ValueError for arrays that do not fit the model or each other."""
        c = self.config
        if mel.ndim != 3 or mel.shape[1] != c.n_mels or mel.dtype.kind != "f":
            raise ValueError(f"SpeechCTC expects floats of shape (B, {c.n_mels}, T), got {mel.dtype} {mel.shape}")
        B, _, T = mel.shape
        if not 1 <= T <= 2 * c.block_size:
            raise ValueError(f"SpeechCTC reads 1 to 2 block_size = {2 * c.block_size} frames (10 ms each), got {T}")
        lengths = np.full(B, T) if lengths is None else np.asarray(lengths)
        if lengths.shape != (B,) or not ((lengths >= 1) & (lengths <= T)).all():
            raise ValueError(f"lengths must be {B} numbers of frames, each in 1 … {T}, got {lengths.tolist()}")
        return lengths

    # Code that uses a trained model is in other files. numpylm/__init__.py attaches it as this method.
    recognize: ClassVar[Callable[..., list]]
