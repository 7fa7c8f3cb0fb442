"""CTC against torch: loss and gradient in float64, with lengths, repeated labels, empty and impossible targets."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="pip install -e '.[parity]' to run the parity tests")

from numpylm.nn.ctc import ctc_loss  # noqa: E402


def theirs(logits, targets, lengths, blank, zero_infinity):
    """The summed loss, and its gradient at the logits."""
    x = torch.tensor(logits, requires_grad=True)
    counts = torch.tensor((targets != -100).sum(axis=1))
    labels = torch.tensor(np.where(targets == -100, (blank + 1) % logits.shape[-1], targets))
    loss = torch.nn.functional.ctc_loss(
        x.log_softmax(-1).transpose(0, 1),
        labels,
        torch.tensor(lengths),
        counts,
        blank,
        reduction="sum",
        zero_infinity=zero_infinity,
    )
    loss.backward()
    return loss.item(), x.grad.numpy()


@pytest.mark.parametrize("seed", range(40))
def test_loss_and_gradient(seed):
    rng = np.random.default_rng(seed)
    B, T, V, S = rng.integers((1, 1, 2, 1), (6, 14, 6, 7))
    blank = int(rng.integers(V))
    logits, lengths = 3 * rng.standard_normal((B, T, V)), rng.integers(1, T + 1, B)
    targets = rng.choice(np.delete(np.arange(V), blank), (B, S))
    targets[np.arange(S) >= rng.integers(0, S + 1, B)[:, None]] = -100
    for zero_infinity in (False, True):
        loss, grad = ctc_loss(logits, targets, lengths, count=1, blank=blank, zero_infinity=zero_infinity)
        expected, its_grad = theirs(logits, targets, lengths, blank, zero_infinity)
        assert loss == pytest.approx(expected, rel=1e-10, abs=1e-10)
        impossible = np.isnan(its_grad).any(axis=(1, 2))
        assert (np.isnan(grad).all(axis=(1, 2)) == impossible).all()
        np.testing.assert_allclose(grad[~impossible], its_grad[~impossible], rtol=1e-10, atol=1e-10)
