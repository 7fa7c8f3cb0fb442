"""Wrong answers to lesson 16: changes to the solution, and what the check must say about each."""

WRONG = {
    "hide_tokens": [
        ("rng.integers(0, n_ordinary, at_random.sum())", "rng.integers(0, n_ordinary)", "a token for each place"),
        ("np.where(chosen, ids, -100)", "ids", "must be -100"),
        ("np.where(chosen, ids, -100)", "np.where(chosen, hidden, -100)", "hidden"),
        ("hidden = ids.copy()", "hidden = ids", "changes its argument"),
        ("dice < 0.8)] = mask_id", "dice < 1.0)] = mask_id", "it should be 80 %"),
        ("chosen & (dice < 0.8)", "dice < 0.8", "must stay as they are"),
        ("rng.integers(0, n_ordinary, at_random.sum())", "mask_id", "it should be 80 %"),
        ("(dice >= 0.8) & (dice < 0.9)", "(dice >= 0.8)", "still right"),
    ],
    "PostNorm": [
        ("self.norm.forward(x + out)", "self.norm.forward(out)", "x itself is missing"),
        ("dsum + self.layer.backward(dsum, layer_cache)", "self.layer.backward(dsum, layer_cache)", "x"),
        ("dsum + self.layer.backward(dsum, layer_cache)", "dy + self.layer.backward(dsum, layer_cache)", "x"),
        ("dsum + self.layer.backward(dsum, layer_cache)", "dsum + self.layer.backward(dy, layer_cache)", "x"),
    ],
    "MaskedLMHead": [
        ("logits + self.bias.data", "logits", "the bias is not added"),
        (".sum(axis=0)", ".mean(axis=0)", "bias"),
        ("gelu_backward(dactive, gelu_cache)", "dactive", "dense"),
        ("self.layer_norm.backward(dnormed, norm_cache)", "dnormed", "dense"),
    ],
    "mean_pool": [
        ("mask / mask.sum(axis=1, keepdims=True)", "np.ones(mask.shape) / mask.shape[1]", "over padding as well"),
        ("mask / mask.sum(axis=1, keepdims=True)", "mask / mask.shape[1]", "divided by T"),
        ("mask / mask.sum(axis=1, keepdims=True)", "mask / mask.sum()", "whole batch"),
        ("share[:, :, None] * dy[:, None, :]", "np.ones_like(share)[:, :, None] * dy[:, None, :]", "x"),
    ],
}
