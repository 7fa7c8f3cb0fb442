"""Wrong answers to lesson 02: changes to the solution, and what the check must say about each."""

WRONG = {
    "bigram_probabilities": [
        ("axis=1", "axis=0", "each row by its own sum"),
        ("counts.sum(axis=1, keepdims=True)", "counts.sum()", "divided by the sum of all counts"),
        ("np.ones", "np.zeros", "Start from ones"),
        ("np.add.at(counts, (ids[:-1], ids[1:]), 1)", "counts[ids[:-1], ids[1:]] += 1", "np.add.at adds every time"),
        (" / counts.sum(axis=1, keepdims=True)", "", "counts, not probabilities"),
        ("axis=1, keepdims=True", "axis=1", "laid along the columns"),
        (
            "return counts / counts.sum(axis=1, keepdims=True)",
            "return (counts / counts.sum(axis=1, keepdims=True)).tolist()",
            "got a list",
        ),
    ],
    "softmax": [
        ("z - z.max(axis=-1, keepdims=True)", "z", "Subtract each row's maximum"),
        ("e.sum(axis=-1, keepdims=True)", "e.sum()", "Each row is a distribution of its own"),
        (
            "np.exp(z - z.max(axis=-1, keepdims=True))  # (..., V)\n    return e / e.sum(axis=-1, keepdims=True)",
            "np.exp(z - z.max())\n    return e / e.sum()",
            "the largest and the sum",
        ),
        ("return e / e.sum(axis=-1, keepdims=True)", "e / e.sum(axis=-1, keepdims=True)", "Is the return missing?"),
    ],
    "cross_entropy": [
        ("p = softmax(z)", "p = z", "softmax(z) is missing"),
        ("p[np.arange(len(y)), y]", "p[y]", "takes whole rows"),
        ("p[np.arange(len(y)), y]", "p.max(axis=1)", "the most likely tokens"),
        ("np.log(p[", "(1 - p[", "minus"),
        (".mean())", ".sum())", "sum over tokens"),
        ("float(-np.log(p[np.arange(len(y)), y]).mean())", "-np.log(p[np.arange(len(y)), y])", "Take their mean"),
        ("float(-np.log", "float(np.log", "the sign is wrong"),
        ("np.log(", "np.log2(", "in bits"),
        ("p[np.arange(len(y)), y]", "p[:, y]", "takes N columns of every row"),
        ("return loss, (p, y)", "return loss", "must return the pair (out, cache)"),
        ("return loss, (p, y)", "return loss, (z, y)", "the cache must be (p, y)"),
    ],
    "cross_entropy_backward": [
        (" / len(y)", "", "not divided by N"),
        (" / len(y)", " / p.size", "number of entries"),
        ("dz[np.arange(len(y)), y] -= 1", "dz[:, y] -= 1", "takes N columns of every row"),
        ("dloss * dz", "-dloss * dz", "wrong sign"),
        ("dloss * dz", "dz", "does not use it"),
        ("dz[np.arange(len(y)), y] -= 1", "pass", "this is p, not p - y"),
        ("p.copy()", "p", "writes into its cache"),
        ("dloss * dz / len(y)", "dloss * (p - y) / len(y)", "y stands for the one-hot rows"),
    ],
    "scores": [
        ("nats_per_token * tokens / math.log(2) / n_bytes", "nats_per_token / math.log(2)", "bits per token"),
        ("nats_per_token * tokens / math.log(2)", "nats_per_token * tokens", "nats per byte"),
        ("* tokens / math.log(2) / n_bytes", "* n_bytes / math.log(2) / tokens", "tokens and bytes are exchanged"),
    ],
}
