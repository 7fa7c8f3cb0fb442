"""Exercises of lesson 18: the targets of an answer, LoRA, and DPO."""

from typing import Any

import numpy as np

from numpylm.course.exercise import Exercise, Lesson, Result
from numpylm.course.judge import Rng, both, gradients, outputs
from numpylm.models.lora import LoRALinear
from numpylm.nn.layers import Linear
from numpylm.nn.module import Array
from numpylm.nn.preference import dpo_loss as loss_of_pairs
from numpylm.nn.preference import dpo_loss_backward

N_IN, N_OUT, RANK = 6, 5, 2


def answer_targets(question: list[int], answer: list[int], end: int) -> tuple[Array, Array]:
    """What the model reads, and the next ids, which are -100 within the question."""
    ids = [*question, *answer, end]
    return np.array(ids[:-1]), np.array([-100] * (len(question) - 1) + [*answer, end])


def dpo_loss(
    chosen: Array, rejected: Array, ref_chosen: Array, ref_rejected: Array, beta: float = 0.1
) -> tuple[float, Array, Array]:
    """The mean loss of P pairs, and its gradients for the chosen and the rejected answers."""
    loss, cache = loss_of_pairs(chosen, rejected, ref_chosen, ref_rejected, beta)
    return loss, *dpo_loss_backward(1.0, cache)


def _turns(rng: Rng) -> Any:
    yield [5, 6, 7], [8, 9], 0
    yield [4], [3, 2, 1], 9


def _shifted(question: list[int], answer: list[int], end: int) -> tuple[Array, Array]:
    """The targets are the ids themselves, not the next ones."""
    return np.array([*question, *answer]), np.array([-100] * len(question) + list(answer))


def _all_counted(question: list[int], answer: list[int], end: int) -> tuple[Array, Array]:
    ids = np.array([*question, *answer, end])
    return ids[:-1], ids[1:]


def _one_late(question: list[int], answer: list[int], end: int) -> tuple[Array, Array]:
    """The first token of the answer is not counted."""
    ids, targets = answer_targets(question, answer, end)
    targets[len(question) - 1] = -100
    return ids, targets


def _no_end(question: list[int], answer: list[int], end: int) -> tuple[Array, Array]:
    ids, targets = answer_targets(question, answer, end)
    targets[-1] = -100
    return ids, targets


def _adapter(cls: Any) -> Any:
    """A student's layer with random numbers everywhere, and frozen weights."""
    rng = np.random.default_rng(0)
    layer = cls(Linear(N_IN, N_OUT, dtype=np.float64), RANK, rng=rng)
    for p in layer.parameters():
        p.data = rng.standard_normal(p.shape)
    return layer


def _changes(cls: Any) -> Result:
    """The forward: nothing changes at first, and then y = x W + b + s (x A) B."""
    rng = np.random.default_rng(1)
    linear, x = Linear(N_IN, N_OUT, dtype=np.float64), rng.standard_normal((2, 3, N_IN))
    plain = linear.forward(x)[0]
    fresh = cls(linear, RANK, rng=rng)
    if not np.any(fresh.lora_A.data) and not np.any(fresh.lora_B.data):
        return Result(
            [
                f"{cls.__name__}: A and B are both 0 at the start. Then the gradients of both are 0, and nothing is ever "
                "learned: A begins as random numbers."
            ]
        )
    if not np.allclose(fresh.forward(x)[0], plain):
        return Result([f"{cls.__name__}: at the start B is 0, so the output must be that of the linear layer alone."])
    layer = _adapter(cls)
    a, b, s = layer.lora_A.data, layer.lora_B.data, layer.scale
    base = x @ layer.weight.data + layer.bias.data
    test = outputs(
        lambda x: base + s * (x @ a) @ b,
        lambda rng: iter([(x,)]),
        {
            "the scale s is missing.": lambda x: base + (x @ a) @ b,
            "the change s (x A) B is missing.": lambda x: base,
            "the bias is missing.": lambda x: base + s * (x @ a) @ b - layer.bias.data,
        },
        cached=True,
    )
    return test(layer.forward)


def _frozen(cls: Any) -> Result:
    """The weight and the bias get no gradient."""
    layer, rng = _adapter(cls), np.random.default_rng(2)
    x = rng.standard_normal((4, N_IN))
    out, cache = layer.forward(x)
    layer.backward(rng.standard_normal(out.shape), cache)
    if np.any(layer.weight.grad):
        return Result(
            [f"{cls.__name__}: weight is frozen and must get no gradient. Only lora_A and lora_B are trained."]
        )
    return Result()


def _pairs(rng: Rng) -> Any:
    yield np.array([-1.0]), np.array([-3.0]), np.array([-2.0]), np.array([-2.0]), 1.0
    yield *rng.normal(-20, 4, (4, 5)), 0.3
    yield np.array([-9000.0]), np.array([0.0]), np.array([0.0]), np.array([0.0]), 1.0


def _h(c: Array, r: Array, rc: Array, rr: Array, beta: float) -> Array:
    return beta * ((c - rc) - (r - rr))


def _with_gradients(change: Any) -> Any:
    """The right loss with wrong gradients: ``change(dchosen, drejected, h, beta)``."""

    def slip(c: Array, r: Array, rc: Array, rr: Array, beta: float = 0.1) -> tuple:
        loss, dc, dr = dpo_loss(c, r, rc, rr, beta)
        return loss, *change(dc, dr, _h(c, r, rc, rr, beta), beta)

    return slip


LESSON = Lesson(
    "18_chat",
    "Chat: from a completer to an assistant",
    (
        Exercise(
            "answer_targets",
            "a loss on the answer alone",
            outputs(
                answer_targets,
                _turns,
                {
                    "the target of a position is the next id, not the id itself: shift the targets by one.": _shifted,
                    "the question is counted as well. Its targets must be -100.": _all_counted,
                    "the first token of the answer is not counted. It is the target of the last position of the "
                    "question.": _one_late,
                    "the end is not counted, so the model would never learn to stop.": _no_end,
                },
            ),
            (answer_targets,),
        ),
        Exercise(
            "LoRALinear",
            "a trained change of a frozen matrix",
            both(_changes, gradients(lambda rng: (rng.standard_normal((2, 3, N_IN)),), _adapter), _frozen),
            (LoRALinear,),
        ),
        Exercise(
            "dpo_loss",
            "which of two answers is better",
            outputs(
                dpo_loss,
                _pairs,
                {
                    "the reference is missing: compare with how likely the answers were before.": (
                        lambda c, r, rc, rr, beta=0.1: dpo_loss(c, r, 0 * rc, 0 * rr, beta)
                    ),
                    "chosen and rejected are exchanged: the chosen answer should become more likely.": (
                        lambda c, r, rc, rr, beta=0.1: dpo_loss(r, c, rr, rc, beta)
                    ),
                    "β is missing in h.": lambda c, r, rc, rr, beta=0.1: (
                        dpo_loss(c, r, rc, rr, 1.0)[0],
                        *(beta * g for g in dpo_loss(c, r, rc, rr, 1.0)[1:]),
                    ),
                    "the gradients: h contains β, so by the chain rule the gradients have the factor "
                    "β.": _with_gradients(lambda dc, dr, h, beta: (dc / beta, dr / beta)),
                    "the gradient of the rejected answers has the wrong sign: h contains them with a "
                    "minus.": _with_gradients(lambda dc, dr, h, beta: (dc, -dr)),
                    "both gradients have the wrong sign.": _with_gradients(lambda dc, dr, h, beta: (-dc, -dr)),
                    "the gradients are those of the sum; the loss is a mean over P pairs, so divide them by "
                    "P.": _with_gradients(lambda dc, dr, h, beta: (dc * len(h), dr * len(h))),
                    "the factor of the gradients is σ(-h), not σ(h): a pair in the wrong order counts "
                    "most.": _with_gradients(lambda dc, dr, h, beta: (dc * np.exp(h), dr * np.exp(h))),
                },
            ),
            (dpo_loss,),
        ),
    ),
)
