"""Wrong answers to lesson 08: changes to the solution, and what the check must say about each."""

LOOP = "for p, m, v in zip(self.parameters, self.m, self.v):\n"
STEP = "p.data -= lr * m_hat / (np.sqrt(v_hat) + self.eps)"
DECAY = "p.data -= lr * self.weight_decay * p.data"
M = "m *= beta1\n            m += (1 - beta1) * p.grad"
M_HAT = "m_hat = m / (1 - beta1**self.t)"
V_HAT = "v_hat = v / (1 - beta2**self.t)"
LR = "lr = self.lr if lr is None else lr"
IF = "if p.data.ndim >= 2:\n                "
REST = f"""
        beta1, beta2 = self.betas
        {LOOP}            {M}
            v *= beta2
            v += (1 - beta2) * p.grad**2
            {M_HAT}
            {V_HAT}
            {IF}{DECAY}
            {STEP}"""
NORM = "math.sqrt(sum(float((p.grad**2).sum()) for p in parameters))"
SCALE = "p.grad *= max_norm / norm"

WRONG = {
    "sgd_step": [
        ("theta - lr * grad", "theta + lr * grad", "this goes uphill"),
        ("theta - lr * grad", "theta - grad", "the learning rate is not used"),
        ("theta - lr * grad", "-lr * grad", "return the parameters after it"),
        ("return theta - lr * grad", "theta -= lr * grad\n    return theta", "changes its argument theta"),
    ],
    "momentum_step": [
        ("v = mu * v + grad", "v = v + mu * grad", "and not the gradient"),
        ("v = mu * v + grad", "v = (1 - mu) * v + mu * grad", "exchanged as well"),
        ("v = mu * v + grad", "v = lr * v + grad", "at `lr`"),
        ("v = mu * v + grad\n    return theta - lr * v, v", "return theta - lr * v, mu * v + grad", "the old velocity"),
        ("v = mu * v + grad", "v = mu * v + (1 - mu) * grad", "that is a running mean"),
        ("v = mu * v + grad", "v = mu * v - grad", "the two minus signs cancel"),
        ("theta - lr * v, v", "theta - lr * grad, v", "along the gradient alone"),
        ("theta - lr * v, v", "theta - lr * v", "expected 2 values"),
        ("v = mu * v + grad", "v = v + grad", "nothing of the old velocity is forgotten"),
        (
            "v = mu * v + grad\n    return theta - lr * v",
            "v = mu * v + lr * grad\n    return theta - lr * v",
            "once more in the step",
        ),
        (
            "v = mu * v + grad\n    return theta - lr * v",
            "v = mu * v + lr * grad\n    return theta - v",
            "lr is in the velocity already.",
        ),
        ("theta - lr * v, v", "theta - v, v", "the learning rate is not used"),
        ("v = mu * v + grad", "v *= mu\n    v += grad", "changes its argument v"),
    ],
    "AdamW": [
        ("self.t += 1", "pass", "t is still 0"),
        (M, "m = beta1 * m + (1 - beta1) * p.grad", "in the list stays as it was"),
        (STEP, STEP.replace("-= ", "= p.data - "), "became a new array"),
        ("m_hat = m / (1 - beta1**self.t)", "m_hat = m", "the bias correction of m is missing"),
        ("v_hat = v / (1 - beta2**self.t)", "v_hat = v", "the bias correction of v is missing"),
        ("v += (1 - beta2) * p.grad**2", "v += (1 - beta2) * np.abs(p.grad)", "v is a mean of |g|"),
        ("m += (1 - beta1) * p.grad", "m += p.grad", "m takes g instead of"),
        ("np.sqrt(v_hat) + self.eps", "np.sqrt(v_hat + self.eps)", "ε stands inside the root"),
        ("np.sqrt(v_hat)", "v_hat", "divided by v̂ instead of √v̂"),
        (DECAY, DECAY.replace("lr * ", ""), "not multiplied by the learning rate"),
        (DECAY, "pass", "weight decay is not applied at all"),
        ("beta1, beta2 = self.betas", "beta2, beta1 = self.betas", "exchanged"),
        (LOOP, LOOP + "            self.t += 1\n", "not once for each parameter"),
        ("p.data -= lr * m_hat", "p.data += lr * m_hat", "adds the step"),
        ("if p.data.ndim >= 2:", "if True:", "vectors decay as well"),
        (LR, "lr = self.lr", "step(lr) must use the lr"),
        (LR, "self.lr = lr = self.lr if lr is None else lr", "is for this one step"),
        ("(1 - beta2) * p.grad**2", "(1 - beta2) * p.grad", "nan in step 1, exactly where the gradient is negative"),
        ("**self.t", " * self.t", "nan in step 2: a root of a negative number"),
        (f"self.t += 1{REST}", f"{REST.lstrip()}\n        self.t += 1", "nan in step 1, all of them: 0/0"),
        (M_HAT, M_HAT.replace("**", " * "), "a power is meant"),
        ("**self.t", "", "or is not used: 1 - β instead of 1 - βᵗ"),
        (M_HAT, M_HAT.replace("**self.t", ""), "m is divided by 1 - β₁ instead of"),
        (V_HAT, V_HAT.replace("**self.t", ""), "v is divided by 1 - β₂ instead of"),
        (M_HAT, "m_hat = m\n            m_hat /= 1 - beta1**self.t", "m is corrected in place"),
        (V_HAT, "v_hat = v\n            v_hat /= 1 - beta2**self.t", "v is corrected in place"),
        (
            f"{IF}{DECAY}\n            {STEP}",
            f"{STEP}\n            {IF}{DECAY}",
            "decay after the step: it must come first",
        ),
        ("lr * m_hat", "lr * p.grad", "along g instead of m̂"),
        (STEP, STEP.replace("p.data -= ", "p = p.data - "), "is the same after a step as before"),
        (STEP, STEP + "\n            p.grad[...] = 0", "step changes the gradients"),
    ],
    "warmup_cosine": [
        ("(step + 1) / (warmup_steps + 1)", "step / warmup_steps", "the rate of step 0 is 0"),
        ("(step + 1) / (warmup_steps + 1)", "(step + 1) / warmup_steps", "and not before"),
        ("(step - warmup_steps) / (max_steps - warmup_steps)", "step / max_steps", "must begin after the warm-up"),
        ("0.5 * (1 + math.cos(math.pi * progress))", "math.cos(math.pi * progress)", "from 1 to -1"),
        ("0.5 * (1 +", "(1 +", "take half of it"),
        ("(max_lr - min_lr)", "max_lr", "begins above max_lr"),
        ("step >= max_steps", "step < 0", "the cosine rises again"),
    ],
    "clip_grad_norm": [
        ("float((p.grad**2).sum())", "float(np.abs(p.grad).sum())**2", "below the limit, a norm of"),
        (NORM, "sum(float(np.abs(p.grad).sum()) for p in parameters)", "L1"),
        (NORM, NORM.removeprefix("math.sqrt(")[:-1], "the root is missing"),
        (NORM, "sum(float(np.linalg.norm(p.grad)) for p in parameters)", "their squares must be added"),
        ("if norm > max_norm:", "if True:", "always scaled to the limit"),
        (SCALE, SCALE.replace("*=", "*"), "the gradients are not changed"),
        (SCALE, "p.grad = p.grad * max_norm / norm", "p.grad became a new array"),
        (NORM, NORM.replace("p.grad", "p.data"), "of something else: of the parameters (p.data)"),
        (NORM, f"0.1 * {NORM}", "the norm is that of something else, so"),
        (SCALE, "p.grad *= max_norm / np.linalg.norm(p.grad)", "clipped by its own norm"),
        (SCALE, "np.clip(p.grad, -max_norm, max_norm, out=p.grad)", "cut off"),
        ("return norm", "return min(norm, max_norm)", "the norm after clipping"),
        ("return norm", "pass", "returns nothing"),
    ],
}
