"""BLEU: how many of the n-grams of a translation occur in its references (Papineni et al. 2002), as in sacrebleu.

    BLEU = BP · exp(1/4 Σ_n log p_n),   n = 1 … 4        (section 2.3, with N = 4 and w_n = 1/4)

Numbers are summed over all sentences first, so BLEU of a corpus is not the mean over its sentences.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

import numpy as np

from numpylm.metrics.bleu_tokenizers import TOKENIZERS
from numpylm.metrics.ngrams import ngrams
from numpylm.metrics.sentences import reference_count, with_references
from numpylm.nn.module import Array

N = 4  # the longest n-grams


@dataclass(frozen=True)
class BleuScore:
    """The result of `bleu`.

    Attributes
    ----------
    score : float in [0, 100]
    precisions : tuple of 4 floats
        100 p_n for n = 1 … 4, smoothed. All are 0 if no word matches.
    brevity_penalty : float in [0, 1]
    hypothesis_length, reference_length : int
        c and r: tokens of all hypotheses, and of the reference that is closest in length to each.
    signature : str
        How it was computed, in sacrebleu's form but without a version: print it with every score.
    """

    score: float
    precisions: tuple[float, ...]
    brevity_penalty: float
    hypothesis_length: int
    reference_length: int
    signature: str


def bleu(
    hypotheses: Sequence[str],
    references: Sequence[str | Sequence[str]],
    tokenize: str = "13a",
    lowercase: bool = False,
    smooth: str = "exp",
) -> BleuScore:
    """BLEU of a corpus.

    Parameters
    ----------
    hypotheses : sequence of str
        Translations, one for each sentence.
    references : sequence of str, or of sequences of str
        ``references[i]`` is the right translation of sentence i, or a list of several right ones. (sacrebleu expects
        these lists the other way around: one for each translator.)
    tokenize : "13a", "zh", "char" or "none"
        See `numpylm.metrics.bleu_tokenizers`. "13a" is for languages with spaces between words, "zh" is for Chinese.
    lowercase : bool
        Ignore the case of letters.
    smooth : "exp" or "none"
        See `smoothed_precisions`.

    Raises
    ------
    ValueError
        For an unknown option, or if the sentences do not fit together; see `with_references`.

    Examples
    --------
    >>> round(bleu(["The cat sat on a mat."], ["The cat sat on the mat."]).score, 2)
    48.89
    """
    check_options(tokenize, smooth)
    pairs = with_references(hypotheses, references)

    def tokens(sentence: str) -> list[str]:
        return TOKENIZERS[tokenize](sentence.lower() if lowercase else sentence)

    c = r = 0
    counts = np.zeros((N, 2), np.int64)  # for each n: matches, and n-grams of the hypotheses
    for hypothesis, its_references in pairs:
        candidate, right = tokens(hypothesis), [tokens(reference) for reference in its_references]
        c += len(candidate)
        r += closest_length(len(candidate), [len(words) for words in right])
        counts += [matches(candidate, right, n) for n in range(1, N + 1)]
    p, bp = smoothed_precisions(counts, smooth), brevity_penalty(c, r)
    score = bp * math.exp(sum(map(math.log, p)) / N) if all(p) else 0.0
    case = "lc" if lowercase else "mixed"
    signature = f"nrefs:{reference_count(pairs)}|case:{case}|eff:no|tok:{tokenize}|smooth:{smooth}"
    return BleuScore(100 * score, tuple(100 * p_n for p_n in p), bp, c, r, signature)


def check_options(tokenize: str, smooth: str) -> None:
    """Raise ValueError for an unknown option."""
    if tokenize not in TOKENIZERS:
        raise ValueError(f"tokenize must be one of {', '.join(TOKENIZERS)}, got {tokenize!r}")
    if smooth not in ("exp", "none"):
        raise ValueError(f"smooth must be exp or none, got {smooth!r}")


def matches(candidate: Sequence[str], references: Sequence[Sequence[str]], n: int) -> tuple[int, int]:
    """The n-grams of a candidate that are right, and all of its n-grams; their quotient is p_n (section 2.1).

    An n-gram counts at most as often as in the reference that has it most often. So "the the the" gets one match for
    "the cat", not three.
    """
    found = ngrams(candidate, n)
    allowed = reduce(or_, [ngrams(reference, n) for reference in references])  # or: the larger count of each n-gram
    return (found & allowed).total(), found.total()  # and: the smaller count


def smoothed_precisions(counts: Array, smooth: str) -> list[float]:
    """p_1 … p_4 from counts (4, 2) of matches and n-grams.

    A precision of 0 would make BLEU 0, which happens often in short texts. With "exp", the k-th precision that is 0
    becomes 1 / (2^k · n-grams) instead (Chen and Cherry 2014, W14-3346, smoothing 3). A text without a single right
    word, or with fewer than 4 words in every sentence, still gets 0.
    """
    p, k = [0.0] * N, 0
    if counts[:, 0].any():
        for n, (right, total) in enumerate(counts.tolist()):
            if right:
                p[n] = right / total
            elif total and smooth == "exp":
                k += 1
                p[n] = 1 / (2**k * total)
    return p


def brevity_penalty(c: int, r: int) -> float:
    """BP = 1 if c >= r, else exp(1 - r/c): short texts have high precisions, and this makes up for it (section 2.3)."""
    if c >= r:
        return 1.0
    return math.exp(1 - r / c) if c else 0.0


def closest_length(c: int, lengths: Sequence[int]) -> int:
    """The length of the reference that is closest to c, the shorter one of two (section 2.2.2)."""
    return min(lengths, key=lambda length: (abs(length - c), length))
