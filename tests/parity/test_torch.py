"""Live, against PyTorch in float64 and against transformers' GPT-2 with the same weights."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[parity]' to run the parity tests")
import torch.nn.functional as F  # noqa: E402

from numpylm import (  # noqa: E402
    GPT,
    AdamW,
    GPTConfig,
    Parameter,
    clip_grad_norm,
    cross_entropy,
    cross_entropy_backward,
    gelu,
    gelu_backward,
    scaled_dot_product_attention,
    scaled_dot_product_attention_backward,
)
from tests.parity.torch_gpt import TorchGPT  # noqa: E402

SHAPES = [  # vocab, block, layers, heads, channels, batch, time
    (13, 9, 2, 3, 12, 3, 7),
    (31, 16, 1, 1, 8, 1, 16),
    (7, 20, 3, 4, 20, 2, 1),
]


def model_and_batch(shape, seed=0, **more):
    V, block, n_layer, n_head, C, B, T = shape
    rng = np.random.default_rng(seed)
    gpt = GPT(GPTConfig(V, block, n_layer, n_head, C, **more), rng, np.float64)
    for p in gpt.parameters():
        p.data[...] = 0.5 * rng.standard_normal(p.shape)
    ids, targets = rng.integers(0, V, (B, T)), rng.integers(0, V, (B, T))
    ids[:, T // 2 :] = ids[0, 0]
    targets[0, : T // 2] = -100
    return gpt, ids, targets


@pytest.mark.parametrize("approximate", ["tanh", "none"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_logits_loss_and_every_gradient(shape, bias, approximate):
    gpt, ids, targets = model_and_batch(shape, bias=bias, gelu_approximate=approximate)
    twin = TorchGPT(gpt)
    np.testing.assert_allclose(gpt.forward(ids)[0], twin.forward(ids).detach().numpy(), rtol=1e-9, atol=1e-10)
    loss = gpt.loss_and_grad(ids, targets)
    reference = twin.loss(ids, targets)
    reference.backward()
    assert loss == pytest.approx(reference.item(), rel=1e-12)
    for name, p in gpt.named_parameters():
        expected = twin.p[name].grad.numpy()
        error = np.abs(p.grad - expected).max() / max(np.abs(expected).max(), 1e-12)
        assert error < 1e-9, (name, error)


def test_adamw_equals_torch_over_100_steps():
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(shape) for shape in [(4, 3), (5,), (2, 3, 2)]]
    ours = [Parameter(value.copy()) for value in values]
    theirs = [torch.tensor(value, requires_grad=True) for value in values]
    groups = [
        {"params": [p for p in theirs if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in theirs if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer, reference = AdamW(ours, 1e-2), torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95), eps=1e-8)
    for step in range(100):
        lr = 1e-2 / (1 + step)
        for p, q in zip(ours, theirs, strict=True):
            p.grad[...] = rng.standard_normal(p.shape) * 10.0 ** rng.integers(-6, 3)
            q.grad = torch.tensor(p.grad.copy())
        assert clip_grad_norm(ours, 2.0) == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs, 2.0).item(), rel=1e-12)
        for group in reference.param_groups:
            group["lr"] = lr
        optimizer.step(lr)
        reference.step()
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=0, atol=1e-12)


def test_attention_with_a_padding_mask():
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((2, 3, 5, 4)), rng.standard_normal((2, 3, 7, 4)), rng.standard_normal((2, 3, 7, 4))
    mask = rng.random((2, 1, 5, 7)) < 0.6
    mask[..., 0] = True
    out, cache = scaled_dot_product_attention(q, k, v, mask)
    tensors = [torch.tensor(a, requires_grad=True) for a in (q, k, v)]
    expected = F.scaled_dot_product_attention(*tensors, attn_mask=torch.tensor(mask))
    np.testing.assert_allclose(out, expected.detach().numpy(), rtol=1e-10)
    dout = rng.standard_normal(out.shape)
    expected.backward(torch.tensor(dout))
    for ours, tensor in zip(scaled_dot_product_attention_backward(dout, cache), tensors, strict=True):
        np.testing.assert_allclose(ours, tensor.grad.numpy(), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("approximate", ["tanh", "none"])
def test_gelu(approximate):
    x = np.linspace(-8, 8, 2001)
    tensor = torch.tensor(x, requires_grad=True)
    expected = F.gelu(tensor, approximate=approximate)
    expected.sum().backward()
    out, cache = gelu(x, approximate)
    np.testing.assert_allclose(out, expected.detach().numpy(), rtol=0, atol=1e-14)
    np.testing.assert_allclose(gelu_backward(np.ones_like(x), cache), tensor.grad.numpy(), rtol=0, atol=1e-14)


def test_cross_entropy():
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((6, 5)) * 10, np.array([0, 4, -100, 2, 2, -100])
    tensor = torch.tensor(logits, requires_grad=True)
    expected = F.cross_entropy(tensor, torch.tensor(targets))
    expected.backward()
    loss, cache = cross_entropy(logits, targets)
    assert loss == pytest.approx(expected.item(), rel=1e-14)
    np.testing.assert_allclose(cross_entropy_backward(1.0, cache), tensor.grad.numpy(), rtol=0, atol=1e-15)


def test_transformers_gpt2_with_the_same_weights():
    transformers = pytest.importorskip("transformers", reason="pip install -e '.[parity]'")
    gpt, ids, targets = model_and_batch((17, 12, 3, 2, 16, 3, 11))
    config = transformers.GPT2Config(
        vocab_size=17, n_positions=12, n_embd=16, n_layer=3, n_head=2, bos_token_id=0, eos_token_id=0
    )
    config._attn_implementation = "eager"
    theirs = transformers.GPT2LMHeadModel(config).double().eval()
    state = {f"transformer.{name}": torch.tensor(value) for name, value in gpt.state_dict().items()}
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert set(missing) <= {"lm_head.weight"}
    assert not unexpected
    theirs.tie_weights()
    logits = theirs(torch.tensor(ids)).logits
    np.testing.assert_allclose(gpt.forward(ids)[0], logits.detach().numpy(), rtol=1e-9, atol=1e-10)
    F.cross_entropy(logits.flatten(0, 1), torch.tensor(targets).flatten()).backward()
    gpt.loss_and_grad(ids, targets)
    named = dict(theirs.named_parameters())
    for name, p in gpt.named_parameters():
        expected = named[f"transformer.{name}"].grad.numpy()
        assert np.abs(p.grad - expected).max() < 1e-9 * max(np.abs(expected).max(), 1e-12), name
