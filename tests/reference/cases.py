"""The models and batches that the stored reference numbers belong to; made by NumPy, so the same everywhere."""

import numpy as np

from numpylm import GPT, GPTConfig

CONFIGS = {
    "tanh": GPTConfig(13, 9, 2, 3, 12),
    "exact_no_bias": GPTConfig(13, 9, 2, 2, 8, bias=False, gelu_approximate="none"),
}
STEPS, LR, BETAS, EPS, DECAY, CLIP = 10, 1e-2, (0.9, 0.95), 1e-8, 0.1, 1.0


def random_model(name: str) -> GPT:
    """A float64 model with random O(1) parameters, gains and biases too."""
    rng = np.random.default_rng(5)
    gpt = GPT(CONFIGS[name], rng, np.float64)
    for p in gpt.parameters():
        p.data[...] = 0.5 * rng.standard_normal(p.shape)
    return gpt


def batches(name: str, count: int = STEPS):
    """Batches with repeated ids and ignored targets; T is below the block size."""
    rng = np.random.default_rng(6)
    for _ in range(count):
        ids = rng.integers(0, 13, (3, 7))
        targets = rng.integers(0, 13, (3, 7))
        ids[:, 2:4] = ids[0, 0]
        targets[0, :3] = -100
        yield ids, targets
