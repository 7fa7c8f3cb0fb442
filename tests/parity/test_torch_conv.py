"""Conv1d against torch.nn.Conv1d in float64, with every gradient."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[parity]' to run the parity tests")

from numpylm import Conv1d  # noqa: E402


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kernel_size", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (2, 3, 0), (5, 2, 4), (1, 1, 0)])
def test_conv(kernel_size, stride, padding, bias):
    rng = np.random.default_rng(0)
    shape = (5, 7, kernel_size, stride, padding)
    theirs = torch.nn.Conv1d(*shape, bias=bias, dtype=torch.float64)
    ours = Conv1d(*shape, bias=bias, dtype=np.float64)
    ours.load_state_dict({name: p.detach().numpy().T for name, p in theirs.named_parameters()})
    x = rng.standard_normal((3, 11, 5))
    y, cache = ours.forward(x)
    dy = rng.standard_normal(y.shape)
    dx = ours.backward(dy, cache)
    tx = torch.tensor(x.swapaxes(1, 2).copy(), requires_grad=True)  # torch's layout is (B, C, T)
    out = theirs(tx)
    out.backward(torch.tensor(dy.swapaxes(1, 2).copy()))
    np.testing.assert_allclose(y, out.detach().numpy().swapaxes(1, 2), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(dx, tx.grad.numpy().swapaxes(1, 2), rtol=1e-12, atol=1e-12)
    for name, p in theirs.named_parameters():
        np.testing.assert_allclose(dict(ours.named_parameters())[name].grad, p.grad.numpy().T, rtol=1e-12, atol=1e-12)
