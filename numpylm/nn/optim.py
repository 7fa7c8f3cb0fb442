"""AdamW, gradient clipping and the learning-rate schedule."""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from numpylm.nn.elementwise_chunks import chunks
from numpylm.nn.module import Array, Parameter

CHUNK = 2**15  # numbers of each of the four arrays that a step processes at a time


class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2).

        m ← β₁ m + (1 - β₁) g           v ← β₂ v + (1 - β₂) g²
        θ ← θ - lr λ θ                  (only parameters with two or more axes)
        θ ← θ - lr m̂ / (√v̂ + ε),       m̂ = m / (1 - β₁ᵗ),  v̂ = v / (1 - β₂ᵗ)

    The arithmetic is that of ``torch.optim.AdamW``: ε is outside the square root, and the decay is multiplied by the
    learning rate of the step. Biases, the weights of LayerNorm and other vectors are not decayed.

    Parameters
    ----------
    parameters : sequence of Parameter
    lr : float
        Learning rate. `step` can take a different one at each step.
    betas : (float, float)
        β₁ and β₂, the decay rates of m and v.
    eps : float
    weight_decay : float
        λ.

    Attributes
    ----------
    t : int
        Number of steps taken.
    m, v : list of arrays
        Running means of the gradient and of its square, one for each parameter.
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
    ) -> None:
        if not (lr >= 0 and eps > 0 and weight_decay >= 0 and all(0 <= beta < 1 for beta in betas)):
            raise ValueError(
                f"AdamW needs lr >= 0, eps > 0, weight_decay >= 0 and betas in [0, 1); "
                f"got {lr=}, {eps=}, {weight_decay=}, {betas=}"
            )
        self.parameters = list(parameters)
        self.lr = lr
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay
        self.t = 0
        # Unlike zeros_like, np.zeros takes no memory until it is used. If a saved state replaces it, it takes none.
        self.m = [np.zeros(p.shape, p.dtype) for p in self.parameters]
        self.v = [np.zeros(p.shape, p.dtype) for p in self.parameters]

    def step(self, lr: float | None = None) -> None:
        """Update every parameter in place from its ``.grad``. The gradient is not changed."""
        lr = self.lr if lr is None else lr
        self.t += 1
        beta1, beta2 = self.betas
        correction1 = 1 - beta1**self.t
        correction2 = 1 - beta2**self.t
        for p, p_m, p_v in zip(self.parameters, self.m, self.v, strict=True):
            for theta, g, m, v in chunks(p.data, p.grad, p_m, p_v, size=CHUNK):
                m *= beta1
                m += (1 - beta1) * g
                v *= beta2
                v += (1 - beta2) * (g * g)
                if theta.ndim >= 2:
                    theta *= 1 - lr * self.weight_decay
                denominator = np.sqrt(v) / math.sqrt(correction2) + self.eps
                theta -= (lr / correction1) * (m / denominator)

    def state_dict(self) -> dict[str, Array]:
        """t, m and v as arrays, by name. They are the optimizer's own arrays, not copies."""
        state = {"t": np.array(self.t)}
        state |= {f"m.{i}": m for i, m in enumerate(self.m)}
        return state | {f"v.{i}": v for i, v in enumerate(self.v)}

    def load_state_dict(self, state: Mapping[str, Array], assign: bool = False) -> None:
        """Load the `state_dict` of an optimizer with the same parameters in the same order.

        With ``assign``, the given arrays become m and v. They are copied only to convert the dtype. Use it for arrays
        that no other code uses.
        """
        shapes = {key: np.shape(value) for key, value in self.state_dict().items()}
        given = {key: np.shape(value) for key, value in state.items()}
        if wrong := sorted({key for key, _ in shapes.items() ^ given.items()}):
            raise ValueError(f"this optimizer state belongs to other parameters: {', '.join(wrong[:5])} do not fit")
        self.t = int(state["t"])
        if assign:
            self.m = [np.asarray(state[f"m.{i}"], m.dtype) for i, m in enumerate(self.m)]
            self.v = [np.asarray(state[f"v.{i}"], v.dtype) for i, v in enumerate(self.v)]
            return
        for i, (m, v) in enumerate(zip(self.m, self.v, strict=True)):
            m[...] = state[f"m.{i}"]
            v[...] = state[f"v.{i}"]


def clip_grad_norm(parameters: Sequence[Parameter], max_norm: float) -> float:
    """Scale all gradients so that their common L2 norm is at most ``max_norm``; return the norm before scaling.

    One factor for all gradients keeps the direction of the step (Pascanu et al. 2013, arXiv:1211.5063, algorithm 1).
    If the norm is not finite, it is returned and nothing is scaled, because infinity times zero would be NaN.
    """
    norm = math.sqrt(sum(float(np.vdot(p.grad, p.grad)) for p in parameters))
    if math.isfinite(norm) and norm > max_norm:
        for p in parameters:
            p.grad *= max_norm / (norm + 1e-6)
    return norm


def warmup_cosine(step: int, warmup_steps: int, max_steps: int, max_lr: float, min_lr: float) -> float:
    """Learning rate at a step: linear warmup to ``max_lr``, then cosine decay to ``min_lr``.

    It is above zero from the first step (0) on, and stays at ``min_lr`` from ``max_steps`` on (Loshchilov & Hutter
    2017, arXiv:1608.03983, equation 5, without restarts).
    """
    if step < warmup_steps:
        return max_lr * (step + 1) / (warmup_steps + 1)
    if step >= max_steps:
        return min_lr
    progress = (step - warmup_steps) / max(1, max_steps - warmup_steps)
    return min_lr + 0.5 * (1 + math.cos(math.pi * progress)) * (max_lr - min_lr)
