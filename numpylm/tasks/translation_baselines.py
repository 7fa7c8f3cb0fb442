"""Translations that need no network: copying, a word-for-word dictionary, and the nearest training sentence."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import regex

from numpylm.tasks.pairs import Pair

WORDS = regex.compile(r"\p{Han}|\w+|[^\w\s]")  # a Chinese character is a word


def words_of(text: str) -> list[str]:
    """The words and punctuation marks of a text, in lower case."""
    return WORDS.findall(text.lower())


def cased_words_of(text: str) -> list[str]:
    """The words and punctuation marks of a text as they are written."""
    return WORDS.findall(text)


class Dictionary:
    """Translates word for word: each source word by the target word that goes with it best in the training pairs.

    t(e) = the target word f with the largest Dice coefficient 2 n(e, f) / (n(e) + n(f)), where n counts the pairs that
    contain the words (Smadja et al. 1996, Computational Linguistics 22(1), section 4).
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        together: dict[str, Counter[str]] = defaultdict(Counter)
        targets: Counter[str] = Counter()
        for source, target in pairs:
            found = set(cased_words_of(target))
            targets.update(found)
            for word in set(words_of(source)):
                together[word].update(found)
        alone = Counter(word for source, _ in pairs for word in set(words_of(source)))
        self.best = {
            word: max(found, key=lambda f: (2 * found[f] / (alone[word] + targets[f]), f))
            for word, found in together.items()
        }

    def translate(self, text: str) -> str:
        """Unknown words are copied. Chinese words are joined without spaces."""
        found = [self.best.get(word, word) for word in words_of(text)]
        han = sum(bool(regex.fullmatch(r"\p{Han}", word)) for word in found)
        return ("" if 2 * han > len(found) else " ").join(found)


class Nearest:
    """Translates by the training pair whose source is most similar: the cosine of TF-IDF vectors of words."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.targets = [target for _, target in pairs]
        documents = [Counter(words_of(source)) for source, _ in pairs]
        seen = Counter(word for document in documents for word in document)
        self.idf = {word: math.log(len(pairs) / count) + 1 for word, count in seen.items()}
        found: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for number, document in enumerate(documents):
            for word, weight in self._unit(document).items():
                found[word].append((number, weight))
        columns = ((word, zip(*entries, strict=True)) for word, entries in found.items())
        self.index = {word: (np.array(numbers), np.array(weights)) for word, (numbers, weights) in columns}

    def _unit(self, document: Counter[str]) -> dict[str, float]:
        weights = {word: count * self.idf[word] for word, count in document.items() if word in self.idf}
        length = math.sqrt(sum(weight * weight for weight in weights.values()))
        return {word: weight / length for word, weight in weights.items()} if length else {}

    def translate(self, text: str) -> str:
        """Empty if no word of the text occurs in the training pairs."""
        similar = np.zeros(len(self.targets))  # the cosine with each source
        for word, weight in self._unit(Counter(words_of(text))).items():
            numbers, others = self.index[word]
            similar[numbers] += weight * others
        best = int(similar.argmax())  # the first of equals
        return self.targets[best] if similar[best] else ""
