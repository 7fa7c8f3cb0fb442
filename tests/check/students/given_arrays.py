"""Layers that are made with arrays, as in "Deep Learning from Scratch", and numbers with the names of arrays."""

import numpy as np


class Affine:
    def __init__(self, W, b):
        self.W, self.b = W, b
        self.x = self.dW = self.db = None

    def forward(self, x):
        self.shape = x.shape
        self.x = x.reshape(x.shape[0], -1)
        return np.dot(self.x, self.W) + self.b

    def backward(self, dout):
        dx = np.dot(dout, self.W.T)
        self.dW = np.dot(self.x.T, dout)
        self.db = np.sum(dout, axis=0)
        return dx.reshape(*self.shape)


class MatMul:
    def __init__(self, W):
        self.params = [W]
        self.grads = [np.zeros_like(W)]

    def forward(self, x):
        (W,) = self.params
        self.x = x
        return np.dot(x, W)

    def backward(self, dout):
        (W,) = self.params
        self.grads[0][...] = np.dot(self.x.T, dout)
        return np.dot(dout, W.T)


class Table:
    def __init__(self, vectors):
        self.vectors, self.dvectors = vectors, np.zeros_like(vectors)

    def forward(self, idx):
        self.idx = idx
        return self.vectors[idx]

    def backward(self, dout):
        self.dvectors[...] = 0
        np.add.at(self.dvectors, self.idx, dout)


class TorchLinear:
    def __init__(self, weight, bias):
        self.weight, self.bias = weight, bias

    def forward(self, x):
        self.x = x
        return x @ self.weight.T + self.bias

    def backward(self, dout):
        rows = dout.reshape(-1, dout.shape[-1])
        self.dweight = rows.T @ self.x.reshape(-1, self.x.shape[-1])
        self.dbias = rows.sum(0)
        return dout @ self.weight


class RNN:
    def __init__(self, Wx, Wh, b):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]

    def forward(self, x, h_prev):
        Wx, Wh, b = self.params
        h_next = np.tanh(np.dot(h_prev, Wh) + np.dot(x, Wx) + b)
        self.cache = (x, h_prev, h_next)
        return h_next

    def backward(self, dh_next):
        Wx, Wh, b = self.params
        x, h_prev, h_next = self.cache
        dt = dh_next * (1 - h_next**2)
        for grad, value in zip(self.grads, (np.dot(x.T, dt), np.dot(h_prev.T, dt), dt.sum(axis=0)), strict=True):
            grad[...] = value
        return np.dot(dt, Wx.T), np.dot(dt, Wh.T)


class BatchNormalization:
    def __init__(self, gamma, beta, momentum=0.9):
        self.gamma, self.beta, self.momentum = gamma, beta, momentum

    def forward(self, x):
        self.std = np.sqrt(x.var(axis=0) + 1e-6)
        self.xn = (x - x.mean(axis=0)) / self.std
        return self.gamma * self.xn + self.beta

    def backward(self, dout):
        self.dbeta, self.dgamma = dout.sum(axis=0), (self.xn * dout).sum(axis=0)
        d = self.gamma * dout
        return (d - d.mean(axis=0) - self.xn * (d * self.xn).mean(axis=0)) / self.std


class Swish:
    """beta is a number."""

    def __init__(self, beta):
        self.beta = beta

    def forward(self, x):
        self.x, self.s = x, 1 / (1 + np.exp(-self.beta * x))
        return x * self.s

    def backward(self, dout):
        return dout * (self.s + self.beta * self.x * self.s * (1 - self.s))


class Weighted:
    """weight is a number."""

    def __init__(self, weight):
        self.weight = weight

    def forward(self, x):
        return self.weight * x

    def backward(self, dout):
        return self.weight * dout


class Projection:
    """basis is fixed: nobody trains it."""

    def __init__(self, basis):
        self.B = basis

    def forward(self, x):
        return x @ self.B.T

    def backward(self, dout):
        return dout @ self.B


class Sine:
    """w is a number: nobody trains it."""

    def __init__(self, w):
        self.w = w

    def forward(self, x):
        self.x = x
        return np.sin(self.w * x)

    def backward(self, dout):
        return dout * self.w * np.cos(self.w * self.x)
