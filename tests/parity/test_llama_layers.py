"""Llama's layers against PyTorch, and whole models against transformers' Llama, Qwen2 and Mixtral, with every gradient.

All in float64. transformers computes norms, routers and angles in float32, whatever the model's dtype is. The fixture
``only_float64`` takes that away, so that outputs agree to 1e-10 and not to 1e-6.
"""

import re

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[parity]' to run the parity tests")
transformers = pytest.importorskip("transformers", reason="pip install -e '.[parity]' to run the parity tests")
import torch.nn.functional as F  # noqa: E402
from transformers import modeling_rope_utils  # noqa: E402
from transformers.models.llama import modeling_llama  # noqa: E402
from transformers.models.mixtral import modeling_mixtral  # noqa: E402
from transformers.models.qwen2 import modeling_qwen2  # noqa: E402

from numpylm import GatedMLP, GroupedQueryAttention, Llama, LlamaConfig, MixtureOfExperts, RMSNorm, Rotary  # noqa: E402

if not hasattr(transformers.LlamaConfig(), "rope_parameters"):
    pytest.skip("transformers 5 or later is needed", allow_module_level=True)

MODULES = (modeling_llama, modeling_mixtral, modeling_qwen2, modeling_rope_utils)
SCALINGS = {
    "default": {},
    "linear": {"rope_type": "linear", "factor": 3.0},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,  # so that a small head has fast, slow and mixed angles
    },
}


class TorchInDouble:
    """The name ``torch`` as a module of transformers sees it, with float64 in place of float32."""

    float32 = float = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


@pytest.fixture(autouse=True)
def only_float64(monkeypatch):
    for module in MODULES:
        monkeypatch.setattr(module, "torch", TorchInDouble())
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def rng(seed=0):
    return np.random.default_rng(seed)


def randomized(layer, seed=0):
    generator = rng(seed)
    for p in layer.parameters():
        p.data = (0.5 if p.data.ndim > 1 else 1.0) * generator.standard_normal(p.shape)
    return layer


def leaf(array):
    return torch.tensor(array, requires_grad=True)


def same(ours, theirs, what, tolerance=1e-10):
    expected = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else theirs
    assert ours.shape == expected.shape, what
    error = np.abs(ours - expected).max() / max(np.abs(expected).max(), 1e-12)
    assert error < tolerance, (what, error)


def leaves(layer):
    """Our parameters as torch's leaves, by name, in our layout."""
    return {name: leaf(p.data) for name, p in layer.named_parameters()}


def check_layer(layer, function, x, seed=1, **options):
    """Output, dx and all gradients of a layer of ours against a torch function of x and the parameters."""
    y, cache = layer.forward(x, **options)
    dy = rng(seed).standard_normal(y.shape)
    dx = layer.backward(dy, cache)
    tx, p = leaf(x), leaves(layer)
    out = function(tx, p)
    out.backward(torch.tensor(dy))
    same(y, out, "y")
    same(dx, tx.grad, "dx")
    for name, parameter in layer.named_parameters():
        same(parameter.grad, p[name].grad, name)


# ------------------------------------------------------------------------------------------------ layers


@pytest.mark.parametrize("eps", [1e-6, 0.3])
def test_rms_norm(eps):
    layer, x = randomized(RMSNorm(7, eps, dtype=np.float64)), rng(1).standard_normal((2, 3, 7))
    theirs = torch.nn.RMSNorm(7, eps, dtype=torch.float64)
    check_layer(layer, lambda tx, p: torch.func.functional_call(theirs, {"weight": p["weight"]}, (tx,)), x)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("activation", "function"), [("silu", F.silu), ("gelu", F.gelu), ("relu", F.relu)])
def test_gated_mlp(activation, function, bias):
    def formula(x, p):
        linear = {
            part: lambda z, part=part: z @ p[f"{part}.weight"] + (p[f"{part}.bias"] if bias else 0) for part in parts
        }
        return linear["down_proj"](function(linear["gate_proj"](x)) * linear["up_proj"](x))

    parts = ("gate_proj", "up_proj", "down_proj")
    layer = randomized(GatedMLP(6, 5, activation, bias, dtype=np.float64))
    check_layer(layer, formula, rng(1).standard_normal((2, 3, 6)))


def their_config(**options):
    scaling = options.pop("rope_scaling", {})
    rope = {"rope_type": "default", "rope_theta": options.pop("rope_theta", 10000.0)} | scaling
    return {"rope_parameters": rope, "attn_implementation": "eager"} | options


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("positions", [np.arange(9), np.array([[0] * 4 + [*range(5)], range(30, 39)])], ids=["T", "BT"])
def test_rotary_in_halves(scaling, positions):
    D, T = 10, 9
    q, dq = rng(1).standard_normal((2, 2, 3, T, D))
    rotary = Rotary(D, 500.0, scaling=SCALINGS[scaling])
    config = transformers.LlamaConfig(
        **their_config(hidden_size=3 * D, num_attention_heads=3, rope_theta=500.0, rope_scaling=SCALINGS[scaling])
    )
    theirs = modeling_llama.LlamaRotaryEmbedding(config)
    tq = leaf(q)
    cos, sin = theirs(tq, torch.tensor(np.broadcast_to(positions, (2, T)).copy()))
    out, _ = modeling_llama.apply_rotary_pos_emb(tq, tq, cos, sin)
    out.backward(torch.tensor(dq))
    y, cache = rotary.forward(q, positions)
    same(rotary.frequencies, theirs.inv_freq, "frequencies", 1e-13)
    same(y, out, "y")
    same(rotary.backward(dq, cache), tq.grad, "dx")


def test_rotary_interleaved_is_a_product_of_complex_numbers():
    """As in Meta's own code: neighboring channels are the real and the imaginary part."""
    x, dy = rng(1).standard_normal((2, 2, 3, 7, 8))
    rotary, tx = Rotary(8, layout="interleaved"), leaf(x)
    angles = torch.outer(
        torch.arange(7, dtype=torch.float64), 10000.0 ** (-torch.arange(0, 8, 2, dtype=torch.float64) / 8)
    )
    z = torch.view_as_complex(tx.reshape(2, 3, 7, 4, 2)) * torch.polar(torch.ones_like(angles), angles)
    out = torch.view_as_real(z).flatten(-2)
    out.backward(torch.tensor(dy))
    y, cache = rotary.forward(x, np.arange(7))
    same(y, out, "y")
    same(rotary.backward(dy, cache), tx.grad, "dx")


@pytest.mark.parametrize("T", [1, 7, 70])  # 70: more than one block of queries
@pytest.mark.parametrize(("H", "K", "D", "C"), [(4, 2, 6, 10), (3, 1, 4, 12), (3, 3, 2, 5), (6, 2, 8, 7)])
def test_grouped_query_attention(H, K, D, C, T):
    layer = GroupedQueryAttention(C, H, K, head_dim=D, bias=True, out_bias=True, dtype=np.float64)
    cos, sin = (
        torch.tensor(f(np.outer(np.arange(T), layer.rotary.frequencies))).repeat(1, 2) for f in (np.cos, np.sin)
    )

    def split(z, heads):
        return z.reshape(2, T, heads, D).transpose(1, 2)

    def turned(z):
        return z * cos + torch.cat([-z[..., D // 2 :], z[..., : D // 2]], dim=-1) * sin

    def formula(x, p):
        q, k, v = (x @ p[f"{part}_proj.weight"] + p[f"{part}_proj.bias"] for part in "qkv")
        q, k, v = turned(split(q, H)), turned(split(k, K)), split(v, K)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return out.transpose(1, 2).reshape(2, T, H * D) @ p["o_proj.weight"] + p["o_proj.bias"]

    check_layer(randomized(layer), formula, rng(1).standard_normal((2, T, C)))


def into_experts(ours, theirs):
    """Copy a mixture's weights into transformers' block, which keeps those of all experts in two arrays."""
    with torch.no_grad():
        theirs.gate.weight.copy_(torch.tensor(ours.gate.weight.data.T))
        for e, expert in enumerate(ours.experts):
            gate_up = np.concatenate([expert.gate_proj.weight.data.T, expert.up_proj.weight.data.T])
            theirs.experts.gate_up_proj[e].copy_(torch.tensor(gate_up))
            theirs.experts.down_proj[e].copy_(torch.tensor(expert.down_proj.weight.data.T))


def expert_gradient(ours, theirs, e, part):
    """The gradient of one matrix of an expert, in our layout."""
    F_ = ours.experts[e].up_proj.weight.shape[1]
    rows = {"gate_proj": slice(F_), "up_proj": slice(F_, None), "down_proj": slice(None)}[part]
    array = theirs.experts.down_proj if part == "down_proj" else theirs.experts.gate_up_proj
    return array.grad[e, rows].T


@pytest.mark.parametrize(("E", "k"), [(4, 2), (5, 1), (3, 3), (1, 1)])
def test_mixture_of_experts_and_its_load_balancing_loss(E, k):
    C, inner, coefficient = 6, 5, 0.7
    ours = randomized(MixtureOfExperts(C, inner, E, k, dtype=np.float64))
    config = transformers.MixtralConfig(
        hidden_size=C, intermediate_size=inner, num_local_experts=E, num_experts_per_tok=k, num_attention_heads=1
    )
    theirs = modeling_mixtral.MixtralSparseMoeBlock(config).double()
    into_experts(ours, theirs)
    x, dy = rng(1).standard_normal((2, 2, 8, C))
    y, cache = ours.forward(x)
    dx = ours.backward(dy, cache, dbalance=coefficient)
    tx = leaf(x)
    out, (logits, _, chosen) = theirs(tx), theirs.gate(tx)
    balance = modeling_mixtral.load_balancing_loss_func((logits,), E, k)
    ((out * torch.tensor(dy)).sum() + coefficient * balance).backward()
    np.testing.assert_array_equal(cache.chosen, chosen.numpy())
    assert cache.balance == pytest.approx(balance.item(), rel=1e-12)
    same(y, out, "y")
    same(dx, tx.grad, "dx")
    same(ours.gate.weight.grad, theirs.gate.weight.grad.T, "gate")
    for e, expert in enumerate(ours.experts):
        for part in ("gate_proj", "up_proj", "down_proj"):
            same(getattr(expert, part).weight.grad, expert_gradient(ours, theirs, e, part), f"experts.{e}.{part}")


# ------------------------------------------------------------------------------------------ whole models

SHAPES = [  # V, block, L, H, K, C, D, F, B, T
    (13, 12, 2, 4, 2, 12, 4, 10, 3, 7),
    (31, 20, 1, 3, 1, 9, 6, 5, 1, 20),  # one key head, and 3 · 6 is not 9
    (7, 16, 3, 2, 2, 20, 10, 33, 2, 1),
]
OPTIONS = {
    "llama": {},
    "llama, untied, linear": {"tie_embeddings": False, "rope_scaling": SCALINGS["linear"], "rope_theta": 100.0},
    "llama, llama3": {"rope_scaling": SCALINGS["llama3"], "rms_norm_eps": 0.01},
    "llama, biases": {"attention_bias": True, "attention_out_bias": True, "mlp_bias": True},
    "qwen2": {"attention_bias": True},
    "mixtral": {"tie_embeddings": False, "n_experts": 3},
}


def pair(kind, shape):
    """Our model with random weights, and transformers' with the same."""
    V, block, L, H, K, C, D, inner, *_ = shape
    ours = randomized(Llama(LlamaConfig(V, block, L, H, C, K, D, inner, **OPTIONS[kind]), dtype=np.float64))
    c = ours.config
    common = {
        "vocab_size": V,
        "max_position_embeddings": block,
        "num_hidden_layers": L,
        "num_attention_heads": H,
        "num_key_value_heads": K,
        "hidden_size": C,
        "head_dim": D,
        "intermediate_size": inner,
        "rms_norm_eps": c.rms_norm_eps,
        "tie_word_embeddings": c.tie_embeddings,
        "rope_theta": c.rope_theta,
        "rope_scaling": dict(c.rope_scaling),
    }
    family, more = {
        "qwen2": ("Qwen2", {}),
        "mixtral": ("Mixtral", {"num_local_experts": 3, "num_experts_per_tok": 2, "experts_implementation": "eager"}),
    }.get(kind, ("Llama", {"attention_bias": c.attention_bias, "mlp_bias": c.mlp_bias}))
    config = getattr(transformers, f"{family}Config")(**their_config(**common, **more))
    theirs = getattr(transformers, f"{family}ForCausalLM")(config).double().eval()
    with torch.no_grad():
        for name, p in ours.named_parameters():
            if ".experts." not in name:
                their(theirs, name).copy_(torch.tensor(in_their_layout(name, p.data)))
        for block_, layer in zip(ours.layers, theirs.model.layers, strict=True):
            if kind == "mixtral":
                into_experts(block_.mlp, layer.mlp)
    return ours, theirs


def their(model, name):
    """Their parameter for one of our names."""
    own = dict(model.named_parameters())
    return own[name if name.startswith("lm_head") else f"model.{name}"]


def in_their_layout(name, array):
    """torch's Linear is (out, in)."""
    return array.T if re.search(r"(proj|gate|lm_head)\.weight$", name) else array


@pytest.mark.parametrize("shape", [*SHAPES[:2], pytest.param(SHAPES[2], marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize("kind", OPTIONS)
def test_logits_loss_and_every_gradient(kind, shape):
    ours, theirs = pair(kind, shape)
    (V, *_, B, T), generator = shape, rng(1)
    ids, targets = generator.integers(0, V, (2, B, T))
    targets[0, : T // 2] = -100
    logits = theirs(input_ids=torch.tensor(ids)).logits
    same(ours.forward(ids)[0], logits, "logits")
    loss = F.cross_entropy(logits.reshape(-1, V), torch.tensor(targets).reshape(-1), ignore_index=-100)
    loss.backward()
    assert ours.loss_and_grad(ids, targets) == pytest.approx(loss.item(), rel=1e-11)
    for name, p in ours.named_parameters():
        if expert := re.match(r"layers\.(\d+)\.mlp\.experts\.(\d+)\.(\w+)\.weight", name):
            layer, e, part = int(expert[1]), int(expert[2]), expert[3]
            grad = expert_gradient(ours.layers[layer].mlp, theirs.model.layers[layer].mlp, e, part)
        else:
            grad = in_their_layout(name, their(theirs, name).grad)
        assert np.abs(p.grad - grad.numpy()).max() <= 1e-9 * max(float(grad.abs().max()), 1e-3), name


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_left_padded_batch(kind):
    """transformers masks the padding and is told the positions; ours finds both from the padding of the past."""
    ours, theirs = pair(kind, SHAPES[0])
    ids, padding = rng(1).integers(0, 13, (3, 7)), np.array([0, 4, 2])
    past = ours.new_past(3, padding)
    found = [ours.read(ids, past), ours.read(ids[:, :1], past)]
    longer = np.concatenate([ids, ids[:, :1]], axis=1)
    mask = np.arange(8) >= padding[:, None]
    positions = np.maximum(np.arange(8) - padding[:, None], 0)
    logits = theirs(
        input_ids=torch.tensor(longer),
        attention_mask=torch.tensor(mask.astype(int)),
        position_ids=torch.tensor(positions),
    ).logits
    same(np.stack(found, axis=1), logits[:, -2:], "logits")


def test_mixtrals_training_loss_of_one_layer():
    """With one layer, the mean over layers is transformers' sum over all layers' tokens."""
    shape = (13, 12, 1, 4, 2, 12, 4, 10, 3, 7)
    ours, theirs = pair("mixtral", shape)
    object.__setattr__(ours.config, "router_aux_loss_coef", 0.25)
    theirs.router_aux_loss_coef = 0.25
    ids = rng(1).integers(0, 13, (3, 7))
    out = theirs(input_ids=torch.tensor(ids), labels=torch.tensor(ids), output_router_logits=True)
    out.loss.backward()
    targets = np.concatenate([ids[:, 1:], np.full((3, 1), -100)], axis=1)
    assert ours.loss_and_grad(ids, targets) == pytest.approx(out.loss.item(), rel=1e-11)
    same(ours.layers[0].mlp.gate.weight.grad, theirs.model.layers[0].mlp.gate.weight.grad.T, "gate")
    same(ours.embed_tokens.weight.grad, theirs.model.embed_tokens.weight.grad, "embed_tokens")
