"""Ranking prompts: after which of several prompts is a text most probable? For poems: which theme does one fit?"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from numpylm.inference.scoring import Ranked, checked_log_probs, score, split_answers
from numpylm.nn.functional import IGNORE_INDEX, softmax
from numpylm.text.any_tokenizer import TextTokenizer


def rank_prompts(gpt: Any, prompts: Sequence[str], answer: str, tokenizer: TextTokenizer | None = None) -> list[Ranked]:
    """Rank prompts x by log P(answer | x), the best first.

    If all prompts are equally likely beforehand, Bayes' rule gives the probability of each after the answer is seen:

        P(x | answer) = P(answer | x) / Σ_x' P(answer | x')

    Parameters
    ----------
    gpt : GPT or Llama
    prompts : sequence of str
    answer : str
        The text that follows each prompt. A character for which a `CharTokenizer` has only the unknown token does not
        count, because the model never learned to write that token.
    tokenizer : optional
        Default: ``gpt.tokenizer``.

    Returns
    -------
    list of Ranked
        Their ``answer`` is the prompt, their ``count`` and ``log_prob`` are of the answer after it.

    Raises
    ------
    ValueError
        If there is no prompt, one is given twice, or `split_answers` finds a text that cannot be scored.
    """
    if isinstance(prompts, str) or not prompts:
        raise ValueError(f"prompts must be a list of at least one text, got {prompts!r}")
    if twice := [prompt for i, prompt in enumerate(prompts) if prompt in prompts[:i]]:
        raise ValueError(f"the prompt {twice[0]!r} is given twice")
    unknown = getattr(tokenizer or gpt.tokenizer, "unknown_id", None)
    sums, counts = [], []
    for prompt in prompts:
        common, (rest,) = split_answers(gpt, prompt, [answer], tokenizer)
        ids = np.concatenate([common, rest])
        targets = ids[1:].copy()
        targets[: len(common) - 1] = IGNORE_INDEX
        targets[targets == (-1 if unknown is None else unknown)] = IGNORE_INDEX
        log_p, _ = score(gpt, ids[None, :-1], targets[None])
        sums.append(log_p.sum())
        counts.append(len(log_p))
    log_p = checked_log_probs(np.array(sums))
    p, _ = softmax(log_p)
    return [Ranked(prompts[i], float(log_p[i]), counts[i], float(p[i])) for i in np.argsort(-log_p, kind="stable")]
