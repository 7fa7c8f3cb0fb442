"""Attention as a student might write it, with one bug. `numpylm gradcheck --file examples/my_attention.py` finds it."""

import numpy as np

from numpylm import Parameter, softmax, softmax_backward


class MyAttention:
    """Multi-head self-attention: (B, T, C) -> (B, T, C)."""

    def __init__(self, d_model, n_heads):
        self.n_heads = n_heads
        rng = np.random.default_rng(0)
        self.W_q, self.W_k, self.W_v, self.W_o = (Parameter(rng.standard_normal((d_model, d_model))) for _ in range(4))

    def split(self, x):
        B, T, C = x.shape
        return x.reshape(B, T, self.n_heads, C // self.n_heads).transpose(0, 2, 1, 3)  # (B, H, T, D)

    def merge(self, x):
        B, H, T, D = x.shape
        return x.transpose(0, 2, 1, 3).reshape(B, T, H * D)

    def forward(self, x):
        q, k, v = (self.split(x @ W.data) for W in (self.W_q, self.W_k, self.W_v))
        scale = 1 / np.sqrt(q.shape[-1])
        p, p_cache = softmax(q @ k.transpose(0, 1, 3, 2) * scale)  # (B, H, T, T)
        y = self.merge(p @ v)
        return y @ self.W_o.data, (x, q, k, v, p, p_cache, scale, y)

    def backward(self, dout, cache):
        x, q, k, v, p, p_cache, scale, y = cache
        C = x.shape[-1]
        self.W_o.grad += y.reshape(-1, C).T @ dout.reshape(-1, C)
        dy = self.split(dout @ self.W_o.data.T)  # (B, H, T, D)
        dv = p.transpose(0, 1, 3, 2) @ dy
        ds = softmax_backward(dy @ v.transpose(0, 1, 3, 2), p_cache) * scale
        dq = ds @ k
        dk = (q.transpose(0, 1, 3, 2) @ ds).reshape(k.shape)
        dx = 0
        for W, d in ((self.W_q, dq), (self.W_k, dk), (self.W_v, dv)):
            d = self.merge(d)  # (B, T, C)
            W.grad += x.reshape(-1, C).T @ d.reshape(-1, C)
            dx = dx + d @ W.data.T
        return dx
