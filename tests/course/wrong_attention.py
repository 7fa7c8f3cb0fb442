"""Wrong answers to lesson 06: changes to the solution, and what the check must say about each."""

WRONG = {
    "causal_average_weights": [
        ("axis=1", "axis=0", "here the columns do"),
        ("np.tri(T)", "np.tri(T, k=-1)", "diagonal is missing"),
        ("np.tri(T)", "np.tri(T, k=1)", "one position of the future"),
        ("weights.sum(axis=1, keepdims=True)", "T", "not by T"),
        ("weights / weights.sum(axis=1, keepdims=True)", "weights", "divide each row by its sum"),
    ],
    "softmax_backward": [
        ("dp - (dp * p).sum(axis=-1, keepdims=True)", "dp", "on its own"),
        ("p * (dp - (dp * p)", "(dp - (dp * p)", "factor"),
        ("axis=-1, keepdims=True))\n", "axis=1, keepdims=True))\n", "mixes different places"),
    ],
    "attention": [
        (" * scale", "", "not scaled"),
        ("1 / math.sqrt(q.shape[-1])", "1 / q.shape[-1]", "divided by D"),
        ("np.where(mask, 0, -np.inf)", "np.where(mask, -np.inf, 0)", "the wrong way round"),
        ("if mask is not None", "if False", "the mask is not used"),
        (
            "scores + np.where(mask, 0, -np.inf).astype(scores.dtype)",
            "scores * mask",
            "the mask multiplies the scores",
        ),
        (".forward(p, rng)", ".forward(p, None)", "no weight is dropped"),
        ("(q @ k.swapaxes(-1, -2))", "(k @ q.swapaxes(-1, -2))", "exchanged"),
        ("return weights @ v,", "return weights,", "wrong shape"),
    ],
    "attention_backward": [
        ("dscores.swapaxes(-1, -2) @ q", "dscores.swapaxes(-1, -2).reshape(dscores.shape) @ q", "k"),
        ("(dscores @ k) * scale", "dscores @ k", "2 times"),
        ("dv = weights.swapaxes", "dv = softmax_cache[0].swapaxes", "dropout"),
        (
            "Dropout(dropout_p).backward(dweights, dropout_cache)",
            "dweights",
            "dropout",
        ),
        ("return dq, dk, dv", "return dk, dq, dv", "expected (2, 3, 5, 4), got (2, 3, 6, 4)"),
    ],
    "heads": [
        (
            "x.reshape(B, T, n_head, C // n_head).swapaxes(1, 2)",
            "x.reshape(B, n_head, T, C // n_head)",
            "reshaped straight",
        ),
        ("x.swapaxes(1, 2).reshape(B, T, H * D)", "x.reshape(B, T, H * D)", "reshape never moves a number"),
        (".reshape(B, T, n_head, C // n_head).swapaxes(1, 2)", ".reshape(B, T, n_head, C // n_head)", "swapaxes(1, 2)"),
    ],
    "CausalSelfAttention": [
        ("(dq, dk, dv)", "(dk, dq, dv)", "gradient"),
        ("causal_mask(T, T)", "None", "mask"),
        ("self.dropout, rng)", "self.dropout)", "Is rng passed on"),
        ("split_heads(self.c_proj.backward(dy, c_proj_cache), self.n_head)", "split_heads(dy, self.n_head)", "c_proj"),
        ("np.split(qkv, 3, axis=-1))", "np.split(qkv, 3, axis=-1)[::-1])", "output"),
    ],
}
