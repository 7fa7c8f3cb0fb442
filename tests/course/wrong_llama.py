"""Wrong answers to lesson 14: changes to the solution, and what the check must say about each."""

WRONG = {
    "RMSNorm": [
        ("(x * x).mean(axis=-1, keepdims=True)", "x.var(axis=-1, keepdims=True)", "output"),
        ("(x * x).mean(axis=-1, keepdims=True)", "(x * x).mean(axis=-1)", "keepdims=True"),
        ("rms_inverse * (g - xhat * mean_gx)", "rms_inverse * g", "x"),
        ("rms_inverse * (g - xhat * mean_gx)", "g - xhat * mean_gx", "x"),
        ("self.weight.grad +=", "self.weight.grad =", "assigned (=)"),
        ("g = dy * self.weight.data", "g = dy", "initial values"),
        ("g = dy * self.weight.data", "g = dy * self.weight", "self.weight.data"),
    ],
    "rotate": [
        ("first * cos - second * sin", "first * cos + second * sin", "one minus"),
        ("np.cos(angles), np.sin(angles)", "np.cos(angles), -np.sin(angles)", "the other way"),
        ("dfirst * cos + dsecond * sin", "dfirst * cos - dsecond * sin", "x"),
        ("x[..., :half], x[..., half:]", "x[..., 0::2], x[..., 1::2]", "The pairs are i and i + D/2"),
        (
            "return np.concatenate([dfirst * cos + dsecond * sin, dsecond * cos - dfirst * sin], axis=-1)",
            "return dy",
            "x",
        ),
    ],
    "silu": [
        ("sigma * (1 + z * (1 - sigma))", "sigma", "x"),
        ("sigma * (1 + z * (1 - sigma))", "sigma * (1 - sigma)", "x"),
        ("z * sigma, (z, sigma)", "sigma, (z, sigma)", "output"),
    ],
    "GatedMLP": [
        ("dup = dhidden * opened", "dup = dhidden", "up_proj"),
        ("silu_backward(dhidden * up, silu_cache)", "silu_backward(dhidden, silu_cache)", "gate_proj"),
        ("silu_backward(dhidden * up, silu_cache)", "dhidden * up", "gate_proj"),
        (
            "self.gate_proj.backward(dgate, gate_cache) + self.up_proj.backward(dup, up_cache)",
            "self.gate_proj.backward(dgate, gate_cache)",
            "up_proj",
        ),
        ("opened * up", "gate * up", "output"),
    ],
    "share_heads": [
        ("np.repeat(k, n_head // K, axis=1)", "np.tile(k, (1, n_head // K, 1, 1))", "np.repeat"),
        (".sum(axis=2)", ".mean(axis=2)", "0.5"),
        (".sum(axis=2)", "[:, :, 0]", "k"),
        ("dout.reshape(B, K, n_head // K, S, D).sum(axis=2)", "dout.reshape(B, n_head // K, K, S, D).sum(axis=1)", "k"),
    ],
}
