"""Attention and blocks of encoder and decoder against torch.nn's own modules, in float64, with every gradient."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[parity]' to run the parity tests")

from numpylm import cross_entropy  # noqa: E402
from numpylm.nn.attention import causal_mask  # noqa: E402
from numpylm.nn.encoder_decoder import DecoderBlock, EncoderBlock  # noqa: E402
from numpylm.nn.functional import silu, silu_backward, tanh, tanh_backward  # noqa: E402
from numpylm.nn.self_and_cross_attention import CrossAttention, SelfAttention, padding_mask  # noqa: E402

B, T, S, H, C, F = 3, 5, 7, 3, 12, 10
REAL = np.arange(S) < np.array([[7], [4], [1]])  # (B, S), for the memory
REAL_T = np.arange(T) < np.array([[5], [2], [3]])  # (B, T)


def randomized(layer, seed=0):
    rng = np.random.default_rng(seed)
    for p in layer.parameters():
        p.data = rng.standard_normal(p.shape)
    return layer


def copy_attention(ours, theirs):
    """Our four projections into torch's MultiheadAttention, whose first three are one matrix (3C, C)."""
    with torch.no_grad():
        parts = (ours.q_proj, ours.k_proj, ours.v_proj)
        theirs.in_proj_weight.copy_(torch.tensor(np.concatenate([p.weight.data.T for p in parts])))
        theirs.in_proj_bias.copy_(torch.tensor(np.concatenate([p.bias.data for p in parts])))
    copy_linear(ours.out_proj, theirs.out_proj)


def copy_linear(ours, theirs):
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(ours.weight.data.T))
        theirs.bias.copy_(torch.tensor(ours.bias.data))


def copy_norm(ours, theirs):
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(ours.weight.data))
        theirs.bias.copy_(torch.tensor(ours.bias.data))


def same(ours, theirs, what):
    expected = theirs.detach().numpy()
    error = np.abs(ours - expected).max() / max(np.abs(expected).max(), 1e-12)
    assert error < 1e-10, (what, error)


def same_attention_gradients(ours, theirs):
    parts = (ours.q_proj, ours.k_proj, ours.v_proj)
    same(np.concatenate([p.weight.grad.T for p in parts]), theirs.in_proj_weight.grad, "in_proj.weight")
    same(np.concatenate([p.bias.grad for p in parts]), theirs.in_proj_bias.grad, "in_proj.bias")
    same_linear_gradients(ours.out_proj, theirs.out_proj)


def same_linear_gradients(ours, theirs):
    same(ours.weight.grad.T, theirs.weight.grad, "weight")
    same(ours.bias.grad, theirs.bias.grad, "bias")


def arrays(seed=1):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((B, T, C)), rng.standard_normal((B, S, C)), rng.standard_normal((B, T, C))


def test_cross_attention():
    x, memory, dy = arrays()
    ours = randomized(CrossAttention(C, H, dtype=np.float64))
    theirs = torch.nn.MultiheadAttention(C, H, batch_first=True, dtype=torch.float64)
    copy_attention(ours, theirs)
    y, cache = ours.forward(x, memory, padding_mask(REAL))
    dx, dmemory = ours.backward(dy, cache)
    tx, tm = (torch.tensor(a, requires_grad=True) for a in (x, memory))
    out, _ = theirs(tx, tm, tm, key_padding_mask=torch.tensor(~REAL), need_weights=False)
    out.backward(torch.tensor(dy))
    same(y, out, "y")
    same(dx, tx.grad, "dx")
    same(dmemory, tm.grad, "dmemory")
    same_attention_gradients(ours, theirs)


@pytest.mark.parametrize("causal", [False, True])
def test_self_attention(causal):
    x, _, dy = arrays()
    ours = randomized(SelfAttention(C, H, dtype=np.float64))
    theirs = torch.nn.MultiheadAttention(C, H, batch_first=True, dtype=torch.float64)
    copy_attention(ours, theirs)
    mask = padding_mask(REAL_T) & causal_mask(T, T) if causal else padding_mask(REAL_T)
    y, cache = ours.forward(x, mask)
    dx = ours.backward(dy, cache)
    tx = torch.tensor(x, requires_grad=True)
    hidden = torch.tensor(~causal_mask(T, T)) if causal else None
    padding = torch.tensor(~REAL_T)
    out, _ = theirs(tx, tx, tx, key_padding_mask=padding, attn_mask=hidden, need_weights=False)
    out.backward(torch.tensor(dy))
    same(y, out, "y")
    same(dx, tx.grad, "dx")
    same_attention_gradients(ours, theirs)


OPTIONS = [(norm_first, activation) for norm_first in (False, True) for activation in ("relu", "gelu")]


@pytest.mark.parametrize(("norm_first", "activation"), OPTIONS)
def test_encoder_block(norm_first, activation):
    x, _, dy = arrays()
    ours = EncoderBlock(C, H, F, norm_first=norm_first, activation=activation, layer_norm_eps=1e-4, dtype=np.float64)
    randomized(ours)
    theirs = torch.nn.TransformerEncoderLayer(
        C, H, F, 0.0, activation, 1e-4, batch_first=True, norm_first=norm_first, dtype=torch.float64
    )
    copy_attention(ours.self_attn, theirs.self_attn)
    pairs = [(ours.mlp.c_fc, theirs.linear1), (ours.mlp.c_proj, theirs.linear2)]
    norms = [(ours.self_attn_layer_norm, theirs.norm1), (ours.final_layer_norm, theirs.norm2)]
    for pair in pairs:
        copy_linear(*pair)
    for pair in norms:
        copy_norm(*pair)
    y, cache = ours.forward(x, padding_mask(REAL_T))
    dx = ours.backward(dy, cache)
    tx = torch.tensor(x, requires_grad=True)
    out = theirs(tx, src_key_padding_mask=torch.tensor(~REAL_T))
    out.backward(torch.tensor(dy))
    same(y, out, "y")
    same(dx, tx.grad, "dx")
    same_attention_gradients(ours.self_attn, theirs.self_attn)
    for a, b in pairs:
        same_linear_gradients(a, b)
    for a, b in norms:
        same(a.weight.grad, b.weight.grad, "gain")
        same(a.bias.grad, b.bias.grad, "bias of a norm")


@pytest.mark.parametrize(("norm_first", "activation"), OPTIONS)
def test_decoder_block(norm_first, activation):
    x, memory, dy = arrays()
    ours = DecoderBlock(C, H, F, norm_first=norm_first, activation=activation, layer_norm_eps=1e-4, dtype=np.float64)
    randomized(ours)
    theirs = torch.nn.TransformerDecoderLayer(
        C, H, F, 0.0, activation, 1e-4, batch_first=True, norm_first=norm_first, dtype=torch.float64
    )
    copy_attention(ours.self_attn, theirs.self_attn)
    copy_attention(ours.encoder_attn, theirs.multihead_attn)
    pairs = [(ours.mlp.c_fc, theirs.linear1), (ours.mlp.c_proj, theirs.linear2)]
    norms = [
        (ours.self_attn_layer_norm, theirs.norm1),
        (ours.encoder_attn_layer_norm, theirs.norm2),
        (ours.final_layer_norm, theirs.norm3),
    ]
    for pair in pairs:
        copy_linear(*pair)
    for pair in norms:
        copy_norm(*pair)
    y, cache = ours.forward(x, memory, causal_mask(T, T), padding_mask(REAL))
    dx, dmemory = ours.backward(dy, cache)
    tx, tm = (torch.tensor(a, requires_grad=True) for a in (x, memory))
    out = theirs(tx, tm, tgt_mask=torch.tensor(~causal_mask(T, T)), memory_key_padding_mask=torch.tensor(~REAL))
    out.backward(torch.tensor(dy))
    same(y, out, "y")
    same(dx, tx.grad, "dx")
    same(dmemory, tm.grad, "dmemory")
    same_attention_gradients(ours.self_attn, theirs.self_attn)
    same_attention_gradients(ours.encoder_attn, theirs.multihead_attn)
    for a, b in pairs:
        same_linear_gradients(a, b)
    for a, b in norms:
        same(a.weight.grad, b.weight.grad, "gain")
        same(a.bias.grad, b.bias.grad, "bias of a norm")


@pytest.mark.parametrize("smoothing", [0.1, 0.5, 1.0])
def test_label_smoothing(smoothing):
    rng = np.random.default_rng(0)
    logits, targets = 3 * rng.standard_normal((4, 5, 11)), rng.integers(0, 11, (4, 5))
    targets[1, 2:] = -100
    loss, dlogits = cross_entropy(logits, targets, label_smoothing=smoothing)
    z = torch.tensor(logits, requires_grad=True)
    rows = torch.nn.functional.cross_entropy(
        z.reshape(-1, 11), torch.tensor(targets).reshape(-1), label_smoothing=smoothing
    )
    rows.backward()
    assert loss == pytest.approx(rows.item(), rel=1e-12)
    same(dlogits, z.grad, "dlogits")


@pytest.mark.parametrize(
    ("pair", "function"), [((silu, silu_backward), "silu"), ((tanh, tanh_backward), "tanh")], ids=["silu", "tanh"]
)
def test_activations(pair, function):
    x = np.linspace(-800, 800, 1001)  # also where exp(-x) would overflow
    out, cache = pair[0](x)
    dx = pair[1](np.ones_like(x), cache)
    t = torch.tensor(x, requires_grad=True)
    expected = getattr(torch.nn.functional, function)(t)
    expected.sum().backward()
    np.testing.assert_allclose(out, expected.detach().numpy(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(dx, t.grad.numpy(), rtol=1e-12, atol=1e-12)
