"""Random text generators with known entropy, so that the lowest possible loss of a language model is known.

A generator is an ordinary function ``tell(teller)``. It writes a text by repeatedly asking its teller to pick one of
several phrases with equal probability. Because it is a program and not a list of sentences, it can be consistent: a
hero keeps a name, and a lost kite keeps its color. Each picked phrase is written *at once*, and no phrase of a pick is
the beginning of another one. So the picks can be read off the text:

    text  <->  sequence of picks        one to one (a prefix code)

So the probability of a text is exactly the product of 1/n over its picks:

    -log P(text) = Σ log n_i  nats,     and the mean over texts is the source's entropy H.

For any model Q, the expected cross-entropy is H + KL(P‖Q) >= H (Gibbs' inequality). So no model can be expected to
reach a lower loss on texts that it has not seen. This holds for every tokenizer: it writes each text in one way, so
-log P of a text does not change, and is only divided by a different number of tokens.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np

Thing = TypeVar("Thing")


class Teller(Protocol):
    """The interface of a teller, which writes the text and decides which phrases are picked."""

    def say(self, phrase: str) -> None: ...
    def pick(self, *phrases: str) -> int: ...
    def choose(self, things: Sequence[Thing], phrase: Callable[[Thing], str] = ...) -> Thing: ...


class _Teller:
    """Base class: stores the text so far and -log of its probability, in nats."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.nats = 0.0

    def decide(self, phrases: Sequence[str]) -> int:
        raise NotImplementedError

    def say(self, phrase: str) -> None:
        """Write a phrase that has probability 1 here, so it adds 0 nats."""
        self.parts.append(phrase)

    def pick(self, *phrases: str) -> int:
        """Write one of several equally likely phrases; return its index."""
        index = self.decide(phrases)
        self.nats += math.log(len(phrases))
        self.say(phrases[index])
        return index

    def choose(self, things: Sequence[Thing], phrase: Callable[[Thing], str] = str) -> Thing:
        """Pick one of several things and write its phrase; return the thing."""
        return things[self.pick(*map(phrase, things))]


class Writer(_Teller):
    """Picks phrases at random, to generate a new text."""

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__()
        self.rng = rng

    def decide(self, phrases: Sequence[str]) -> int:
        ordered = sorted(phrases)
        for first, second in itertools.pairwise(ordered):
            if second.startswith(first):
                raise ValueError(f"not a prefix code: {first!r} is the beginning of {second!r}")
        return int(self.rng.integers(len(phrases)))

    @property
    def text(self) -> str:
        return "".join(self.parts)


class Reader(_Teller):
    """Picks the phrases of a given text, to compute its probability."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.position = 0

    def decide(self, phrases: Sequence[str]) -> int:
        for index, phrase in enumerate(phrases):
            if self.text.startswith(phrase, self.position):
                return index
        raise ForeignText(self.position)

    def say(self, phrase: str) -> None:
        """Skip a phrase, which the text must have at this position."""
        if not self.text.startswith(phrase, self.position):
            raise ForeignText(self.position)
        self.position += len(phrase)


class ForeignText(Exception):
    """The generator cannot have made this text. ``args[0]`` is the first position that does not fit."""


def read_picks(tell: Callable[[Teller], Thing], text: str) -> tuple[float, Thing | None]:
    """-log P(text), and what the generator returns; (infinity, None) for a text that it never makes."""
    reader = Reader(text)
    try:
        result = tell(reader)
    except ForeignText:
        return math.inf, None
    return (reader.nats, result) if reader.position == len(text) else (math.inf, None)


class Corpus:
    """An endless, reproducible sequence of texts from one generator.

    Parameters
    ----------
    tell : function of a Teller
    seed : int
        The n-th text depends only on (seed, n), so a longer corpus begins with a shorter one.
    """

    def __init__(self, tell: Callable[[Teller], None], seed: int) -> None:
        self.tell = tell
        self.seed = seed

    def text(self, n: int) -> str:
        """The n-th text."""
        writer = Writer(np.random.default_rng([self.seed, n]))
        self.tell(writer)
        return writer.text

    def documents(self, size: int) -> list[str]:
        """The first texts, as many as are needed for ``size`` bytes of UTF-8."""
        return list(self._until(size))

    def _until(self, size: int) -> Iterator[str]:
        n = total = 0
        while total < size:
            text = self.text(n)
            total += len(text.encode("utf-8"))
            n += 1
            yield text

    def nats(self, text: str) -> float:
        """-log P(text) in nats, including its end. Infinite for a text that the generator never makes."""
        return read_picks(self.tell, text)[0]


class ParallelCorpus:
    """An endless, reproducible sequence of sentence pairs: English, and one of its Chinese translations.

    Parameters
    ----------
    tell : function of a Teller
        Writes an English sentence and returns all its translations. They are equally likely.
    seed : int
        The n-th pair depends only on (seed, n).
    """

    def __init__(self, tell: Callable[[Teller], Sequence[str]], seed: int) -> None:
        self.tell = tell
        self.seed = seed

    def pair(self, n: int) -> tuple[str, str]:
        """The n-th pair: (English, Chinese)."""
        rng = np.random.default_rng([self.seed, n])
        writer = Writer(rng)
        translations = self.tell(writer)
        return writer.text, translations[int(rng.integers(len(translations)))]

    def pairs(self, count: int) -> list[tuple[str, str]]:
        """The first pairs."""
        return [self.pair(n) for n in range(count)]

    def translations(self, en: str) -> tuple[str, ...]:
        """All translations of a sentence; empty if the generator never makes this sentence."""
        _, translations = read_picks(self.tell, en)
        return tuple(translations or ())

    def nats(self, en: str, zh: str) -> float:
        """-log P(zh | en) in nats; infinite if zh is no translation of en, or the generator never makes en."""
        translations = self.translations(en)
        return math.log(len(translations)) if zh in translations else math.inf


class LabelledCorpus:
    """An endless, reproducible sequence of (text, label), for classification with a known best accuracy.

    All labels are equally likely. Each label has a mixture of generators, each of which is a prefix code. So, exactly,

        P(text | label) = Σ_k w_k P_k(text)      and, by Bayes' rule,
        P(label | text) = P(text | label) / Σ_l P(text | l)

    No classifier can be expected to be right more often than the mean of max P(label | text).

    Parameters
    ----------
    sources : mapping from label to a sequence of (weight, function of a Teller)
        The weights of a label sum to 1. Each function ends its text with `END`, which is not part of the message.
    seed : int
        The n-th message depends only on (seed, n).
    """

    END = "\n"  # so that "thanks" is not the beginning of "thanks a lot"

    def __init__(self, sources: Mapping[str, Sequence[tuple[float, Callable[[Teller], None]]]], seed: int) -> None:
        self.sources = sources
        self.seed = seed
        self.labels = tuple(sources)

    def message(self, n: int) -> tuple[str, str]:
        """The n-th message: (text, label)."""
        rng = np.random.default_rng([self.seed, n])
        label = self.labels[int(rng.integers(len(self.labels)))]
        weights, tellers = zip(*self.sources[label], strict=True)
        writer = Writer(rng)
        tellers[rng.choice(len(tellers), p=weights)](writer)
        return writer.text.removesuffix(self.END), label

    def messages(self, count: int) -> list[tuple[str, str]]:
        """The first messages."""
        return [self.message(n) for n in range(count)]

    def probability(self, text: str, label: str) -> float:
        """P(text | label)."""
        text += self.END
        return sum(weight * math.exp(-read_picks(tell, text)[0]) for weight, tell in self.sources[label])

    def posterior(self, text: str) -> dict[str, float]:
        """P(label | text) of every label that can have this text; empty if none can."""
        joint = {label: self.probability(text, label) for label in self.labels}
        total = sum(joint.values())
        return {label: p / total for label, p in joint.items() if p > 0}
