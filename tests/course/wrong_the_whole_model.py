"""Wrong answers to lesson 07: changes to the solution, and what the check must say about each."""

WRONG = {
    "Embedding": [
        (
            "np.add.at(self.weight.grad, ids.reshape(-1), dy.reshape(ids.size, -1))",
            "self.weight.grad[ids] += dy",
            "np.add.at(grad, ids, d) keeps all",
        ),
        (
            "np.add.at(self.weight.grad, ids.reshape(-1), dy.reshape(ids.size, -1))",
            "self.weight.grad[ids] = dy",
            "only one of several equal ids",
        ),
        (
            "np.add.at(self.weight.grad, ids.reshape(-1), dy.reshape(ids.size, -1))",
            "return self.weight.data[ids] * dy",
            "received no gradient",
        ),
    ],
    "Block": [
        (
            "dx = dx + self.ln_2.backward(dnormed, ln_2_cache)",
            "dx = self.ln_2.backward(dnormed, ln_2_cache)",
            "residual",
        ),
        ("self.drop.backward(dx, drop_1_cache)", "self.drop.backward(dx, drop_2_cache)", "drop"),
        ("return dx + self.ln_1.backward(dnormed, ln_1_cache)", "return dx + dnormed", "ln_1.backward never"),
        (
            "mlp_out, mlp_cache = self.mlp.forward(normed)",
            "mlp_out, mlp_cache = self.mlp.forward(x)",
            "no norm before the MLP",
        ),
        ("self.drop.forward(attended, rng)", "self.drop.forward(attended)", "only one of the two branches"),
        ("self.attn.forward(normed, rng)", "self.attn.forward(normed)", "Is rng passed on"),
    ],
    "GPT": [
        ("self.wte.backward(dx, wte_cache)", "pass", "wte.backward never"),
        ("self.wte.weight.grad += dlogits.T @ x.reshape(-1, C)", "pass", "the matrix's part is missing"),
        ("dx.sum(axis=0)", "dx.mean(axis=0)", "0.5 times"),
        (
            "zip(reversed(self.h), reversed(block_caches), strict=True)",
            "zip(self.h, block_caches, strict=True)",
            "opposite order",
        ),
        ("dx = self.ln_f.backward(dx, ln_f_cache)", "pass", "ln_f.backward never"),
        ("dx = self.drop.backward(dx, drop_cache)", "pass", "drop.backward never"),
    ],
    "count_parameters": [
        ("V * C + T * C", "2 * V * C + T * C", "it is tied"),
        (" + 2 * C", "", "last layer norm"),
        ("13 * C", "4 * C", "biases of the four linear layers"),
        ("13 * C", "10 * C", "biases of c_attn"),
        ("L * (12", "(12", "there are L of them"),
        ("12 * C * C", "11 * C * C", "output matrix is missing"),
    ],
}
