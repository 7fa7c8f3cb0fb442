"""Wrong answers to lesson 11: changes to the solution, and what the check must say about each."""

WRONG = {
    "logit_lens": [
        ("gpt.ln_f.forward(x)[0]", "x", "the norm ln_f is missing"),
        (" @ gpt.wte.weight.data.T", "", "not logits"),
        (
            "gpt.ln_f.forward(x)[0]",
            "(x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)",
            "a gain and a bias",
        ),
        ("for x in hidden]", "for x in hidden[1:]]", "before the first block is missing"),
        ("for x in hidden]", "for x in hidden][-1]", "only the last stream"),
        ("gpt.wte.weight.data.T", "gpt.wte.weight.data", "matmul"),
        ("gpt.ln_f.forward(x)[0]", "gpt.ln_f.forward(x)", "returns the pair (out, cache)"),
    ],
    "without_head": [
        ("weight[head * D : (head + 1) * D]", "weight[:, head * D : (head + 1) * D]", "the columns of the head are 0"),
        ("weight[head * D : (head + 1) * D]", "weight[head]", "one row is 0"),
        ("weight[head * D : (head + 1) * D]", "weight[head::n_head]", "are adjacent"),
        ("D = len(weight) // n_head", "D = n_head", "H rows are 0"),
        ("weight.copy()", "weight", "changes its argument weight"),
    ],
    "residual_gradients": [
        (
            "gpt.ln_f.backward(dlogits @ gpt.wte.weight.data, hidden_cache.ln_f)",
            "dlogits @ gpt.wte.weight.data",
            "ln_f's backward",
        ),
        ("return gradients[::-1]", "return gradients", "in reverse order"),
        ("gradients = [dx]", "gradients = []", "after the last block is missing"),
        (
            "zip(reversed(gpt.h), reversed(hidden_cache.blocks))",
            "zip(gpt.h, hidden_cache.blocks)",
            "from the first to the last",
        ),
        ("reversed(hidden_cache.blocks)", "hidden_cache.blocks", "their caches are not"),
        ("gpt.wte.weight.data,", "gpt.wte.weight.data.T,", "matmul"),
    ],
    "induction_score": [
        ("t - p + 1]", "t - p]", "the previous occurrence of the token itself"),
        ("t - p + 1]", "t - p - 1]", "too far to the left"),
        ("weights[:, t, t - p + 1]", "weights[:, t - p + 1, t]", "queries and keys are swapped"),
        ("np.arange(p, 2 * p)", "np.arange(p, weights.shape[-1])", "from p to the end"),
        ("weights[:, t, t - p + 1].mean(axis=-1)", "weights[:, t][:, :, t - p + 1].mean(axis=(-1, -2))", "all pairs"),
        (".mean(axis=-1))", ".sum(axis=-1))", "sums over positions"),
        ("np.mean(scores, axis=0)", "np.mean(scores)", "the heads are averaged"),
    ],
}
