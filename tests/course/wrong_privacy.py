"""Wrong answers to lesson 21: changes to the solution, and what the check must say about each."""

RANK = "rank = (log_p >= log_p[secret]).sum()"
EXPOSURE = "np.log2(len(log_p)) - np.log2(rank)"
NORMS = "norms = np.sqrt((gradients**2).sum(axis=1))"
FACTORS = "factors = clip / np.maximum(norms, clip)"
MEAN = "(total + noise * clip * z) / expected"
DIVERGENCE = "steps * orders / (2 * noise**2)"
EPSILON = "float((divergence + np.log(1 / delta) / (orders - 1)).min())"
REST = "np.log(1 / delta) / (orders - 1)"

WRONG = {
    "exposure": [
        (EXPOSURE, EXPOSURE.replace("log2", "log10"), "base 2"),
        (EXPOSURE, "-log_p[secret] / np.log(2)", "how surprised"),
        (RANK, "rank = 1 + (log_p > log_p[secret]).sum()", "use >="),
        (RANK, "rank = (log_p > log_p[secret]).sum()", "not 0"),
        (RANK, "rank = np.argsort(-log_p).tolist().index(secret)", "not 0"),
        (RANK, "rank = 1 + np.argsort(-log_p, kind='stable').tolist().index(secret)", "as likely as the secret"),
        (RANK, "rank = (log_p <= log_p[secret]).sum()", "from the wrong end"),
        (RANK, "rank = (log_p >= secret).sum()", "infinity"),
        (EXPOSURE, "np.log(len(log_p)) - np.log(rank)", "base 2"),
        (EXPOSURE, "np.log2(rank)", "log2 of the rank alone"),
        (EXPOSURE, "np.log2(rank) - np.log2(len(log_p))", "the sign is wrong"),
        (EXPOSURE, "len(log_p) / rank", "without the logarithm"),
        (EXPOSURE, "rank", "this is the rank"),
        ("return float(" + EXPOSURE + ")", "rank", "the return"),
    ],
    "clipped_sum": [
        (
            "return factors @ gradients",
            "return gradients.sum(0) * min(1, clip / np.linalg.norm(gradients.sum(0)))",
            "this clips the sum",
        ),
        (
            FACTORS,
            "factors = np.full(len(gradients), clip / max(clip, np.linalg.norm(gradients)))",
            "one common factor",
        ),
        (".sum(axis=1))", ".sum(axis=0))", "matmul"),
        (FACTORS, "factors = clip / norms", "made longer"),
        (FACTORS, "factors = 1 / np.maximum(norms, clip)", "C / norm"),
        (FACTORS, "factors = np.ones(len(norms))", "nothing is clipped"),
        (FACTORS, "factors = (norms <= clip) * 1.0", "left out"),
        ("return factors @ gradients", "return np.clip(gradients, -clip, clip).sum(axis=0)", "single numbers"),
        ("return factors @ gradients", "return (factors[:, None] * gradients).mean(axis=0)", "this is the mean"),
        ("return factors @ gradients", "return factors[:, None] * gradients", "wrong shape"),
        (NORMS, "norms = (gradients**2).sum(axis=1)", "the square root is missing"),
        (NORMS, "norms = np.abs(gradients).sum(axis=1)", "absolute values"),
        (NORMS, "norms = np.abs(gradients).max(axis=1)", "its largest number"),
        (FACTORS, "factors = np.maximum(1, clip / norms)", "at most 1"),
    ],
    "private_mean": [
        (MEAN, "total / expected + noise * clip * z", "divided by the expected size, too"),
        (MEAN, "(total + noise * z) / expected", "the factor C is missing"),
        (MEAN, "(total + clip * z) / expected", "the factor σ is missing"),
        (MEAN, "(total + z) / expected", "σ and C are missing"),
        (MEAN, "(total + np.sqrt(noise * clip) * z) / expected", "do not take the root"),
        (MEAN, "(total + (noise * clip)**2 * z) / expected", "without a square"),
        (MEAN, "total + noise * clip * z", "divide by the expected size"),
        (MEAN, "total / expected", "there is no noise"),
        (MEAN, "(total + noise * clip * z) / len(total)", "total / expected"),
        (MEAN, "total / expected + noise * clip * z / np.sqrt(expected)", "by the root"),
        ("z = rng.standard_normal(total.shape)", "z = rng.standard_normal()", "all numbers have the same noise"),
        ("z = rng.standard_normal(total.shape)", "z = np.random.standard_normal(total.shape)", "Draw from the rng"),
        ("z = rng.standard_normal(total.shape)", "z = rng.random(total.shape)", "mean 0"),
        (
            "z = rng.standard_normal(total.shape)",
            "z = rng.uniform(-3**0.5, 3**0.5, total.shape)",
            "not Gaussian",
        ),
        (
            "return (total + noise * clip * z) / expected",
            "total += noise * clip * z\n    return total / expected",
            "changes its argument total",
        ),
    ],
    "gaussian_epsilon": [
        (DIVERGENCE, "steps * orders / (2 * noise)", "σ must be squared"),
        (DIVERGENCE, "steps * orders / noise**2", "the 2 in"),
        (DIVERGENCE, "steps * orders / 2 * noise**2", "in parentheses"),
        (DIVERGENCE, "steps * orders / (2 * noise)**2", "not (2 σ)²"),
        (DIVERGENCE, "orders / (2 * noise**2)", "the number of steps is missing"),
        (DIVERGENCE, "np.sqrt(steps) * orders / (2 * noise**2)", "not with its root"),
        (DIVERGENCE, "steps / (2 * noise**2)", "α is missing"),
        (REST, "np.log(delta) / (orders - 1)", "log δ is negative"),
        (REST, "np.log(1 / delta) / orders", "not by α"),
        (REST, "np.log(1 / delta)", "must be divided by α - 1"),
        (REST, "np.log2(1 / delta) / (orders - 1)", "natural logarithm"),
        (" + " + REST, "", "is missing"),
        (".min())", ".max())", "not the largest"),
        (".min())", ".mean())", "not their mean"),
        (EPSILON, "divergence + " + REST, "returns all of them"),
        (EPSILON, "steps * (divergence / steps + " + REST + ").min()", "added once"),
        (EPSILON, "divergence.min() + (" + REST + ").min()", "minimized by itself"),
    ],
}
