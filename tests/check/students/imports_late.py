"""Imports its neighbours where it needs them: in forward, in backward, in __init__, in an example."""


class Softplus:
    def forward(self, x):
        from my_helper import softplus

        return softplus(x), x

    def backward(self, d, x):
        import my_helper

        return d * my_helper.sigmoid(x)


class Shifted:
    def __init__(self, dim):
        import my_helper

        self.shift = my_helper.EPS

    def forward(self, x):
        import importlib

        return importlib.import_module("my_helper").sigmoid(x + self.shift), x

    def backward(self, d, x):
        from my_helper import sigmoid

        s = sigmoid(x + self.shift)
        return d * s * (1 - s)


class SGD:
    def __init__(self, params, lr=0.1):
        self.params, self.lr = params, lr

    def step(self):
        from my_helper import descend

        for p in self.params:
            descend(p.data, p.grad, self.lr)


def unusual_forward(zebra, stripes):
    return zebra["a"] * stripes, zebra


def unusual_backward(d, zebra):
    return zebra["a"] * d


def unusual_example(rng):
    from my_helper import EPS

    return {"a": 3.0}, rng.standard_normal(4) + EPS
