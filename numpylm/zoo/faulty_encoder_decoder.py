"""Faults in encoders and decoders: SiLU, label smoothing, self- and cross-attention, their blocks, Bert, Transformer."""

from typing import Any

import numpy as np

from numpylm.check.mutants import World
from numpylm.check.selfcheck_inputs import tied
from numpylm.zoo.fault import Fault
from numpylm.zoo.faulty_layers import B, C, Case, H, Rng, T, V

S, K, F = 7, 4, 20  # length of the source, labels, hidden channels of an MLP


def _real(rng: Rng, length: int) -> np.ndarray:
    """Which tokens are real: bool (B, length). The second row is the longer one."""
    return np.arange(length) < np.array([[length - 2], [length]])


def _ids(rng: Rng, length: int = T) -> np.ndarray:
    ids = rng.integers(0, V - 3, (B, length))
    ids[:, 1:3] = ids[0, 0]
    return ids


def _silu(world: World, rng: Rng) -> Case:
    return (world.silu, world.silu_backward), (2 * rng.standard_normal((T, C)),), {}


def _tanh(world: World, rng: Rng) -> Case:
    return (world.tanh, world.tanh_backward), (rng.standard_normal((T, C)),), {}


def _smoothed(world: World, rng: Rng) -> Case:
    targets = rng.integers(0, V, (B, T))
    targets[0, :2] = -100
    pair = (world.cross_entropy, world.cross_entropy_backward)
    return pair, (rng.standard_normal((B, T, V)), targets), {"label_smoothing": 0.2}


def _self_attention(world: World, rng: Rng) -> Case:
    mask = world.padding_mask(_real(rng, T))
    return world.SelfAttention(C, H), (rng.standard_normal((B, T, C)),), {"mask": mask}


def _cross_attention(length: int = S) -> Any:
    def build(world: World, rng: Rng) -> Case:
        inputs = rng.standard_normal((B, T, C)), rng.standard_normal((B, length, C))
        return world.CrossAttention(C, H), inputs, {"mask": world.padding_mask(_real(rng, length))}

    return build


def _encoder_block(**options: Any) -> Any:
    def build(world: World, rng: Rng) -> Case:
        block = world.EncoderBlock(C, H, F, activation="silu", **options)
        return block, (rng.standard_normal((B, T, C)),), {"mask": world.padding_mask(_real(rng, T))}

    return build


def _decoder_block(length: int = S, **options: Any) -> Any:
    def build(world: World, rng: Rng) -> Case:
        block = world.DecoderBlock(C, H, F, activation="silu", **options)
        masks = {"mask": world.causal_mask(T, T), "memory_mask": world.padding_mask(_real(rng, length))}
        return block, (rng.standard_normal((B, T, C)), rng.standard_normal((B, length, C))), masks

    return build


def _masked_lm_head(world: World, rng: Rng) -> Case:
    return tied(world.MaskedLMHead, C, V, world.Embedding(V, C)), (rng.standard_normal((B, T, C)),), {}


def _classification_head(pooling: str = "first", dropout: float = 0.0) -> Any:
    def build(world: World, rng: Rng) -> Case:
        head = world.ClassificationHead(C, K, pooling, dropout)
        return head, (rng.standard_normal((B, T, C)),), {"mask": _real(rng, T)}

    return build


def _bert(**options: Any) -> Any:
    def build(world: World, rng: Rng) -> Case:
        masks = {"mask": _real(rng, T), "token_types": np.arange(T)[None] // 3 + np.zeros((B, 1), int)}
        return world.Bert(world.BertConfig(V, S, 1, H, C, F, **options)), (_ids(rng),), masks

    return build


def _transformer(**options: Any) -> Any:
    def build(world: World, rng: Rng) -> Case:
        config = world.TransformerConfig(V, S, 1, H, C, F, activation="silu", **options)
        return world.Transformer(config), (_ids(rng, S), _ids(rng)), {"source_mask": _real(rng, S)}

    return build


SMOOTHED_GRADIENT = """if label_smoothing:
    grad[rows, y] += label_smoothing * weight
    grad -= (label_smoothing / V * weight)[:, None]"""
CROSS = "dmemory = self.k_proj.backward(dk, cache.k_proj) + self.v_proj.backward(dv, cache.v_proj)"
LEAVE = """dx = dout if self.norm_first else norm.backward(dout, norm_cache)
return dx, self.drop.backward(dx, drop_cache)"""

ENCODER_DECODER_FAULTS = (
    Fault(
        "axolotl",
        "silu-without-the-product-rule",
        "functional",
        "silu_backward",
        "return dout * (gate * (1 + x * (1 - gate)))",
        "return dout * gate",
        "x σ(x) has the derivative σ + x σ'; the second term is missing.",
        "For large |x| the missing term is zero.",
        "slope",
        "x",
        _silu,
    ),
    Fault(
        "bison",
        "silu-spoils-its-cache",
        "functional",
        "silu_backward",
        "return dout * (gate * (1 + x * (1 - gate)))",
        "gate *= 1 + x * (1 - gate)\nreturn dout * gate",
        "Backward computes the slope in the array of the cache.",
        "The first backward is right; only a second one on the same cache is wrong.",
        "writes-cache",
        "cache",
        _silu,
    ),
    Fault(
        "tenrec",
        "silu-keeps-its-output",
        "functional",
        "silu",
        "return x * gate, (x, gate)",
        "out = x * gate\nreturn out, (out, gate)",
        "The cache holds the output where the backward expects the input.",
        "For large x output and input are the same.",
        "slope",
        "x",
        _silu,
    ),
    Fault(
        "bobcat",
        "silu-forgets-the-half",
        "functional",
        "silu",
        "gate = 0.5 * (1 + np.tanh(0.5 * x))",
        "gate = 0.5 * (1 + np.tanh(x))",
        "½ (1 + tanh x) is σ(2x), not σ(x). Backward differentiates σ(x).",
        "The forward is a fine activation, too, and the signs of all slopes look right.",
        "slope",
        "x",
        _silu,
    ),
    Fault(
        "camel",
        "smoothing-forgotten-in-backward",
        "functional",
        "cross_entropy",
        SMOOTHED_GRADIENT,
        "pass",
        "The loss is smoothed, but its gradient is p - onehot.",
        "Without label smoothing it is right, and with ε = 0.1 nearly so.",
        "option",
        "logits",
        _smoothed,
    ),
    Fault(
        "cheetah",
        "smoothing-not-divided",
        "functional",
        "cross_entropy",
        "grad -= (label_smoothing / V * weight)[:, None]",
        "grad -= (label_smoothing * weight)[:, None]",
        "Every token gets ε instead of its share ε/V.",
        "Softmax does not notice it, because all logits of a row move together.",
        "missing-term",
        "logits",
        _smoothed,
    ),
    Fault(
        "coyote",
        "smoothing-of-the-ignored",
        "functional",
        "cross_entropy",
        "grad -= (label_smoothing / V * weight)[:, None]",
        "grad -= label_smoothing / V / max(n, 1)",
        "The smoothing's share is subtracted in rows that are not counted, too.",
        "Without padding every row is counted.",
        "mask",
        "logits",
        _smoothed,
    ),
    Fault(
        "crane",
        "smoothing-keeps-the-whole-target",
        "functional",
        "cross_entropy",
        "grad[rows, y] += label_smoothing * weight",
        "pass",
        "The target keeps the weight 1 instead of 1 - ε, so that q sums to 1 + ε.",
        "Only one entry in each row is wrong.",
        "missing-term",
        "logits",
        _smoothed,
    ),
    Fault(
        "dormouse",
        "self-attention-trains-the-queries",
        "self_and_cross_attention",
        "SelfAttention",
        "return dx + dmemory",
        "return dx",
        "x gets its gradient as queries only. It is also used as keys and as values.",
        "All parameters of the layer are exact.",
        "diagonal",
        "x",
        _self_attention,
    ),
    Fault(
        "dugong",
        "self-attention-exchanges-keys-and-values",
        "attention",
        "multi_head_backward",
        "return merge_heads(dq), merge_heads(dk), merge_heads(dv)",
        "return merge_heads(dq), merge_heads(dv), merge_heads(dk)",
        "The gradients of keys and values are returned in the wrong order.",
        "All shapes are right, and the queries are exact.",
        "wiring",
        "k_proj",
        _self_attention,
    ),
    Fault(
        "eider",
        "self-attention-splits-by-reshape",
        "attention",
        "multi_head_backward",
        "dq, dk, dv = attend_backward(split_heads(dout, n_head), cache)",
        "B, T, C = dout.shape\ndq, dk, dv = attend_backward(dout.reshape(B, n_head, T, C // n_head), cache)",
        "(B, T, C) is reshaped to (B, H, T, D), which mixes positions and heads.",
        "All shapes are right.",
        "wiring",
        "v_proj",
        _self_attention,
    ),
    Fault(
        "ermine",
        "cross-attention-crosses-its-weights",
        "self_and_cross_attention",
        "CrossAttention",
        CROSS,
        "dmemory = self.k_proj.backward(dv, cache.k_proj) + self.v_proj.backward(dk, cache.v_proj)",
        "dK goes back through the values' weights, and dV through the keys' weights.",
        "All shapes are right, and x is exact.",
        "wiring",
        "k_proj",
        _cross_attention(),
    ),
    Fault(
        "falcon",
        "cross-attention-memory-from-values",
        "self_and_cross_attention",
        "CrossAttention",
        CROSS,
        "self.k_proj.backward(dk, cache.k_proj)\ndmemory = self.v_proj.backward(dv, cache.v_proj)",
        "The memory gets its gradient through the values only. The keys are made of it, too.",
        "All parameters of the layer are exact; the encoder learns a little less.",
        "missing-term",
        "memory",
        _cross_attention(),
    ),
    Fault(
        "fossa",
        "cross-attention-exchanges-its-inputs",
        "self_and_cross_attention",
        "CrossAttention",
        "return self.q_proj.backward(dq, cache.q_proj), dmemory",
        "return dmemory, self.q_proj.backward(dq, cache.q_proj)",
        "The gradients of x and of the memory are returned in the wrong order.",
        "If source and target are equally long, all shapes agree.",
        "swapped",
        "x",
        _cross_attention(T),
    ),
    Fault(
        "godwit",
        "cross-attention-detached-memory",
        "self_and_cross_attention",
        "CrossAttention",
        "return self.q_proj.backward(dq, cache.q_proj), dmemory",
        "return self.q_proj.backward(dq, cache.q_proj), np.zeros_like(dmemory)",
        "The memory is treated as a constant, so that the encoder never learns.",
        "A decoder learns even with the random features of an untrained encoder.",
        "never-written",
        "memory",
        _cross_attention(),
    ),
    Fault(
        "grebe",
        "cross-attention-queries-of-the-memory",
        "self_and_cross_attention",
        "CrossAttention",
        "return self.q_proj.backward(dq, cache.q_proj), dmemory",
        "return self.q_proj.backward(dq, cache.k_proj), dmemory",
        "The queries' weights go back with the cache of the keys: dW = mᵀ dQ instead of xᵀ dQ.",
        "In self-attention both caches hold x.",
        "cache-mixup",
        "q_proj",
        _cross_attention(T),
    ),
    Fault(
        "hedgehog",
        "encoder-block-drops-the-residual",
        "encoder_decoder",
        "EncoderBlock",
        "return dx + self.residual.enter_backward(self.self_attn_layer_norm, dz, attn_cache.enter)",
        "return self.residual.enter_backward(self.self_attn_layer_norm, dz, attn_cache.enter)",
        "The gradient that passes the attention unchanged is dropped.",
        "All parameters of the block itself are exact; lower blocks learn slowly.",
        "missing-term",
        "x",
        _encoder_block(),
    ),
    Fault(
        "hoopoe",
        "encoder-block-residual-around-the-norm",
        "encoder_decoder",
        "Residual",
        LEAVE,
        "dy = dout if self.norm_first else norm.backward(dout, norm_cache)\nreturn dout, self.drop.backward(dy, drop_cache)",
        "The forward is post-norm. In the backward the residual passes the norm by, as in pre-norm.",
        "The last sublayer is exact, and lower layers even get larger gradients.",
        "wiring",
        "self_attn",
        _encoder_block(),
    ),
    Fault(
        "hyrax",
        "encoder-block-forgets-dropout-backward",
        "encoder_decoder",
        "Residual",
        "return dx, self.drop.backward(dx, drop_cache)",
        "return dx, dx",
        "The sublayers do not go back through their dropout.",
        "A check with p = 0 passes.",
        "dropout",
        "mlp",
        _encoder_block(dropout=0.3),
    ),
    Fault(
        "jerboa",
        "encoder-block-norm-of-the-other-sublayer",
        "encoder_decoder",
        "EncoderBlock",
        "dx, dy = self.residual.leave_backward(self.self_attn_layer_norm, dx, attn_cache.leave)",
        "dx, dy = self.residual.leave_backward(self.final_layer_norm, dx, attn_cache.leave)",
        "The attention's norm goes back through the gain of the MLP's norm.",
        "At the initial gain of 1 only the norms' own gradients are wrong.",
        "cache-mixup",
        "final_layer_norm",
        _encoder_block(),
    ),
    Fault(
        "kestrel",
        "encoder-block-pre-norm-skipped",
        "encoder_decoder",
        "Residual",
        "return norm.backward(dz, cache) if self.norm_first else dz",
        "return dz",
        "The backward of pre-norm skips the norms.",
        "In post-norm it is right.",
        "call-count",
        "self_attn_layer_norm",
        _encoder_block(norm_first=True),
    ),
    Fault(
        "kinkajou",
        "decoder-block-drops-a-residual",
        "encoder_decoder",
        "DecoderBlock",
        "dx = dx + self.residual.enter_backward(self.encoder_attn_layer_norm, dz, cross_cache.enter)",
        "dx = self.residual.enter_backward(self.encoder_attn_layer_norm, dz, cross_cache.enter)",
        "The gradient that passes the cross-attention unchanged is dropped.",
        "The gradients of the MLP, the cross-attention and the memory are exact.",
        "missing-term",
        "self_attn",
        _decoder_block(norm_first=True),
    ),
    Fault(
        "lapwing",
        "decoder-block-stale-gradient",
        "encoder_decoder",
        "DecoderBlock",
        "dz, dmemory = self.encoder_attn.backward(dy, cross_cache.sublayer)",
        "dz, dmemory = self.encoder_attn.backward(dz, cross_cache.sublayer)",
        "The cross-attention is given what the MLP returned, and not the gradient of its own output.",
        "All shapes are right, and the MLP is exact.",
        "wiring",
        "encoder_attn",
        _decoder_block(std=0.3),
    ),
    Fault(
        "macaw",
        "decoder-block-cross-attention-past-dropout",
        "encoder_decoder",
        "DecoderBlock",
        "dz, dmemory = self.encoder_attn.backward(dy, cross_cache.sublayer)",
        "dz, dmemory = self.encoder_attn.backward(dx, cross_cache.sublayer)",
        "The cross-attention is given the gradient from before its dropout.",
        "A check with p = 0 passes.",
        "dropout",
        "encoder_attn",
        _decoder_block(dropout=0.3),
    ),
    Fault(
        "manatee",
        "masked-lm-bias-mean",
        "heads",
        "MaskedLMHead",
        "self.bias.grad += dlogits.reshape(-1, dlogits.shape[-1]).sum(axis=0)",
        "self.bias.grad += dlogits.reshape(-1, dlogits.shape[-1]).mean(axis=0)",
        "The bias is added in every row, so its gradient is a sum, not a mean.",
        "The direction is right; with Adam even the step is.",
        "factor",
        "bias",
        _masked_lm_head,
    ),
    Fault(
        "marabou",
        "masked-lm-forgets-the-embedding",
        "heads",
        "MaskedLMHead",
        "dnormed = tied_head_backward(dlogits, tied_cache, embedding)  # (..., C)",
        "dnormed = dlogits @ embedding.weight.data  # (..., C)",
        "The shared embedding gets no gradient as the output layer.",
        "In BERT it still gets its gradient as a table.",
        "never-written",
        "embedding.weight",
        _masked_lm_head,
    ),
    Fault(
        "narwhal",
        "masked-lm-forgets-the-activation",
        "heads",
        "MaskedLMHead",
        "return self.dense.backward(self.activate_backward(dactive, act_cache), dense_cache)",
        "return self.dense.backward(dactive, dense_cache)",
        "The backward skips the activation.",
        "Norm, bias and embedding are exact, and for large inputs GELU's slope is 1.",
        "lines",
        "dense",
        _masked_lm_head,
    ),
    Fault(
        "oriole",
        "classification-tanh-of-the-input",
        "functional",
        "tanh",
        "out = np.tanh(x)\nreturn out, out",
        "return np.tanh(x), x",
        "tanh' = 1 - tanh² is a formula of the output, and the cache holds the input: 1 - x².",
        "Near zero tanh x is x.",
        "slope",
        "x",
        _tanh,
    ),
    Fault(
        "osprey",
        "classification-mean-over-padding",
        "heads",
        "pool_mean_backward",
        "return share[..., None] * dy[:, None]",
        "return np.repeat(dy[:, None], share.shape[1], axis=1) / share.shape[1]",
        "The gradient is spread over all tokens; the forward takes the mean over the real ones.",
        "Without padding all tokens are real.",
        "mask",
        "x",
        _classification_head("mean"),
    ),
    Fault(
        "peccary",
        "classification-last-token",
        "heads",
        "pool_first_backward",
        "dx[:, 0] = dy",
        "dx[:, -1] = dy",
        "The forward reads the first token, and the backward gives the gradient to the last one, as a GPT would.",
        "The head's own parameters are exact.",
        "permuted",
        "x",
        _classification_head(),
    ),
    Fault(
        "petrel",
        "classification-forgets-dropout-backward",
        "heads",
        "ClassificationHead",
        "dactive = self.drop.backward(self.out_proj.backward(dlogits, out_cache), drop_cache)  # (B, C)",
        "dactive = self.out_proj.backward(dlogits, out_cache)  # (B, C)",
        "The pooled vector does not go back through dropout.",
        "A check with p = 0 passes.",
        "call-count",
        "drop",
        _classification_head("mean", 0.3),
    ),
    Fault(
        "pika",
        "bert-forgets-the-segments",
        "bert",
        "Bert",
        "self.segments.backward(dx, segments_cache)",
        "pass",
        "The segment embeddings never get a gradient.",
        "The model still learns nearly everything: a text has few segments.",
        "call-count",
        "segments",
        _bert(),
    ),
    Fault(
        "pipit",
        "bert-positions-of-one-text",
        "bert",
        "Bert",
        "self.positions.backward(dx if positions_cache.ndim == 2 else dx.sum(axis=0), positions_cache)",
        "self.positions.backward(dx[0] if positions_cache.ndim == 1 else dx, positions_cache)",
        "Positions learn from the first text of the batch only.",
        "With a batch of one it is right.",
        "partial",
        "positions",
        _bert(),
    ),
    Fault(
        "potoroo",
        "bert-skips-the-first-norm",
        "bert",
        "Bert",
        "dx = self.embed_norm.backward(self.drop.backward(dx, drop_cache), norm_cache)",
        "dx = self.drop.backward(dx, drop_cache)",
        "The backward skips the norm of the embeddings.",
        "All blocks and the head are exact.",
        "call-count",
        "embed_norm",
        _bert(),
    ),
    Fault(
        "quoll",
        "transformer-source-embedding-lost",
        "transformer",
        "Transformer",
        "self.embed_backward(dx, cache.embed, self.source_tokens)",
        "pass",
        "The shared embedding gets no gradient from the source.",
        "It still gets those of the target and of the output layer.",
        "call-count",
        "shared",
        _transformer(),
    ),
    Fault(
        "raccoon",
        "transformer-unscaled-backward",
        "transformer",
        "Transformer",
        "dx = dx * math.sqrt(self.config.n_embd)",
        "pass",
        "The embeddings are multiplied by √C, their gradient is not.",
        "The direction is right; Adam hides the scale.",
        "factor",
        "source_tokens.weight",
        _transformer(share_embeddings=False),
    ),
    Fault(
        "redstart",
        "transformer-memory-of-one-block",
        "transformer",
        "Transformer",
        "dmemory = dmemory + block_dmemory",
        "dmemory = block_dmemory",
        "Each decoder block overwrites the memory's gradient of the others.",
        "With one decoder block nothing is wrong.",
        "missing-term",
        "encoder.0",
        _transformer(n_decoder_layer=2),
    ),
    Fault(
        "sable",
        "transformer-decoder-in-forward-order",
        "transformer",
        "Transformer",
        "for block, block_cache in zip(reversed(self.decoder), reversed(cache.blocks), strict=True):",
        "for block, block_cache in zip(self.decoder, cache.blocks, strict=True):",
        "The backward visits the decoder's blocks in the order of the forward.",
        "With one block, nothing is wrong, and each block gets its own cache.",
        "order",
        "decoder.1",
        _transformer(n_decoder_layer=2),
    ),
    Fault(
        "siskin",
        "transformer-memory-past-the-norm",
        "transformer",
        "Transformer",
        "dx = dmemory if self.encoder_norm is None else self.encoder_norm.backward(dmemory, cache.norm)",
        "dx = dmemory",
        "The memory's gradient enters the encoder without passing its last norm.",
        "In post-norm there is no last norm.",
        "call-count",
        "encoder_norm",
        _transformer(norm_first=True),
    ),
)
