"""Layers in the way of well-known books and courses."""

import numpy as np

# --- Deep Learning from Scratch (Saito)


class SoftmaxWithLoss:
    def __init__(self):
        self.loss = None
        self.y = None
        self.t = None

    def forward(self, x, t):
        self.t = t
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        self.y = e / e.sum(axis=-1, keepdims=True)
        n = self.y.shape[0]
        self.loss = -np.sum(np.log(self.y[np.arange(n), self.t] + 1e-7)) / n
        return self.loss

    def backward(self, dout=1):
        n = self.t.shape[0]
        dx = self.y.copy()
        p = self.y[np.arange(n), self.t]
        dx[np.arange(n), self.t] -= 1
        dx = dx * (p / (p + 1e-7))[:, None]  # the 1e-7 of the forward counts, too
        return dout * dx / n


class MatMul:
    def __init__(self, W):
        self.params = [W]
        self.grads = [np.zeros_like(W)]
        self.x = None

    def forward(self, x):
        (W,) = self.params
        self.x = x
        return np.dot(x, W)

    def backward(self, dout):
        (W,) = self.params
        dx = np.dot(dout, W.T)
        self.grads[0][...] = np.dot(self.x.reshape(-1, self.x.shape[-1]).T, dout.reshape(-1, dout.shape[-1]))
        return dx


def MatMul_example(rng):
    return MatMul(rng.standard_normal((5, 3))), rng.standard_normal((4, 5))


class TimeRNN:
    def __init__(self, Wx, Wh, b, stateful=False):
        self.params = [Wx, Wh, b]
        self.grads = [np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)]
        self.h, self.dh, self.stateful = None, None, stateful

    def forward(self, xs):
        Wx, Wh, b = self.params
        N, T, D = xs.shape
        H = Wx.shape[1]
        self.steps = []
        hs = np.empty((N, T, H), dtype=xs.dtype)
        if not self.stateful or self.h is None:
            self.h = np.zeros((N, H), dtype=xs.dtype)
        for t in range(T):
            prev = self.h
            self.h = np.tanh(prev @ Wh + xs[:, t] @ Wx + b)
            self.steps.append((xs[:, t], prev, self.h))
            hs[:, t] = self.h
        return hs

    def backward(self, dhs):
        Wx, Wh, b = self.params
        N, T, H = dhs.shape
        dxs, dh, grads = np.empty((N, T, Wx.shape[0])), 0, [0, 0, 0]
        for t in reversed(range(T)):
            x, prev, h = self.steps[t]
            dt = (dhs[:, t] + dh) * (1 - h**2)
            for i, g in enumerate((x.T @ dt, prev.T @ dt, dt.sum(0))):
                grads[i] = grads[i] + g
            dxs[:, t], dh = dt @ Wx.T, dt @ Wh.T
        for i, g in enumerate(grads):
            self.grads[i][...] = g
        self.dh = dh
        return dxs


def TimeRNN_example(rng):
    return TimeRNN(rng.standard_normal((3, 4)), rng.standard_normal((4, 4)), np.zeros(4)), rng.standard_normal(
        (2, 5, 3)
    )


class BatchNormalization:
    def __init__(self, gamma, beta, momentum=0.9, running_mean=None, running_var=None):
        self.gamma, self.beta, self.momentum = gamma, beta, momentum
        self.input_shape = None
        self.running_mean, self.running_var = running_mean, running_var
        self.dgamma, self.dbeta = None, None

    def forward(self, x, train_flg=True):
        if self.running_mean is None:
            N, D = x.shape
            self.running_mean, self.running_var = np.zeros(D), np.zeros(D)
        if train_flg:
            mu = x.mean(axis=0)
            xc = x - mu
            var = np.mean(xc**2, axis=0)
            std = np.sqrt(var + 10e-7)
            xn = xc / std
            self.batch_size, self.xc, self.xn, self.std = x.shape[0], xc, xn, std
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mu
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        else:
            xn = (x - self.running_mean) / np.sqrt(self.running_var + 10e-7)
        return self.gamma * xn + self.beta

    def backward(self, dout):
        dbeta, dgamma = dout.sum(axis=0), np.sum(self.xn * dout, axis=0)
        dxn = self.gamma * dout
        dxc = dxn / self.std
        dstd = -np.sum((dxn * self.xc) / (self.std * self.std), axis=0)
        dvar = 0.5 * dstd / self.std
        dxc += (2.0 / self.batch_size) * self.xc * dvar
        dmu = np.sum(dxc, axis=0)
        dx = dxc - dmu / self.batch_size
        self.dgamma, self.dbeta = dgamma, dbeta
        return dx


def BatchNormalization_example(rng):
    return BatchNormalization(np.ones(4), np.zeros(4)), rng.standard_normal((6, 4))


# --- Neural Networks from Scratch (Kinsley, Kukieła)
class Layer_Dense:
    def __init__(self, n_inputs, n_neurons):
        self.weights = 0.01 * np.random.randn(n_inputs, n_neurons)
        self.biases = np.zeros((1, n_neurons))

    def forward(self, inputs):
        self.inputs = inputs
        self.output = np.dot(inputs, self.weights) + self.biases

    def backward(self, dvalues):
        self.dweights = np.dot(self.inputs.T, dvalues)
        self.dbiases = np.sum(dvalues, axis=0, keepdims=True)
        self.dinputs = np.dot(dvalues, self.weights.T)


class Activation_ReLU:
    def forward(self, inputs):
        self.inputs = inputs
        self.output = np.maximum(0, inputs)

    def backward(self, dvalues):
        self.dinputs = dvalues.copy()
        self.dinputs[self.inputs <= 0] = 0


class Layer_Dropout:
    def __init__(self, rate):
        self.rate = 1 - rate

    def forward(self, inputs):
        self.inputs = inputs
        self.binary_mask = np.random.binomial(1, self.rate, size=inputs.shape) / self.rate
        self.output = inputs * self.binary_mask

    def backward(self, dvalues):
        self.dinputs = dvalues * self.binary_mask


# --- samples in columns (Ng)
def linear_forward(A, W, b):
    Z = np.dot(W, A) + b
    return Z, (A, W, b)


def linear_backward(dZ, cache):
    A_prev, W, b = cache
    return np.dot(W.T, dZ), np.dot(dZ, A_prev.T), np.sum(dZ, axis=1, keepdims=True)


def affine_row_bias_forward(x, w, b):
    return x @ w + b, (x, w)


def affine_row_bias_backward(d, cache):
    x, w = cache
    return d @ w.T, x.T @ d, d.sum(axis=0, keepdims=True)


def norm_wide_forward(x, gamma, beta):
    r = np.sqrt(x.var(axis=2, keepdims=True) + 1e-5)
    h = (x - x.mean(axis=2, keepdims=True)) / r
    return gamma * h + beta, (h, r, gamma)


def norm_wide_backward(d, cache):
    h, r, gamma = cache
    g = d * gamma
    dx = (g - g.mean(2, keepdims=True) - h * (g * h).mean(2, keepdims=True)) / r
    return dx, np.sum(d * h, axis=(0, 1), keepdims=True), np.sum(d, axis=(0, 1), keepdims=True)


# --- im2col


# --- base classes, training flags, losses
class Layer:
    def __init__(self):
        self.input = None
        self.output = None

    def forward(self, input):
        raise NotImplementedError

    def backward(self, output_gradient, learning_rate):
        raise NotImplementedError


class Dense(Layer):
    def __init__(self, input_size, output_size):
        self.weights = np.random.randn(output_size, input_size)
        self.bias = np.random.randn(output_size, 1)

    def forward(self, input):
        self.input = input
        return np.dot(self.weights, self.input) + self.bias

    def backward(self, output_gradient, learning_rate):
        weights_gradient = np.dot(output_gradient, self.input.T)
        input_gradient = np.dot(self.weights.T, output_gradient)
        self.weights -= learning_rate * weights_gradient
        self.bias -= learning_rate * np.sum(output_gradient, axis=1, keepdims=True)
        return input_gradient


class Tanh(Layer):
    def forward(self, input):
        self.input = input
        return np.tanh(self.input)

    def backward(self, output_gradient, learning_rate):
        return np.multiply(output_gradient, 1 - np.tanh(self.input) ** 2)


class DropoutTraining:
    def __init__(self, p=0.4):
        self.p = p

    def forward(self, x, training=True):
        if not training:
            return x
        self.mask = (np.random.uniform(size=x.shape) > self.p) / (1 - self.p)
        return x * self.mask

    def backward(self, dout):
        return dout * self.mask


class MSE:
    def forward(self, y_pred, y_true):
        self.y_pred, self.y_true = y_pred, y_true
        return np.mean(np.power(y_true - y_pred, 2))

    def backward(self):
        return 2 * (self.y_pred - self.y_true) / np.size(self.y_true)


class Huber:
    def forward(self, pred, target):
        self.e = pred - target
        small = np.abs(self.e) <= 1
        return np.where(small, 0.5 * self.e**2, np.abs(self.e) - 0.5).mean()

    def backward(self, dout=1.0):
        return dout * np.clip(self.e, -1, 1) / self.e.size
