"""Scoring text: the log-probability of each token, and ranking answers to a prompt by their probability."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from numpylm.inference.log_probs import log_softmax_of
from numpylm.models.gpt import GPT
from numpylm.nn.functional import IGNORE_INDEX, softmax
from numpylm.nn.module import Array
from numpylm.text.any_tokenizer import TextTokenizer, begin_ids, common_prefix
from numpylm.text.data import sequential_batches

PIECE = 1024  # tokens that are read at once
LOGITS_AT_ONCE = 1 << 24  # number of logits in memory at a time: 64 MB in float32
TOKENS_AT_ONCE = 512  # or one window if it is longer: attention stores H T numbers for each token


# ---------------------------------------------------------------------------------------- each token's


def log_prob(gpt: GPT, text: str | Sequence[int] | Array, tokenizer: TextTokenizer | None = None) -> Array:
    """Log-probability of each token, given all tokens before it, in nats.

        log p(x_1 … x_T) = Σ_t log p(x_t | x_1 … x_{t-1})        (the chain rule)

    So their sum is the log-probability of the whole text, and exp(-mean) is its perplexity.

    Parameters
    ----------
    gpt : GPT
    text : str, or ints (T,)
        A str is encoded as a document: with the end-of-text token before it, if the vocabulary has one. So the first
        token of the text also gets a log-probability.
    tokenizer : optional
        Used if text is a str. Default: ``gpt.tokenizer``.

    Returns
    -------
    float64 array
        One number for each token except the first id: T - 1 for T ids.

    Raises
    ------
    ValueError
        If there is no token, an id is outside [0, V), text is a str and there is no tokenizer, or the model's logits
        are not finite.

    Notes
    -----
    The model reads at most block_size tokens at a time. A longer text is read in windows that overlap by half. So each
    token after the first window has at least block_size // 2 tokens before it. Each token is counted once.
    """
    ids = text_ids(gpt, text, tokenizer) if isinstance(text, str) else np.asarray(text)
    check_token_ids(ids, gpt.config.vocab_size)
    T = gpt.config.block_size
    batches = sequential_batches(ids, windows_at_once(T), T, stride=T - T // 2)
    values = np.concatenate([np.zeros(0), *(score(gpt, *batch)[0] for batch in batches)])
    return checked_log_probs(values)


def windows_at_once(block_size: int) -> int:
    """The number of windows in a batch: reading several short windows together is faster, long ones need memory."""
    return max(1, TOKENS_AT_ONCE // block_size)


def score(gpt: GPT, ids: Array, targets: Array) -> tuple[Array, Array]:
    """log p of every counted target, and whether it is the most likely token.

    Parameters
    ----------
    ids, targets : int array (B, T)
        A target of -100 is not counted.

    Returns
    -------
    log_p : float64 array (N,)
        In the order of the N counted targets.
    hit : bool array (N,)
    """
    counted = targets != IGNORE_INDEX  # (B, T)
    x = hidden_states(gpt, ids)  # (B, T, C)
    return score_rows(gpt, x[counted], targets[counted])


def hidden_states(gpt: GPT, ids: Array) -> Array:
    """The final hidden states of ids (B, T): (B, T, C). A long text is read in pieces with key/value caches.

    The weights of attention take memory for each pair of a query and a key. Of a piece, there are few queries.
    """
    if ids.shape[1] <= PIECE:
        return gpt.hidden(ids, differentiable=False)[0]
    past = gpt.new_past(len(ids))
    return np.concatenate(
        [gpt.hidden_after(ids[:, i : i + PIECE], past) for i in range(0, ids.shape[1], PIECE)], axis=1
    )


def score_rows(gpt: GPT, x: Array, targets: Array) -> tuple[Array, Array]:
    """`score` for the final hidden states x (N, C) of positions with targets (N,).

    Each row of V logits is reduced to one log-probability. So rows are processed in chunks, and the logits of a chunk
    are freed before the next. GPT-2's logits for 1,024 tokens would take 206 MB, and exp as much again.
    """
    log_p, hit = np.empty(len(x)), np.empty(len(x), bool)
    step = max(1, LOGITS_AT_ONCE // gpt.config.vocab_size)
    for i in range(0, len(x), step):
        piece = slice(i, i + step)
        log_p[piece], hit[piece] = log_softmax_of(gpt.head(x[piece])[0], targets[piece])
    return log_p, hit


# --------------------------------------------------------------------------------------------- answers


@dataclass(frozen=True)
class Ranked:
    """The score of one answer; see `rank`.

    Attributes
    ----------
    answer : str
    log_prob : float
        log P(answer | prompt) in nats: the sum over its tokens.
    count : int
        The number of its tokens.
    probability : float in [0, 1]
        The probability of this answer, given that one of the ranked answers is right.
    """

    answer: str
    log_prob: float
    count: int
    probability: float

    @property
    def per_token(self) -> float:
        """Mean log-probability of the answer's tokens, in nats."""
        return self.log_prob / self.count


def rank(
    gpt: GPT,
    prompt: str,
    answers: Sequence[str],
    tokenizer: TextTokenizer | None = None,
    per_token: bool = False,
) -> list[Ranked]:
    """Rank answers to a prompt by their probability, the most likely first.

        P(y | x) = Π_t p(y_t | x, y_1 … y_{t-1}),      P(y | x, it is one of them) = P(y | x) / Σ_y' P(y' | x)

    The second is a softmax over the answers' log-probabilities. It assumes that the answers exclude each other. They do
    not if one answer is the beginning of another: then its probability includes that of the longer one.

    Parameters
    ----------
    gpt : GPT
    prompt : str
        x, the beginning of a document. As in `log_prob`, the end-of-text token is put before it if there is one.
    answers : sequence of str
        Each continues the prompt directly, so it usually begins with a space: "The sky is", " blue".
    tokenizer : optional
        Default: ``gpt.tokenizer``.
    per_token : bool
        Compare the mean over an answer's tokens instead of the sum. Each token multiplies the probability by a number
        below 1, so the sum favors short answers. The mean does not, and Brown et al. 2020 (arXiv:2005.14165, section
        2.4) use it for most multiple-choice tasks. It favors answers whose later tokens follow from the first ones.

    Returns
    -------
    list of Ranked
        Equally likely answers are in the order in which they were given.

    Raises
    ------
    ValueError
        If there is no answer, an answer is empty, given twice or too long for the window, or there is no token before
        the first token to score.

    Notes
    -----
    The end of the prompt is not always the end of a token: GPT-2 merges a space with the word after it, so the ids of
    "is blue" do not begin with the ids of "is ". So prompt + answer is encoded as one text, as in training. All answers
    are scored from the first token at which any of these texts differs from another or from the prompt. They need the
    same start; otherwise some answers would be scored on more of the prompt than others.

    The model reads the common beginning once. For each answer its `KVCache` is then reset to that length.
    """
    common, rest = split_answers(gpt, prompt, answers, tokenizer)
    past = gpt.new_past()
    x = gpt.hidden_after(common[None], past)  # (1, S, C)
    sums = []
    for ids in rest:
        for cache in past:
            cache.length = len(common)  # the keys and values of the answer before are overwritten
        states = [x[0, -1:]]
        if len(ids) > 1:
            states.append(gpt.hidden_after(ids[None, :-1], past)[0])  # (T - 1, C)
        sums.append(score_rows(gpt, np.concatenate(states), ids)[0].sum())
    log_p, counts = checked_log_probs(np.array(sums)), np.array([len(ids) for ids in rest])
    scores = log_p / counts if per_token else log_p
    p, _ = softmax(scores)
    order = np.argsort(-scores, kind="stable")
    return [Ranked(answers[i], float(log_p[i]), int(counts[i]), float(p[i])) for i in order]


def split_answers(
    gpt: GPT, prompt: str, answers: Sequence[str], tokenizer: TextTokenizer | None
) -> tuple[Array, list[Array]]:
    """The common first ids of all prompt + answer texts and of the prompt, and the rest of each; see `rank`."""
    if isinstance(answers, str):
        raise ValueError(f"answers must be a list of texts, got one text: {answers!r}")
    if not answers:
        raise ValueError("there are no answers to rank")
    if "" in answers:
        raise ValueError("an answer is empty: each must have at least one character")
    if twice := [answer for i, answer in enumerate(answers) if answer in answers[:i]]:
        raise ValueError(f"the answer {twice[0]!r} is given twice")
    whole = [text_ids(gpt, prompt + answer, tokenizer) for answer in answers]
    n = common_prefix([text_ids(gpt, prompt, tokenizer), *whole])
    if n == 0:
        raise ValueError("there is no token before the answers: give a prompt, or a longer one")
    for answer, ids in zip(answers, whole, strict=True):
        check_token_ids(ids, gpt.config.vocab_size)
        if len(ids) - 1 > gpt.config.block_size:
            raise ValueError(
                f"the prompt with the answer {answer!r} has {len(ids)} tokens; all but the last must fit into the "
                f"model's window of {gpt.config.block_size}: shorten the prompt"
            )
    return whole[0][:n], [ids[n:] for ids in whole]


# ----------------------------------------------------------------------------------------- in and out


def text_ids(gpt: GPT, text: str, tokenizer: TextTokenizer | None) -> Array:
    """Ids of a text, with the token before it that `begin_ids` gives."""
    tokenizer = tokenizer or gpt.tokenizer
    if tokenizer is None:
        raise ValueError("a text needs a tokenizer, and this model has none: pass tokenizer=..., or ids")
    return np.array(begin_ids(tokenizer) + tokenizer.encode(text), np.int64)


def check_token_ids(ids: Array, V: int) -> None:
    """Raise ValueError unless ids are T >= 1 integers in [0, V)."""
    if ids.size == 0:
        raise ValueError("there is no token to begin with")
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(f"expected a text or integer ids of shape (T,), got {ids.dtype} {ids.shape}")
    if ids.min() < 0 or ids.max() >= V:
        bad = ids[(ids < 0) | (ids >= V)][0]
        raise ValueError(f"token id {bad} is outside this model's vocabulary of {V}")


def checked_log_probs(values: Array) -> Array:
    """Return the values, or raise ValueError if one is NaN."""
    if np.isnan(values).any():
        raise ValueError("the model's logits are not finite: has its training diverged?")
    return values
