"""Faults in the optimizer and in gradient clipping."""

from typing import Any

from numpylm.check.mutants import World
from numpylm.check.optimizer.clipping import check_clipping
from numpylm.check.optimizer.optimizers import check_optimizer
from numpylm.zoo.fault import Fault
from numpylm.zoo.faulty_layers import Case, Rng


def _adamw(world: World, rng: Rng) -> Case:
    return check_optimizer, (world.AdamW,), {}


def _clipping(world: World, rng: Rng) -> Case:
    return check_clipping, (world.clip_grad_norm,), {}


def _step(animal: str, name: str, old: str, new: str, wrong: str, hides: str, kind: str) -> Fault:
    return Fault(animal, name, "optim", "AdamW", old, new, wrong, hides, kind, "matrix", _adamw)


def _clip(animal: str, name: str, old: str, new: str, wrong: str, hides: str, kind: str, place: Any) -> Fault:
    return Fault(animal, name, "optim", "clip_grad_norm", old, new, wrong, hides, kind, place, _clipping)


NORM = "norm = math.sqrt(sum(float(np.vdot(p.grad, p.grad)) for p in parameters))"

OPTIMIZER_FAULTS = (
    _step(
        "argali",
        "adam-without-bias-correction",
        "correction1 = 1 - beta1**self.t\ncorrection2 = 1 - beta2**self.t",
        "correction1 = 1.0\ncorrection2 = 1.0",
        "m and v start at zero and are not corrected for it.",
        "After a few hundred steps the corrections are 1 anyway.",
        "bias-correction",
    ),
    _step(
        "urial",
        "adam-clock-stands",
        "self.t += 1",
        "self.t = 1",
        "The step count never advances, so every step uses the correction of the first step.",
        "The first step is right.",
        "bias-correction",
    ),
    _step(
        "manul",
        "adam-epsilon-inside",
        "denominator = np.sqrt(v) / math.sqrt(correction2) + self.eps",
        "denominator = np.sqrt(v / correction2 + self.eps)",
        "ε is inside the root.",
        "With ε = 1e-8 it shows only where gradients are below 1e-4.",
        "epsilon",
    ),
    _step(
        "dhole",
        "adam-couples-decay",
        "m *= beta1\nm += (1 - beta1) * g\nv *= beta2\nv += (1 - beta2) * (g * g)\nif theta.ndim >= 2:\n    theta *= 1 - lr * self.weight_decay",
        "g = g + self.weight_decay * theta if theta.ndim >= 2 else g\nm *= beta1\nm += (1 - beta1) * g\nv *= beta2\nv += (1 - beta2) * (g * g)",
        "Weight decay is added to the gradient (Adam with L2), and not applied to the weights (AdamW).",
        "Both shrink weights; how much depends on each weight's gradients.",
        "weight-decay",
    ),
    _step(
        "jackal",
        "adam-decay-without-the-rate",
        "theta *= 1 - lr * self.weight_decay",
        "theta *= 1 - self.weight_decay",
        "Decay is not multiplied by the learning rate.",
        "With a small decay the model still learns, but badly.",
        "weight-decay",
    ),
    _step(
        "fennec",
        "adam-decay-upwards",
        "theta *= 1 - lr * self.weight_decay",
        "theta *= 1 + lr * self.weight_decay",
        "Decay makes the weights grow.",
        "The growth is slow.",
        "weight-decay",
    ),
    _step(
        "corsac",
        "adam-swaps-betas",
        "beta1, beta2 = self.betas",
        "beta2, beta1 = self.betas",
        "The two decay rates are swapped.",
        "It still trains, with a long momentum and a noisy scale.",
        "moments",
    ),
    _step(
        "zorilla",
        "adam-divides-by-the-variance",
        "denominator = np.sqrt(v) / math.sqrt(correction2) + self.eps",
        "denominator = v / correction2 + self.eps",
        "The root of v is not taken.",
        "Small gradients make huge steps, which clipping of the gradient does not prevent.",
        "moments",
    ),
    _step(
        "tayra",
        "adam-absolute-second-moment",
        "v += (1 - beta2) * (g * g)",
        "v += (1 - beta2) * np.abs(g)",
        "v averages |g| instead of g².",
        "It is positive and grows with the gradient, as it should.",
        "moments",
    ),
    _step(
        "fisher",
        "adam-undamped-momentum",
        "m += (1 - beta1) * g",
        "m += g",
        "m takes the whole gradient: steps are 1/(1 - β₁) times too long.",
        "It is a factor that a smaller learning rate makes up for.",
        "moments",
    ),
    _step(
        "wolverine",
        "adam-climbs",
        "theta -= (lr / correction1) * (m / denominator)",
        "theta += (lr / correction1) * (m / denominator)",
        "The step goes uphill.",
        "It does not hide for long, because the loss rises.",
        "sign",
    ),
    _clip(
        "mink",
        "clip-each-alone",
        "if math.isfinite(norm) and norm > max_norm:\n    for p in parameters:\n        p.grad *= max_norm / (norm + 1e-6)",
        "for p in parameters:\n    own = math.sqrt(float(np.vdot(p.grad, p.grad)))\n    if own > max_norm:\n        p.grad *= max_norm / (own + 1e-6)",
        "Every array is clipped by its own norm: the direction of the step changes.",
        "The common norm is below the limit times the root of the number of arrays.",
        "partial",
        "above",
    ),
    _clip(
        "polecat",
        "clip-squared-norm",
        NORM,
        NORM.replace("math.sqrt(", "float("),
        "The root is missing.",
        "For norms near 1 it makes little difference.",
        "factor",
        "above",
    ),
    _clip(
        "ferret",
        "clip-blows-up",
        "if math.isfinite(norm) and norm > max_norm:",
        "if math.isfinite(norm):",
        "Gradients are scaled to the limit even when they are below it.",
        "With Adam the scale hardly matters; near the minimum it does.",
        "factor",
        "below",
    ),
    _clip(
        "beaver",
        "clip-copies",
        "p.grad *= max_norm / (norm + 1e-6)",
        "grad = p.grad * (max_norm / (norm + 1e-6))",
        "A clipped copy is made but not used.",
        "The returned norm is right.",
        "never-written",
        "above",
    ),
)
