"""Edit distance (Levenshtein 1966), and from it the word error rate and character error rate of speech recognition.

    WER = (S + D + I) / N

S, D and I are the fewest substitutions, deletions and insertions that turn the N words of the reference into the
hypothesis. CER is the same for characters. Both may exceed 1.
"""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from numpylm.metrics.sentences import with_references
from numpylm.nn.module import Array


@dataclass(frozen=True)
class ErrorRate:
    """The result of `wer` or `cer`: how many words or characters are right, replaced, missing and too many."""

    hits: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def errors(self) -> int:
        """S + D + I, the edit distance."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference_length(self) -> int:
        """N: each item of the reference is a hit, or is substituted, or deleted."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """(S + D + I) / N. If N = 0, it is defined as I, the number of insertions, as in jiwer."""
        return self.errors / max(self.reference_length, 1)


def wer(hypotheses: Sequence[str], references: Sequence[str]) -> ErrorRate:
    """Word error rate. The edits of all sentences are added up before the division.

    Case and punctuation count: remove them from both sides first if they should not. For words, see `words_of`. If the
    references have no words at all, the rate is defined as the number of insertions, so it is 0 if nothing was heard.

    Raises
    ------
    ValueError
        If the sentences do not fit together (see `with_references`), or if there are several references for one.

    Examples
    --------
    >>> wer(["the cat sat on mat"], ["the cat sat on the mat"])
    ErrorRate(hits=5, substitutions=0, deletions=1, insertions=0)
    """
    return error_rate(hypotheses, references, words_of)


def cer(hypotheses: Sequence[str], references: Sequence[str]) -> ErrorRate:
    """Character error rate: as `wer`, for characters. Spaces count, except at both ends of a sentence."""
    return error_rate(hypotheses, references, str.strip)


def words_of(sentence: str) -> list[str]:
    """What is separated by spaces, or by two or more characters of other white space.

    This is jiwer's rule: a single tab, line break or no-break space is part of a word.
    """
    return [word for word in re.sub(r"\s\s+", " ", sentence).strip().split(" ") if word]


def error_rate(
    hypotheses: Sequence[str], references: Sequence[str], split: Callable[[str], Sequence[Hashable]]
) -> ErrorRate:
    """The edits of all sentences, of which ``split`` makes the items that are compared."""
    counts: Counter[str] = Counter()
    for hypothesis, (reference, *others) in with_references(hypotheses, references):
        if others:
            raise ValueError(
                f"an error rate needs one reference for each hypothesis, got {len(others) + 1}: choose one"
            )
        counts.update(edits(split(hypothesis), split(reference)))
    return ErrorRate(counts["hit"], counts["substitution"], counts["deletion"], counts["insertion"])


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Levenshtein distance: the fewest substitutions, deletions and insertions that turn one sequence into the other.

    Examples
    --------
    >>> edit_distance("kitten", "sitting")
    3
    """
    return int(edit_matrix(a, b)[-1, -1])


def edit_matrix(hypothesis: Sequence[Hashable], reference: Sequence[Hashable]) -> Array:
    """Edit distances between all beginnings of two sequences (Wagner and Fischer 1974).

        D[i, j] = min(D[i-1, j-1] + (r_i ≠ h_j),  D[i-1, j] + 1,  D[i, j-1] + 1)

    Returns
    -------
    D : int32 array (N + 1, M + 1)
        D[i, j] is the distance between the first i of N items of the reference and the first j of M of the hypothesis.
        It needs 4 bytes for each pair of items: 400 MB for two texts of 10,000 characters.
    """
    ids = {item: n for n, item in enumerate(dict.fromkeys([*reference, *hypothesis]))}
    h = np.array([ids[item] for item in hypothesis], np.int32)
    j = np.arange(len(h) + 1, dtype=np.int32)
    D = np.empty((len(reference) + 1, len(h) + 1), np.int32)
    D[0] = j
    for i, item in enumerate(reference, 1):
        row = D[i - 1] + 1  # a deletion
        row[1:] = np.minimum(row[1:], D[i - 1, :-1] + (h != ids[item]))  # a hit or a substitution
        # Insertions go along the row: D[i, j] = min over k <= j of row[k] + (j - k). A running minimum of row[k] - k
        # computes all of them at once.
        D[i] = np.minimum.accumulate(row - j) + j
    return D


def edits(hypothesis: Sequence[Hashable], reference: Sequence[Hashable]) -> list[str]:
    """The fewest edits from the reference to the hypothesis, in order.

    Each is "hit" (an item that stays), "substitution", "deletion" or "insertion". There may be several shortest ways,
    with different numbers of each: "ab" becomes "ba" by two substitutions, or by a deletion and an insertion. The order
    of the conditions below makes the same choice as jiwer.

    Examples
    --------
    >>> edits("the cat".split(), "the black cat".split())
    ['hit', 'deletion', 'hit']
    """
    D = edit_matrix(hypothesis, reference)
    i, j = len(reference), len(hypothesis)
    while i and j and reference[i - 1] == hypothesis[j - 1]:  # the common end
        i, j = i - 1, j - 1
    way = ["hit"] * (len(reference) - i)
    while i or j:  # from there back to the beginnings of both sequences
        if i and D[i, j] == D[i - 1, j] + 1:
            i, kind = i - 1, "deletion"
        elif j and (i == 0 or D[i, j - 1] < D[i - 1, j - 1]):
            j, kind = j - 1, "insertion"
        else:
            i, j = i - 1, j - 1
            kind = "hit" if reference[i] == hypothesis[j] else "substitution"
        way.append(kind)
    return way[::-1]
