"""Wrong answers to lesson 13: changes to the solution, and what the check must say about each."""

WRONG = {
    "split_documents_train_val": [
        ("list(dict.fromkeys(documents))", "list(set(documents))", "whenever Python starts again"),
        (
            "distinct = list(dict.fromkeys(documents))",
            "at = rng.permutation(len(documents))\n    n = round(fraction * len(at))\n"
            "    return [documents[i] for i in at[n:]], [documents[i] for i in at[:n]]",
            "have copies on both sides",
        ),
        ("rng.permutation(len(distinct))[:n]", "range(n)", "the same documents are used for validation with every rng"),
        (
            "rng.permutation(len(distinct))[:n]",
            "range(len(distinct) - n, len(distinct))",
            "the same documents are used for validation with every rng",
        ),
        ("rng.permutation", "np.random.permutation", "the same rng gives different splits"),
        ("rng.permutation(len(distinct))[:n]", "rng.choice(len(distinct), n)", "without replacement"),
        ("rng.permutation(len(distinct))[:n]", "np.flatnonzero(rng.random(len(distinct)) < fraction)", "a coin"),
        ("n = max(1, round(fraction * len(distinct)))", "n = int(fraction * len(distinct))", "At least one must"),
        ("len(distinct)))\n", "len(documents)))\n", "copies included"),
        (
            "[d for d in documents if d not in chosen], [d for d in documents if d in chosen]",
            "[d for d in documents if d in chosen], [d for d in documents if d not in chosen]",
            "training and validation are swapped",
        ),
        ("[d for d in documents if d not in chosen]", "documents", "in the training and in the validation text"),
        (
            "[d for d in documents if d not in chosen], [d for d in documents if d in chosen]",
            "[d for d in distinct if d not in chosen], [d for d in distinct if d in chosen]",
            "copies were dropped",
        ),
        (
            "distinct = list(dict.fromkeys(documents))",
            "text = '\\n'.join(documents)\n    cut = int((1 - fraction) * len(text))\n"
            "    return [text[:cut]], [text[cut:]]",
            "Documents must stay whole",
        ),
        (
            "distinct = list(dict.fromkeys(documents))",
            "rng.shuffle(documents)\n    distinct = list(dict.fromkeys(documents))",
            "changes the order of its argument",
        ),
        ("    return [d", "    [d", "Is the return missing?"),
    ],
    "token_surprise": [
        ("return log_sum - z[np.arange(len(y)), y]", "return (log_sum - z[np.arange(len(y)), y]).mean()", "the mean"),
        ("log_sum - z[np.arange(len(y)), y]", "z[np.arange(len(y)), y] - log_sum", "the sign is wrong"),
        ("np.log(", "np.log2(", "but logits are in nats"),
        ("np.exp(z).sum(axis=-1)", "np.exp(z).sum()", "sum runs over all rows"),
        ("np.exp(z).sum(axis=-1)", "np.exp(z).sum(axis=0)", "could not be broadcast"),
        ("log_sum - z[np.arange(len(y)), y]", "log_sum[:, None] - z", "surprise at every token"),
        ("log_sum - z[np.arange(len(y)), y]", "log_sum[:, None] - z[:, y]", "takes N columns of every row"),
        ("    z = z - z.max(axis=-1, keepdims=True)  # (N, V)\n", "", "exp of 1000 is infinity"),
        (
            "log_sum - z[np.arange(len(y)), y]",
            "-np.log((np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True))[np.arange(len(y)), y])",
            "underflows",
        ),
        (
            "return log_sum - z[np.arange(len(y)), y]",
            "return np.exp(z[np.arange(len(y)), y] - log_sum)",
            "probabilities",
        ),
    ],
}
