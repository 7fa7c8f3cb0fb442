"""Exercises of lesson 08: SGD, momentum, AdamW, a schedule, clipping."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from numpylm.check.optimizer.clipping import check_clipping
from numpylm.check.optimizer.optimizers import check_optimizer
from numpylm.course.exercise import Exercise, Lesson, Result
from numpylm.course.judge import WRONG, Rng, both, from_report, hurried, outputs
from numpylm.nn import optim
from numpylm.nn.module import Array, Parameter


def sgd_step(theta: Array, grad: Array, lr: float) -> Array:
    """One step of gradient descent: θ - lr g."""
    return theta - lr * grad


def momentum_step(theta: Array, v: Array, grad: Array, lr: float, mu: float) -> tuple[Array, Array]:
    """One step with momentum: v ← μ v + g, θ ← θ - lr v; the new (θ, v)."""
    v = mu * v + grad
    return theta - lr * v, v


# ----------------------------------------------------------------------------------------------- AdamW


def _optimizer(make: Callable[..., Any], shape: tuple[int, ...], **settings: Any) -> tuple[Any, Parameter]:
    p = Parameter(np.ones(shape, np.float32))
    return make([p], **settings), p


def _remembers(make: Callable[..., Any]) -> Result:
    """Conditions for comparing paths: t advances, m and v are kept, and p.data is changed in place."""
    name = make.__name__
    optimizer, p = _optimizer(make, (2, 3), lr=0.1, weight_decay=0.0)
    data = p.data
    p.grad[...] = 0.5
    optimizer.step()
    if np.any(p.grad != 0.5):
        return Result(
            [
                f"{name}: step changes the gradients. They must not change: other code may use them afterwards, and "
                "zero_grad sets them to zero."
            ]
        )
    if optimizer.t == 0:
        return Result([f"{name}: t is still 0 after a step, so 1 - βᵗ is 0. Count first: self.t += 1, once a step."])
    if not np.any(optimizer.m[0]) or not np.any(optimizer.v[0]):
        lost = "m" if not np.any(optimizer.m[0]) else "v"
        return Result(
            [
                f"{name}: self.{lost} is still all zeros after a step. {lost} = … makes a new array, and the one in the list "
                f"stays as it was: change it in place ({lost} *= …, {lost} += …)."
            ]
        )
    if p.data is not data:
        return Result(
            [
                f"{name}: p.data became a new array. Change it in place (p.data -= …): other code may hold the same array, "
                "such as threads that train one model together."
            ]
        )
    if np.all(p.data == 1):
        return Result(
            [
                f"{name}: p.data is the same after a step as before. p = p.data - … only binds the name p to a new array: "
                "change it in place (p.data -= …)."
            ]
        )
    pair = make([Parameter(np.ones(2)), Parameter(np.ones(2))])
    pair.step()
    if pair.t != 1:
        return Result(
            [
                f"{name}: t is {pair.t} after one step of two parameters. It counts steps: advance it once per step, before "
                "the loop, and not once for each parameter."
            ]
        )
    if p.dtype != np.float32:
        return Result([f"{name}: the parameters were float32 and became {p.dtype}."])
    return Result()


def _details(make: Callable[..., Any]) -> Result:
    """The learning rate of a step, and which parameters do not decay."""
    name = make.__name__
    moved = []
    for at_first, at_step in ((0.1, None), (0.1, 0.2)):
        optimizer, p = _optimizer(make, (2, 3), lr=at_first, weight_decay=0.0)
        p.grad[...] = 0.5
        optimizer.step(at_step)
        moved.append(1 - float(p.data[0, 0]))
    if abs(moved[1] - 0.2) > 1e-3:
        return Result(
            [
                f"{name}: step(lr) must use the lr that it is given, and self.lr only if that is None. After step(0.2) "
                f"from a fresh start a parameter should have moved by 0.2, it moved by {moved[1]:.4g}."
            ]
        )
    before = float(p.data[0, 0])
    optimizer.step()
    if abs(before - float(p.data[0, 0]) - 0.1) > 1e-3:
        return Result(
            [
                f"{name}: the lr given to step(lr) is for this one step. After it, step() should again use the first lr, 0.1; a "
                f"parameter moved by {before - float(p.data[0, 0]):.4g}. Do not write to self.lr."
            ]
        )
    optimizer, p = _optimizer(make, (4,), lr=0.1, weight_decay=0.5)
    optimizer.step()
    if not np.allclose(p.data, 1):
        return Result(
            [f"{name}: vectors decay as well. Gains and biases should not: decay only where p.data.ndim >= 2."]
        )
    return Result()


def _same_steps(make: Callable[..., Any]) -> bool:
    """Whether an optimizer moves a matrix and a vector as ours does."""
    rng = np.random.default_rng(0)
    theirs, ours = ([Parameter(np.ones(shape)) for shape in ((3, 4), (5,))] for _ in range(2))
    steppers = make(theirs, weight_decay=0.3, eps=1e-3), optim.AdamW(ours, weight_decay=0.3, eps=1e-3)
    for _ in range(4):
        for p, q in zip(theirs, ours, strict=True):
            p.grad[...] = q.grad[...] = rng.standard_normal(p.shape)
        for stepper in steppers:
            stepper.step()
    return all(np.allclose(p.data, q.data, rtol=1e-9) for p, q in zip(theirs, ours, strict=True))


def _follows(make: Callable[..., Any]) -> Result:
    if hurried():
        return Result() if _same_steps(make) else WRONG
    return from_report(check_optimizer(make))


# -------------------------------------------------------------------------------------------- schedule


def _schedules(rng: Rng) -> Iterator[tuple]:
    for step in (0, 3, 9, 10, 11, 40, 55, 99, 100, 500):
        yield step, 10, 100, 0.5, 0.125
    yield 0, 0, 20, 0.5, 0.125


def _schedule(
    step: int,
    w: int,
    n: int,
    high: float,
    low: float,
    *,
    up: Callable[[int, int], float] = lambda s, w: (s + 1) / (w + 1),
    shape: Callable[[float], float] = lambda q: 0.5 * (1 + math.cos(math.pi * q)),
    span: Callable[[int, int, int], float] = lambda s, w, n: (s - w) / (n - w),
    bottom: Callable[[float, float, float], float] = lambda share, high, low: low + share * (high - low),
    end: bool = True,
) -> float:
    """A schedule with one mistake."""
    if step < w:
        return high * up(step, w)
    if end and step >= n:
        return low
    return bottom(shape(span(step, w, n)), high, low)


def _changed(**parts: Any) -> Callable[..., float]:
    return lambda *args: _schedule(*args, **parts)


# -------------------------------------------------------------------------------------------- clipping


def _each_to_the_limit(function: Callable[..., Any]) -> Result:
    """A mistake that the checker does not know: above the limit, every array gets the norm max_norm."""
    parameters = [Parameter(np.ones(n)) for n in (2, 3)]
    for i, p in enumerate(parameters, 1):
        p.grad[...] = i
    function(parameters, 0.5)
    if all(abs(float(np.linalg.norm(p.grad)) - 0.5) < 1e-6 for p in parameters):
        return Result(
            [
                f"{function.__name__}: each array is clipped by its own norm, which changes the direction of the step; divide "
                "all of them by the one norm."
            ]
        )
    return Result()


def _clips(function: Callable[..., Any]) -> Result:
    return from_report(check_clipping(function))


def _in_place_and_returns_the_norm(function: Callable[..., Any]) -> Result:
    name = function.__name__
    p = Parameter(np.ones((2, 2)))
    grad = p.grad
    p.grad[...] = 0.5
    function([p], 0.1)
    if p.grad is not grad:
        return Result(
            [
                f"{name}: p.grad became a new array. Change it in place (p.grad *= …): other code may hold the same array."
            ]
        )
    p.grad[...] = 0.5
    norm = function([p], 10.0)
    if norm is None:
        return Result([f"{name} clips, but returns nothing: return the norm before clipping."])
    if abs(float(norm) - 1) > 1e-6:
        return Result([f"{name} returns {float(norm):.6g} for a gradient of norm 1."])
    p.grad[...] = 0
    if float(function([p], 1.0)) != 0 or np.any(p.grad):
        return Result([f"{name}: gradients that are all zero must stay zero, and their norm is 0."])
    return Result()


LESSON = Lesson(
    "08_adam",
    "Adam: how far to step",
    (
        Exercise(
            "sgd_step",
            "against the gradient",
            outputs(
                sgd_step,
                lambda rng: iter(
                    [
                        (np.array([1.0, -2.0]), np.array([0.5, 3.0]), 0.1),
                        (rng.standard_normal((3, 4)), rng.standard_normal((3, 4)), 0.03),
                    ]
                ),
                {
                    "this goes uphill. The gradient points in the direction in which the loss rises: subtract it.": lambda x, g, lr: (
                        x + lr * g
                    ),
                    "the learning rate is not used.": lambda x, g, lr: x - g,
                    "this is the step itself; return the parameters after it.": lambda x, g, lr: -lr * g,
                    "only the direction of the gradient is used, not its length.": lambda x, g, lr: (
                        x - lr * g / np.linalg.norm(g)
                    ),
                },
            ),
            (sgd_step,),
        ),
        Exercise(
            "momentum_step",
            "remember earlier steps",
            outputs(
                momentum_step,
                lambda rng: iter(
                    [
                        (np.array([1.0, -2.0]), np.array([0.2, 0.4]), np.array([0.5, 3.0]), 0.1, 0.8),
                        (*rng.standard_normal((3, 3, 4)), 0.03, 0.7),
                    ]
                ),
                {
                    "mu is the share of the old velocity that remains: it multiplies v, and not the gradient.": (
                        lambda x, v, g, lr, mu: (x - lr * (v + mu * g), v + mu * g)
                    ),
                    "that is a running mean, with mu and 1 - mu exchanged as well. The old velocity is multiplied by mu, and "
                    "the gradient is added as it is.": (
                        lambda x, v, g, lr, mu: (x - lr * ((1 - mu) * v + mu * g), (1 - mu) * v + mu * g)
                    ),
                    "the parameters move along the old velocity. First v, then a step along the new v.": (
                        lambda x, v, g, lr, mu: (x - lr * v, mu * v + g)
                    ),
                    "the parameters move along the gradient alone; they should move along the new velocity.": (
                        lambda x, v, g, lr, mu: (x - lr * g, mu * v + g)
                    ),
                    "the gradient is multiplied by (1 - μ): that is a running mean, as Adam has it. Here it must be the sum, "
                    "μ v + g.": lambda x, v, g, lr, mu: (
                        x - lr * (mu * v + (1 - mu) * g),
                        mu * v + (1 - mu) * g,
                    ),
                    "the gradient is subtracted from v, and v from the parameters: the two minus signs cancel, so it goes uphill.": (
                        lambda x, v, g, lr, mu: (x - lr * (mu * v - g), mu * v - g)
                    ),
                    "lr is in the velocity already, and then once more in the step. The velocity is μ v + g, without lr.": (
                        lambda x, v, g, lr, mu: (x - lr * (mu * v + lr * g), mu * v + lr * g)
                    ),
                    "lr is in the velocity already. The velocity is μ v + g, without lr; lr multiplies it in the step.": (
                        lambda x, v, g, lr, mu: (x - (mu * v + lr * g), mu * v + lr * g)
                    ),
                    "the learning rate is not used: subtract lr · v.": (
                        lambda x, v, g, lr, mu: (x - (mu * v + g), mu * v + g)
                    ),
                    "this goes uphill: subtract lr · v.": lambda x, v, g, lr, mu: (x + lr * (mu * v + g), mu * v + g),
                    "nothing of the old velocity is forgotten: multiply it by μ.": lambda x, v, g, lr, mu: (
                        x - lr * (v + g),
                        v + g,
                    ),
                    "μ multiplies the sum; it should multiply the old velocity only: μ v + g.": (
                        lambda x, v, g, lr, mu: (x - lr * mu * (v + g), mu * (v + g))
                    ),
                    "the two are in the wrong order: return first the parameters, then the velocity.": lambda x, v, g, lr, mu: (
                        momentum_step(x, v, g, lr, mu)[::-1]
                    ),
                    "the velocity that is returned is the old one.": lambda x, v, g, lr, mu: (x - lr * (mu * v + g), v),
                },
            ),
            (momentum_step,),
        ),
        Exercise(
            "AdamW",
            "the optimizer of nearly every language model",
            both(_remembers, _follows, _details),
            (optim.AdamW,),
            ("AdamW",),
        ),
        Exercise(
            "warmup_cosine",
            "up in a line, down in half a cosine",
            outputs(
                optim.warmup_cosine,
                _schedules,
                {
                    "the rate of step 0 is 0, so the first step does nothing: (step + 1) / (warmup_steps + 1).": _changed(
                        up=lambda s, w: s / w
                    ),
                    "the warm-up divides by warmup_steps; with warmup_steps + 1, the highest rate comes at step w and not "
                    "before.": _changed(up=lambda s, w: (s + 1) / w),
                    "the warm-up divides step by warmup_steps + 1, so the rate of step 0 is 0 and that step does nothing: "
                    "step + 1.": _changed(up=lambda s, w: s / (w + 1)),
                    "the cosine must begin after the warm-up: progress is (step - warmup_steps) / (max_steps - "
                    "warmup_steps).": _changed(span=lambda s, w, n: s / n),
                    "progress must reach 1 at max_steps: the cosine lasts max_steps - warmup_steps steps.": _changed(
                        span=lambda s, w, n: (s - w) / n
                    ),
                    "a cosine runs from 1 to -1. To run from 1 to 0: (1 + cos) / 2.": _changed(
                        shape=lambda q: math.cos(math.pi * q)
                    ),
                    "1 + cos runs from 2 to 0; take half of it.": _changed(shape=lambda q: 1 + math.cos(math.pi * q)),
                    "half a period is cos(π · progress), but this is a whole one: the rate rises again.": _changed(
                        shape=lambda q: 0.5 * (1 + math.cos(2 * math.pi * q))
                    ),
                    "without π the cosine hardly falls: cos(π · progress).": _changed(
                        shape=lambda q: 0.5 * (1 + math.cos(q))
                    ),
                    "after the warm-up this is a straight line; it must be a cosine.": _changed(shape=lambda q: 1 - q),
                    "the cosine multiplies (max_lr - min_lr); with max_lr alone the rate begins above max_lr.": _changed(
                        bottom=lambda share, high, low: low + share * high
                    ),
                    "min_lr is missing: at the end the rate should be min_lr and not 0.": _changed(
                        bottom=lambda share, high, low: share * high
                    ),
                    "after max_steps the cosine rises again; from there on the rate must stay at min_lr.": _changed(
                        end=False
                    ),
                },
            ),
            (optim.warmup_cosine,),
            ("warmup_cosine",),
        ),
        Exercise(
            "clip_grad_norm",
            "limit the norm of the gradient",
            both(_each_to_the_limit, _clips, _in_place_and_returns_the_norm),
            (optim.clip_grad_norm,),
            ("clip_grad_norm",),
        ),
    ),
)
