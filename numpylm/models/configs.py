"""The shapes of the models, from GPTConfig to WhisperConfig, with checks of every setting."""

import math
from dataclasses import dataclass
from typing import Any

from numpylm.models.checks import check_dropout, check_epsilon, check_sizes, is_number
from numpylm.nn.functional import ACTIVATIONS
from numpylm.nn.positions import Rotary, sinusoidal

HEADS = ("masked-lm", "classification", "none")


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a GPT.

    Attributes
    ----------
    vocab_size : int
        V, number of tokens.
    block_size : int
        The longest sequence that the model can read, in tokens.
    n_layer, n_head, n_embd : int
        L blocks, H heads in each, C channels. H must divide C.
    dropout : float in [0, 1)
        Dropout probability of embeddings, attention weights and both residual branches, during training only.
    bias : bool
        Whether linear layers and norms have biases.
    layer_norm_eps : float
    gelu_approximate : {"tanh", "none"}
        GPT-2 uses "tanh".
    """

    vocab_size: int
    block_size: int
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float = 0.0
    bias: bool = True
    layer_norm_eps: float = 1e-5
    gelu_approximate: str = "tanh"

    def __post_init__(self) -> None:
        check_sizes(self, "vocab_size", "block_size", "n_layer", "n_head", "n_embd")
        check_dropout(self.dropout)
        check_epsilon(self.layer_norm_eps)
        if not isinstance(self.bias, bool):
            raise ValueError(f"bias must be True or False, got {self.bias!r}")
        if self.gelu_approximate not in ("tanh", "none"):
            raise ValueError(f'gelu_approximate must be "tanh" or "none", got {self.gelu_approximate!r}')


@dataclass(frozen=True)
class LlamaConfig:
    """The shape of a Llama.

    Attributes
    ----------
    vocab_size : int
        V, number of tokens.
    block_size : int
        The longest sequence that the model can read, in tokens.
    n_layer, n_head, n_embd : int
        L blocks, H query heads in each, C channels.
    n_kv_head : int
        K, key/value heads; must divide H. 0: H.
    head_dim : int
        D, channels of a head; must be even. 0: C / H.
    n_inner : int
        F, hidden channels of the MLPs. 0: 8C/3, rounded up to a multiple of 32. So the three matrices of a gated MLP
        are as large as the two of GPT.
    dropout : float in [0, 1)
        Dropout probability of embeddings, attention weights and both residual branches, during training only.
    rms_norm_eps : float
    rope_theta : float
        The base of the rotary frequencies; see `Rotary`.
    rope_scaling : tuple of (str, value) pairs
        The items of config.json's rope_scaling; see `rotary_frequencies`.
    rope_layout : {"halves", "interleaved"}
        See `Rotary`.
    tie_embeddings : bool
        Whether the output layer is the transposed token embedding.
    attention_bias : bool
        Whether queries, keys and values have biases, as in Qwen2.
    attention_out_bias : bool
        Whether the output projection of attention has one.
    mlp_bias : bool
        Whether the MLPs have biases.
    activation : str
        φ of the gated MLPs, as in `MLP`.
    n_experts, experts_per_token : int
        With n_experts > 0, each MLP is a `MixtureOfExperts` with n_experts experts, of which a token uses
        experts_per_token.
    router_aux_loss_coef : float
        Weight of the load-balancing losses in the training loss.
    """

    vocab_size: int
    block_size: int
    n_layer: int
    n_head: int
    n_embd: int
    n_kv_head: int = 0
    head_dim: int = 0
    n_inner: int = 0
    dropout: float = 0.0
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    rope_scaling: tuple[tuple[str, Any], ...] = ()
    rope_layout: str = "halves"
    tie_embeddings: bool = True
    attention_bias: bool = False
    attention_out_bias: bool = False
    mlp_bias: bool = False
    activation: str = "silu"
    n_experts: int = 0
    experts_per_token: int = 2
    router_aux_loss_coef: float = 0.0

    def __post_init__(self) -> None:
        check_sizes(self, "vocab_size", "block_size", "n_layer")
        for names in (("n_head",), ("n_embd",)) if self.head_dim else (("n_head", "n_embd"),):
            check_sizes(self, *names)
        check_sizes(self, "n_kv_head", "head_dim", "n_inner", "n_experts", least=0)
        check_dropout(self.dropout)
        check_epsilon(self.rms_norm_eps, "rms_norm_eps")
        check_epsilon(self.router_aux_loss_coef, "router_aux_loss_coef")
        for name in ("tie_embeddings", "attention_bias", "attention_out_bias", "mlp_bias"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, got {getattr(self, name)!r}")
        if self.n_kv_head and self.n_head % self.n_kv_head:
            raise ValueError(f"n_kv_head must divide n_head={self.n_head}, got {self.n_kv_head}")
        if not (is_number(self.rope_theta) and 0 < self.rope_theta < math.inf):
            raise ValueError(f"rope_theta must be a number above 0, got {self.rope_theta!r}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")
        if self.n_experts:
            check_sizes(self, "experts_per_token")
            if self.experts_per_token > self.n_experts:
                raise ValueError(f"experts_per_token must lie in 1 … {self.n_experts}, got {self.experts_per_token}")
        object.__setattr__(self, "rope_scaling", _pairs(self.rope_scaling))
        if self.router_aux_loss_coef and not self.n_experts:
            raise ValueError("router_aux_loss_coef is the weight of a loss of experts: it needs n_experts above 0")
        if self.n_experts and self.mlp_bias:
            raise ValueError("experts have no biases: mlp_bias must be False")
        if self.D % 2:
            raise ValueError(f"rotary positions turn pairs of channels: a head must have an even number, got {self.D}")
        Rotary(2, self.rope_theta, self.rope_layout, dict(self.rope_scaling))  # checks them without a large array

    @property
    def D(self) -> int:
        """Channels of a head."""
        return self.head_dim or self.n_embd // self.n_head

    @property
    def K(self) -> int:
        """Key/value heads."""
        return self.n_kv_head or self.n_head

    @property
    def F(self) -> int:
        """Hidden channels of the MLPs."""
        return self.n_inner or -(-8 * self.n_embd // 3 // 32) * 32


def _pairs(scaling: Any) -> tuple[tuple[str, Any], ...]:
    """rope_scaling as a tuple of pairs. A dict, None, and the lists of a JSON file are accepted, too."""
    try:
        return tuple(dict(scaling or ()).items())
    except (TypeError, ValueError):
        raise ValueError(f"rope_scaling must be a dict or pairs of names and values, got {scaling!r}") from None


@dataclass(frozen=True)
class BertConfig:
    """The shape of a Bert.

    Attributes
    ----------
    vocab_size : int
        V, number of tokens.
    block_size : int
        The longest text, in tokens.
    n_layer, n_head, n_embd : int
        L blocks, H heads in each, C channels. H must divide C.
    n_inner : int
        F, hidden channels of the MLPs. 0: 4C.
    dropout : float in [0, 1)
        Dropout probability of embeddings, attention weights, both sublayers, and the classification head.
    head : {"masked-lm", "classification", "none"}
    n_labels : int
        K, labels of the classification head.
    pooling : {"first", "mean"}
        How the classification head makes one vector of a text; see `ClassificationHead`.
    token_types : int
        Number of segment embeddings: 2 in BERT (first and second text of a pair), 1 in RoBERTa.
    position_offset : int
        Number of the first position: 0 in BERT, 2 in RoBERTa's files.
    activation : str
        As in `MLP`.
    head_activation : str
        The same for the masked-LM head; empty: as ``activation``. In RoBERTa it is always "gelu".
    layer_norm_eps : float
    """

    vocab_size: int
    block_size: int
    n_layer: int
    n_head: int
    n_embd: int
    n_inner: int = 0
    dropout: float = 0.0
    head: str = "masked-lm"
    n_labels: int = 0
    pooling: str = "first"
    token_types: int = 2
    position_offset: int = 0
    activation: str = "gelu"
    head_activation: str = ""
    layer_norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        check_sizes(self, "vocab_size", "block_size", "n_layer", "n_head", "n_embd", "token_types")
        check_sizes(self, "n_inner", "n_labels", "position_offset", least=0)
        check_dropout(self.dropout)
        check_epsilon(self.layer_norm_eps)
        if self.head not in HEADS:
            raise ValueError(f"head must be one of {', '.join(HEADS)}, got {self.head!r}")
        if (self.head == "classification") != (self.n_labels > 0):
            raise ValueError(
                f"a classification head needs n_labels, others have none: got {self.head=}, {self.n_labels=}"
            )
        if self.pooling not in ("first", "mean"):
            raise ValueError(f'pooling must be "first" or "mean", got {self.pooling!r}')
        for activation in (self.activation, self.head_activation or self.activation):
            if activation not in ACTIVATIONS:
                raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")


@dataclass(frozen=True)
class TransformerConfig:
    """The shape of a Transformer. The defaults of the options are the paper's, except dropout, which is 0.1 there.

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


@dataclass(frozen=True)
class WhisperConfig:
    """The shape of a Whisper. The options are those of the published models.

    Attributes
    ----------
    vocab_size : int
        V, number of tokens.
    block_size : int
        The longest text, in tokens.
    n_layer, n_decoder_layer : int
        Blocks of the encoder and of the decoder; n_decoder_layer = 0: as many as the encoder has.
    n_head, n_embd : int
        H heads, C channels. H must divide C, and C must be even.
    n_inner : int
        F, hidden channels of the MLPs. 0: 4C.
    n_mels : int
        M, mel bands of the spectrogram.
    audio_positions : int
        S, the longest sound in positions of the encoder. Each is two frames of the spectrogram, 20 ms.
    start_id : int
        The decoder's first token.
    dropout, attention_dropout : float in [0, 1)
        As in `TransformerConfig`.
    activation : str
        Of the MLPs, as in `MLP`. The convolutions always have GELU.
    """

    vocab_size: int
    block_size: int
    n_layer: int
    n_head: int
    n_embd: int
    n_inner: int = 0
    n_decoder_layer: int = 0
    n_mels: int = 80
    audio_positions: int = 1500
    start_id: int = 0
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation: str = "gelu"

    def __post_init__(self) -> None:
        check_sizes(self, "vocab_size", "block_size", "n_layer", "n_head", "n_embd", "n_mels", "audio_positions")
        check_sizes(self, "n_inner", "n_decoder_layer", "start_id", least=0)
        check_dropout(self.dropout)
        check_dropout(self.attention_dropout)
        if self.start_id >= self.vocab_size:
            raise ValueError(f"start_id must be below vocab_size={self.vocab_size}, got {self.start_id}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")
        sinusoidal(1, self.n_embd)
