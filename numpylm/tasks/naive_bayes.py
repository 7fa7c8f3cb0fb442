"""Naive Bayes on word counts: the classifier to beat, trained in a second."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from numpylm.tasks.labelled import Labelled
from numpylm.tasks.translation_baselines import words_of


class NaiveBayes:
    """Multinomial naive Bayes (McCallum & Nigam 1998, AAAI-98 workshop on text categorization, section 2).

        P(label | text) ∝ P(label) Π_w P(w | label),    P(w | label) = (n(w, label) + 1) / (n(label) + V)

    It assumes that words are independent of each other given the label, so word order does not matter.
    """

    def __init__(self, examples: Sequence[Labelled]) -> None:
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for text, label in examples:
            counts[label].update(words_of(text))
        of_label = Counter(label for _, label in examples)
        self.labels = sorted(of_label)
        self.words = {word: n for n, word in enumerate(sorted(set().union(*counts.values())))}
        V = len(self.words)
        self.log_prior = np.log([of_label[label] / len(examples) for label in self.labels])  # (K,)
        self.log_likelihood = np.empty((len(self.labels), V))
        for row, label in enumerate(self.labels):
            total = sum(counts[label].values())
            found = np.array([counts[label][word] for word in self.words])
            self.log_likelihood[row] = np.log((found + 1) / (total + V)) if V else -math.inf

    def predict(self, text: str) -> str:
        """The most probable label. Words that did not occur in training are skipped."""
        known = [self.words[word] for word in words_of(text) if word in self.words]
        return self.labels[int((self.log_prior + self.log_likelihood[:, known].sum(axis=1)).argmax())]
