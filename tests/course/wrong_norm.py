"""Wrong answers to lesson 05: what is changed in the solution, and what the check must say."""

WRONG = {
    "normalize": [
        ("(centred * centred).mean(axis=-1, keepdims=True)", "x.var(axis=-1, ddof=1, keepdims=True)", "C - 1"),
        ("1 / np.sqrt(variance + 1e-5)", "1 / (np.sqrt(variance) + 1e-5)", "outside the root"),
        ("1 / np.sqrt(variance + 1e-5)", "1 / (variance + 1e-5)", "not by its root"),
        ("1 / np.sqrt(variance + 1e-5)", "1 / np.sqrt(variance)", "ε is missing"),
        ("xhat = centred * rstd", "xhat = x * rstd", "mean is not subtracted"),
        ("return xhat, (xhat, rstd)", "return xhat", "must return the pair"),
    ],
    "normalize_backward": [
        (" - mean_g ", " ", "mean must be subtracted"),
        (" - xhat * mean_gx", "", "in each row a multiple of"),
        ("- mean_g - xhat * mean_gx", "", "treats every place along axis 2 on its own"),
        ("rstd * (", "(", "factor"),
    ],
    "LayerNorm": [
        ("g = dy * self.weight.data", "g = dy", "initial values"),
        ("return rstd * (g", "g = dy\n        return self.weight.data * rstd * (g", "initial values"),
        ("self.weight.grad +=", "self.weight.grad =", "assigned (=)"),
        ("(dy * xhat).reshape", "dy.reshape", "is the true gradient of bias"),
        ("+ self.eps", "", "with no ε"),
    ],
    "Residual": [
        ("dy + self.layer.backward", "self.layer.backward", "upstream gradient"),
        ("x + out", "out", "x itself is missing"),
        (
            "return dy + self.layer.backward(dy, cache)",
            "dy += self.layer.backward(dy, cache)\n        return dy",
            "writes into its upstream gradient",
        ),
    ],
}
