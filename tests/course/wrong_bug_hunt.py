"""Wrong answers to lesson 12: the fix introduces another bug, and the check must say which.

Most are other animals of the same layer. The rest change the wrong line, or the forward instead of the backward.
"""

WRONG = {
    "hunt_otter": [
        ("dx = dp - np.expand_dims(total, axis)", "dx = dp * (1 - p)", "the terms off the diagonal are missing"),
        (
            "np.expand_dims(total, axis)",
            "(dp * p).sum(axis=0, keepdims=True)",
            "a sum, mean or product over the wrong axis",
        ),
        ("- np.expand_dims", "- 2 * np.expand_dims", "has a term missing or wrong"),
        ("np.expand_dims(total, axis)", "(dp * p).sum(axis=-1, keepdims=True)", "not for axis=1"),
        ("dx = dp - np.expand_dims(total, axis)", "dx = dp * 1", "The same bug is still there"),
        ("np.expand_dims(total, axis)", "dp.mean(axis=axis, keepdims=True)", "has a term missing or wrong"),
    ],
    "hunt_gecko": [
        ("self.bias.grad += dy_rows.sum(axis=0)", "self.bias.grad = dy_rows.sum(axis=0)", "bias is assigned (=)"),
        ("self.bias.grad += dy_rows.sum(axis=0)", "self.bias.grad += dy_rows.mean(axis=0)", "0.1 times the true one"),
        (
            "x.reshape(-1, n_in).T @ dy_rows",
            "(dy_rows.T @ x.reshape(-1, n_in)).reshape(n_in, n_out)",
            "transposed (swapaxes)",
        ),
        ("+= x.reshape", "-= x.reshape", "the wrong sign"),
    ],
    "hunt_shrew": [
        ("(counted / max(n, 1))", "(counted / len(y))", "divided by the number of counted targets"),
        ("(counted / max(n, 1))", "counted", "8 times the true one"),
        (
            "grad[rows, y] -= weight",
            "grad[rows[counted], y[counted]] -= 1",
            "wrong only at the entries that targets picks",
        ),
        ("return loss, grad.reshape(logits.shape)", "return loss", "must return the pair (out, cache)"),
    ],
    "hunt_kiwi": [
        (
            "self.weight.grad[sorted_ids[starts]] += np.add.reduceat(dy[order], starts, axis=0)",
            "self.weight.grad[ids] += dy",
            "np.add.at",
        ),
        ("] += np.add.reduceat", "] = np.add.reduceat", "is assigned (=)"),
        ("[sorted_ids[starts]] +=", "[ids[starts]] +=", "the right values at the wrong places"),
        ("return self.weight.data[ids], ids", "return 1 + self.weight.data[ids], ids", "the forward is no longer ours"),
    ],
    "hunt_kea": [
        ("g = dy * self.weight.data", "g = dy", "right at the initial values"),
        ("- xhat * mean_gx)", ")", "x normalized over its last axis"),
        ("(g - mean_g -", "(g -", "the mean must be subtracted"),
        ("g = dy * self.weight.data", "g = dy\n        g *= self.weight.data", "writes into its upstream gradient"),
    ],
    "hunt_ocelot": [
        ("dropout_backward(dy, cache)", "dy if cache is None else dy * (cache > 0)", "1 - p"),
        (
            "return dropout(x, self.p, rng)\n\n    def backward(self, dy: Array, cache: Cache) -> Array:\n"
            "        return dropout_backward(dy, cache)",
            "y, mask = dropout(x, self.p, rng)\n"
            "        self.mask = mask if mask is not None else vars(self).get('mask')\n"
            "        return y, mask\n\n    def backward(self, dy, cache):\n"
            "        return dropout_backward(dy, cache if cache is not None else self.mask)",
            "still multiplies by the mask of the first",
        ),
        (
            "dropout_backward(dy, cache)",
            "dropout_backward(dy, None)",
            "does not go through the mask of its own forward",
        ),
        ("dropout_backward(dy, cache)", "dy", "does not go through the mask of its own forward"),
    ],
    "hunt_serval": [
        ("dq = (dscores @ k) * scale", "dq = dscores @ k", "the root of D"),
        ("weights.swapaxes(-1, -2) @ dout", "(softmax_cache[0] * (weights > 0)).swapaxes(-1, -2) @ dout", "0.7 times"),
        (
            "weights.swapaxes(-1, -2) @ dout",
            "(softmax_cache[0] * dropout_cache).swapaxes(-1, -2) @ dout",
            "Right with dropout, but not without (dropout_p=0).",
        ),
        (
            "dropout_backward(dout @ v.swapaxes(-1, -2), dropout_cache)",
            "dout @ v.swapaxes(-1, -2)",
            "right without dropout",
        ),
    ],
    "hunt_tamarin": [
        ("return merge_heads(dq), merge_heads(dk)", "return merge_heads(dk), merge_heads(dq)", "in the wrong order"),
        (
            "return merge_heads(dq), merge_heads(dk), merge_heads(dv)",
            "return tuple(part.swapaxes(1, 2).reshape(dout.shape)[..., ::-1] for part in (dq, dk, dv))",
            "in the wrong order",
        ),
        (
            "return merge_heads(dq), merge_heads(dk), merge_heads(dv)",
            "return tuple(merge_heads(part[:, ::-1]) for part in (dq, dk, dv))",
            "in the wrong order",
        ),
    ],
    "hunt_kudu": [
        ("self.drop.backward(dx, drop_2_cache)", "self.drop.backward(dx, drop_1_cache)", "the cache of another call"),
        (
            "dattended = self.drop.backward(dx, drop_1_cache)",
            "dattended = dx",
            "drop.forward runs twice, drop.backward once",
        ),
        (
            "mlp_cache, drop_2_cache = cache",
            "mlp_cache, drop_2_cache = cache\n        drop_1_cache, drop_2_cache = drop_2_cache, drop_1_cache",
            "Now the two caches are swapped",
        ),
        ("return dx + self.ln_1", "return self.ln_1", "has a term missing"),
        ("x = x + mlp_out\n", "x = mlp_out\n", "has an extra term"),
    ],
    "hunt_takin": [
        ("reversed(block_caches)", "block_caches", "each backward needs the cache of its own forward"),
        (
            "full_cache(block, block_cache)",
            "full_cache(block, block_caches[-1])",
            "each backward needs the cache of its own",
        ),
        ("dx = self.ln_f.backward(dx, ln_f_cache)", "pass", "ln_f.forward runs once, ln_f.backward never"),
    ],
}
