"""Wrong answers to lesson 04: changes to the solution, and what the check must say about each."""

WRONG = {
    "linear_gradients": [
        ("dy.sum(axis=0)", "dy.mean(axis=0)", "its gradients add up: a sum"),
        ("dy @ W.T", "dy @ W", "mismatch"),
        ("x.T @ dy", "dy.T @ x", "expected (4, 3), got (3, 4): transposed?"),
        ("return dx, dW, db", "return dx, dW", "expected 3 values"),
    ],
    "Linear": [
        ("self.weight.grad +=", "self.weight.grad =", "assigned (=)"),
        ("rows.sum(axis=0)", "rows.mean(axis=0)", "0.1 times the true one"),
        (
            "x.reshape(-1, n_in).T @ rows",
            "(rows.T @ x.reshape(-1, n_in)).reshape(n_in, n_out)",
            "transposed (swapaxes)",
        ),
        ("self.bias.grad += rows.sum(axis=0)", "pass", "received no gradient"),
        (".reshape(x.shape)", "", "wrong shape"),
        ("rows.sum(axis=0)", "dy.sum(axis=0)", "stopped"),
        ("if self.bias is not None:\n            self.bias.grad", "if True:\n            self.bias.grad", "NoneType"),
    ],
    "gelu": [
        ("0.5 * x * (1 + t), ", "x * (1 + t), ", "the half is missing"),
        ("0.5 * x * (1 + t), ", "0.5 * (1 + t), ", "multiplied by x"),
        ("+ 0.5 * x * (1 - t * t) * du", "", "product rule"),
        ("(1 + 3 * 0.044715", "(1 + 0.044715", "its derivative is wrong"),
    ],
    "MLP": [
        ("gelu_backward(dactive, gelu_cache)", "dactive", "its own backward is missing"),
        ("self.c_proj.backward(dy, c_proj_cache)", "dy @ self.c_proj.weight.data.T", "c_proj"),
        (
            "active, gelu_cache = gelu(hidden)",
            "active, gelu_cache = hidden, (hidden, np.ones_like(hidden), 'none')",
            "output",
        ),
    ],
    "Dropout": [
        ("dy * cache", "dy", "mask"),
        (" / (1 - self.p)", "", "Divide by 1 - p"),
        (">= self.p", "< self.p", "probability of *dropping*"),
        ("rng.random(x.shape)", "rng.random(x.shape[-1])", "the same mask"),
        ("rng.random(x.shape)", "np.random.default_rng().random(x.shape)", "the same rng must give"),
        ("dy if cache is None else dy * cache", "dy * cache", "NoneType"),
        ("return x * mask, mask", "x *= mask\n        return x, mask", "changes its input"),
        (
            "if rng is None or self.p == 0:\n            return x, None\n",
            "rng = rng or np.random.default_rng(0)\n",
            "without an rng",
        ),
    ],
}
