"""Wrong answers to lesson 05: changes to the solution, and what the check must say about each."""

WRONG = {
    "normalize": [
        ("(centred * centred).mean(axis=-1, keepdims=True)", "x.var(axis=-1, ddof=1, keepdims=True)", "C - 1"),
        ("1 / np.sqrt(variance + eps)", "1 / (np.sqrt(variance) + eps)", "outside the root"),
        ("1 / np.sqrt(variance + eps)", "1 / (variance + eps)", "not by its root"),
        ("1 / np.sqrt(variance + eps)", "1 / np.sqrt(variance)", "ε is missing"),
        ("xhat = centred * rstd", "xhat = x * rstd", "mean is not subtracted"),
        ("return xhat, (xhat, rstd)", "return xhat", "must return the pair"),
    ],
    "normalize_backward": [
        (" - mean_g ", " ", "the term mean(g) is missing"),
        (" - xhat * mean_gx", "", "through the variance"),
        ("xhat * mean_gx", "mean_gx", "x̂ is missing before the mean"),
        ("- mean_g - xhat * mean_gx", "", "treats every place along axis 2 on its own"),
        ("rstd * (", "(", "the factor r in front"),
    ],
    "LayerNorm": [
        ("normalize_backward(dy * self.weight.data, cache)", "normalize_backward(dy, cache)", "initial values"),
        (
            "normalize_backward(dy * self.weight.data, cache)",
            "self.weight.data * normalize_backward(dy, cache)",
            "initial values",
        ),
        ("self.weight.grad +=", "self.weight.grad =", "assigned (=)"),
        ("(dy * xhat).reshape", "dy.reshape", "is the true gradient of bias"),
        ("normalize(x, self.eps)", "normalize(x, 0.0)", "with no ε"),
        ("if self.bias is not None:\n            self.bias.grad", "if True:\n            self.bias.grad", "NoneType"),
        ("(dy * xhat).reshape(-1, C).sum(axis=0)", "(dy * xhat).sum(axis=0)", "stopped"),
    ],
    "Residual": [
        ("dy + self.layer.backward", "self.layer.backward", "upstream gradient"),
        ("x + out", "out", "x itself is missing"),
        ("return x + out, cache", "x += out\n        return x, cache", "changes its argument"),
        (
            "return dy + self.layer.backward(dy, cache)",
            "dy += self.layer.backward(dy, cache)\n        return dy",
            "writes into its upstream gradient",
        ),
    ],
}
