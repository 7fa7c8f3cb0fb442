"""Linear regression in context: a Transformer that reads points (x, y), beside least squares and ridge regression.

    python examples/linear_regression.py    # a few minutes; the paper's long recipe is the next line
    python examples/linear_regression.py --dim 20 --points 41 --layers 12 --channels 256 --steps 500000 --lr 1e-4

Each sequence has weights w of its own: w and x ~ N(0, I), y = w · x + noise (Garg et al. 2022, arXiv:2208.01066). It
is read as the vectors x₁, (y₁, 0, …), x₂, …, and after each x the model says y. Nothing in it is made for regression.
Ridge regression with λ = (noise)² is the best that any method can do here.
"""

import argparse

import numpy as np
from tqdm import trange

from numpylm import AdamW, Block, Embedding, LayerNorm, Linear, Module, clip_grad_norm, keep_memory, warmup_cosine

DEFAULTS = {"dim": 3, "points": 11, "layers": 2, "channels": 64, "heads": 4, "batch": 64, "steps": 2000}


class Regressor(Module):
    """GPT's trunk on vectors: linear layers take the places of the token embedding and of the output layer."""

    def __init__(self, dim, positions, layers, channels, heads, rng):
        self.read, self.wpe = Linear(dim, channels, rng=rng), Embedding(positions, channels, rng=rng)
        self.h = [Block(channels, heads, rng=rng) for _ in range(layers)]
        self.ln_f, self.say = LayerNorm(channels), Linear(channels, 1, rng=rng)
        for p in self.parameters():
            p.data *= channels**-0.5 / 0.02 if p.data.ndim == 2 else 1  # 0.02 suits wider models

    def forward(self, vectors):
        """Vectors (B, T, dim) -> a number after each of them (B, T)."""
        x, read_cache = self.read.forward(vectors)  # (B, T, C)
        positions, wpe_cache = self.wpe.forward(np.arange(vectors.shape[1]))  # (T, C)
        x, caches = x + positions, []
        for block in self.h:
            x, cache = block.forward(x)
            caches.append(cache)
        x, norm_cache = self.ln_f.forward(x)
        y, say_cache = self.say.forward(x)  # (B, T, 1)
        return y[..., 0], (read_cache, wpe_cache, caches, norm_cache, say_cache)

    def backward(self, dy, cache):
        """dy (B, T); adds to the gradients of all parameters."""
        read_cache, wpe_cache, caches, norm_cache, say_cache = cache
        dx = self.ln_f.backward(self.say.backward(dy[..., None], say_cache), norm_cache)
        for block, block_cache in zip(reversed(self.h), reversed(caches), strict=True):
            dx = block.backward(dx, block_cache)
        self.wpe.backward(dx.sum(axis=0), wpe_cache)
        self.read.backward(dx, read_cache)


def draw(rng, count, points, dim, noise):
    """Points x (B, N, dim), y with noise (B, N), and w · x (B, N)."""
    x, w = rng.standard_normal((count, points, dim)), rng.standard_normal((count, dim, 1))
    clean = (x @ w)[..., 0]
    return x, clean + noise * rng.standard_normal(clean.shape), clean


def as_sequence(x, y):
    """The vectors x₁, (y₁, 0, …), x₂, … without the last y: (B, 2N - 1, dim)."""
    labels = np.concatenate([y[..., None], np.zeros_like(x)[..., 1:]], axis=-1)  # (B, N, dim)
    return np.stack([x, labels], axis=2).reshape(len(x), -1, x.shape[-1])[:, :-1].astype(np.float32)


def solved(x, y, ridge):
    """What linear regression on the points before says about each x (B, N). ridge = 0: least squares of least norm."""
    said = np.zeros_like(y)
    for n in range(1, x.shape[1]):
        A, At = x[:, :n], x[:, :n].swapaxes(1, 2)
        w = np.linalg.pinv(At @ A + ridge * np.eye(x.shape[-1]), hermitian=True) @ At @ y[:, :n, None]
        said[:, n] = (x[:, n, None] @ w)[:, 0, 0]
    return said


def main():
    parser = argparse.ArgumentParser(description="Linear regression in context")
    for name, default in DEFAULTS.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--noise", type=float, default=0.5)
    parser.add_argument("--lr", type=float, default=3e-3)
    a = parser.parse_args()
    keep_memory()
    rng = np.random.default_rng(0)
    model = Regressor(a.dim, 2 * a.points - 1, a.layers, a.channels, a.heads, rng)
    optimizer = AdamW(model.parameters(), lr=a.lr, weight_decay=0)
    for step in trange(a.steps):
        x, y, _ = draw(rng, a.batch, a.points, a.dim, a.noise)
        said, cache = model.forward(as_sequence(x, y))
        error = np.zeros_like(said)
        error[:, ::2] = said[:, ::2] - y  # only the numbers after an x count
        model.zero_grad()
        model.backward(2 * error / y.size, cache)
        clip_grad_norm(model.parameters(), 1.0)
        optimizer.step(warmup_cosine(step, 100, a.steps, a.lr, a.lr / 100))
    x, y, clean = draw(np.random.default_rng(1), 2000, a.points, a.dim, a.noise)
    said = {"Transformer": model.forward(as_sequence(x, y))[0][:, ::2]}
    said |= {"least squares": solved(x, y, 0.0), "ridge": solved(x, y, a.noise**2)}
    print("squared error of w · x, divided by the dimension\nexamples  " + "  ".join(f"{name:>13}" for name in said))
    for n in range(a.points):
        print(f"{n:8}  " + "  ".join(f"{((s - clean)[:, n] ** 2).mean() / a.dim:13.3f}" for s in said.values()))


if __name__ == "__main__":
    main()
