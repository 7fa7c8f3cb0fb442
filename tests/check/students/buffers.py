"""Reused buffers, out= arguments, in-place arithmetic on one's own arrays, views."""

import numpy as np

flat = lambda a: a.reshape(-1, a.shape[-1])
WORK = np.empty(0)


class LinearBuffer:
    """The output is one array that each call fills again."""

    def __init__(self, n_in, n_out):
        self.W, self.b = np.random.randn(n_in, n_out), np.zeros(n_out)
        self.out = None

    def forward(self, x):
        self.x = x
        shape = (*x.shape[:-1], len(self.b))
        if self.out is None or self.out.shape != shape:
            self.out = np.empty(shape)
        np.matmul(x, self.W, out=self.out)
        self.out += self.b
        return self.out

    def backward(self, d):
        self.dW, self.db = flat(self.x).T @ flat(d), flat(d).sum(0)
        return d @ self.W.T


class GradientBuffers:
    """Gradients are written into arrays made once."""

    def __init__(self, n_in, n_out):
        self.W, self.b = np.random.randn(n_in, n_out), np.zeros(n_out)
        self.dW, self.db, self.dx = np.zeros_like(self.W), np.zeros_like(self.b), None

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, d):
        np.matmul(flat(self.x).T, flat(d), out=self.dW)
        np.sum(flat(d), axis=0, out=self.db)
        if self.dx is None or self.dx.shape != self.x.shape:
            self.dx = np.empty_like(self.x)
        np.matmul(d, self.W.T, out=self.dx)
        return self.dx


class AllBuffers:
    def __init__(self, dim):
        self.w = np.ones(dim)
        self.buffers = {}

    def buffer(self, name, like):
        if name not in self.buffers or self.buffers[name].shape != like.shape:
            self.buffers[name] = np.zeros_like(like)
        return self.buffers[name]

    def forward(self, x):
        out = self.buffer("out", x)
        self.x = x
        np.tanh(x, out=out)
        out *= self.w
        return out

    def backward(self, d):
        t = np.tanh(self.x)
        self.dw = flat(d * t).sum(0)
        dx = self.buffer("dx", d)
        np.multiply(d, self.w, out=dx)
        dx *= 1 - t * t
        return dx


class TanhKeepsBuffer:
    """Its cache is the buffer, which is right as long as backward follows its own forward."""

    out = None

    def forward(self, x):
        if self.out is None or self.out.shape != x.shape:
            self.out = np.empty_like(x)
        np.tanh(x, out=self.out)
        return self.out

    def backward(self, d):
        return d * (1 - self.out**2)


class Identity:
    """Gives its input back, the very array."""

    def forward(self, x):
        return x

    def backward(self, d):
        return d


class Slice:
    """The last position, a view of the input."""

    def forward(self, x):
        self.shape = x.shape
        return x[:, -1]

    def backward(self, d):
        dx = np.zeros(self.shape)
        dx[:, -1] = d
        return dx


class Broadcast:
    """backward returns a read-only view."""

    def forward(self, x):
        return x.sum(axis=-1, keepdims=True), x.shape

    def backward(self, d, shape):
        return np.broadcast_to(d, shape)


class AttentionBuffers:
    def __init__(self, d_model):
        self.W = np.random.randn(3, d_model, d_model) / 3
        self.dW = np.zeros_like(self.W)
        self.scores = None

    def forward(self, x):
        q, k, v = x @ self.W[0], x @ self.W[1], x @ self.W[2]
        if self.scores is None or self.scores.shape[0] != x.shape[0]:
            self.scores = np.empty((*x.shape[:-1], x.shape[-2]))
        np.matmul(q, k.swapaxes(-1, -2), out=self.scores)
        self.scores -= self.scores.max(-1, keepdims=True)
        np.exp(self.scores, out=self.scores)
        self.scores /= self.scores.sum(-1, keepdims=True)
        self.x, self.q, self.k, self.v = x, q, k, v
        return self.scores @ v

    def backward(self, d):
        p = self.scores
        dv, dp = p.swapaxes(-1, -2) @ d, d @ self.v.swapaxes(-1, -2)
        ds = p * (dp - (dp * p).sum(-1, keepdims=True))
        gs = ds @ self.k, ds.swapaxes(-1, -2) @ self.q, dv
        for i, g in enumerate(gs):
            self.dW[i] = flat(self.x).T @ flat(g)
        return sum(g @ self.W[i].T for i, g in enumerate(gs))


class PaddedBuffer:
    """Pads into an array that is made once; its rim stays zero."""

    def __init__(self):
        self.kernel, self.padded = np.array([0.25, 0.5, 0.25]), None

    def forward(self, x):
        if self.padded is None:
            self.padded = np.zeros((*x.shape[:-1], x.shape[-1] + 2))
        self.padded[..., 1:-1] = x
        return sum(self.kernel[i] * self.padded[..., i : i + x.shape[-1]] for i in range(3))

    def backward(self, d):
        n = d.shape[-1]
        self.dkernel = np.array([(d * self.padded[..., i : i + n]).sum() for i in range(3)])
        dp = np.zeros_like(self.padded)
        for i in range(3):
            dp[..., i : i + n] += self.kernel[i] * d
        return dp[..., 1:-1]


def scale_forward(x, gamma):
    global WORK
    if WORK.shape != x.shape:
        WORK = np.empty_like(x)
    np.multiply(x, gamma, out=WORK)
    return WORK.copy(), (x, gamma)


def scale_backward(d, cache):
    x, gamma = cache
    return d * gamma, (d * x).reshape(-1, x.shape[-1]).sum(0)


def swish_forward(x):
    s = np.empty_like(x)
    np.negative(x, out=s)
    np.exp(s, out=s)
    s += 1
    np.reciprocal(s, out=s)
    return x * s, (x, s)


def swish_backward(d, cache):
    x, s = cache
    return d * (s + x * s * (1 - s))
