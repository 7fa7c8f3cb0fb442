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
from collections.abc import Callable, Iterator, Sequence
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
        reader = Reader(text)
        try:
            self.tell(reader)
        except ForeignText:
            return math.inf
        return reader.nats if reader.position == len(text) else math.inf
