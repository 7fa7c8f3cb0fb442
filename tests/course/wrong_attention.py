"""Wrong answers to lesson 06: changes to the solution, and what the check must say about each."""

WRONG = {
    "causal_average_weights": [
        ("axis=1", "axis=0", "here the columns do"),
        ("np.tri(T)", "np.tri(T, k=-1)", "diagonal is missing"),
        ("np.tri(T)", "np.tri(T, k=1)", "one position of the future"),
        ("weights.sum(axis=1, keepdims=True)", "T", "not by T"),
        ("weights / weights.sum(axis=1, keepdims=True)", "weights", "divide each row by its sum"),
    ],
    "softmax_jacobian": [
        ("np.diag(p) - np.outer(p, p)", "-np.outer(p, p)", "the case i = j has another term"),
        ("np.diag(p) - np.outer(p, p)", "np.diag(p - p * p)", "the case i ≠ j is missing"),
        ("np.diag(p) - np.outer(p, p)", "np.outer(p, p) - np.diag(p)", "the sign of both parts"),
        ("np.diag(p)", "np.eye(len(p))", "on the diagonal p is missing"),
        ("np.diag(p) - np.outer(p, p)", "p - p * p", "wrong shape"),
    ],
    "weighted_sum_backward": [
        ("p.swapaxes(-1, -2) @ dout", "p @ dout", "transpose"),
        ("p.swapaxes(-1, -2)", "p.reshape(*p.shape[:2], p.shape[3], p.shape[2])", "it does not transpose"),
        ("v.swapaxes(-1, -2)", "v", "transpose"),
        ("return dp, dv", "return dv, dp", "exchanged"),
        ("p.swapaxes(-1, -2) @ dout", "p.T @ dout", "transpose"),
    ],
    "scores_backward": [
        ("dscores.swapaxes(-1, -2) @ q", "dscores @ q", "transpose"),
        (
            "dscores.swapaxes(-1, -2) @ q",
            "dscores.reshape(*dscores.shape[:2], dscores.shape[3], dscores.shape[2]) @ q",
            "it does not transpose",
        ),
        (" * scale", "", "the scale is missing"),
        ("(dscores @ k) * scale", "dscores @ k", "dq: the scale is missing"),
        ("@ q) * scale", "@ q)", "dk: the scale is missing"),
        (" * scale", " / scale", "here it divides"),
        ("return dq, dk", "return dk, dq", "exchanged"),
    ],
    "softmax_backward": [
        ("dp - (dp * p).sum(axis=-1, keepdims=True)", "dp", "on its own"),
        ("p * (dp - (dp * p)", "(dp - (dp * p)", "factor"),
        ("axis=-1, keepdims=True))\n", "axis=1, keepdims=True))\n", "mixes different places"),
    ],
    "attention": [
        (" * scale", "", "not scaled"),
        ("1 / math.sqrt(q.shape[-1])", "1 / q.shape[-1]", "divided by D"),
        ("1 / math.sqrt(q.shape[-1])", "1 / math.sqrt(q.shape[-2])", "√D is meant"),
        ("(q @ k.swapaxes(-1, -2))", "(q @ k)", "exchanges the last two axes"),
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
        ("scores_backward(dscores, q, k, scale)", "scores_backward(dscores, q, k, 1.0)", "2 times"),
        ("scores_backward(dscores, q, k, scale)", "scores_backward(dp, q, k, scale)", "Right would be 0.5 * dscores"),
        ("(dout, weights, v)", "(dout, softmax(q @ k.swapaxes(-1, -2) * scale)[0], v)", "v"),
        ("(dout, weights, v)", "(dout, softmax_cache, v)", "This is a pair"),
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
