"""Classes that keep what they keep in unusual ways."""

import abc
import copy
import itertools
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

flat = lambda a: a.reshape(-1, a.shape[-1])
COUNTER = itertools.count()
SCALE = {"gain": 2.0}


class Tensor:
    """A little tensor of one's own."""

    def __init__(self, data):
        self.data = data
        self.grad = np.zeros_like(data)

    @property
    def shape(self):
        return self.data.shape


class Module(abc.ABC):
    def __init__(self):
        self._params = OrderedDict()
        self._cache = deque(maxlen=1)

    def param(self, name, value):
        self._params[name] = Tensor(value)
        return self._params[name]

    @abc.abstractmethod
    def forward(self, x): ...

    @abc.abstractmethod
    def backward(self, d): ...


class LinearTensor(Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.W, self.b = self.param("W", np.random.randn(n_in, n_out)), self.param("b", np.zeros(n_out))

    def forward(self, x):
        self._cache.append(x)
        return x @ self.W.data + self.b.data

    def backward(self, d):
        x = self._cache[0]
        self.W.grad += flat(x).T @ flat(d)
        self.b.grad += flat(d).sum(0)
        return d @ self.W.data.T


class GeneratorLayers:
    """Layers from a generator expression; a loop over their reversed list."""

    def __init__(self, dim, n_layers):
        self.Ws = list(np.random.randn(dim, dim) / np.sqrt(dim) for _ in range(n_layers))
        self.dWs = [None] * n_layers

    def forward(self, x):
        self.acts = [x]
        for W in self.Ws:
            self.acts.append(np.tanh(self.acts[-1] @ W))
        return self.acts[-1]

    def backward(self, d):
        for i in range(len(self.Ws))[::-1]:
            d = d * (1 - self.acts[i + 1] ** 2)
            self.dWs[i] = flat(self.acts[i]).T @ flat(d)
            d = d @ self.Ws[i].T
        return d


class CachedMask:
    def __init__(self, block_size):
        self.n = block_size

    @cached_property
    def mask(self):
        return np.tril(np.ones((self.n, self.n)))

    def forward(self, x):
        T = x.shape[1]
        self.m = self.mask[:T, :T] / self.mask[:T, :T].sum(1, keepdims=True)
        return self.m @ x

    def backward(self, d):
        return self.m.T @ d


class Closure:
    """backward is made in forward."""

    def __init__(self, dim):
        self.w = np.random.randn(dim)

    def forward(self, x):
        def back(d):
            self.dw = flat(d * x).sum(0)
            return d * self.w

        self.back = back
        return x * self.w

    def backward(self, d):
        return self.back(d)


class ClosureCache:
    def __init__(self, n_in, n_out):
        self.W = np.random.randn(n_in, n_out)

    def forward(self, x):
        y = np.maximum(x @ self.W, 0)
        return y, lambda d: (flat(x).T @ flat(d * (y > 0)), (d * (y > 0)) @ self.W.T)

    def backward(self, d, pull):
        self.dW, dx = pull(d)
        return dx


@dataclass
class DataLayer:
    W: np.ndarray = field(default_factory=lambda: np.random.randn(12, 7))
    b: np.ndarray = field(default_factory=lambda: np.zeros(7))
    dW: np.ndarray | None = None
    db: np.ndarray | None = None
    x: np.ndarray | None = None

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, d):
        self.dW, self.db = flat(self.x).T @ flat(d), flat(d).sum(0)
        return d @ self.W.T


class Slotted:
    __slots__ = ("W", "dW", "x")

    def __init__(self, n_in, n_out):
        self.W, self.dW = np.random.randn(n_in, n_out), np.zeros((n_in, n_out))

    def forward(self, x):
        self.x = x
        return x @ self.W

    def backward(self, d):
        self.dW[...] = flat(self.x).T @ flat(d)
        return d @ self.W.T


class Property:
    def __init__(self, dim):
        self._gain = np.ones(dim)
        self._gain_grad = np.zeros(dim)

    @property
    def gain(self):
        return self._gain

    def forward(self, x):
        self._x = x
        return x * self.gain

    def backward(self, d):
        self._gain_grad = flat(d * self._x).sum(0)
        return d * self.gain


class FlatVector:
    """All parameters in one vector; weights are views of it."""

    def __init__(self, n_in, n_out):
        self.theta = np.random.randn(n_in * n_out + n_out)
        self.n_in, self.n_out = n_in, n_out
        self.dtheta = np.zeros_like(self.theta)

    def split(self, v):
        k = self.n_in * self.n_out
        return v[:k].reshape(self.n_in, self.n_out), v[k:]

    def forward(self, x):
        W, b = self.split(self.theta)
        self.x = x
        return x @ W + b

    def backward(self, d):
        W, _ = self.split(self.theta)
        self.dtheta = np.concatenate([(flat(self.x).T @ flat(d)).ravel(), flat(d).sum(0)])
        return d @ W.T


class TiedWeights:
    """One matrix used twice."""

    def __init__(self, dim):
        self.W = np.random.randn(dim, dim) / 3

    def forward(self, x):
        self.x, self.h = x, np.tanh(x @ self.W)
        return self.h @ self.W.T

    def backward(self, d):
        dh = d @ self.W * (1 - self.h**2)
        self.dW = flat(d).T @ flat(self.h) + flat(self.x).T @ flat(dh)
        return dh @ self.W.T


class TwoNames:
    """The same array under two names."""

    def __init__(self, dim):
        self.W = np.random.randn(dim, dim)
        self.params = {"W": self.W}
        self.grads = {}

    def forward(self, x):
        self.x = x
        return x @ self.params["W"]

    def backward(self, d):
        self.grads["W"] = flat(self.x).T @ flat(d)
        return d @ self.params["W"].T


class EMA:
    """Keeps a moving mean of what it sees, which plays no part."""

    def __init__(self, dim):
        self.w, self.ema = np.ones(dim), None

    def forward(self, x):
        m = flat(x).mean(0)
        self.ema = m if self.ema is None else 0.9 * self.ema + 0.1 * m
        self.x = x
        return np.sin(x) * self.w

    def backward(self, d):
        self.dw = flat(d * np.sin(self.x)).sum(0)
        return d * self.w * np.cos(self.x)


class CallCounter:
    def forward(self, x):
        self.n = next(COUNTER)
        return SCALE["gain"] * x, None

    def backward(self, d, cache):
        return SCALE["gain"] * d


class ConvCausal1d:
    def __init__(self, channels, kernel_size):
        self.k = kernel_size
        self.W, self.b = np.random.randn(kernel_size, channels, channels), np.zeros(channels)

    def forward(self, x):
        T = x.shape[1]
        self.xp = np.pad(x, ((0, 0), (self.k - 1, 0), (0, 0)))
        return sum(self.xp[:, i : i + T] @ self.W[i] for i in range(self.k)) + self.b

    def backward(self, d):
        T = d.shape[1]
        dxp = np.zeros_like(self.xp)
        self.dW, self.db = np.empty_like(self.W), flat(d).sum(0)
        for i in range(self.k):
            self.dW[i] = np.einsum("bti,bto->io", self.xp[:, i : i + T], d)
            dxp[:, i : i + T] += d @ self.W[i].T
        return dxp[:, self.k - 1 :]


class SeededGlobally:
    def forward(self, x):
        np.random.seed(0)
        self.m = np.random.rand(*x.shape) > 0.3
        return x * self.m

    def backward(self, d):
        return d * self.m


class Checkpoint:
    """Keeps only its input and computes everything again in backward."""

    def __init__(self, dim):
        self.W1, self.W2 = np.random.randn(dim, 2 * dim), np.random.randn(2 * dim, dim)

    def inner(self, x):
        return np.tanh(x @ self.W1)

    def forward(self, x):
        return self.inner(x) @ self.W2, copy.deepcopy(x)

    def backward(self, d, x):
        h = self.inner(x)
        dh = d @ self.W2.T * (1 - h * h)
        self.dW2, self.dW1 = flat(h).T @ flat(d), flat(x).T @ flat(dh)
        return dh @ self.W1.T


class Complexish:
    """Through the FFT, real in and out."""

    def __init__(self, dim):
        self.filter = np.random.randn(dim // 2 + 1)

    def forward(self, x):
        self.X, self.n = np.fft.rfft(x, axis=-1), x.shape[-1]
        return np.fft.irfft(self.X * self.filter, n=self.n, axis=-1)

    def backward(self, d):
        D = np.fft.rfft(d, axis=-1)
        weight = np.full(len(self.filter), 2.0)
        weight[0] = 1
        weight[-1] = 1
        self.dfilter = flat((np.conj(self.X) * D).real * weight / self.n).sum(0)
        return np.fft.irfft(D * self.filter, n=self.n, axis=-1)


class Xp:
    """NumPy or CuPy, kept on the layer: a module cannot be copied."""

    def __init__(self, dim):
        self.xp = np
        self.w = np.ones(dim)

    def forward(self, x):
        self.t = self.xp.tanh(x)
        return self.t * self.w

    def backward(self, d):
        self.dw = flat(d * self.t).sum(0)
        return d * self.w * (1 - self.t * self.t)


class Named:
    """Takes its names from a generator, under a lock."""

    def __init__(self):
        self.names, self.lock = (f"call {i}" for i in itertools.count()), threading.Lock()

    def forward(self, x):
        with self.lock:
            self.name = next(self.names)
        return 2 * x, None

    def backward(self, d, cache):
        return 2 * d


class Nested:
    """backward returns lists of lists."""

    def forward(self, x):
        return 2 * x

    def backward(self, d):
        return (2 * d).tolist()


class Child:
    """Knows who holds it."""

    def __init__(self, parent, dim):
        self.parent, self.w = parent, np.ones(dim)

    def forward(self, x):
        self.x = x
        return x * self.w

    def backward(self, d):
        self.dw = flat(d * self.x).sum(0)
        return d * self.w


def Child_example(rng):
    return Child(None, 4), rng.standard_normal((3, 4))


class Parent:
    def __init__(self, dim):
        self.child, self.me = Child(self, dim), self

    def forward(self, x):
        return self.child.forward(x)

    def backward(self, d):
        return self.me.child.backward(d)
