"""Classes in the way of torch and of textbooks: weights and caches on self, in many styles."""

import math
from dataclasses import dataclass, field

import numpy as np

rng = np.random.default_rng(42)


class Linear:
    def __init__(self, in_features, out_features, bias=True):
        k = 1 / math.sqrt(in_features)
        self.weight = np.random.uniform(-k, k, (out_features, in_features))
        self.bias = np.random.uniform(-k, k, out_features) if bias else None

    def forward(self, x):
        self.x = x
        y = x @ self.weight.T
        return y + self.bias if self.bias is not None else y

    def backward(self, grad_output):
        g = grad_output.reshape(-1, grad_output.shape[-1])
        self.grad_weight = g.T @ self.x.reshape(-1, self.x.shape[-1])
        self.grad_bias = g.sum(axis=0)
        return grad_output @ self.weight


class ReLU:
    def forward(self, x):
        self.mask = x <= 0
        out = x.copy()
        out[self.mask] = 0
        return out

    def backward(self, dout):
        dout = dout.copy()
        dout[self.mask] = 0
        return dout


class BatchNorm1d:
    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        self.gamma, self.beta = np.ones(num_features), np.zeros(num_features)
        self.running_mean, self.running_var = np.zeros(num_features), np.ones(num_features)
        self.eps, self.momentum, self.training = eps, momentum, True

    def forward(self, x):
        if self.training:
            mu, var = x.mean(0), x.var(0)
            self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mu
            self.running_var = (1 - self.momentum) * self.running_var + self.momentum * var
        else:
            mu, var = self.running_mean, self.running_var
        self.std = np.sqrt(var + self.eps)
        self.xhat = (x - mu) / self.std
        return self.gamma * self.xhat + self.beta

    def backward(self, dout):
        self.dgamma, self.dbeta = (dout * self.xhat).sum(0), dout.sum(0)
        g = dout * self.gamma
        return (g - g.mean(0) - self.xhat * (g * self.xhat).mean(0)) / self.std


class BatchNormInPlaceStats(BatchNorm1d):
    """Running statistics updated in place."""

    def forward(self, x):
        mu, var = x.mean(0), x.var(0)
        self.running_mean *= 1 - self.momentum
        self.running_mean += self.momentum * mu
        self.running_var *= 1 - self.momentum
        self.running_var += self.momentum * var
        self.std = np.sqrt(var + self.eps)
        self.xhat = (x - mu) / self.std
        return self.gamma * self.xhat + self.beta


class EmbeddingOneHot:
    """A vocabulary that is larger than all ids; the product with one-hot rows."""

    def __init__(self, dim):
        self.W = rng.standard_normal((50, dim))

    def forward(self, ids):
        self.onehot = np.eye(50)[ids]
        return self.onehot @ self.W

    def backward(self, dout):
        self.dW = self.onehot.reshape(-1, 50).T @ dout.reshape(-1, dout.shape[-1])
        return None


class PositionalEmbedding:
    """A table that is longer than the sequence."""

    def __init__(self, max_len, d_model):
        self.table = 0.02 * rng.standard_normal((4 * max_len, d_model))

    def forward(self, x):
        self.T = x.shape[-2]
        return x + self.table[: self.T]

    def backward(self, dout):
        self.dtable = np.zeros_like(self.table)
        self.dtable[: self.T] = dout.reshape(-1, self.T, dout.shape[-1]).sum(axis=0)
        return dout


class Dropout:
    def __init__(self, p=0.5):
        self.p = p
        self.training = True

    def forward(self, x):
        if not self.training:
            return x
        self.mask = np.random.binomial(1, 1 - self.p, size=x.shape) / (1 - self.p)
        return x * self.mask

    def backward(self, dout):
        return dout * self.mask


class DropoutOwnGenerator:
    def __init__(self, rate=0.2, seed=0):
        self.rate, self.rng = rate, np.random.default_rng(seed)

    def forward(self, x):
        keep = self.rng.random(x.shape) > self.rate
        return x * keep / (1 - self.rate), keep

    def backward(self, dout, keep):
        return dout * keep / (1 - self.rate)


class SoftmaxByJacobian:
    def forward(self, x):
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        self.s = e / e.sum(axis=-1, keepdims=True)
        return self.s

    def backward(self, dout):
        dx = np.empty_like(dout)
        for i in np.ndindex(dout.shape[:-1]):
            s = self.s[i].reshape(-1, 1)
            dx[i] = (np.diagflat(s) - s @ s.T) @ dout[i]
        return dx


@dataclass
class LayerNorm:
    dim: int
    eps: float = 1e-5
    params: dict = field(default_factory=dict)
    grads: dict = field(default_factory=dict)

    def __post_init__(self):
        self.params = {"gamma": np.ones(self.dim), "beta": np.zeros(self.dim)}

    def forward(self, x):
        mu = x.mean(-1, keepdims=True)
        inv = 1 / np.sqrt(((x - mu) ** 2).mean(-1, keepdims=True) + self.eps)
        xhat = (x - mu) * inv
        self.cache = xhat, inv
        return self.params["gamma"] * xhat + self.params["beta"]

    def backward(self, dout):
        xhat, inv = self.cache
        axes = tuple(range(dout.ndim - 1))
        self.grads["gamma"], self.grads["beta"] = (dout * xhat).sum(axes), dout.sum(axes)
        g = dout * self.params["gamma"]
        return inv * (g - g.mean(-1, keepdims=True) - xhat * (g * xhat).mean(-1, keepdims=True))


class RMSNorm:
    def __init__(self, dim, eps=1e-6):
        self.scale, self.eps = np.ones(dim), eps

    def forward(self, x):
        r = np.sqrt((x**2).mean(-1, keepdims=True) + self.eps)
        return x / r * self.scale, (x, r)

    def backward(self, dout, cache):
        x, r = cache
        g = dout * self.scale
        dscale = (dout * x / r).reshape(-1, x.shape[-1]).sum(0)
        dx = g / r - x * (g * x).mean(-1, keepdims=True) / r**3
        return dx, {"scale": dscale}


class Conv2d:
    def __init__(self, in_channels, out_channels, kernel_size=3, stride=1, padding=1):
        self.stride, self.padding, self.k = stride, padding, kernel_size
        self.W = rng.standard_normal((out_channels, in_channels, kernel_size, kernel_size))
        self.b = np.zeros(out_channels)

    def forward(self, x):
        p, k = self.padding, self.k
        self.x = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
        N, C, H, W = self.x.shape
        Ho, Wo = (H - k) // self.stride + 1, (W - k) // self.stride + 1
        out = np.empty((N, len(self.W), Ho, Wo))
        for i in range(Ho):
            for j in range(Wo):
                patch = self.x[:, :, i * self.stride : i * self.stride + k, j * self.stride : j * self.stride + k]
                out[:, :, i, j] = np.einsum("nckl,fckl->nf", patch, self.W)
        return out + self.b[:, None, None]

    def backward(self, dout):
        p, k = self.padding, self.k
        dx, self.dW, self.db = np.zeros_like(self.x), np.zeros_like(self.W), dout.sum((0, 2, 3))
        for i in range(dout.shape[2]):
            for j in range(dout.shape[3]):
                s = np.s_[:, :, i * self.stride : i * self.stride + k, j * self.stride : j * self.stride + k]
                self.dW += np.einsum("nf,nckl->fckl", dout[:, :, i, j], self.x[s])
                dx[s] += np.einsum("nf,fckl->nckl", dout[:, :, i, j], self.W)
        return dx[:, :, p:-p, p:-p]


class MaxPool:
    def __init__(self, pool=2):
        self.pool = pool

    def forward(self, x):
        k = self.pool
        N, C, H, W = x.shape
        x6 = x[:, :, : H // k * k, : W // k * k].reshape(N, C, H // k, k, W // k, k)
        out = x6.max(axis=(3, 5))
        self.shape, self.where = x.shape, x6 == out[:, :, :, None, :, None]
        return out

    def backward(self, dout):
        k = self.pool
        dx = np.zeros(self.shape)
        d = (self.where * dout[:, :, :, None, :, None]).reshape(*dout.shape[:2], dout.shape[2] * k, -1)
        dx[:, :, : d.shape[2], : d.shape[3]] = d
        return dx


class GRUCell:
    def __init__(self, input_size, hidden_size):
        s = 1 / np.sqrt(hidden_size)
        u = lambda *shape: np.random.uniform(-s, s, shape)
        self.Wz, self.Wr, self.Wn = (u(input_size, hidden_size) for _ in range(3))
        self.Uz, self.Ur, self.Un = (u(hidden_size, hidden_size) for _ in range(3))
        self.bz, self.br, self.bn = np.zeros(hidden_size), np.zeros(hidden_size), np.zeros(hidden_size)

    def forward(self, x, h):
        sig = lambda a: 1 / (1 + np.exp(-a))
        z, r = sig(x @ self.Wz + h @ self.Uz + self.bz), sig(x @ self.Wr + h @ self.Ur + self.br)
        n = np.tanh(x @ self.Wn + r * (h @ self.Un) + self.bn)
        return (1 - z) * n + z * h, (x, h, z, r, n)

    def backward(self, d, cache):
        x, h, z, r, n = cache
        dn = d * (1 - z) * (1 - n**2)
        dz = d * (h - n) * z * (1 - z)
        hU = h @ self.Un
        dr = dn * hU * r * (1 - r)
        self.dWz, self.dWr, self.dWn = x.T @ dz, x.T @ dr, x.T @ dn
        self.dUz, self.dUr, self.dUn = h.T @ dz, h.T @ dr, h.T @ (dn * r)
        self.dbz, self.dbr, self.dbn = dz.sum(0), dr.sum(0), dn.sum(0)
        dx = dz @ self.Wz.T + dr @ self.Wr.T + dn @ self.Wn.T
        dh = d * z + dz @ self.Uz.T + dr @ self.Ur.T + (dn * r) @ self.Un.T
        return dx, dh


class RNN:
    """State kept on the layer, cleared at the start of each sequence."""

    def __init__(self, input_size, hidden_size):
        self.Wxh = rng.standard_normal((input_size, hidden_size)) * 0.3
        self.Whh = rng.standard_normal((hidden_size, hidden_size)) * 0.3
        self.bh = np.zeros((1, hidden_size))

    def forward(self, x):
        self.x, self.hs = x, {-1: np.zeros((x.shape[0], self.Whh.shape[0]))}
        for t in range(x.shape[1]):
            self.hs[t] = np.tanh(x[:, t] @ self.Wxh + self.hs[t - 1] @ self.Whh + self.bh)
        return np.stack([self.hs[t] for t in range(x.shape[1])], axis=1)

    def backward(self, dh):
        self.dWxh, self.dWhh, self.dbh = (np.zeros_like(a) for a in (self.Wxh, self.Whh, self.bh))
        dx, dnext = np.zeros_like(self.x), 0
        for t in reversed(range(self.x.shape[1])):
            da = (dh[:, t] + dnext) * (1 - self.hs[t] ** 2)
            self.dWxh += self.x[:, t].T @ da
            self.dWhh += self.hs[t - 1].T @ da
            self.dbh += da.sum(axis=0, keepdims=True)
            dx[:, t], dnext = da @ self.Wxh.T, da @ self.Whh.T
        return dx


class Bilinear:
    def __init__(self, in1_features, in2_features, out_features):
        self.W = rng.standard_normal((out_features, in1_features, in2_features))
        self.b = np.zeros(out_features)

    def forward(self, x1, x2):
        self.x1, self.x2 = x1, x2
        return np.einsum("...i,oij,...j->...o", x1, self.W, x2) + self.b

    def backward(self, d):
        flat = lambda a: a.reshape(-1, a.shape[-1])
        self.dW = np.einsum("no,ni,nj->oij", flat(d), flat(self.x1), flat(self.x2))
        self.db = flat(d).sum(0)
        return np.einsum("...o,oij,...j->...i", d, self.W, self.x2), np.einsum(
            "...o,oij,...i->...j", d, self.W, self.x1
        )


class MultiHeadAttention:
    def __init__(self, d_model, num_heads):
        assert d_model % num_heads == 0
        self.h, self.dk = num_heads, d_model // num_heads
        self.W = {n: rng.standard_normal((d_model, d_model)) / np.sqrt(d_model) for n in ("q", "k", "v", "o")}
        self.dW = {}

    def forward(self, x, mask=None):
        B, T, C = x.shape
        heads = lambda a: a.reshape(B, T, self.h, self.dk).transpose(0, 2, 1, 3)
        q, k, v = (heads(x @ self.W[n]) for n in "qkv")
        s = np.einsum("bhid,bhjd->bhij", q, k) / np.sqrt(self.dk)
        if mask is None:
            mask = np.tril(np.ones((T, T)))
        s = np.where(mask == 0, -1e9, s)
        p = np.exp(s - s.max(-1, keepdims=True))
        p = p / p.sum(-1, keepdims=True)
        o = np.einsum("bhij,bhjd->bhid", p, v).transpose(0, 2, 1, 3).reshape(B, T, C)
        self.cache = x, q, k, v, p, o
        return o @ self.W["o"]

    def backward(self, d):
        x, q, k, v, p, o = self.cache
        B, T, C = x.shape
        heads = lambda a: a.reshape(B, T, self.h, self.dk).transpose(0, 2, 1, 3)
        merge = lambda a: a.transpose(0, 2, 1, 3).reshape(B, T, C)
        self.dW["o"] = np.einsum("bti,btj->ij", o, d)
        do = heads(d @ self.W["o"].T)
        dv = np.einsum("bhij,bhid->bhjd", p, do)
        dp = np.einsum("bhid,bhjd->bhij", do, v)
        ds = p * (dp - np.einsum("bhij,bhij->bhi", dp, p)[..., None]) / np.sqrt(self.dk)
        dq, dk = np.einsum("bhij,bhjd->bhid", ds, k), np.einsum("bhij,bhid->bhjd", ds, q)
        dx = np.zeros_like(x)
        for n, g in zip("qkv", (dq, dk, dv)):
            self.dW[n] = np.einsum("bti,btj->ij", x, merge(g))
            dx += merge(g) @ self.W[n].T
        return dx


class CrossEntropy:
    def forward(self, logits, targets):
        z = logits - logits.max(-1, keepdims=True)
        logp = z - np.log(np.exp(z).sum(-1, keepdims=True))
        self.p, self.t = np.exp(logp), targets
        return -np.take_along_axis(logp, targets[..., None], -1).mean()

    def backward(self):
        d = self.p.copy()
        np.put_along_axis(d, self.t[..., None], np.take_along_axis(d, self.t[..., None], -1) - 1, -1)
        return d / self.t.size


class PReLU:
    def __init__(self):
        self.a = np.array([0.25])

    def forward(self, x):
        self.x = x
        return np.where(x > 0, x, self.a * x)

    def backward(self, d):
        self.da = np.array([(d * np.minimum(self.x, 0)).sum()])
        return d * np.where(self.x > 0, 1, self.a)


class Residual:
    def __init__(self, dim):
        self.fc1, self.fc2, self.act = Linear(dim, 2 * dim), Linear(2 * dim, dim), ReLU()

    def forward(self, x):
        return x + self.fc2.forward(self.act.forward(self.fc1.forward(x)))

    def backward(self, d):
        return d + self.fc1.backward(self.act.backward(self.fc2.backward(d)))


class Stack:
    """A cache that is a stack: each forward pushes, each backward pops."""

    def __init__(self, dim):
        self.w, self.stack = rng.standard_normal(dim), []

    def forward(self, x):
        self.stack.append(x)
        return x * self.w

    def backward(self, d):
        x = self.stack.pop()
        self.dw = (d * x).reshape(-1, x.shape[-1]).sum(0)
        return d * self.w


class Maxout:
    def __init__(self, n_in, n_out):
        self.W = rng.standard_normal((2, n_in, n_out))

    def forward(self, x):
        z = np.einsum("...i,kio->k...o", x, self.W)
        self.x, self.k = x, z.argmax(0)
        return z.max(0)

    def backward(self, d):
        self.dW, dx = np.zeros_like(self.W), 0
        for k in range(2):
            g = d * (self.k == k)
            self.dW[k] = self.x.reshape(-1, self.x.shape[-1]).T @ g.reshape(-1, g.shape[-1])
            dx = dx + g @ self.W[k].T
        return dx
