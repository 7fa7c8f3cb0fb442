"""The second half of the exercises of lesson 17: the loss of CTC, and its gradient."""

from collections.abc import Callable
from typing import Any

import numpy as np

from numpylm.course.exercise import Exercise, Result
from numpylm.course.judge import Rng, both, gradients, outputs
from numpylm.inference.ctc_decoding import collapsed
from numpylm.nn.ctc import ctc_loss as loss_of_batch
from numpylm.nn.functional import softmax, softmax_backward
from numpylm.nn.module import Array, Cache

T, V = 6, 4  # frames, and labels with the blank
LABELS = np.array([2, 2, 1])  # the first two are equal, so they need a blank between them


# ------------------------------------------------------------------------------------------------ what the lesson uses


def collapse(path: Any, blank: int = 0) -> list[int]:
    """Repeats merged, then blanks removed."""
    return collapsed(path, blank)


def ctc_step(alpha: Array, y: Array, skip: Array) -> tuple[Array, Cache]:
    """One step of the forward recursion: all arrays (S',)."""
    arrive = alpha + _later(alpha, 1) + skip * _later(alpha, 2)
    return y * arrive, (y, skip, arrive)


def ctc_step_backward(dnew: Array, cache: Cache) -> tuple[Array, Array]:
    """dnew (S',) -> dalpha, dy, both (S',)."""
    y, skip, arrive = cache
    d = dnew * y
    return d + _earlier(d, 1) + _earlier(skip * d, 2), dnew * arrive


def ctc_alphas(y: Array, places: Array, skip: Array) -> tuple[Array, float]:
    """α (T, S') and p, from the probabilities y (T, V) of the labels in each frame."""
    emitted = y[:, places]  # (T, S')
    alpha = np.zeros(emitted.shape)
    alpha[0, :2] = emitted[0, :2]
    for t in range(1, len(y)):
        alpha[t], _ = ctc_step(alpha[t - 1], emitted[t], skip)
    return alpha, float(alpha[-1, -2:].sum())


def ctc_loss(logits: Array, labels: Array) -> tuple[float, Cache]:
    """-ln p(labels), and its gradient as the cache."""
    loss, dlogits = loss_of_batch(logits[None], np.asarray(labels)[None], count=1)
    return loss, dlogits[0]


def ctc_loss_backward(dloss: float, cache: Cache) -> Array:
    """The gradient y - γ, which the forward has computed."""
    return dloss * cache


# ------------------------------------------------------------------------------------------------------------ tests


def _later(a: Array, n: int) -> Array:
    """``a`` moved n places to the end, with zeros at its beginning."""
    return np.concatenate([np.zeros(n), a])[: len(a)]


def _earlier(a: Array, n: int) -> Array:
    """``a`` moved n places to the beginning, with zeros at its end."""
    return np.concatenate([a, np.zeros(n)])[n:]


def _paths(rng: Rng) -> Any:
    yield [1, 0, 2, 1], 0
    yield [0, 3, 3, 0, 0, 5], 0
    yield [3, 3, 0, 3, 5, 5], 0
    yield [0, 0], 0
    yield [1, 1, 2, 0, 0, 2, 1], 2
    yield [], 0


def _no_merge(path: list[int], blank: int = 0) -> list[int]:
    return [k for k in path if k != blank]


def _blanks_first(path: list[int], blank: int = 0) -> list[int]:
    return collapsed(_no_merge(path, blank), -1) if path else []


def _unique(path: list[int], blank: int = 0) -> list[int]:
    return list(dict.fromkeys(_no_merge(path, blank)))


def _circle(path: list[int], blank: int = 0) -> list[int]:
    """Without a look at n = 0, the first id is compared with the last."""
    return [k for n, k in enumerate(path) if k != blank and k != path[n - 1]]


def _places(labels: Array) -> tuple[Array, Array]:
    """The labels with blanks around them, and where two places may be taken at once."""
    places = np.zeros(2 * len(labels) + 1, int)
    places[1::2] = labels
    skip = np.zeros(len(places))
    skip[3::2] = labels[1:] != labels[:-1]
    return places, skip


def _steps(rng: Rng) -> Any:
    yield np.array([0.1, 0.4, 0.2]), np.array([0.5, 0.25, 0.5]), np.array([0.0, 0.0, 0.0])
    yield np.array([0.1, 0.3, 0.2, 0.4, 0.1, 0.2, 0.1]), np.full(7, 0.5), np.array([0, 0, 0, 1.0, 0, 1.0, 0])
    yield rng.random(7), rng.random(7), _places(LABELS)[1]


def _arriving(change: Callable[[Array, Array], Array], factor: bool = True) -> Callable:
    """A wrong dalpha, made from darrive and skip; without ``factor``, darrive lacks y."""

    def slip(dnew: Array, alpha: Array, y: Array) -> tuple:
        _, (_, skip, arrive) = ctc_step(alpha, y, _places(LABELS)[1])
        return change(dnew * y if factor else dnew, skip), dnew * arrive

    return slip


_STEP_SLIPS = {
    "y is a factor of the forward, so darrive = dnew * y.": _arriving(
        lambda d, skip: d + _earlier(d, 1) + _earlier(skip * d, 2), False
    ),
    "skip is a factor of the forward, so it is one in the backward: skip[2:] * darrive[2:].": _arriving(
        lambda d, skip: d + _earlier(d, 1) + _earlier(d, 2)
    ),
    "α(s) is used three times. The part from the place s + 2 is missing.": _arriving(
        lambda d, skip: d + _earlier(d, 1)
    ),
    "α(s) is used three times. The part from the place s + 1 is missing.": _arriving(
        lambda d, skip: d + _earlier(skip * d, 2)
    ),
    "α(s) is used three times. The part from the place s itself is missing.": _arriving(
        lambda d, skip: _earlier(d, 1) + _earlier(skip * d, 2)
    ),
    "what goes to later places in the forward comes back to earlier ones: dα(s) gets darrive(s+1).": _arriving(
        lambda d, skip: d + _later(d, 1) + _earlier(skip * d, 2)
    ),
}


def _gradient_of_step(forward: Any, backward: Any) -> Result:
    """The backward, with a fixed ``skip``."""

    def step(alpha: Array, y: Array) -> tuple[Array, Cache]:
        return forward(alpha, y, _places(LABELS)[1])

    step.__name__ = forward.__name__
    return gradients(lambda rng: (rng.random(7), rng.random(7)), slips=_STEP_SLIPS)(step, backward)


def _sounds(rng: Rng) -> Any:
    y = np.array([[0.7, 0.3], [0.6, 0.4]])
    yield y, np.array([0, 1, 0]), np.zeros(3)
    for labels, length in ((LABELS, 6), (np.array([3, 1]), 4), (np.array([1]), 1)):
        e = np.exp(rng.standard_normal((length, V)))
        yield e / e.sum(axis=1, keepdims=True), *_places(labels)


def _alphas_with(
    start: Callable[[Array], Array] | None = None, end: Callable[[Array], float] | None = None, late: bool = False
) -> Callable:
    """Wrong recursions: another start, another end, or the probabilities of the frame before."""

    def slip(y: Array, places: Array, skip: Array) -> tuple[Array, float]:
        emitted = y[:, places]
        alpha = np.zeros(emitted.shape)
        alpha[0, :2] = emitted[0, :2]
        alpha[0] = start(emitted[0]) if start else alpha[0]
        for t in range(1, len(y)):
            alpha[t], _ = ctc_step(alpha[t - 1], emitted[t - 1 if late else t], skip)
        return alpha, (end or (lambda last: float(last[-2:].sum())))(alpha[-1])

    return slip


def _only_first(emitted: Array) -> Array:
    return emitted * (np.arange(len(emitted)) == 0)


def _logits(rng: Rng) -> Any:
    yield np.log(np.array([[0.7, 0.3], [0.6, 0.4]])), np.array([1])
    yield rng.standard_normal((T, V)), LABELS
    yield rng.standard_normal((T, V)) + 5, np.array([3, 1])


def _walk(
    dloss: float, logits: Array, end: tuple = (1.0, 1.0), buffered: bool = False, first: bool = True, back: bool = True
) -> tuple[Array, Array, Cache]:
    """The way back, with faults: dy (T, V), y (T, V), and the cache of the softmax."""
    places, skip = _places(LABELS)
    y, cache = softmax(logits)
    alpha, p = ctc_alphas(y, places, skip)
    steps = [ctc_step(before, now, skip)[1] for before, now in zip(alpha, y[1:, places], strict=False)]
    dy, dalpha = np.zeros_like(y), np.zeros(len(places))
    dalpha[-2:] = -dloss / p * np.array(end)
    for t in range(T - 1, 0, -1) if back else range(1, T):
        dalpha, dplaces = ctc_step_backward(dalpha, steps[t - 1])
        if buffered:
            dy[t, places] += dplaces
        else:
            np.add.at(dy[t], places, dplaces)
    if first:
        np.add.at(dy[0], places[:2], dalpha[:2])
    return dy, y, cache


def _walked(**faults: Any) -> Callable:
    """The gradient of a way back with faults."""

    def slip(dloss: float, logits: Array) -> Array:
        dy, _, cache = _walk(dloss, logits, **faults)
        return softmax_backward(dy, cache)

    return slip


def _from(change: Callable[[Array, Array], Array]) -> Callable:
    """A wrong last step: ``change(dy, y)``, both (T, V)."""
    return lambda dloss, logits: change(*_walk(dloss, logits)[:2])


def _last_place(logits: Array, labels: Array) -> float:
    return float(-np.log(ctc_alphas(softmax(logits)[0], *_places(labels))[0][-1, -1]))


def _p(logits: Array, labels: Array) -> float:
    return float(np.exp(-ctc_loss(logits, labels)[0]))


def _best_path(logits: Array, labels: Array) -> float:
    """-ln of the most probable path alone."""
    places, skip = _places(labels)
    emitted = softmax(logits)[0][:, places]
    alpha = np.where(np.arange(len(places)) < 2, emitted[0], 0)
    for now in emitted[1:]:
        alpha = now * np.maximum(np.maximum(alpha, _later(alpha, 1)), skip * _later(alpha, 2))
    return float(-np.log(alpha[-2:].max()))


_ALPHA_SLIPS = {
    "a path may begin with the first blank or with the first label, so places 0 and 1 both get y.": _alphas_with(
        _only_first
    ),
    "a path begins at place 0 or 1. All other places are 0 at first.": _alphas_with(lambda emitted: emitted),
    "frame 0 has the factor y as well: alpha[0, :2] = emitted[0, :2].": _alphas_with(
        lambda emitted: 1.0 * (np.arange(len(emitted)) < 2)
    ),
    "p: a path may end at the last blank or at the last label, so add the last two places of the last frame.": (
        _alphas_with(end=lambda last: float(last[-1]))
    ),
    "p: only the last two places of the last frame are at the end of the text.": _alphas_with(
        end=lambda last: float(last.sum())
    ),
    "frame t is multiplied by the probabilities of frame t - 1.": _alphas_with(late=True),
}

_GRADIENT_SLIPS = {
    "a place that stands several times in `places`, as the blank does, gets only its last part with dy[t, places] += "
    "…; np.add.at adds all parts.": _walked(buffered=True),
    "frame 0 is missing. There, α is y at the places 0 and 1, so dy[0] gets dα at these two.": _walked(first=False),
    "go from the last frame to the first: the gradient of a frame comes from the one after it.": _walked(back=False),
    "p is the sum of the last two places, so both get -dloss / p.": _walked(end=(0.0, 1.0)),
    "the derivative of -ln p is -1 / p: the minus is missing.": _walked(end=(-1.0, -1.0)),
    "this is the gradient of y, not of the logits. The softmax is still missing: softmax_backward.": _from(
        lambda dy, y: dy
    ),
    "each logit changes all probabilities of its frame, so y · dy is not enough. Use softmax_backward.": _from(
        lambda dy, y: y * dy
    ),
    "y is missing: this is -Σ γ. The closed form is y - Σ γ.": lambda dloss, logits: (
        ctc_loss(logits, LABELS)[1] - softmax(logits)[0]
    ),
}


def _gradient_of_loss(forward: Any, backward: Any) -> Result:
    """The backward, with fixed labels."""

    def loss(logits: Array) -> tuple[float, Cache]:
        return forward(logits, LABELS)

    loss.__name__ = forward.__name__
    return gradients(lambda rng: (rng.standard_normal((T, V)),), slips=_GRADIENT_SLIPS)(loss, backward)


CTC_EXERCISES = (
    Exercise(
        "collapse",
        "from a path to its text",
        outputs(
            collapse,
            _paths,
            {
                "repeats are not merged: each label of the path is written again.": _no_merge,
                "first merge the repeats, then remove the blanks. In the other order, a blank cannot keep two equal "
                "labels apart.": _blanks_first,
                "a label that comes back later is a new one. Merge only neighbors.": _unique,
                "at n = 0, path[n - 1] is path[-1], the last id. The first id has no neighbor before it.": _circle,
                "the blanks are still there.": lambda path, blank=0: collapsed(path, -1) if len(path) else [],
            },
        ),
        (collapse,),
    ),
    Exercise(
        "ctc_step",
        "one frame of the sum over alignments, and its gradient",
        both(
            outputs(
                lambda alpha, y, skip: ctc_step(alpha, y, skip)[0],
                _steps,
                {
                    "skip is not used: only there may a path come from two places before.": lambda a, y, skip: ctc_step(
                        a, y, np.ones(len(a))
                    )[0],
                    "the paths that come from two places before are missing: skip · α(s-2).": lambda a, y, skip: (
                        ctc_step(a, y, 0 * skip)[0]
                    ),
                    "the paths that stay at their place are missing: α(s).": lambda a, y, skip: (
                        y * (_later(a, 1) + skip * _later(a, 2))
                    ),
                    "the paths that come from the place before are missing: α(s-1).": lambda a, y, skip: (
                        y * (a + skip * _later(a, 2))
                    ),
                    "the skip of a place s belongs to the paths that arrive there: skip[2:] * alpha[:-2].": (
                        lambda a, y, skip: y * (a + _later(a, 1) + _later(skip * a, 2))
                    ),
                    "the factor y is missing.": lambda a, y, skip: a + _later(a, 1) + skip * _later(a, 2),
                    "paths move to later places, not to earlier ones: α(s-1), not α(s+1).": lambda a, y, skip: (
                        y * (a + _earlier(a, 1) + skip * _earlier(a, 2))
                    ),
                    "np.roll turns in a circle: what leaves at the end comes back at the beginning. Zeros belong "
                    "there.": lambda a, y, skip: y * (a + np.roll(a, 1) + skip * np.roll(a, 2)),
                },
                cached=True,
            ),
            _gradient_of_step,
        ),
        (ctc_step, ctc_step_backward),
    ),
    Exercise(
        "ctc_alphas",
        "the probability of all paths together",
        outputs(ctc_alphas, _sounds, _ALPHA_SLIPS),
        (ctc_alphas,),
    ),
    Exercise(
        "ctc_loss",
        "-ln p of a text, and its gradient y - γ",
        both(
            outputs(
                lambda logits, labels: ctc_loss(logits, labels)[0],
                _logits,
                {
                    "this is p. The loss is -ln p.": _p,
                    "the minus is missing: the loss is -ln p.": lambda z, labels: -ctc_loss(z, labels)[0],
                    "this is -ln of the best path alone. Add up all paths.": _best_path,
                    "p has two parts: a path ends at the last blank or at the last letter.": _last_place,
                    "the logarithm has base 10. The loss is in nats: np.log.": lambda z, labels: (
                        ctc_loss(z, labels)[0] / np.log(10)
                    ),
                },
                cached=True,
            ),
            _gradient_of_loss,
        ),
        (ctc_loss, ctc_loss_backward),
    ),
)
