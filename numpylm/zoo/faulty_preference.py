"""Faults in DPO: its loss on pairs, and the log-probability of an answer."""

from numpylm.check.mutants import World
from numpylm.nn.functional import IGNORE_INDEX
from numpylm.zoo.fault import Fault
from numpylm.zoo.faulty_layers import B, Case, Rng, T, V

PAIRS = 6


def _dpo_loss(world: World, rng: Rng) -> Case:
    policy, reference = 2 * rng.standard_normal((2, PAIRS)), 2 * rng.standard_normal((2, PAIRS))
    options = {"reference_chosen": reference[0], "reference_rejected": reference[1], "beta": 0.3}
    return (world.dpo_loss, world.dpo_loss_backward), tuple(policy), options


def _answer(world: World, rng: Rng) -> Case:
    targets = rng.integers(0, V, (B, T))
    targets[0, :2] = IGNORE_INDEX  # the prompts: answers of 3 and of 4 tokens
    targets[1, 0] = IGNORE_INDEX
    return (world.answer_log_prob, world.answer_log_prob_backward), (rng.standard_normal((B, T, V)), targets), {}


SIGMOID = "dh = -np.exp(-np.logaddexp(0, h)) * (dloss / max(n, 1))  # exp(-log(1 + exp h)) = σ(-h)"

PREFERENCE_FAULTS = (
    Fault(
        "auk",
        "dpo-rejected-sign",
        "preference",
        "dpo_loss_backward",
        "return beta * dh, -beta * dh",
        "return beta * dh, beta * dh",
        "The rejected answer is pushed up like the chosen one: its minus sign is forgotten.",
        "The chosen answer's gradient is exact, and its log-probability rises.",
        "swapped",  # a wrong sign, too: the two true gradients differ only in their sign
        "policy_rejected",
        _dpo_loss,
    ),
    Fault(
        "bobolink",
        "dpo-beta-forgotten",
        "preference",
        "dpo_loss_backward",
        "return beta * dh, -beta * dh",
        "return dh, -dh",
        "β is left out of the gradient.",
        "Only a learning rate seems to be larger, and Adam hides even that.",
        "factor",
        "policy_chosen",
        _dpo_loss,
    ),
    Fault(
        "cuscus",
        "dpo-without-reference",
        "preference",
        "dpo_loss",
        "return float(np.logaddexp(0, -h).sum()) / max(n, 1), (h, beta, n)",
        "return float(np.logaddexp(0, -h).sum()) / max(n, 1), (beta * (policy_chosen - policy_rejected), beta, n)",
        "The weights σ(-h) of the pairs are computed without the reference model.",
        "The direction of every gradient is right, and so is the loss; only the weights are wrong.",
        "lines",
        "policy_chosen",
        _dpo_loss,
    ),
    Fault(
        "dunnock",
        "dpo-sigmoid-of-the-wrong-sign",
        "preference",
        "dpo_loss_backward",
        SIGMOID,
        "dh = -np.exp(-np.logaddexp(0, -h)) * (dloss / max(n, 1))",
        "σ(h) stands where σ(-h) belongs: pairs in the right order get the large gradients.",
        "Before training h is 0 everywhere, and both are 1/2.",
        "missing-factor",
        "policy_chosen",
        _dpo_loss,
    ),
    Fault(
        "grouse",
        "dpo-sum-over-pairs",
        "preference",
        "dpo_loss_backward",
        SIGMOID,
        "dh = -np.exp(-np.logaddexp(0, h)) * dloss",
        "The loss is a mean over the pairs, the gradient a sum.",
        "With one pair nothing is wrong.",
        "factor",
        "policy_chosen",
        _dpo_loss,
    ),
    Fault(
        "gaur",
        "answer-mean-per-token",
        "preference",
        "answer_log_prob_backward",
        "weight = ds[rows].astype(p.dtype)  # (N,)",
        "weight = (ds[rows] / np.bincount(rows)[rows]).astype(p.dtype)",
        "The gradient is that of the mean over an answer's tokens, not of their sum.",
        "For answers of equal length it is a constant factor.",
        "missing-factor",
        "logits",
        _answer,
    ),
    Fault(
        "jackdaw",
        "answer-without-its-targets",
        "preference",
        "answer_log_prob_backward",
        "dz[np.arange(len(y)), y] += weight",
        "pass",
        "The targets' 1 is missing in [j = y] - p: every token only becomes less likely.",
        "Most of a row's entries are not the target, and exact.",
        "missing-term",
        "logits",
        _answer,
    ),
)
