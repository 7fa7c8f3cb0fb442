"""Common forwards that differ from ours, each as a change of a line of ours.

With them a report can name the difference: "the forward is that of LayerNorm with the unbiased variance".
"""

from numpylm.check.mutants import Change, World

Variant = tuple[str, str, str, str, str]  # module, owner, old line, new line, what it is

_NORM = "variance = np.vecdot(centred, centred)[..., None] / C  # (..., 1)"
_ROOT = "rstd = 1 / np.sqrt(variance + self.eps)  # (..., 1)"
_SCALE = "scale = 1 / math.sqrt(q.shape[-1])"
_MEAN = "loss = float(nll[counted].sum(dtype=np.float64)) / max(n, 1)"
_ACTIVE = "active, act_cache = self.activate(hidden)  # (..., F)"
_PRE_NORM = """normed, ln_1_cache = self.ln_1.forward(x)
...
x = x + attended
...
normed, ln_2_cache = self.ln_2.forward(x)
mlp_out, mlp_cache = self.mlp.forward(normed)
...
x = x + mlp_out"""
_POST_NORM = """normed = x
...
x, ln_1_cache = self.ln_1.forward(x + attended)
...
mlp_out, mlp_cache = self.mlp.forward(x)
...
x, ln_2_cache = self.ln_2.forward(x + mlp_out)"""

VARIANTS: tuple[Variant, ...] = (
    ("layers", "LayerNorm", _NORM, _NORM.replace("/ C", "/ (C - 1)"), "the unbiased variance, divided by C - 1; LayerNorm divides by C"),
    ("layers", "LayerNorm", _ROOT, "rstd = 1 / (np.sqrt(variance) + self.eps)", "ε outside the root: √σ² + ε instead of √(σ² + ε)"),
    ("layers", "LayerNorm", _ROOT, "rstd = 1 / (np.sqrt(variance * C / (C - 1)) + self.eps)", "the unbiased standard deviation with ε outside the root"),
    ("layers", "LayerNorm", _ROOT, "rstd = 1 / np.sqrt(variance)", "no ε"),
    ("layers", "LayerNorm", _ROOT, "rstd = 1 / np.sqrt(variance + 1e-6)", "ε = 1e-6 instead of 1e-5"),
    ("layers", "LayerNorm", _ROOT, "rstd = 1 / np.sqrt(variance + 1e-8)", "ε = 1e-8 instead of 1e-5"),
    ("layers", "LayerNorm", _ROOT, "rstd = 1 / np.sqrt(variance + 1e-12)", "ε = 1e-12 instead of 1e-5"),
    ("layers", "LayerNorm", _ROOT, "rstd = 1 / (variance + self.eps)", "a division by the variance instead of its root"),
    ("layers", "LayerNorm", "centred = x - x.sum(axis=-1, keepdims=True) / C", "centred = x", "no subtraction of the mean (RMSNorm)"),
    ("layers", "LayerNorm", "centred = x - x.sum(axis=-1, keepdims=True) / C", "centred = x - x.mean(axis=1, keepdims=True)", "the mean taken over axis 1 instead of the last"),
    ("layers", "LayerNorm", f"centred = x - x.sum(axis=-1, keepdims=True) / C\n...\n{_NORM}", "centred = x - x.mean(axis=1, keepdims=True)\n...\nvariance = (centred * centred).mean(axis=1, keepdims=True)", "mean and variance taken over axis 1 instead of the last"),
    ("layers", "LayerNorm", "y = xhat * self.weight.data", "y = xhat * 1.0", "no gain"),
    ("layers", "LayerNorm", "y += self.bias.data", "pass", "no bias"),
    ("layers", "Linear", "y += self.bias.data", "pass", "no bias"),
    ("layers", "Embedding", "return self.weight.data[ids], ids", "return self.weight.data[ids] * np.sqrt(self.weight.shape[1]), ids", "the vectors multiplied by √C, as in the 2017 paper (GPT-2 does not)"),
    ("functional", "gelu", "def gelu(x: Array, approximate: str = \"tanh\") -> tuple[Array, Cache]:", "def gelu(x: Array, approximate: str = \"none\") -> tuple[Array, Cache]:", "the exact GELU, x Φ(x); GPT-2 has the tanh form"),
    ("functional", "gelu", "if approximate == \"tanh\":", "if approximate:\n    return x / (1 + np.exp(-1.702 * x)), None\nif approximate == \"sigmoid\":", "x σ(1.702 x), the sigmoid form"),
    ("functional", "softmax", "def softmax(x: Array, axis: int = -1) -> tuple[Array, Cache]:", "def softmax(x: Array, axis: int = 0) -> tuple[Array, Cache]:", "axis 0 normalized instead of the last"),
    ("functional", "softmax", "def softmax(x: Array, axis: int = -1) -> tuple[Array, Cache]:", "def softmax(x: Array, axis: int = 1) -> tuple[Array, Cache]:", "axis 1 normalized instead of the last"),
    ("functional", "cross_entropy", _MEAN, "loss = float(nll[counted].sum(dtype=np.float64))", "the sum over the tokens instead of the mean"),
    ("functional", "cross_entropy", _MEAN, "loss = float(nll[counted].sum(dtype=np.float64)) / len(y)", "division by all tokens instead of the counted ones"),
    ("functional", "cross_entropy", _MEAN, "loss = float(nll.sum(dtype=np.float64)) / len(y)", "ignored targets counted as if they were token 0"),
    ("functional", "cross_entropy", _MEAN, "loss = float(nll[counted].sum(dtype=np.float64)) / logits.shape[0]", "division by the batch size instead of the number of tokens"),
    ("attention", "scaled_dot_product_attention", _SCALE, "scale = 1.0", "no division by √D"),
    ("attention", "scaled_dot_product_attention", _SCALE, "scale = 1 / q.shape[-1]", "a division by D instead of √D"),
    ("attention", "scaled_dot_product_attention", _SCALE, "scale = 1 / math.sqrt(q.shape[-1] * q.shape[1])", "a division by √C (all heads) instead of √D (one head)"),
    ("attention", "scaled_dot_product_attention", "p, softmax_cache = softmax(scores)  # (B, H, T, S)", "p, softmax_cache = softmax(scores, axis=-2)", "softmax over the queries instead of the keys"),
    ("attention", "scaled_dot_product_attention", "if mask is not None:\n    scores += np.where(mask, 0, -np.inf).astype(scores.dtype)", "pass", "no mask"),
    ("attention", "CausalSelfAttention", "causal_mask(T, T)", "np.ones((T, T), bool)", "no causal mask: every position sees the future"),
    ("attention", "causal_mask", "return np.tri(T, S, S - T, dtype=bool)", "return np.tri(T, S, S - T + 1, dtype=bool)", "a causal mask off by one: every position sees the next one, its own target"),
    ("attention", "causal_mask", "return np.tri(T, S, S - T, dtype=bool)", "return np.tri(T, S, S - T - 1, dtype=bool)", "a causal mask off by one: no position sees itself"),
    ("attention", "merge_heads", "return x.swapaxes(1, 2).reshape(B, T, H * D)", "return x.reshape(B, T, H * D)", "heads merged by reshape without swapping them back"),
    ("attention", "split_heads", "return x.reshape(B, T, n_head, C // n_head).swapaxes(1, 2)  # (B, T, H, D) -> (B, H, T, D)", "return x.reshape(B, n_head, T, C // n_head)", "heads split by reshape alone, which mixes positions"),
    ("blocks", "MLP", _ACTIVE, "active, act_cache = ACTIVATIONS[\"gelu\"][0](hidden)", "the exact GELU; GPT-2 has the tanh form"),
    ("blocks", "MLP", _ACTIVE, "active, act_cache = np.maximum(hidden, 0), None", "ReLU (the 2017 paper) instead of GELU"),
    ("blocks", "Block", "normed, ln_2_cache = self.ln_2.forward(x)", "normed, ln_2_cache = x, None", "no norm before the MLP"),
    ("blocks", "Block", _PRE_NORM, _POST_NORM, "the norms after the residual sums (post-norm, the 2017 paper), where GPT-2 has them first"),
    ("blocks", "Block", "x = x + attended", "x = attended", "no residual around the attention"),
    ("blocks", "Block", "x = x + mlp_out", "x = mlp_out", "no residual around the MLP"),
)  # fmt: skip


def worlds() -> list[tuple[str, World]]:
    """(words for the change, the changed modules) for each change."""
    return [(said, World(Change("variant", module, owner, old, new))) for module, owner, old, new, said in VARIANTS]
