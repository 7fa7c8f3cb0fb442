"""Wrong answers to lesson 09: what is changed in the solution, and what the check must say."""

WRONG = {
    "get_batch": [
        ("window[:, 1:]", "window[:, :-1]", "x and y are the same"),
        ("return window[:, :-1], window[:, 1:]", "return window[:, 1:], window[:, :-1]", "shifted the wrong way"),
        ("np.arange(block_size + 1)", "np.arange(block_size)", "gives block_size pairs"),
        ("rng.choice(starts, batch_size)", "np.full(batch_size, rng.choice(starts))", "all rows are the same window"),
        ("np.arange(len(tokens) - block_size)", "np.arange(len(tokens) - block_size - 1)", "is never drawn"),
        ("np.arange(len(tokens) - block_size)", "np.arange(len(tokens))", "fails for windows near the end"),
        ("rng.choice", "np.random.default_rng(0).choice", "every batch is the same"),
        ("rng.choice", "np.random.default_rng().choice", "draw from rng and from nothing else"),
        ("if starts is None:", "if True:", "starts is not used"),
        ("window[:, 1:]", "window[:, 1:].T", "one row for each window"),
    ],
    "training_step": [
        ("gpt.zero_grad()", "pass", "the gradients were not cleared"),
        ("clip_grad_norm(optimizer.parameters, 1.0)", "pass", "the gradient is not clipped"),
        ("optimizer.step(lr)", "optimizer.step()", "the learning rate is not passed on"),
        ("optimizer.step(lr)", "pass", "the optimizer never steps"),
        ("gpt.backward(cross_entropy_backward(1.0, loss_cache), cache)", "pass", "all gradients were zero"),
        ("return loss", "return cross_entropy(gpt.forward(x)[0], y)[0]", "*after* the step"),
        ("cross_entropy_backward(1.0,", "cross_entropy_backward(loss,", "clipping hides this"),
        ("return loss", "return loss, logits", "return the loss alone"),
        ("return loss", "pass", "returns nothing"),
    ],
    "validation_loss": [
        ("nats += loss * n", "nats += loss", "expected"),
        ("n = (y >= 0).sum()", "n = 1", "the mean of the batches' means"),
        ("n = (y >= 0).sum()", "n = y.size", "have weight all the same"),
        ("count += n", "count += y.size", "divided by all positions"),
        ("return nats / count", "return nats", "this is the sum of all nats"),
        ("    return nats / count", "        return nats / count", "the first batch alone"),
        ("nats += loss * n", "nats += loss * n\n        gpt.zero_grad()", "it changes the gradients"),
    ],
    "fit_power_law": [
        ("-slope", "slope", "b has the wrong sign"),
        ("np.exp(intercept)", "intercept", "a is still a logarithm"),
        ("loss - floor", "loss", "the floor is not subtracted"),
        ("np.log(n)", "n", "the logarithm of n is missing"),
        ("np.log", "np.log10", "base 10 and exp do not belong together"),
        ("np.exp(intercept), -slope", "-slope, np.exp(intercept)", "the two are exchanged"),
    ],
}
