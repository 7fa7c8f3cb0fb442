"""chrF: an F-score of the n-grams of characters (Popović 2015), and chrF++ with words too (2017), as in sacrebleu.

    chrFβ = (1 + β²) · P · R / (β² · P + R)        (equation 1 of W15-3049)

P and R are the precision and recall of n-grams, averaged over n = 1 … 6. It needs no tokenizer, and a word with a wrong
ending still matches in part, so chrF suits languages with many word forms better than BLEU does.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from string import punctuation

import numpy as np

from numpylm.metrics.ngrams import ngrams
from numpylm.metrics.sentences import reference_count, with_references
from numpylm.nn.module import Array


@dataclass(frozen=True)
class ChrfScore:
    """The result of `chrf`.

    Attributes
    ----------
    name : str
        "chrF2" for β = 2, "chrF2++" with words and pairs of words.
    score : float in [0, 100]
    precision, recall : float in [0, 100]
        100 P and 100 R.
    signature : str
        How it was computed, in sacrebleu's form but without a version. It does not contain β, so print the name too.
    """

    name: str
    score: float
    precision: float
    recall: float
    signature: str


def chrf(
    hypotheses: Sequence[str],
    references: Sequence[str | Sequence[str]],
    word_order: int = 0,
    lowercase: bool = False,
    char_order: int = 6,
    beta: int = 2,
) -> ChrfScore:
    """chrF of a corpus.

    Parameters
    ----------
    hypotheses, references
        As in `numpylm.metrics.bleu.bleu`. Of several references, the one that gives the best score is counted.
    word_order : int >= 0
        The longest n-grams of words. 2 gives chrF++ (Popović 2017, W17-4770).
    lowercase : bool
        Ignore the case of letters.
    char_order : int >= 1
        The longest n-grams of characters. White space is removed before.
    beta : int >= 1
        β: how many times as important recall is as precision.

    Raises
    ------
    ValueError
        For an option out of its range, or if the sentences do not fit together; see `with_references`.

    Notes
    -----
    n-grams are counted over all sentences, and the score is computed at the end. As in sacrebleu, the n-grams of a
    hypothesis are counted only if its reference is long enough to have n-grams too, and a length n for which nothing
    was counted on one side is left out of the average.

    Examples
    --------
    >>> round(chrf(["The cats sat."], ["The cat sat."]).score, 2)
    72.93
    """
    for name, value, least in (("word_order", word_order, 0), ("char_order", char_order, 1), ("beta", beta, 1)):
        if value != int(value) or value < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, got {value}")
    pairs = with_references(hypotheses, references)

    def grams(sentence: str) -> list[Counter]:
        return all_ngrams(sentence.lower() if lowercase else sentence, char_order, word_order)

    counts = np.zeros((char_order + word_order, 3), np.int64)
    for hypothesis, its_references in pairs:
        found = grams(hypothesis)
        counts += max((compare(found, grams(r)) for r in its_references), key=lambda x: f_score(x, beta)[0])
    f, precision, recall = f_score(counts, beta)
    case = "lc" if lowercase else "mixed"
    signature = f"nrefs:{reference_count(pairs)}|case:{case}|eff:yes|nc:{char_order}|nw:{word_order}|space:no"
    return ChrfScore(f"chrF{beta}{'+' * word_order}", 100 * f, 100 * precision, 100 * recall, signature)


def all_ngrams(sentence: str, char_order: int, word_order: int) -> list[Counter]:
    """The n-grams of characters, shortest first, and then those of words."""
    characters, words = "".join(sentence.split()), words_of(sentence)
    by_character = [ngrams(characters, n) for n in range(1, char_order + 1)]
    return by_character + [ngrams(words, n) for n in range(1, word_order + 1)]


def words_of(sentence: str) -> list[str]:
    """Words, with one sign of punctuation split off: the last character, or else the first: (hi) becomes (hi and )."""
    words = []
    for word in sentence.split():
        if len(word) > 1 and word[-1] in punctuation:
            words += [word[:-1], word[-1]]
        elif len(word) > 1 and word[0] in punctuation:
            words += [word[0], word[1:]]
        else:
            words.append(word)
    return words


def compare(found: Sequence[Counter], right: Sequence[Counter]) -> Array:
    """For each kind of n-gram: how many the hypothesis has, how many the reference, and how many match: ints (·, 3)."""
    return np.array(
        [(h.total() if r else 0, r.total(), (h & r).total()) for h, r in zip(found, right, strict=True)], np.int64
    )


def f_score(counts: Array, beta: float) -> tuple[float, float, float]:
    """F, P and R from the counts of `compare`; F is 0 if nothing matches."""
    hypothesis, reference, both = counts[(counts[:, 0] > 0) & (counts[:, 1] > 0)].T
    if not both.any():
        return 0.0, 0.0, 0.0
    precision, recall = float(np.mean(both / hypothesis)), float(np.mean(both / reference))
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall), precision, recall
