"""Faults in Llama: RMSNorm, rotary positions, gated MLPs, grouped queries, mixtures of experts, the block, the model."""

from typing import Any

import numpy as np

from numpylm.check.mutants import World
from numpylm.check.selfcheck_inputs import BalanceLoss
from numpylm.zoo.fault import Fault
from numpylm.zoo.faulty_layers import B, C, Case, D, H, Rng, T, V

F, K = 20, 3  # hidden channels of an MLP; key/value heads, each for two query heads


def _rms_norm(times: float = 1.0) -> Any:
    return lambda world, rng: (world.RMSNorm(C), (times * rng.standard_normal((B, T, C)),), {})


def _rotary(layout: str = "halves") -> Any:
    def build(world: World, rng: Rng) -> Case:
        return world.Rotary(D, layout=layout), (rng.standard_normal((B, H, T, D)), np.arange(T)), {}

    return build


def _padded_rotary(world: World, rng: Rng) -> Case:
    positions = np.maximum(np.arange(T) - np.array([[2], [0]]), 0)  # (B, T)
    return world.Rotary(D), (rng.standard_normal((B, H, T, D)), positions), {}


def _gated_mlp(world: World, rng: Rng) -> Case:
    return world.GatedMLP(C, F), (rng.standard_normal((B, T, C)),), {}


def _attention(world: World, rng: Rng) -> Case:
    return world.GroupedQueryAttention(C, 2 * K, K, head_dim=D), (rng.standard_normal((B, T, C)),), {}


def _experts(world: World, rng: Rng) -> Case:
    return world.MixtureOfExperts(C, F, 4, 2), (rng.standard_normal((B, T, C)),), {}


def _balance(world: World, rng: Rng) -> Case:
    layer = BalanceLoss(world.MixtureOfExperts(C, F, 4, 2), lambda _, cache: cache.balance)
    return layer, (rng.standard_normal((B, T, C)),), {}


def _block_balance(world: World, rng: Rng) -> Case:
    attention, experts = world.GroupedQueryAttention(C, 2 * K, K, head_dim=D), world.MixtureOfExperts(C, F, 4, 2)
    layer = BalanceLoss(world.LlamaBlock(attention, experts, C), lambda block, cache: block.balance(cache))
    return layer, (rng.standard_normal((B, T, C)),), {}


def _block(dropout: float = 0.0) -> Any:
    def build(world: World, rng: Rng) -> Case:
        attention = world.GroupedQueryAttention(C, 2 * K, K, head_dim=D)
        block = world.LlamaBlock(attention, world.GatedMLP(C, F), C, dropout)
        return block, (rng.standard_normal((B, T, C)),), {}

    return build


def _ids(rng: Rng) -> np.ndarray:
    ids = rng.integers(0, V - 3, (B, T))
    ids[:, 1:3] = ids[0, 0]
    return ids


def _llama(**options: Any) -> Any:
    def build(world: World, rng: Rng) -> Case:
        config = world.LlamaConfig(V, 7, 2, 2 * K, C, K, D, F, **options)
        return world.Llama(config), (_ids(rng),), {}

    return build


def _llama_balance(world: World, rng: Rng) -> Case:
    model, inputs, _ = _llama(n_experts=4)(world, rng)
    return BalanceLoss(model, lambda model, cache: model.balance(cache[0])), inputs, {}


GROUPS = """groups = (B, n_kv_head, H // n_kv_head, S, D)
dk, dv = dk.reshape(groups).sum(axis=2), dv.reshape(groups).sum(axis=2)  # (B, K, S, D)"""
TURNED = "dq, dk = self.rotary.backward(dq, cache.q_rotary), self.rotary.backward(dk, cache.k_rotary)"
TO_X = "return self.gate_proj.backward(dgate, gate_cache) + self.up_proj.backward(dup, up_cache)"
BACK = "return dx + self.input_layernorm.backward(dnormed, cache.input_layernorm)"

LLAMA_FAULTS = (
    Fault(
        "alpaca",
        "rmsnorm-gain-outside",
        "layers",
        "RMSNorm",
        "g = dy * self.weight.data\n...\nreturn r * (g - xhat * mean_gx)",
        "g = dy\n...\nreturn self.weight.data * r * (g - xhat * mean_gx)",
        "γ is multiplied at the end. It belongs inside the mean, too.",
        "At the initial gain of 1 it is right.",
        "initial-values",
        "x",
        _rms_norm(),
    ),
    Fault(
        "anole",
        "rmsnorm-forgets-r",
        "layers",
        "RMSNorm",
        "return r * (g - xhat * mean_gx)",
        "return g - xhat * mean_gx",
        "The factor r = 1/√(mean(x²) + ε) is missing.",
        "For rows with mean square 1 the factor is 1.",
        "missing-factor",
        "x",
        _rms_norm(),
    ),
    Fault(
        "anteater",
        "rmsnorm-constant-r",
        "layers",
        "RMSNorm",
        "return r * (g - xhat * mean_gx)",
        "return r * g",
        "r is treated as a constant, but it depends on every x of the row.",
        "The direction is nearly right if there are many channels.",
        "diagonal",
        "x",
        _rms_norm(),
    ),
    Fault(
        "barbet",
        "rmsnorm-as-layernorm",
        "layers",
        "RMSNorm",
        "return r * (g - xhat * mean_gx)",
        "return r * (g - g.mean(axis=-1, keepdims=True) - xhat * mean_gx)",
        "The mean of g is subtracted as in LayerNorm, whose forward subtracts the mean of x.",
        "It is LayerNorm's well-known formula.",
        "missing-term",
        "x",
        _rms_norm(),
    ),
    Fault(
        "basilisk",
        "rmsnorm-epsilon-outside",
        "layers",
        "RMSNorm",
        "r = 1 / np.sqrt(np.vecdot(x, x)[..., None] / C + self.eps)  # (..., 1)",
        "r = 1 / (np.sqrt(np.vecdot(x, x)[..., None] / C) + self.eps)  # (..., 1)",
        "ε is outside the root in forward, but backward assumes that it is inside.",
        "For rows of ordinary size ε does not matter.",
        "epsilon",
        "x",
        _rms_norm(0.1),
    ),
    Fault(
        "capybara",
        "rmsnorm-gain-of-the-input",
        "layers",
        "RMSNorm",
        'self.weight.grad += np.einsum("nc,nc->c", dy.reshape(-1, C), xhat.reshape(-1, C))',
        'self.weight.grad += np.einsum("nc,nc->c", dy.reshape(-1, C), (xhat / r).reshape(-1, C))',
        "γ multiplies the normalized x̂, and its gradient is made of x.",
        "x is exact, and rows of mean square 1 are not changed by the norm.",
        "missing-factor",
        "weight",
        _rms_norm(),
    ),
    Fault(
        "booby",
        "rotary-turns-on",
        "positions",
        "Rotary",
        "return rotated(dy, cos, -sin, self.layout)",
        "return rotated(dy, cos, sin, self.layout)",
        "The gradient is turned forward once more, and not back.",
        "Position 0 is not turned at all, and slow pairs are hardly turned.",
        "transposed",
        "x",
        _rotary(),
    ),
    Fault(
        "bulbul",
        "rotary-pairs-of-the-other-layout",
        "positions",
        "Rotary",
        "return rotated(dy, cos, -sin, self.layout)",
        'return rotated(dy, cos, -sin, "interleaved")',
        "Forward turns channels i and i + D/2, backward 2i and 2i + 1.",
        "Both layouts occur in files of the same model.",
        "mixing",
        "x",
        _rotary(),
    ),
    Fault(
        "buzzard",
        "rotary-not-turned-back",
        "positions",
        "Rotary",
        "return rotated(dy, cos, -sin, self.layout)",
        "return dy",
        "The gradient is not turned at all.",
        "The length of every gradient is right, and position 0 is exact.",
        "diagonal",
        "x",
        _rotary(),
    ),
    Fault(
        "caiman",
        "rotary-one-sine-without-its-sign",
        "positions",
        "rotated",
        "y[..., first] = x[..., first] * cos - x[..., second] * sin",
        "y[..., first] = x[..., first] * cos + x[..., second] * sin",
        "Both sines have the same sign, so it is no rotation, and the opposite angle does not undo it.",
        "Forward and backward share the function, and position 0 is exact.",
        "sign",
        "x",
        _rotary("interleaved"),
    ),
    Fault(
        "caribou",
        "rotary-positions-of-the-first-text",
        "positions",
        "Rotary",
        "return rotated(dy, cos, -sin, self.layout)",
        "return rotated(dy, cos[:1], -sin[:1], self.layout)",
        "All texts of a batch are turned back by the first one's angles.",
        "Without padding all texts have the same positions.",
        "lines",
        "x",
        _padded_rotary,
    ),
    Fault(
        "cassowary",
        "gated-mlp-forgets-the-gate",
        "gated_mlp",
        "GatedMLP",
        "dup = dhidden * opened",
        "dup = dhidden",
        "h = φ(g) · u, and the gradient of u lacks the factor φ(g).",
        "The gate's own weights are exact.",
        "missing-factor",
        "up_proj",
        _gated_mlp,
    ),
    Fault(
        "chameleon",
        "gated-mlp-forgets-the-other-factor",
        "gated_mlp",
        "GatedMLP",
        "dgate = self.activate_backward(dhidden * up, act_cache)",
        "dgate = self.activate_backward(dhidden, act_cache)",
        "h = φ(g) · u, and the gradient of g lacks the factor u.",
        "The other two matrices are exact.",
        "missing-factor",
        "gate_proj",
        _gated_mlp,
    ),
    Fault(
        "chipmunk",
        "gated-mlp-slope-at-the-other-branch",
        "gated_mlp",
        "GatedMLP",
        "dgate = self.activate_backward(dhidden * up, act_cache)",
        "dgate = self.activate_backward(dhidden * up, self.activate(up)[1])",
        "The slope of φ is taken at u. It belongs at g.",
        "g and u have the same shape and the same size.",
        "lines",
        "gate_proj",
        _gated_mlp,
    ),
    Fault(
        "cockatoo",
        "gated-mlp-skips-the-activation",
        "gated_mlp",
        "GatedMLP",
        "dgate = self.activate_backward(dhidden * up, act_cache)",
        "dgate = dhidden * up",
        "The backward skips the activation.",
        "For large inputs SiLU's slope is 1.",
        "lines",
        "gate_proj",
        _gated_mlp,
    ),
    Fault(
        "cormorant",
        "gated-mlp-one-branch",
        "gated_mlp",
        "GatedMLP",
        TO_X,
        "self.up_proj.backward(dup, up_cache)\nreturn self.gate_proj.backward(dgate, gate_cache)",
        "x is used twice, and gets its gradient from the gate only.",
        "All parameters of the layer are exact.",
        "missing-term",
        "x",
        _gated_mlp,
    ),
    Fault(
        "cougar",
        "gated-mlp-exchanges-its-branches",
        "gated_mlp",
        "GatedMLP",
        TO_X,
        "return self.gate_proj.backward(dup, gate_cache) + self.up_proj.backward(dgate, up_cache)",
        "Each branch gets the other one's gradient.",
        "Both matrices have the same shape, and both caches hold x.",
        "wiring",
        "gate_proj",
        _gated_mlp,
    ),
    Fault(
        "degu",
        "grouped-queries-first-head-only",
        "grouped_query_attention",
        "grouped_attention_backward",
        GROUPS,
        "groups = (B, n_kv_head, H // n_kv_head, S, D)\ndk, dv = dk.reshape(groups)[:, :, 0], dv.reshape(groups)[:, :, 0]  # (B, K, S, D)",
        "Only the first query head of each group sends a gradient to its keys and values.",
        "With one query head in each group it is right.",
        "wiring",
        "k_proj",
        _attention,
    ),
    Fault(
        "dipper",
        "grouped-queries-averaged",
        "grouped_query_attention",
        "grouped_attention_backward",
        GROUPS,
        "groups = (B, n_kv_head, H // n_kv_head, S, D)\ndk, dv = dk.reshape(groups).mean(axis=2), dv.reshape(groups).mean(axis=2)  # (B, K, S, D)",
        "The gradients of a group are averaged. They belong summed.",
        "The direction of every parameter's gradient is right; Adam hides the scale.",
        "factor",
        "k_proj",
        _attention,
    ),
    Fault(
        "dotterel",
        "grouped-queries-interleaved",
        "grouped_query_attention",
        "grouped_attention_backward",
        GROUPS,
        "groups = (B, H // n_kv_head, n_kv_head, S, D)\ndk, dv = dk.reshape(groups).sum(axis=1), dv.reshape(groups).sum(axis=1)  # (B, K, S, D)",
        "Forward gives key head g to neighboring query heads, backward to every K-th one.",
        "All shapes are right, and with K = 1 or K = H it is right.",
        "wiring",
        "k_proj",
        _attention,
    ),
    Fault(
        "echidna",
        "grouped-queries-keys-not-turned-back",
        "grouped_query_attention",
        "GroupedQueryAttention",
        TURNED,
        "dq = self.rotary.backward(dq, cache.q_rotary)",
        "The gradient of the keys is not turned back.",
        "Queries and values are exact, and so is position 0.",
        "call-count",
        "rotary",
        _attention,
    ),
    Fault(
        "elk",
        "grouped-queries-values-turned-back",
        "grouped_query_attention",
        "GroupedQueryAttention",
        TURNED,
        "dq, dk = self.rotary.backward(dq, cache.q_rotary), self.rotary.backward(dk, cache.k_rotary)\ndv = self.rotary.backward(dv, cache.k_rotary)",
        "The values' gradient is turned back, but values are never turned.",
        "Queries and keys are exact.",
        "cache-mixup",
        "rotary",
        _attention,
    ),
    Fault(
        "emu",
        "grouped-queries-values-detached",
        "grouped_query_attention",
        "GroupedQueryAttention",
        "dx += self.v_proj.backward(merge_heads(dv), cache.v_proj)",
        "self.v_proj.backward(merge_heads(dv), cache.v_proj)",
        "x gets its gradient as queries and as keys. It is also used as values.",
        "All parameters of the layer are exact.",
        "missing-term",
        "x",
        _attention,
    ),
    Fault(
        "fulmar",
        "experts-detached-router",
        "mixture_of_experts",
        "MixtureOfExperts",
        "dx += self.gate.backward(softmax_backward(dp, cache.softmax), cache.gate)",
        "pass",
        "The weights of the experts are treated as constants, so that the router never learns.",
        "The choice of experts has no gradient indeed, and all experts are exact.",
        "call-count",
        "gate",
        _experts,
    ),
    Fault(
        "hamster",
        "experts-half-a-quotient-rule",
        "mixture_of_experts",
        "MixtureOfExperts",
        "dkept = (dweights - np.vecdot(dweights, cache.weights)[:, None]) / total  # (N, k)",
        "dkept = dweights / total  # (N, k)",
        "w = p / s, and s depends on p, too. The second term of the quotient rule is missing.",
        "All experts are exact.",
        "lines",
        "gate",
        _experts,
    ),
    Fault(
        "flamingo",
        "experts-sum-not-divided",
        "mixture_of_experts",
        "MixtureOfExperts",
        "dkept = (dweights - np.vecdot(dweights, cache.weights)[:, None]) / total  # (N, k)",
        "dkept = dweights - np.vecdot(dweights, cache.weights)[:, None]  # (N, k)",
        "The division by the sum s of the chosen probabilities has no counterpart in the backward.",
        "All experts are exact, and with k = E the sum is 1.",
        "missing-factor",
        "gate",
        _experts,
    ),
    Fault(
        "gerbil",
        "experts-without-weights",
        "mixture_of_experts",
        "MixtureOfExperts",
        "dx[tokens] += expert.backward(weight * dy_rows[tokens], expert_cache)",
        "dx[tokens] += expert.backward(dy_rows[tokens], expert_cache)",
        "Each expert gets the whole gradient, not its weight's share.",
        "With k = 1 every weight is 1.",
        "missing-factor",
        "experts.",
        _experts,
    ),
    Fault(
        "gharial",
        "experts-overwrite-each-other",
        "mixture_of_experts",
        "MixtureOfExperts",
        "dx[tokens] += expert.backward(weight * dy_rows[tokens], expert_cache)",
        "dx[tokens] = expert.backward(weight * dy_rows[tokens], expert_cache)",
        "A token gets the gradient of its last expert only.",
        "With k = 1 it is right, and all parameters are exact.",
        "lines",
        "x",
        _experts,
    ),
    Fault(
        "gopher",
        "experts-weight-of-the-first-choice",
        "mixture_of_experts",
        "MixtureOfExperts",
        "weight = cache.weights[tokens, place][:, None]",
        "weight = cache.weights[tokens, 0][:, None]",
        "The first choice's weight is used for all choices.",
        "Tokens whose first choice is this expert are right.",
        "missing-factor",
        "experts.",
        _experts,
    ),
    Fault(
        "guanaco",
        "experts-balance-without-e",
        "mixture_of_experts",
        "MixtureOfExperts",
        "dp = np.broadcast_to((dbalance * E / N * cache.load).astype(p.dtype), p.shape).copy()  # (N, E)",
        "dp = np.broadcast_to((dbalance / N * cache.load).astype(p.dtype), p.shape).copy()  # (N, E)",
        "The gradient of the load-balancing loss lacks the factor E, the number of experts.",
        "The loss has a small coefficient, and without it all is right.",
        "factor",
        "gate",
        _balance,
    ),
    Fault(
        "hoatzin",
        "experts-skip-the-softmax",
        "mixture_of_experts",
        "MixtureOfExperts",
        "dx += self.gate.backward(softmax_backward(dp, cache.softmax), cache.gate)",
        "dx += self.gate.backward(dp, cache.gate)",
        "The router's probabilities come from a softmax, and its backward is skipped.",
        "All experts are exact.",
        "missing-term",
        "gate",
        _experts,
    ),
    Fault(
        "hornbill",
        "llama-block-drops-the-residual",
        "llama_block",
        "LlamaBlock",
        BACK,
        "return self.input_layernorm.backward(dnormed, cache.input_layernorm)",
        "The gradient that passes the attention unchanged is dropped.",
        "All parameters of the block itself are exact; lower blocks learn slowly.",
        "missing-term",
        "x",
        _block(),
    ),
    Fault(
        "iguana",
        "llama-block-skips-a-norm",
        "llama_block",
        "LlamaBlock",
        "dx = dx + self.post_attention_layernorm.backward(dnormed, cache.post_attention_layernorm)",
        "dx = dx + dnormed",
        "The backward skips the second norm.",
        "The MLP's gradients are exact.",
        "call-count",
        "post_attention_layernorm",
        _block(),
    ),
    Fault(
        "jacamar",
        "llama-block-norms-swap-caches",
        "llama_block",
        "LlamaBlock",
        BACK,
        "return dx + self.input_layernorm.backward(dnormed, cache.post_attention_layernorm)",
        "The first norm goes back with the second one's cache.",
        "Every shape is right.",
        "cache-mixup",
        "input_layernorm",
        _block(),
    ),
    Fault(
        "jaguar",
        "llama-block-attention-past-dropout",
        "llama_block",
        "LlamaBlock",
        "dnormed = self.self_attn.backward(dattended, cache.self_attn)",
        "dnormed = self.self_attn.backward(dx, cache.self_attn)",
        "The attention is given the gradient from before its dropout.",
        "A check with p = 0 passes.",
        "dropout",
        "self_attn",
        _block(0.3),
    ),
    Fault(
        "kakapo",
        "llama-block-detached-router-loss",
        "llama_block",
        "LlamaBlock",
        "dnormed = self.mlp.backward(dmlp_out, cache.mlp, dbalance=dbalance)",
        "dnormed = self.mlp.backward(dmlp_out, cache.mlp)",
        "The block does not pass the gradient of the load-balancing loss on.",
        "The loss falls as usual, but some experts get more and more tokens.",
        "never-written",
        "gate",
        _block_balance,
    ),
    Fault(
        "koala",
        "llama-balance-of-every-block-in-full",
        "llama",
        "Llama",
        "dx = block.backward(dx, full_cache(block, block_cache), dbalance=dbalance / len(self.layers))",
        "dx = block.backward(dx, full_cache(block, block_cache), dbalance=dbalance)",
        "The loss has the mean over the blocks, and each block gets the gradient of a sum.",
        "With one block it is right, and only the routers are a little off.",
        "factor",
        "gate",
        _llama_balance,
    ),
    Fault(
        "langur",
        "llama-head-detached",
        "llama",
        "Llama",
        "return self.lm_head.backward(dlogits, cache)",
        "self.lm_head.backward(dlogits, cache)\nreturn np.zeros((*dlogits.shape[:-1], self.config.n_embd))",
        "The output layer learns, and sends no gradient down.",
        "The loss still falls, because a head learns on random features.",
        "wiring",
        "norm",
        _llama(tie_embeddings=False),
    ),
    Fault(
        "leopard",
        "llama-skips-the-last-norm",
        "llama",
        "Llama",
        "dx = self.norm.backward(dx, cache.norm)",
        "pass",
        "The backward skips the final norm.",
        "It still trains, only not as well.",
        "call-count",
        "norm",
        _llama(),
    ),
    Fault(
        "manakin",
        "llama-blocks-in-forward-order",
        "llama",
        "Llama",
        "for block, block_cache in zip(reversed(self.layers), reversed(cache.blocks), strict=True):",
        "for block, block_cache in zip(self.layers, cache.blocks, strict=True):",
        "The backward visits the blocks in the order of the forward.",
        "With one block, nothing is wrong, and each block gets its own cache.",
        "order",
        "layers.1",
        _llama(),
    ),
    Fault(
        "mandrill",
        "llama-embedding-lost",
        "llama",
        "Llama",
        "self.embed_tokens.backward(self.drop.backward(dx, drop_cache), tokens_cache)",
        "self.drop.backward(dx, drop_cache)",
        "The embedding never gets a gradient as a table.",
        "Tied to the output layer it gets the larger part of its gradient there.",
        "call-count",
        "embed_tokens",
        _llama(),
    ),
    Fault(
        "marmot",
        "llama-norms-keep-their-gain",
        "layers",
        "RMSNorm",
        "if not self.weight.frozen:",
        "if self.weight.frozen:",
        "The condition is turned round, so that a gain learns only while it is frozen.",
        "Llama's gains start at 1 and stay near it.",
        "never-written",
        "weight",
        _rms_norm(),
    ),
)
