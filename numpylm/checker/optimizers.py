"""Is an optimizer's step the paper's, and if not, which line differs?

An optimizer has no gradient to difference. But there are only so many ways to get Adam wrong, and each can be
simulated: the optimizer under check takes a few steps on random gradients, and its path is compared with that of
the right algorithm and of every known wrong one. The one that it follows to the last digit names the fault.
"""

import inspect
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from numpylm.checker.report import Cause, Report, Row
from numpylm.checker.subject import CheckError, describe
from numpylm.module import Array, Parameter

CLOSE = 1e-9  # relative distance of two paths that are the same
N_STEPS = 5
SHAPES = {"matrix": (3, 4), "vector": (5,)}
LR, BETAS, EPS, DECAY, MOMENTUM = 0.02, (0.8, 0.95), 1e-3, 0.3, 0.7


@dataclass(frozen=True)
class Rule:
    """One way to step; the defaults are AdamW as in Loshchilov & Hutter 2019, algorithm 2."""

    momentum_only: bool = False  # SGD
    momentum: float = 0.0
    decay: str = "decoupled"  # or "coupled", "without lr", "after", "grows", "none"; "after": after the step
    decay_vectors: bool = True
    correct_m: bool = True
    correct_v: bool = True
    power_m: str = "power"  # β₁ᵗ; or "none" (β₁), "times" (β₁ t)
    power_v: str = "power"
    keeps_m: bool = True  # or m̂ is put into m's place
    keeps_v: bool = True
    betas_swapped: bool = False
    eps: str = "outside"  # or "inside", "uncorrected", "none"
    second: str = "square"  # or "abs", "of m", "newest", "mean"
    root: bool = True
    damped: bool = True  # m takes (1 - β₁) g, not g
    along: str = "m"  # or "g"
    sign: float = 1.0
    clock: str = "steps"  # or "frozen", "from zero", "per parameter"
    shared: bool = False  # one m and v for all parameters of a shape


FAULTS: list[tuple[Rule, str, str]] = [
    (Rule(sign=-1.0), "sign", "it adds the step where it must subtract it: training climbs"),
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
    (Rule(eps="uncorrected"), "epsilon", "ε is added to √v before the bias correction, so it is not the paper's ε"),
    (Rule(eps="none"), "epsilon", "ε is not used: a parameter without gradient gives 0/0"),
    (Rule(decay="coupled"), "weight-decay", "weight decay is added to the gradient (L2, plain Adam) and so divided by √v̂; AdamW decays the weights themselves"),
    (Rule(decay="without lr"), "weight-decay", "weight decay is not multiplied by the learning rate"),
    (Rule(decay="grows"), "weight-decay", "weight decay has the wrong sign: the weights grow"),
    (Rule(decay="after"), "weight-decay", "decay after the step: it must come first, for the weights that decay are those before the step"),
    (Rule(decay="none"), "weight-decay", "weight decay is not applied at all"),
    (Rule(betas_swapped=True), "moments", "β₁ and β₂ are exchanged"),
    (Rule(second="abs"), "moments", "v is a mean of |g| where it must be one of g²"),
    (Rule(second="of m"), "moments", "v is made of m² instead of g²"),
    (Rule(second="newest"), "moments", "v is the newest g² only, not a running mean"),
    (Rule(second="mean"), "moments", "v is one mean over the whole array instead of one number for each entry"),
    (Rule(root=False), "moments", "the step is divided by v̂ instead of √v̂"),
    (Rule(damped=False), "moments", "m takes g instead of (1 - β₁) g"),
    (Rule(along="g"), "moments", "the step is made along g instead of m̂, so that nothing of the gradients before counts"),
    (Rule(shared=True), "state", "parameters share one m and v: each needs its own"),
]  # fmt: skip


def simulate(rule: Rule, starts: list[Array], gradients: list[list[Array]]) -> list[list[Array]]:
    """The parameters after each step."""
    values = [start.copy() for start in starts]
    m, v = ([np.zeros_like(start) for start in starts] for _ in range(2))
    b1, b2 = BETAS[::-1] if rule.betas_swapped else BETAS
    path, ticks = [], 0
    with np.errstate(all="ignore"):  # some wrong ways end in NaN
        for step, grads in enumerate(gradients, 1):
            for i, g in enumerate(grads):
                ticks += 1
                t = {"steps": step, "frozen": 1, "from zero": step + 1, "per parameter": ticks}[rule.clock]
                decays = values[i].ndim >= 2 or rule.decay_vectors
                values[i] = _one(rule, values[i], g, m, v, i, t, b1, b2, decays)
            path.append([value.copy() for value in values])
    return path


def _one(rule: Rule, x: Array, g: Array, m: list, v: list, i: int, t: int, b1: float, b2: float, decays: bool) -> Array:
    """One parameter, one step."""
    shares = {"decoupled": LR * DECAY, "without lr": DECAY, "grows": -LR * DECAY}
    decay = shares.get(rule.decay, 0.0) if decays else 0.0
    afterwards = LR * DECAY if rule.decay == "after" and decays else 0.0
    if rule.decay == "coupled" and decays:
        g = g + DECAY * x
    if rule.momentum_only:
        m[i] = rule.momentum * m[i] + g
        return (x * (1 - decay) - rule.sign * LR * m[i]) * (1 - afterwards)
    slot = 0 if rule.shared and m[0].shape == x.shape else i
    m[slot] = b1 * m[slot] + ((1 - b1) if rule.damped else 1.0) * g
    squares = {
        "square": g * g,
        "abs": np.abs(g),
        "of m": m[slot] * m[slot],
        "newest": g * g,
        "mean": np.full_like(g, (g * g).mean()),
    }
    v[slot] = squares["newest"] if rule.second == "newest" else b2 * v[slot] + (1 - b2) * squares[rule.second]
    c1 = 1 - {"power": b1**t, "none": b1, "times": b1 * t}[rule.power_m] if rule.correct_m else 1.0
    c2 = 1 - {"power": b2**t, "none": b2}[rule.power_v] if rule.correct_v else 1.0
    mhat, vhat = m[slot] / c1, v[slot] / c2
    eps = 0.0 if rule.eps == "none" else EPS
    if rule.eps == "inside":
        denominator = np.sqrt(vhat + eps)
    elif rule.eps == "uncorrected":
        denominator = (np.sqrt(v[slot]) + eps) / math.sqrt(c2)
    else:
        denominator = (np.sqrt(vhat) if rule.root else vhat) + eps
    if not rule.keeps_m:
        m[slot] = mhat
    if not rule.keeps_v:
        v[slot] = vhat
    return (x * (1 - decay) - rule.sign * LR * (g if rule.along == "g" else mhat) / denominator) * (1 - afterwards)


def check_optimizer(factory: Callable[..., Any], seed: int = 0) -> Report:
    """Compare an optimizer with Adam and AdamW (or SGD, if it knows no betas), and name the line that differs.

    Parameters
    ----------
    factory : class or function
        ``factory(parameters, lr=…, betas=…, eps=…, weight_decay=…)`` (also ``beta1=``, ``beta2=``, ``epsilon=``,
        ``wd=``) makes an optimizer whose ``step()`` moves every ``parameter.data`` along ``parameter.grad``.
        Weight decay on vectors (biases, gains) is a choice, and both are accepted.

    Returns
    -------
    report : Report
        A row for a matrix and for a vector: the largest relative distance from the nearest right path.
    """
    start = time.perf_counter()
    title = getattr(factory, "__name__", "optimizer")
    report = Report(title, [])
    rng = np.random.default_rng(seed)
    shapes = [SHAPES["matrix"], SHAPES["vector"], SHAPES["vector"]]
    starts = [1 + rng.random(shape) for shape in shapes]
    gradients = [[rng.standard_normal(shape) * 0.1 ** rng.random(shape) for shape in shapes] for _ in range(N_STEPS)]
    try:
        path, names = _run(factory, title, starts, gradients, report)
    except CheckError as error:
        report.findings.append(Cause("error", str(error), 100, title))
        return report
    right = list(_right_rules(names))
    best = min(right, key=lambda rule: _distance(path, simulate(rule, starts, gradients)).max())
    gaps = _distance(path, simulate(best, starts, gradients))
    for name, where in (("matrix", [0]), ("vector", [1, 2])):
        gap = float(gaps[where].max())
        report.rows.append(Row(name, SHAPES[name], gap, gap <= CLOSE))
    if not all(row.ok for row in report.rows):
        _explain(report, path, starts, gradients, best)
    report.seconds = time.perf_counter() - start
    return report


def _run(
    factory: Callable, title: str, starts: list[Array], gradients: list[list[Array]], report: Report
) -> tuple[list[list[Array]], set[str]]:
    """The path of the optimizer under check, and which settings it takes."""
    accepted = inspect.signature(factory).parameters
    offers = {"lr": LR, "learning_rate": LR, "betas": BETAS, "beta1": BETAS[0], "beta2": BETAS[1], "eps": EPS}
    offers |= {"epsilon": EPS, "weight_decay": DECAY, "wd": DECAY, "momentum": MOMENTUM}
    settings = {name: value for name, value in offers.items() if name in accepted}
    parameters = [Parameter(start.copy()) for start in starts]
    try:
        optimizer = factory(parameters, **settings)
        path = []
        for grads in gradients:
            for parameter, grad in zip(parameters, grads, strict=True):
                parameter.grad[...] = grad
            optimizer.step()
            path.append([np.array(parameter.data, dtype=np.float64) for parameter in parameters])
            if not all(
                np.array_equal(p.grad, grad) or not np.any(p.grad) for p, grad in zip(parameters, grads, strict=True)
            ):
                text = (
                    f"{title}.step changes the gradients: whoever looks at them afterwards (their norm, a second "
                    "optimizer) is misled."
                )
                report.findings = [Cause("writes-upstream", text, 60, "grad")]
                for parameter, grad in zip(parameters, grads, strict=True):
                    parameter.grad = np.array(grad)
    except Exception as error:
        raise CheckError(f"{title} stopped. {describe(error)}") from error
    return path, set(settings)


def _right_rules(names: set[str]) -> Iterator[Rule]:
    """What counts as right, given the settings that an optimizer has."""
    decays = "weight_decay" in names or "wd" in names
    base = Rule(decay="decoupled" if decays else "none")
    if not names & {"betas", "beta1", "beta2"}:
        base = replace(base, momentum_only=True, momentum=MOMENTUM if "momentum" in names else 0.0)
        yield replace(base, decay="coupled" if decays else "none")
    yield base
    yield replace(base, decay_vectors=False)


def _distance(path: list[list[Array]], other: list[list[Array]]) -> Array:
    """Largest relative distance over all steps, for each parameter."""
    with np.errstate(all="ignore"):
        gaps = np.array(
            [
                [np.abs(x - y).max() / np.abs(y).max() for x, y in zip(*step, strict=True)]
                for step in zip(path, other, strict=True)
            ]
        )
    return np.nan_to_num(gaps, nan=np.inf).max(axis=0)


def _explain(
    report: Report, path: list[list[Array]], starts: list[Array], gradients: list[list[Array]], best: Rule
) -> None:
    """Which wrong algorithm does it follow? All single faults, then pairs of them; NaN follows none."""
    if text := _not_finite(path, gradients):
        for row in report.rows:
            if not row.ok:
                row.explain([Cause("not-finite", f"{report.title}: {text}", 97, row.name)])
        return
    names = [fault for fault in FAULTS if not best.momentum_only or fault[0].decay != "decoupled" or fault[0].sign < 0]
    wrong = [row for row in report.rows if not row.ok]
    for rules, kind, said in _candidates(names, best):
        for rule in rules:
            if _distance(path, simulate(rule, starts, gradients)).max() <= CLOSE:
                text = f"{report.title}: {said}. Its path over {len(path)} steps is exactly that of this variant."
                for row in wrong:
                    row.explain([Cause(kind, text, 97, row.name)])
                return
    moved = [not np.array_equal(value, start) for value, start in zip(path[0], starts, strict=True)]
    for row, i in ((row, 0 if row.name == "matrix" else 1) for row in wrong):
        if not moved[i]:
            row.explain([Cause("step", f"{report.title}: the {row.name} does not move at all.", 95, row.name)])
            continue
        truth = simulate(best, starts, gradients)
        step = next(
            k for k in range(len(path)) if np.abs(path[k][i] - truth[k][i]).max() > CLOSE * np.abs(truth[k][i]).max()
        )
        place = tuple(int(k) for k in np.argwhere(np.abs(path[step][i] - truth[step][i]) > 0)[0])
        before = starts[i][place] if not step else path[step - 1][i][place]
        text = (
            f"{report.title}: the {row.name} takes no path that is known here. It first differs in step {step + 1}, "
            f"at {list(place)}: from {before:.6g} it goes to {path[step][i][place]:.6g}, the right step leads to "
            f"{truth[step][i][place]:.6g}."
        )
        row.explain([Cause("unknown", text, 10, row.name)])


def _not_finite(path: list[list[Array]], gradients: list[list[Array]]) -> str:
    """In which step parameters stop being numbers, and what that points to; "" if they never do."""
    for step, (values, grads) in enumerate(zip(path, gradients, strict=True), 1):
        bad = [~np.isfinite(x) for x in values]
        if not any(b.any() for b in bad):
            continue
        what = "nan" if any(np.isnan(x).any() for x in values) else "infinite"
        said = f"the parameters become {what} in step {step}"
        if step == 1 and all(np.array_equal(b, g < 0) for b, g in zip(bad, grads, strict=True)):
            return (
                f"{said}, exactly where the gradient is negative: a root of a negative number. v must be fed with g²."
            )
        if step == 1 and all(b.all() for b in bad):
            return (
                f"{said}, all of them: 0/0, or a root of a negative number. Is t counted before it is used? (For t = 0, "
                "1 - βᵗ is 0.) Is v fed with g²?"
            )
        return (
            f"{said}: a root of a negative number (is v fed with g²?), or a division by 0 (is t counted before it is used?). "
            "And is it βᵗ, a power (beta**t)? 1 - β t is negative before long."
        )
    return ""


def _candidates(faults: list, best: Rule) -> Iterator[tuple[list[Rule], str, str]]:
    """Each fault put into the nearest right rule; then each pair."""
    plain = Rule()

    def put(fault: Rule, into: Rule) -> Rule:
        changed = {name: value for name, value in vars(fault).items() if value != getattr(plain, name)}
        return replace(into, **changed)

    bases = [best, replace(best, decay_vectors=not best.decay_vectors)]
    for fault, kind, said in faults:
        yield [put(fault, base) for base in bases], kind, said
    for i, (first, kind, said) in enumerate(faults):
        for second, _, also in faults[i + 1 :]:
            yield [put(second, put(first, base)) for base in bases], kind, f"{said}; and {also}"
