"""The usual wrong ways to step. An optimizer whose path equals one of them has that fault."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from numpylm.check.optimizer.methods import Trajectory, Values
from numpylm.nn.module import Array

Slip = tuple["Rule", str, str]  # the rule with one change, the kind of cause, the words for it


@dataclass(frozen=True)
class Rule:
    """One way to step. The defaults are AdamW as in Loshchilov & Hutter 2019, algorithm 2."""

    momentum_only: bool = False  # SGD
    uses_momentum: bool = True
    rate: str = "lr"  # or "none", "squared"
    decay: str = "decoupled"  # or "coupled", "without lr", "after", "grows", "none"; "after": after the step
    decay_vectors: bool = True
    correct_m: bool = True
    correct_v: bool = True
    power_m: str = "power"  # β₁ᵗ; or "none" (β₁), "times" (β₁ t)
    power_v: str = "power"
    keeps_m: bool = True  # else m̂ replaces m
    keeps_v: bool = True
    betas: tuple[int, int] = (0, 1)  # which β is used for m and for v
    eps: str = "outside"  # or "inside", "none"
    first: str = "mean"  # or "newest"
    second: str = "square"  # or "abs", "of m", "newest", "forgotten", "mean"
    root: bool = True
    damped: bool = True  # m takes (1 - β₁) g, not g
    along: str = "m"  # or "g"
    sign: float = 1.0
    clock: str = "steps"  # or "frozen", "from zero", "per parameter"
    shared: bool = False  # one m and one v for all parameters of the same shape


COMMON: list[Slip] = [
    (Rule(sign=-1.0), "sign", "it adds the step where it must subtract it: training climbs"),
    (Rule(rate="none"), "factor", "the step is not multiplied by the learning rate"),
    (Rule(rate="squared"), "factor", "the step is multiplied by the learning rate twice"),
    (Rule(decay="without lr"), "weight-decay", "weight decay is not multiplied by the learning rate"),
    (Rule(decay="grows"), "weight-decay", "weight decay has the wrong sign: the weights grow"),
    (Rule(decay="none"), "weight-decay", "weight decay is not applied at all"),
    (Rule(shared=True), "state", "parameters of one shape share what is remembered of past gradients: each needs its own"),
]  # fmt: skip
SGD_FAULTS: list[Slip] = [
    *COMMON,
    (Rule(uses_momentum=False), "moments", "momentum has no effect: nothing of the gradients before counts"),
]
COUPLED: Slip = (Rule(decay="coupled"), "weight-decay", "weight decay is added to the gradient (L2, plain Adam) and so divided by √v̂; AdamW decays the weights themselves")  # fmt: skip
ADAM_FAULTS: list[Slip] = [
    *COMMON,
    (Rule(correct_m=False, correct_v=False), "bias-correction", "both bias corrections are missing: m and v start at 0 and must be divided by 1 - βᵗ"),
    (Rule(correct_m=False), "bias-correction", "the bias correction of m is missing: m must be divided by 1 - β₁ᵗ"),
    (Rule(correct_v=False), "bias-correction", "the bias correction of v is missing: v must be divided by 1 - β₂ᵗ"),
    (Rule(clock="frozen"), "bias-correction", "the step count t stays at 1, or is not used: 1 - β instead of 1 - βᵗ. So the bias correction never ends"),
    (Rule(clock="from zero"), "bias-correction", "the step count t is one too large"),
    (Rule(clock="per parameter"), "bias-correction", "the step count t advances once for each parameter, not once a step"),
    (Rule(power_m="none"), "bias-correction", "m is divided by 1 - β₁ instead of 1 - β₁ᵗ: the step count t is not used"),
    (Rule(power_v="none"), "bias-correction", "v is divided by 1 - β₂ instead of 1 - β₂ᵗ: the step count t is not used"),
    (Rule(power_m="times"), "bias-correction", "m is divided by 1 - β₁ t; a power is meant, 1 - β₁ᵗ (beta1**t)"),
    (Rule(keeps_m=False), "bias-correction", "m is corrected in place (m /= …), which destroys the running mean: m̂ must be a new array, and m stay as it is"),
    (Rule(keeps_v=False), "bias-correction", "v is corrected in place (v /= …), which destroys the running mean: v̂ must be a new array, and v stay as it is"),
    (Rule(keeps_m=False, keeps_v=False), "bias-correction", "m and v are corrected in place (m /= …, v /= …), which destroys the running means: m̂ and v̂ must be new arrays"),
    (Rule(eps="inside"), "epsilon", "ε stands inside the root: √(v̂ + ε) instead of √v̂ + ε"),
    (Rule(eps="none"), "epsilon", "ε is not used: a parameter without gradient gives 0/0"),
    (Rule(decay="after"), "weight-decay", "decay after the step: it must come first, for the weights that decay are those before the step"),
    (Rule(betas=(1, 0)), "moments", "β₁ and β₂ are exchanged"),
    (Rule(betas=(0, 0)), "moments", "β₁ is used for v, too, where β₂ belongs"),
    (Rule(betas=(1, 1)), "moments", "β₂ is used for m, too, where β₁ belongs"),
    (Rule(second="abs"), "moments", "v is a mean of |g| where it must be one of g²"),
    (Rule(second="of m"), "moments", "v is made of m² instead of g²"),
    (Rule(second="newest"), "moments", "v is the newest g² only, not a running mean"),
    (Rule(second="forgotten"), "moments", "v is not kept: each step it is (1 - β₂) g², as if it had been 0 before"),
    (Rule(first="newest"), "moments", "m is not kept: each step it is (1 - β₁) g, as if it had been 0 before"),
    (Rule(second="mean"), "moments", "v is one mean over the whole array instead of one number for each entry"),
    (Rule(root=False), "moments", "the step is divided by v̂ instead of √v̂"),
    (Rule(damped=False), "moments", "m takes g instead of (1 - β₁) g"),
    (Rule(along="g"), "moments", "the step is made along g instead of m̂, so that nothing of the gradients before counts"),
]  # fmt: skip

RMSPROP_FAULTS: list[Slip] = [
    *COMMON,
    (Rule(second="abs"), "moments", "v is a mean of |g| where it must be one of g²"),
    (Rule(second="newest"), "moments", "v is the newest g² only, not a running mean"),
    (Rule(second="forgotten"), "moments", "v is not kept: each step it is (1 - ρ) g², as if it had been 0 before"),
    (Rule(second="mean"), "moments", "v is one mean over the whole array instead of one number for each entry"),
    (Rule(root=False), "moments", "the step is divided by v instead of √v"),
]


def simulate(rule: Rule, values: Values, starts: list[Array], gradients: list[list[Array]]) -> Trajectory:
    """The parameters after each step."""
    now = [start.copy() for start in starts]
    m, v = ([np.zeros_like(start) for start in starts] for _ in range(2))
    path: Trajectory = []
    ticks = 0
    with np.errstate(all="ignore"):  # some wrong ways give NaN
        for step, grads in enumerate(gradients, 1):
            for i, g in enumerate(grads):
                ticks += 1
                t = {"steps": step, "frozen": 1, "from zero": step + 1, "per parameter": ticks}[rule.clock]
                twin = next(k for k, start in enumerate(starts) if start.shape == g.shape)
                now[i] = _decayed(rule, values, now[i], g, m, v, twin if rule.shared else i, t)
            path.append([x.copy() for x in now])
    return path


def _decayed(rule: Rule, h: Values, x: Array, g: Array, m: list[Array], v: list[Array], slot: int, t: int) -> Array:
    """One parameter after one step, with weight decay."""
    share = h.get("decay", 0.0) if x.ndim >= 2 or rule.decay_vectors else 0.0
    before = {"decoupled": h["lr"] * share, "without lr": share, "grows": -h["lr"] * share}.get(rule.decay, 0.0)
    after = h["lr"] * share if rule.decay == "after" else 0.0
    if rule.decay == "coupled":
        g = g + share * x
    rate = {"lr": h["lr"], "none": 1.0, "squared": h["lr"] ** 2}[rule.rate]
    step = _momentum(rule, h, g, m, slot) if rule.momentum_only else _adam(rule, h, g, m, v, slot, t)
    return np.asarray((x * (1 - before) - rule.sign * rate * step) * (1 - after))


def _momentum(rule: Rule, h: Values, g: Array, m: list[Array], slot: int) -> Array:
    m[slot] = (h.get("momentum", 0.0) if rule.uses_momentum else 0.0) * m[slot] + g
    return m[slot]


def _adam(rule: Rule, h: Values, g: Array, m: list[Array], v: list[Array], slot: int, t: int) -> Array:
    b1, b2 = ((h["b1"], h["b2"])[k] for k in rule.betas)
    m[slot] = (b1 * m[slot] if rule.first == "mean" else 0.0) + ((1 - b1) if rule.damped else 1.0) * g
    squares = {"abs": np.abs(g), "of m": m[slot] * m[slot], "mean": np.full_like(g, (g * g).mean())}
    newest, keeps = squares.get(rule.second, g * g), rule.second not in ("newest", "forgotten")
    v[slot] = newest if rule.second == "newest" else (b2 * v[slot] if keeps else 0.0) + (1 - b2) * newest
    c1 = 1 - {"power": b1**t, "none": b1, "times": b1 * t}[rule.power_m] if rule.correct_m else 1.0
    c2 = 1 - {"power": b2**t, "none": b2}[rule.power_v] if rule.correct_v else 1.0
    mhat, vhat = m[slot] / c1, v[slot] / c2
    eps = 0.0 if rule.eps == "none" else h["eps"]
    if not rule.keeps_m:
        m[slot] = mhat
    if not rule.keeps_v:
        v[slot] = vhat
    denominator = np.sqrt(vhat + eps) if rule.eps == "inside" else (np.sqrt(vhat) if rule.root else vhat) + eps
    return np.asarray((g if rule.along == "g" else mhat) / denominator)


def variants(faults: list[Slip], bases: list[Rule], pairs: bool) -> Iterator[tuple[Rule, Rule, str, str]]:
    """(wrong rule, the right rule, kind, words): each fault, then each pair of faults."""
    plain = Rule()

    def planted(fault: Rule, into: Rule) -> Rule:
        changed = {name: value for name, value in vars(fault).items() if value != getattr(plain, name)}
        return replace(into, **changed)

    for fault, kind, text in faults:
        yield from ((planted(fault, base), base, kind, text) for base in bases)
    for i, (first, kind, text) in enumerate(faults if pairs else []):
        for second, _, also in faults[i + 1 :]:
            yield from ((planted(second, planted(first, base)), base, kind, f"{text}; and {also}") for base in bases)
