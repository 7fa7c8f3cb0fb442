"""Exercises of lesson 09: batches, a training step, the validation loss, a power law."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from numpylm.course.exercise import Exercise, Lesson, Result
from numpylm.course.judge import Rng, outputs
from numpylm.models.gpt import GPT, GPTConfig
from numpylm.nn.functional import IGNORE_INDEX, cross_entropy, cross_entropy_backward
from numpylm.nn.module import Array, Parameter
from numpylm.nn.optim import clip_grad_norm
from numpylm.text.data import random_batch


def get_batch(
    tokens: Array, batch_size: int, block_size: int, rng: Rng, starts: Array | None = None
) -> tuple[Array, Array]:
    """Random windows x (B, T) and the same windows one token later, y (B, T)."""
    if starts is None:
        starts = np.arange(len(tokens) - block_size)
    return random_batch(tokens, batch_size, block_size, rng, starts)


def training_step(gpt: Any, optimizer: Any, x: Array, y: Array, lr: float) -> float:
    """One step of training; the loss before it, in nats per token."""
    gpt.zero_grad()
    logits, cache = gpt.forward(x)
    loss, loss_cache = cross_entropy(logits, y)
    gpt.backward(cross_entropy_backward(1.0, loss_cache), cache)
    clip_grad_norm(optimizer.parameters, 1.0)
    optimizer.step(lr)
    return loss


def validation_loss(gpt: Any, batches: Iterable[tuple[Array, Array]]) -> float:
    """Mean nats per counted token over all batches; targets of -100 are not counted."""
    nats, count = 0.0, 0
    for x, y in batches:
        logits, _ = gpt.forward(x)
        n = int((y != IGNORE_INDEX).sum())
        nats += cross_entropy(logits, y)[0] * n
        count += n
    return nats / count


def fit_power_law(n: Array, loss: Array, floor: float = 0.0) -> tuple[float, float]:
    """(a, b) of loss ≈ floor + a n^-b: a straight line through the logarithms, by least squares."""
    slope, intercept = np.polyfit(np.log(n), np.log(np.asarray(loss) - floor), 1)
    return float(np.exp(intercept)), float(-slope)


# ------------------------------------------------------------------------------------------- get_batch

TOKENS = np.arange(100, 140)  # each token says where it stands
BATCH, BLOCK = 4, 6
SHORT = (
    "it fails for windows near the end of the text. The last one begins at len(tokens) - block_size - 1: a window needs "
    "block_size + 1 tokens, the last target included."
)


def _batches(function: Callable[..., Any]) -> Result:
    """Tests properties and not numbers, because there are many right ways to draw."""
    try:
        problem = _batch_problem(function)
    except (IndexError, ValueError) as error:
        if "out of bounds" not in str(error) and "inhomogeneous" not in str(error):
            raise
        problem = SHORT
    return Result([f"{function.__name__}: {problem}"]) if problem else Result([], "400 batches drawn")


def _batch_problem(function: Callable[..., Any]) -> str:
    tokens = TOKENS.copy()
    first = function(tokens, BATCH, BLOCK, np.random.default_rng(0))
    return (
        _form(first)
        or _windows(*first)
        or _randomness(function)
        or _all_windows(function)
        or _given_starts(function)
        or ("" if np.array_equal(tokens, TOKENS) else "it changes the tokens that it is given.")
    )


def _form(batch: Any) -> str:
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        return "return two arrays, x and y. Is the return missing?" if batch is None else "return two arrays, x and y."
    for letter, array in zip("xy", batch, strict=True):
        shape = np.shape(array)
        if shape == (BLOCK, BATCH):
            return f"{letter} has shape {shape}: it must have one row for each window, (batch_size, block_size)."
        if shape != (BATCH, BLOCK):
            return (
                f"{letter} has shape {shape}; for batch_size {BATCH} and block_size {BLOCK} it should be {(BATCH, BLOCK)}. A "
                "window of block_size + 1 tokens gives block_size pairs of token and next token."
            )
        if np.asarray(array).dtype.kind not in "iu":
            return f"{letter} should hold tokens, whole numbers; it holds {np.asarray(array).dtype}."
    return ""


def _windows(x: Array, y: Array) -> str:
    if np.array_equal(x, y):
        return (
            "x and y are the same. The target is the token *after* each one: y is the window shifted by one, or the model "
            "learns to copy."
        )
    if np.array_equal(np.asarray(y)[:, 1:], np.asarray(x)[:, :-1]):
        return "y is shifted the wrong way: it holds the token before each one, and it must hold the token after it."
    if (np.diff(x, axis=1) != 1).any():
        return (
            "the rows of x are not consecutive tokens of the text: after the start, the tokens must follow one another."
        )
    if not np.array_equal(np.asarray(x) + 1, y):
        return "y[b, t] must be the token that follows x[b, t] in the text."
    return ""


def _randomness(function: Callable[..., Any]) -> str:
    rng = np.random.default_rng(0)
    x, _ = function(TOKENS, BATCH, BLOCK, rng)
    again, _ = function(TOKENS, BATCH, BLOCK, np.random.default_rng(0))
    if not np.array_equal(x, again):
        return "the same rng gives another batch each time: draw from rng and from nothing else, so that runs can be repeated."
    many, _ = function(TOKENS, 30, BLOCK, np.random.default_rng(1))
    if len(np.unique(np.asarray(many)[:, 0])) == 1:
        return "all rows are the same window: draw batch_size starts, not one."
    others = [function(TOKENS, BATCH, BLOCK, rng)[0] for _ in range(5)]
    if all(np.array_equal(x, other) for other in others):
        return "every batch is the same: draw from the rng that is given, and make no new one with a fixed seed."
    return ""


def _all_windows(function: Callable[..., Any]) -> str:
    rng, last = np.random.default_rng(2), len(TOKENS) - BLOCK - 1
    seen: set[int] = set()
    for _ in range(400):
        x, y = function(TOKENS, BATCH, BLOCK, rng)
        if np.shape(x) != (BATCH, BLOCK) or np.shape(y) != (BATCH, BLOCK) or not np.array_equal(np.asarray(x) + 1, y):
            return SHORT
        seen |= {int(v) - int(TOKENS[0]) for v in np.asarray(x)[:, 0]}
    missing = sorted(set(range(last + 1)) - seen)
    if missing == [last]:
        return (
            f"the last window, which begins at len(tokens) - block_size - 1 = {last} here, is never drawn. (The upper end of "
            "rng.integers is not included.)"
        )
    if missing:
        return (
            f"windows may begin anywhere from 0 to {last} here, but in 400 batches none began at "
            f"{', '.join(map(str, missing[:5]))}{' …' if len(missing) > 5 else ''}."
        )
    return ""


def _given_starts(function: Callable[..., Any]) -> str:
    starts = np.array([3, 17, 29])
    rng = np.random.default_rng(3)
    batches = [function(TOKENS, BATCH, BLOCK, rng, starts)[0] for _ in range(20)]
    found = {int(v) - int(TOKENS[0]) for x in batches for v in np.asarray(x)[:, 0]}
    if not found <= {3, 17, 29}:
        return f"starts is not used: with starts = [3, 17, 29] windows must begin there, one began at {min(found - {3, 17, 29})}."
    if len(found) < 3:
        return f"with starts = [3, 17, 29], 20 batches had windows only at {sorted(found)}: draw among all of them."
    return ""


# --------------------------------------------------------------------------------------- training_step


class _Watch:
    """An optimizer that records the gradients when it steps."""

    def __init__(self, parameters: list[Parameter]) -> None:
        self.parameters = parameters
        self.calls: list[tuple[Any, Array]] = []

    def step(self, lr: Any = None) -> None:
        self.calls.append((lr, _flat(self.parameters)))
        for p in self.parameters:
            p.data -= 0.3 * p.grad


def _flat(parameters: list[Parameter]) -> Array:
    return np.concatenate([p.grad.ravel().copy() for p in parameters])


def _tiny(rng: Rng) -> GPT:
    """A GPT whose gradient is longer than 1, so that clipping shows."""
    gpt = GPT(GPTConfig(vocab_size=11, block_size=5, n_layer=1, n_head=2, n_embd=8), rng, np.float64)
    for p in gpt.parameters():
        p.data += 0.3 * rng.standard_normal(p.shape)
    return gpt


def _clip(g: Array) -> Array:
    return g / max(1.0, float(np.linalg.norm(g)))


def _steps(function: Callable[..., Any]) -> Result:
    problem = _step(function) or _scale(function)
    return Result(
        [f"{function.__name__}: {problem}"] if problem else [], "gradient, clipping, step and loss as expected"
    )


def _step(function: Callable[..., Any]) -> str:
    rng = np.random.default_rng(0)
    gpt = _tiny(rng)
    x, y = rng.integers(0, 11, (3, 5)), rng.integers(0, 11, (3, 5))
    gpt.zero_grad()
    before = gpt.loss_and_grad(x, y)
    true = _flat(gpt.parameters())
    left = [rng.standard_normal(p.shape) for p in gpt.parameters()]  # what the last step left behind
    for p, g in zip(gpt.parameters(), left, strict=True):
        p.grad[...] = g
    stale = np.concatenate([g.ravel() for g in left])
    watch = _Watch(gpt.parameters())
    returned = function(gpt, watch, x, y, 0.125)
    after = gpt.loss(x, y)
    if not watch.calls:
        return "the optimizer never steps: optimizer.step(lr)."
    if len(watch.calls) > 1:
        return f"the optimizer steps {len(watch.calls)} times; it must step once."
    lr, grad = watch.calls[0]
    return _gradient(grad, true, stale, _flat(gpt.parameters())) or _rate(lr) or _loss(returned, before, after)


def _scale(function: Callable[..., Any]) -> str:
    """A gradient below the limit reveals a factor that clipping would hide."""
    rng = np.random.default_rng(0)
    gpt = _tiny(rng)
    for p in gpt.parameters():
        p.data *= 0.1
    x, y = rng.integers(0, 11, (3, 5)), rng.integers(0, 11, (3, 5))
    gpt.zero_grad()
    gpt.loss_and_grad(x, y)
    true = _flat(gpt.parameters())
    assert np.linalg.norm(true) < 1
    watch = _Watch(gpt.parameters())
    function(gpt, watch, x, y, 0.125)
    grad = watch.calls[0][1]
    if np.allclose(grad, true, rtol=0, atol=1e-6):
        return ""
    ratio = float(grad @ true / (true @ true))
    return (
        f"a gradient whose norm is below 1 arrives {ratio:.3g} times as long as it is. What goes into the backward of the "
        "loss is 1.0, the gradient of the loss with respect to itself; and clipping must leave short gradients alone. (On "
        "long gradients, clipping hides this.)"
    )


def _gradient(grad: Array, true: Array, stale: Array, left: Array) -> str:
    def like(other: Array) -> bool:
        return bool(np.allclose(grad, other, rtol=0, atol=1e-5 * max(1.0, float(np.abs(other).max()))))

    size = float(np.linalg.norm(true))
    if like(_clip(true)):
        return ""
    if like(true):
        if np.allclose(left, _clip(true), rtol=0, atol=1e-5):
            return "it clips after the step, when it is too late: backward, clip, step."
        return (
            f"the gradient is not clipped: its norm was {size:.2f} when the optimizer stepped. "
            "clip_grad_norm(optimizer.parameters, 1.0) between backward and step."
        )
    if like(true + stale) or like(_clip(true + stale)):
        return (
            "the gradients were not cleared: backward adds (+=), so those of the previous step are still in them. "
            "gpt.zero_grad() comes first."
        )
    if not grad.any():
        return "all gradients were zero when the optimizer stepped. Is backward missing, or zero_grad after it?"
    if like(stale) or like(_clip(stale)):
        return "the gradients were still those of the previous step: backward was never called."
    if like(-true) or like(-_clip(true)):
        return "the gradient has the wrong sign."
    cosine = float(grad @ true / (np.linalg.norm(grad) * size))
    if cosine > 1 - 1e-9:
        return f"the gradient has the right direction but a norm of {np.linalg.norm(grad):.3g}; clipped to 1.0 it should be 1."
    return f"the gradient at the step is not that of the loss (cosine {cosine:.3f})."


def _rate(lr: Any) -> str:
    if lr is None:
        return "the learning rate is not passed on: optimizer.step(lr)."
    return "" if lr == 0.125 else f"the optimizer got the learning rate {lr!r}, it should be lr (0.125 in this test)."


def _loss(returned: Any, before: float, after: float) -> str:
    if returned is None:
        return "it steps as it should, but returns nothing: return the loss."
    if isinstance(returned, (tuple, list)) or np.ndim(returned):
        return "return the loss alone, one number."
    if abs(returned - before) < 1e-9:
        return ""
    if abs(returned - after) < 1e-9:
        return "this is the loss *after* the step, which takes one more forward. Return the loss that the gradient belongs to."
    if abs(returned - before * 15) < 1e-9:
        return "this is the sum over all tokens; return the mean."
    return f"the loss before the step was {before:.6g}, it returns {float(returned):.6g}."


# ------------------------------------------------------------------------------------- validation_loss


def _validates(function: Callable[..., Any]) -> Result:
    name = function.__name__
    rng = np.random.default_rng(0)
    gpt = _tiny(rng)
    batches = [(rng.integers(0, 11, (rows, T)), rng.integers(0, 11, (rows, T))) for rows, T in ((4, 5), (1, 3), (2, 4))]
    batches[2][1][0, 2:] = IGNORE_INDEX
    batches[2][1][1, :3] = IGNORE_INDEX
    for p in gpt.parameters():
        p.grad[...] = 1.5
    values = [p.data.copy() for p in gpt.parameters()]
    got = function(gpt, batches)
    losses = np.array([gpt.loss(x, y) for x, y in batches])
    counts = np.array([(y != IGNORE_INDEX).sum() for _, y in batches])
    sizes = np.array([y.size for _, y in batches])
    right = float((losses * counts).sum() / counts.sum())
    if got is None:
        return Result([f"{name}: it returns nothing. Is the return missing?"])
    if isinstance(got, (tuple, list)) or np.ndim(got):
        return Result([f"{name}: return one number, the mean loss."])
    wrong = {
        "this is the mean of the batches' means. They hold different numbers of tokens: add up nats (loss · count), and "
        "divide by all tokens at the end.": float(losses.mean()),
        "this is the sum of all nats; divide by the number of counted tokens.": float((losses * counts).sum()),
        "this is the sum of the batches' losses.": float(losses.sum()),
        "divided by all positions, including those that are not counted: n is the number of targets that are not negative.": float(
            (losses * counts).sum() / sizes.sum()
        ),
        "positions that are not counted (targets of -100) still have a weight: the number of tokens of a batch is "
        "(y >= 0).sum(), not y.size.": float((losses * sizes).sum() / sizes.sum()),
        "this is the loss of the last batch alone.": float(losses[-1]),
        "this is the loss of the first batch alone: the return is inside the loop.": float(losses[0]),
    }
    if not abs(float(got) - right) <= 1e-9:  # NaN is wrong, too
        for sentence, value in wrong.items():
            if abs(float(got) - value) < 1e-9:
                return Result([f"{name}: {sentence}"])
        return Result([f"{name}: expected {right:.6g}, got {float(got):.6g}."])
    if any((p.grad != 1.5).any() for p in gpt.parameters()):
        return Result([f"{name}: it changes the gradients. Validation runs only the forward, and no backward."])
    if any(not np.array_equal(p.data, v) for p, v in zip(gpt.parameters(), values, strict=True)):
        return Result([f"{name}: it changes the parameters. Validation must not change them."])
    return Result([], "3 batches of different sizes")


# --------------------------------------------------------------------------------------- fit_power_law


def _laws(rng: Rng) -> Iterator[tuple]:
    n = np.array([1e3, 1e4, 1e5, 1e6])
    yield n, 30 * n**-0.4, 0.0
    yield n, 0.5 + 12 * n**-0.25, 0.5
    yield n, 0.2 + 5 * n**-0.3 * np.exp(0.1 * rng.standard_normal(4)), 0.2


def _line(x: Array, y: Array) -> tuple[float, float]:
    slope, intercept = np.polyfit(x, y, 1)
    return float(slope), float(intercept)


def _fit(
    n: Array,
    loss: Array,
    floor: float,
    log: Callable[[Array], Array] = np.log,
    back: Callable[[float], float] = math.exp,
    sign: int = -1,
) -> tuple[float, float]:
    slope, intercept = _line(log(n), log(loss - floor))
    return back(intercept), sign * slope


LESSON = Lesson(
    "09_training",
    "Training your own model",
    (
        Exercise("get_batch", "random windows, and their targets", _batches, (get_batch,)),
        Exercise("validation_loss", "the loss on text that the model has not seen", _validates, (validation_loss,)),
        Exercise("training_step", "everything so far, in six lines", _steps, (training_step,)),
        Exercise(
            "fit_power_law",
            "a straight line in log-log",
            outputs(
                fit_power_law,
                _laws,
                {
                    "b has the wrong sign: the slope in log-log is -b, and b is positive if the loss falls.": lambda n, y, f: (
                        _fit(n, y, f, sign=1)
                    ),
                    "a is still a logarithm: the line's height at log n = 0 is log a, so a = exp of it.": lambda n, y, f: (
                        _fit(n, y, f, back=lambda v: v)
                    ),
                    "a is still a logarithm and b has the wrong sign: a = exp(intercept), b = -slope.": lambda n, y, f: (
                        _fit(n, y, f, back=lambda v: v, sign=1)
                    ),
                    "the logarithm to base 10 and exp do not belong together: np.log with np.exp, or np.log10 with 10**.": (
                        lambda n, y, f: _fit(n, y, f, log=np.log10)
                    ),
                    "the floor is not subtracted: the straight line goes through log(loss - floor).": lambda n, y, f: (
                        _fit(n, y, 0.0)
                    ),
                    "the floor is subtracted from the logarithm. Subtract it from the loss first, then take the "
                    "logarithm.": lambda n, y, f: (
                        math.exp(_line(np.log(n), np.log(y) - f)[1]),
                        -_line(np.log(n), np.log(y) - f)[0],
                    ),
                    "the two are in the wrong order: return a, then b.": lambda n, y, f: fit_power_law(n, y, f)[::-1],
                    "log n and log loss are exchanged: fit log(loss - floor) over log n.": lambda n, y, f: _fit(
                        y - f + 0.0, n, 0.0
                    ),
                    "this is a line through n and loss themselves; take the logarithm of both.": lambda n, y, f: (
                        _line(n, y - f)[1],
                        -_line(n, y - f)[0],
                    ),
                    "the logarithm of n is missing: both axes are logarithmic.": lambda n, y, f: (
                        math.exp(_line(n, np.log(y - f))[1]),
                        -_line(n, np.log(y - f))[0],
                    ),
                },
            ),
            (fit_power_law,),
            search=False,  # with NaN in its input, LAPACK below np.polyfit prints warnings that cannot be caught
        ),
    ),
)
