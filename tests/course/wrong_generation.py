"""Wrong answers to lesson 10: changes to the solution, and what the check must say about each."""

WRONG = {
    "temperature_probabilities": [
        ("logits / temperature", "logits * temperature", "multiplied by the temperature"),
        ("if temperature == 0:", "if False:", "At T = 0 all probability belongs on the largest logit"),
        ("np.exp(z - z.max())", "np.exp(z)", "Subtract the maximum after dividing by T"),
        ("return e / e.sum()", "return e", "does not add up to 1"),
        ("p[np.argmax(logits)] = 1", "p[logits == logits.max()] = 1 / 2", "Only the first one should have it"),
        (
            "z = logits / temperature\n    e = np.exp(z - z.max())\n    return e / e.sum()",
            "e = np.exp(logits - logits.max())\n    return e / e.sum() / temperature",
            "after softmax. Divide the logits",
        ),
        ("return e / e.sum()", "e / e.sum()", "Is the return missing?"),
    ],
    "top_k": [
        ("p[kept] / p[kept].sum()", "np.exp(p[kept]) / np.exp(p[kept]).sum()", "no exp"),
        (" / p[kept].sum()", "", "must sum to 1 again"),
        ("np.argsort(-p, ", "np.argsort(p, ", "the k least likely"),
        ('np.argsort(-p, kind="stable")[:k]', "p >= np.sort(p)[-min(k, len(p))]", "all of them were kept"),
        ('np.argsort(-p, kind="stable")[:k]', 'np.argsort(p, kind="stable")[-k:]', "the larger ids were kept"),
        ("return q", "return q[kept]", "only k numbers are returned"),
        ("q = np.zeros_like(p)", "q = p; q[:] = 0", "changes its argument"),
        ("q = np.zeros_like(p)", "q = p; q[np.setdiff1d(np.arange(len(p)), kept)] = 0", "changes its argument p"),
    ],
    "top_p": [
        (" - p[order]  #", "  #", "the token that crosses the line is missing"),
        ("before < mass", "before <= mass", "one token too many"),
        (" / p[kept].sum()", "", "must sum to 1 again"),
        ('np.argsort(-p, kind="stable")', "np.arange(len(p))", "Sort them first"),
        ("np.argsort(-p, ", "np.argsort(p, ", "from the least likely on"),
        ("order[before < mass]", "before < mass", "used in the order of ids"),
    ],
    "sample": [
        ('F / F[-1], u, side="right"', "F / F[-1], u", "side='right'"),
        ("F / F[-1]", "F", "Divide the cumulative sums by the last one"),
        ("np.searchsorted(F / F[-1], u", "np.searchsorted(p, u", "among the probabilities themselves"),
        ('int(np.searchsorted(F / F[-1], u, side="right"))', "int(np.argmax(p))", "the most likely token"),
        (
            'int(np.searchsorted(F / F[-1], u, side="right"))',
            'min(int(np.searchsorted(F, u, side="right")), len(p) - 1)',
            "instead of cutting the index off",
        ),
    ],
    "attend_one": [
        ("if past is not None:", "if False:", "the new position sees only itself"),
        (
            "scaled_dot_product_attention(q, k, v)",
            "scaled_dot_product_attention(q, *(past or (k, v)))",
            "attends to the past only",
        ),
        ("[past[0], k]", "[k, past[0]]", "shape"),
        (
            "[past[0], k], axis=2)  # (B, H, t + 1, D)\n        v = np.concatenate([past[1], v], axis=2)",
            "[k, past[0]], axis=2)\n        v = np.concatenate([v, past[1]], axis=2)",
            "in front of the old ones",
        ),
        ("attn.c_proj.forward(merge_heads(out))", "merge_heads(out), None", "the output projection is missing"),
        ("axis=2", "axis=1", "shape"),
        ("return y_t, (k, v)", "return y_t", "expected 2 values"),
    ],
}
