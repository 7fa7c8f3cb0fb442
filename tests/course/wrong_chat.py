"""Wrong answers to lesson 18: changes to the solution, and what the check must say about each."""

WRONG = {
    "answer_targets": [
        ("[-100] * (len(question) - 1) + [*answer, end]", "[-100] * len(question) + [*answer]", "the next id"),
        ("[-100] * (len(question) - 1) + [*answer, end]", "ids[1:]", "the question is counted"),
        (
            "[-100] * (len(question) - 1) + [*answer, end]",
            "[-100] * len(question) + [*answer[1:], end]",
            "the first token of the answer",
        ),
        ("+ [*answer, end]", "+ [*answer, -100]", "never learn to stop"),
        ("(len(question) - 1)", "len(question)", "wrong shape"),
    ],
    "LoRALinear": [
        ("rng.standard_normal((n_in, rank)) / np.sqrt(n_in)", "np.zeros((n_in, rank))", "both 0 at the start"),
        ("self.scale * u @ self.lora_B.data).reshape", "u @ self.lora_B.data).reshape", "the scale s is missing"),
        ("self.scale * u.T @ dy_rows", "u.T @ dy_rows", "lora_B"),
        ("du = self.scale * dy_rows", "du = dy_rows", "lora_A"),
        (" + du @ self.lora_A.data.T", "", "x"),
        ("self.lora_B.grad +=", "self.lora_B.grad =", "assigned (=)"),
        (
            "        return (dy_rows @ self.weight.data.T",
            "        self.weight.grad += x_rows.T @ dy_rows\n        return (dy_rows @ self.weight.data.T",
            "weight",
        ),
    ],
    "dpo_loss": [
        ("(chosen - ref_chosen) - (rejected - ref_rejected)", "chosen - rejected", "the reference is missing"),
        ("beta * ((", "((", "β is missing"),
        ("return loss, beta * dh, -beta * dh", "return loss, dh, -dh", "the factor β"),
        ("return loss, beta * dh, -beta * dh", "return loss, beta * dh, beta * dh", "rejected answers"),
        ("return loss, beta * dh, -beta * dh", "return loss, -beta * dh, beta * dh", "both gradients"),
        (" / len(h)", "", "divide them by P"),
        ("np.logaddexp(0, h)) / len(h)", "np.logaddexp(0, -h)) / len(h)", "not σ(h)"),
        (".mean()", ".sum()", "expected"),
    ],
}
