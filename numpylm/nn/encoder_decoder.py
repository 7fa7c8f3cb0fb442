"""EncoderBlock and DecoderBlock: the two kinds of layer of the 2017 Transformer, with post-norm or pre-norm."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from numpylm.nn.blocks import MLP
from numpylm.nn.kv_cache import KVCache
from numpylm.nn.layers import Dropout, LayerNorm
from numpylm.nn.module import Array, Cache, Module
from numpylm.nn.self_and_cross_attention import CrossAttention, SelfAttention


class Residual(Module):
    """A residual connection around a sublayer (attention or MLP), with dropout, and with the norm at one of two places.

        post-norm   x = norm(x + dropout(sublayer(x)))      (Vaswani et al. 2017, sections 3.1 and 5.4)
        pre-norm    x = x + dropout(sublayer(norm(x)))      (GPT-2; Xiong et al. 2020, arXiv:2002.04745)

    `enter` gives the sublayer its input, and `leave` adds its output to x:

        z, enter_cache = residual.enter(norm, x)
        y, cache = sublayer.forward(z)
        x, leave_cache = residual.leave(norm, x, y, rng)

    Notes
    -----
    Post-norm puts a norm on the path from the loss to the first layer, so a deep model needs a warmup. Pre-norm leaves
    that path free.
    """

    def __init__(self, dropout: float, norm_first: bool) -> None:
        self.drop = Dropout(dropout)
        self.norm_first = norm_first

    def enter(self, norm: LayerNorm, x: Array) -> tuple[Array, Cache]:
        """norm(x) in pre-norm, x in post-norm."""
        return norm.forward(x) if self.norm_first else (x, None)

    def leave(self, norm: LayerNorm, x: Array, y: Array, rng: np.random.Generator | None = None) -> tuple[Array, Cache]:
        """x + dropout(y), and in post-norm its norm."""
        y, drop_cache = self.drop.forward(y, rng)
        out, norm_cache = (x + y, None) if self.norm_first else norm.forward(x + y)
        return out, (drop_cache, norm_cache)

    def leave_backward(self, norm: LayerNorm, dout: Array, cache: Cache) -> tuple[Array, Array]:
        """Gradient of `leave`: dx, which passes the sublayer, and dy, which enters it."""
        drop_cache, norm_cache = cache
        dx = dout if self.norm_first else norm.backward(dout, norm_cache)
        return dx, self.drop.backward(dx, drop_cache)

    def enter_backward(self, norm: LayerNorm, dz: Array, cache: Cache) -> Array:
        """Gradient of `enter`."""
        return norm.backward(dz, cache) if self.norm_first else dz


class SublayerCache(NamedTuple):
    """What a block saves for the backward of one sublayer."""

    enter: Cache
    sublayer: Cache
    leave: Cache


class EncoderBlockCache(NamedTuple):
    """What `EncoderBlock` saves for its backward."""

    self_attn: SublayerCache
    mlp: SublayerCache


class DecoderBlockCache(NamedTuple):
    """What `DecoderBlock` saves for its backward."""

    self_attn: SublayerCache
    encoder_attn: SublayerCache
    mlp: SublayerCache


class EncoderBlock(Module):
    """One layer of an encoder: self-attention, then an MLP, each with a residual connection and a norm.

        x = norm(x + dropout(self_attn(x)))
        x = norm(x + dropout(mlp(x)))

    Parameters
    ----------
    n_embd, n_head : int
        C channels, H heads.
    n_inner : int, optional
        F, hidden channels of the MLP. Default: 4C.
    dropout : float
        Dropout probability of both sublayers' outputs.
    norm_first : bool
        Pre-norm instead of post-norm; see `Residual`.
    activation : str
        As in `MLP`.
    attention_dropout : float
        Dropout probability of the attention weights. BERT uses it; the 2017 paper does not.
    layer_norm_eps : float
    key_bias : bool
        As in `CrossAttention`.
    std, rng, dtype
        As in `Linear`.

    Attributes
    ----------
    self_attn : SelfAttention
    self_attn_layer_norm : LayerNorm
    mlp : MLP
    final_layer_norm : LayerNorm
        The norm of the MLP, and not a norm at the end of the stack. The names are Marian's, except that Marian calls
        the MLP's layers fc1 and fc2.
    """

    def __init__(
        self,
        n_embd: int,
        n_head: int,
        n_inner: int | None = None,
        dropout: float = 0.0,
        *,
        norm_first: bool = False,
        activation: str = "relu",
        attention_dropout: float = 0.0,
        layer_norm_eps: float = 1e-5,
        key_bias: bool = True,
        std: float = 0.02,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ) -> None:
        rng = rng or np.random.default_rng()
        self.residual = Residual(dropout, norm_first)
        draw: dict[str, Any] = {"std": std, "rng": rng, "dtype": dtype}
        self.self_attn = SelfAttention(n_embd, n_head, attention_dropout, key_bias=key_bias, **draw)
        self.self_attn_layer_norm = LayerNorm(n_embd, layer_norm_eps, dtype=dtype)
        self.mlp = MLP(n_embd, n_inner=n_inner, activation=activation, proj_std=std, **draw)
        self.final_layer_norm = LayerNorm(n_embd, layer_norm_eps, dtype=dtype)

    def forward(
        self, x: Array, mask: Array | None = None, rng: np.random.Generator | None = None
    ) -> tuple[Array, Cache]:
        """x (B, T, C) -> (B, T, C). For ``mask`` see `SelfAttention`. Dropout is applied if ``rng`` is given."""
        z, enter_cache = self.residual.enter(self.self_attn_layer_norm, x)
        y, cache = self.self_attn.forward(z, mask, rng)
        x, leave_cache = self.residual.leave(self.self_attn_layer_norm, x, y, rng)
        attn_cache = SublayerCache(enter_cache, cache, leave_cache)

        z, enter_cache = self.residual.enter(self.final_layer_norm, x)
        y, cache = self.mlp.forward(z)
        x, leave_cache = self.residual.leave(self.final_layer_norm, x, y, rng)
        return x, EncoderBlockCache(attn_cache, SublayerCache(enter_cache, cache, leave_cache))

    def backward(self, dx: Array, cache: Cache) -> Array:
        """dx (B, T, C) at the output -> dx (B, T, C) at the input."""
        attn_cache, mlp_cache = cache
        dx, dy = self.residual.leave_backward(self.final_layer_norm, dx, mlp_cache.leave)
        dz = self.mlp.backward(dy, mlp_cache.sublayer)
        dx = dx + self.residual.enter_backward(self.final_layer_norm, dz, mlp_cache.enter)  # past the MLP + through it

        dx, dy = self.residual.leave_backward(self.self_attn_layer_norm, dx, attn_cache.leave)
        dz = self.self_attn.backward(dy, attn_cache.sublayer)
        return dx + self.residual.enter_backward(self.self_attn_layer_norm, dz, attn_cache.enter)


class DecoderBlock(EncoderBlock):
    """One layer of a decoder: causal self-attention, cross-attention to the encoder's output, then an MLP.

        x = norm(x + dropout(self_attn(x)))
        x = norm(x + dropout(encoder_attn(x, memory)))
        x = norm(x + dropout(mlp(x)))

    Its parameters are those of `EncoderBlock`.

    Attributes
    ----------
    encoder_attn : CrossAttention
    encoder_attn_layer_norm : LayerNorm
        The others are those of `EncoderBlock`.
    """

    def __init__(
        self,
        n_embd: int,
        n_head: int,
        n_inner: int | None = None,
        dropout: float = 0.0,
        *,
        attention_dropout: float = 0.0,
        layer_norm_eps: float = 1e-5,
        key_bias: bool = True,
        std: float = 0.02,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
        **options: Any,
    ) -> None:
        rng = rng or np.random.default_rng()
        shared: dict[str, Any] = {"key_bias": key_bias, "std": std, "rng": rng, "dtype": dtype}
        options |= {"attention_dropout": attention_dropout, "layer_norm_eps": layer_norm_eps}
        super().__init__(n_embd, n_head, n_inner, dropout, **options, **shared)
        self.encoder_attn = CrossAttention(n_embd, n_head, attention_dropout, **shared)
        self.encoder_attn_layer_norm = LayerNorm(n_embd, layer_norm_eps, dtype=dtype)

    def forward(  # type: ignore[override]  # it has one input more
        self,
        x: Array,
        memory: Array,
        mask: Array | None = None,
        memory_mask: Array | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Cache]:
        """x (B, T, C), memory (B, S, C) -> (B, T, C).

        ``mask`` is for self-attention (a `causal_mask`), ``memory_mask`` for cross-attention (a `padding_mask`).
        """
        z, enter_cache = self.residual.enter(self.self_attn_layer_norm, x)
        y, cache = self.self_attn.forward(z, mask, rng)
        x, leave_cache = self.residual.leave(self.self_attn_layer_norm, x, y, rng)
        attn_cache = SublayerCache(enter_cache, cache, leave_cache)

        z, enter_cache = self.residual.enter(self.encoder_attn_layer_norm, x)
        y, cache = self.encoder_attn.forward(z, memory, memory_mask, rng)
        x, leave_cache = self.residual.leave(self.encoder_attn_layer_norm, x, y, rng)
        cross_cache = SublayerCache(enter_cache, cache, leave_cache)

        z, enter_cache = self.residual.enter(self.final_layer_norm, x)
        y, cache = self.mlp.forward(z)
        x, leave_cache = self.residual.leave(self.final_layer_norm, x, y, rng)
        return x, DecoderBlockCache(attn_cache, cross_cache, SublayerCache(enter_cache, cache, leave_cache))

    def backward(self, dx: Array, cache: Cache) -> tuple[Array, Array]:  # type: ignore[override]
        """dx (B, T, C) at the output -> dx (B, T, C) at the input, dmemory (B, S, C)."""
        attn_cache, cross_cache, mlp_cache = cache
        dx, dy = self.residual.leave_backward(self.final_layer_norm, dx, mlp_cache.leave)
        dz = self.mlp.backward(dy, mlp_cache.sublayer)
        dx = dx + self.residual.enter_backward(self.final_layer_norm, dz, mlp_cache.enter)

        dx, dy = self.residual.leave_backward(self.encoder_attn_layer_norm, dx, cross_cache.leave)
        dz, dmemory = self.encoder_attn.backward(dy, cross_cache.sublayer)
        dx = dx + self.residual.enter_backward(self.encoder_attn_layer_norm, dz, cross_cache.enter)

        dx, dy = self.residual.leave_backward(self.self_attn_layer_norm, dx, attn_cache.leave)
        dz = self.self_attn.backward(dy, attn_cache.sublayer)
        dx = dx + self.residual.enter_backward(self.self_attn_layer_norm, dz, attn_cache.enter)
        return dx, dmemory

    def forward_after(
        self, x: Array, past: KVCache, keys_values: tuple[Array, Array], memory_mask: Array | None = None
    ) -> Array:
        """`forward` for positions x (B, T, C) that follow those in ``past``. There is no backward.

        ``keys_values`` are those of the memory, from ``encoder_attn.keys_values``, so that they are computed once.
        """
        z, _ = self.residual.enter(self.self_attn_layer_norm, x)
        y, _ = self.self_attn.forward(z, past=past)
        x, _ = self.residual.leave(self.self_attn_layer_norm, x, y)

        z, _ = self.residual.enter(self.encoder_attn_layer_norm, x)
        y = self.encoder_attn.attend(z, *keys_values, memory_mask)
        x, _ = self.residual.leave(self.encoder_attn_layer_norm, x, y)

        z, _ = self.residual.enter(self.final_layer_norm, x)
        y, _ = self.mlp.forward(z)
        return self.residual.leave(self.final_layer_norm, x, y)[0]
