"""Wrong answers to lesson 20: changes to the solution, and what the check must say about each."""

WRONG = {
    "posterior": [
        ("np.exp(log_joint - log_joint.max())", "log_joint", "exp of the logarithms"),
        ("log_p + np.log(prior)", "log_p * prior", "multiplied by the prior"),
        ("log_p + np.log(prior)", "log_p", "the prior is missing"),
        ("log_p + np.log(prior)", "log_p + prior", "add its logarithm"),
        (
            "np.exp(log_joint - log_joint.max())\n    return joint / joint.sum()",
            "np.exp(log_joint)\n    return joint",
            "their sum",
        ),
        ("np.exp(log_joint - log_joint.max())", "np.exp(log_joint)", "NaN"),
        ("return joint / joint.sum()", "return np.log(joint / joint.sum())", "should be a probability"),
    ],
    "split_pairs": [
        (
            "if pair not in held]",
            "if not any(pair[0] == a or pair[1] == b for a, b in held)]",
            "Only both together",
        ),
        (
            "return train, [n for n, pair in enumerate(pairs) if pair in held]",
            "return [n for n in range(len(pairs)) if n not in train], train",
            "exchanged",
        ),
        ("n for n, pair in enumerate(pairs) if pair not in held", "n for n in range(len(pairs))", "expected"),
    ],
    "pass_at_k": [
        ("1 - comb(n - c, k) / comb(n, k)", "c * comb(n - c, k - 1) / comb(n, k)", "exactly one"),
        ("1 - comb(n - c, k) / comb(n, k)", "min(1, k * c / n)", "counts choices twice"),
        ("1 - comb(n - c, k) / comb(n, k)", "1 - (1 - c / n) ** k", "more than once"),
        ("1 - comb(n - c, k)", "comb(n - c, k)", "Subtract it from 1"),
        ("1 - comb(n - c, k)", "comb(c, k)", "One is enough"),
        ("1 - comb(n - c, k) / comb(n, k)", "c / n", "pass@1"),
    ],
}
