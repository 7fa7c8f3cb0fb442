"""Layers that compute in float32, wherever they make it."""

import numpy as np
from numpy import float32 as f32

DTYPE = np.float32
EYE = np.eye(64, dtype=np.float32)
flat = lambda a: a.reshape(-1, a.shape[-1])


class LinearWeights:
    """float32 weights made in __init__, inputs as they come."""

    def __init__(self, n_in, n_out):
        self.W = np.random.randn(n_in, n_out).astype(np.float32)
        self.b = np.zeros(n_out, dtype=np.float32)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, d):
        self.dW, self.db = flat(self.x).T @ flat(d), flat(d).sum(0)
        return d @ self.W.T


class LinearCast:
    def __init__(self, n_in, n_out):
        self.W = np.random.randn(n_in, n_out).astype(np.float32)
        self.b = np.zeros(n_out, dtype=np.float32)

    def forward(self, x):
        self.x = x.astype(np.float32)
        return (self.x @ self.W.astype(np.float32) + self.b.astype(np.float32)).astype(np.float32)

    def backward(self, d):
        d = d.astype(np.float32)
        self.dW, self.db = flat(self.x).T @ flat(d), flat(d).sum(0)
        return d @ self.W.astype(np.float32).T


class LinearCastInput:
    """Only the input is cast, so that the output is float64 again."""

    def __init__(self, n_in, n_out):
        self.W = np.random.randn(n_in, 2 * n_out).astype(np.float32)
        self.b = np.zeros(2 * n_out, dtype=np.float32)

    def forward(self, x):
        x = np.asarray(x, dtype=np.float32)
        return x @ self.W + self.b, x

    def backward(self, d, x):
        self.dW, self.db = flat(x).T @ flat(d), flat(d).sum(0)
        return d @ self.W.T


class LinearCastAndBack:
    def __init__(self, n_in, n_out):
        self.W = np.random.randn(n_in, n_out)
        self.b = np.zeros(n_out)

    def forward(self, x):
        self.x = x
        out = np.float32(x) @ np.float32(self.W) + np.float32(self.b)
        return out.astype(float)

    def backward(self, d):
        self.dW, self.db = flat(self.x).T @ flat(d), flat(d).sum(0)
        return d @ self.W.T


class LinearString:
    """The dtype as a string: it cannot be lifted."""

    def __init__(self, n_in, n_out):
        self.W = np.random.randn(n_in, n_out).astype("float32")
        self.b = np.zeros(n_out, dtype="float32")

    def forward(self, x):
        self.x = x.astype("float32")
        return self.x @ self.W.astype("f4") + self.b.astype("f4")

    def backward(self, d):
        d = d.astype("float32")
        self.dW, self.db = flat(self.x).T @ flat(d), flat(d).sum(0)
        return d @ self.W.T.astype("f4")


class LinearStringBack:
    def __init__(self, n_in, n_out):
        self.W = np.random.randn(n_in, n_out).astype("float32")
        self.b = np.zeros(n_out, dtype="float32")

    def forward(self, x):
        x = x.astype("float32")
        return (x @ self.W.astype("float32") + self.b).astype(np.float64), x

    def backward(self, d, x):
        self.dW, self.db = flat(x).T @ flat(d), flat(d).sum(0)
        return d @ self.W.T


class LinearDtypeAttribute:
    def __init__(self, n_in, n_out, dtype=np.float32):
        self.dtype = dtype
        self.W = np.random.randn(n_in, n_out).astype(dtype)
        self.dW = np.zeros_like(self.W)

    def forward(self, x):
        self.x = x.astype(self.dtype)
        return self.x @ self.W.astype(self.dtype)

    def backward(self, d):
        self.dW = flat(self.x).T @ flat(d.astype(self.dtype))
        return d.astype(self.dtype) @ self.W.astype(self.dtype).T


class LinearGlobalDtype:
    def __init__(self, n_in, n_out):
        self.W = np.random.randn(n_in, n_out).astype(DTYPE)

    def forward(self, x):
        self.x = x.astype(DTYPE)
        return self.x @ self.W.astype(DTYPE)

    def backward(self, d):
        self.dW = flat(self.x).T @ flat(d.astype(DTYPE))
        return d.astype(DTYPE) @ self.W.astype(DTYPE).T


class LinearImported:
    def __init__(self, n_in, n_out):
        self.W = f32(np.random.randn(n_in, n_out))

    def forward(self, x):
        self.x = f32(x)
        return self.x @ f32(self.W)

    def backward(self, d):
        self.dW = flat(self.x).T @ flat(f32(d))
        return f32(d) @ f32(self.W).T


class ReLU32:
    def forward(self, x):
        x = x.astype(np.float32)
        return np.maximum(x, 0), x > 0

    def backward(self, d, mask):
        return (d * mask).astype(np.float32)


class LayerNorm32:
    def __init__(self, dim):
        self.g, self.b = np.ones(dim, np.float32), np.zeros(dim, np.float32)

    def forward(self, x):
        x = x.astype(np.float32)
        s = np.sqrt(x.var(-1, keepdims=True) + np.float32(1e-5))
        self.h, self.s = (x - x.mean(-1, keepdims=True)) / s, s
        return (self.g * self.h + self.b).astype(np.float32)

    def backward(self, d):
        d = d.astype(np.float32)
        self.dg, self.db = flat(d * self.h).sum(0), flat(d).sum(0)
        g = d * self.g.astype(np.float32)
        return (g - g.mean(-1, keepdims=True) - self.h * (g * self.h).mean(-1, keepdims=True)) / self.s


class Attention32:
    def __init__(self, d_model):
        self.Wq, self.Wk, self.Wv = (np.random.randn(d_model, d_model).astype(np.float32) for _ in range(3))
        self.mask = np.triu(np.full((64, 64), -1e9, dtype=np.float32), 1)

    def forward(self, x):
        x = x.astype(np.float32)
        q, k, v = (x @ W.astype(np.float32) for W in (self.Wq, self.Wk, self.Wv))
        T = x.shape[-2]
        s = q @ k.swapaxes(-1, -2) / np.sqrt(np.float32(x.shape[-1])) + self.mask[:T, :T]
        p = np.exp(s - s.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        return p @ v, (x, q, k, v, p)

    def backward(self, d, cache):
        x, q, k, v, p = cache
        c = np.sqrt(np.float32(x.shape[-1]))
        dv, dp = p.swapaxes(-1, -2) @ d, d @ v.swapaxes(-1, -2)
        ds = p * (dp - (dp * p).sum(-1, keepdims=True)) / c
        dq, dk = ds @ k, ds.swapaxes(-1, -2) @ q
        self.dWq, self.dWk, self.dWv = (flat(x).T @ flat(g) for g in (dq, dk, dv))
        return dq @ self.Wq.T + dk @ self.Wk.T + dv @ self.Wv.T


class Embedding32:
    def __init__(self, vocab_size, dim):
        self.W = np.random.randn(vocab_size, dim).astype(np.float32)

    def forward(self, ids):
        return self.W[ids].astype(np.float32), ids

    def backward(self, d, ids):
        self.dW = np.zeros(self.W.shape, dtype=np.float32)
        np.add.at(self.dW, ids, d)


class Half:
    def __init__(self, n_in, n_out):
        self.W = np.random.randn(n_in, n_out).astype(np.float16)

    def forward(self, x):
        x = x.astype(np.float16)
        return x @ self.W.astype(np.float16), x

    def backward(self, d, x):
        self.dW = flat(x).T @ flat(d).astype(np.float16)
        return d.astype(np.float16) @ self.W.T.astype(np.float16)


def gelu(x):
    x = x.astype(np.float32)
    t = np.tanh(0.7978845608 * (x + 0.044715 * x**3))
    return 0.5 * x * (1 + t), (x, t)


def gelu_backward(d, cache):
    x, t = cache
    return d * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * 0.7978845608 * (1 + 3 * 0.044715 * x * x))


def onehot_loss(logits, targets):
    z = logits.astype(np.float32)
    z = z - z.max(-1, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    y = EYE[targets][..., : z.shape[-1]]
    return float(-(y * np.log(p)).sum() / targets.size), (p, y)


def onehot_loss_backward(d, cache):
    p, y = cache
    return d * (p - y) / (y.size // y.shape[-1])


def conv32_forward(x, w, b, conv_param):
    x, w = x.astype(np.float32), w.astype(np.float32)
    pad, (F, C, k, _) = conv_param["pad"], w.shape
    xp = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.zeros((len(x), F, xp.shape[2] - k + 1, xp.shape[3] - k + 1), dtype=np.float32)
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            for f in range(F):
                out[:, f, i, j] = (xp[:, :, i : i + k, j : j + k] * w[f]).sum((1, 2, 3)) + b[f]
    return out, (xp, w, pad)


def conv32_backward(dout, cache):
    xp, w, pad = cache
    dxp, dw, k = np.zeros_like(xp), np.zeros_like(w), w.shape[-1]
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            for f in range(len(w)):
                d = dout[:, f, i, j][:, None, None, None]
                dw[f] += (d * xp[:, :, i : i + k, j : j + k]).sum(0)
                dxp[:, :, i : i + k, j : j + k] += d * w[f]
    return dxp[:, :, pad:-pad, pad:-pad], dw, dout.sum((0, 2, 3))
