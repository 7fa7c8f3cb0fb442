"""Text sources whose entropy is known.

A source is an ordinary function ``tell(teller)`` that writes a text by asking its teller, again and again, to
pick one of several phrases with equal probability. Because it is a program and not a list of sentences, a
hero can keep a name and a lost kite its colour; because each pick is written down *at once*, and no phrase of
a pick is the beginning of another one, the text gives every pick away again:

    text  <->  sequence of picks        one to one (a prefix code)

Hence the probability of a text is the product of 1/n over its picks, exactly, with nothing to sum over:

    -log P(text) = Σ log n_i  nats,     and the mean over texts is the source's entropy H.

For any model Q, the expected cross-entropy is H + KL(P‖Q) >= H (Gibbs), so no model can be expected to fall
below it on texts that it has not seen. A tokenizer changes nothing in that: it writes each text in one way,
so -log P per text stays and is only divided by another number of tokens.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import numpy as np

Thing = TypeVar("Thing")


class Teller(Protocol):
    """What a source sees: somewhere to write, and somebody who decides."""

    def say(self, phrase: str) -> None: ...
    def pick(self, *phrases: str) -> int: ...
    def choose(self, things: Sequence[Thing], phrase: Callable[[Thing], str] = ...) -> Thing: ...


class _Teller:
    """Keeps the text so far and -log of its probability, in nats."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.nats = 0.0

    def decide(self, phrases: Sequence[str]) -> int:
        raise NotImplementedError

    def say(self, phrase: str) -> None:
        """Write something that is certain at this point: it costs no nats."""
        self.parts.append(phrase)

    def pick(self, *phrases: str) -> int:
        """Write one of several phrases, all equally likely; return which."""
        index = self.decide(phrases)
        self.nats += math.log(len(phrases))
        self.say(phrases[index])
        return index

    def choose(self, things: Sequence[Thing], phrase: Callable[[Thing], str] = str) -> Thing:
        """Pick one of several things, writing its phrase; return the thing."""
        return things[self.pick(*map(phrase, things))]


class Writer(_Teller):
    """Decides at random: makes new texts."""

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
    """Decides as a given text did: finds out which picks made it, and so its probability."""

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
        """Move on over a phrase, which the text must have here."""
        if not self.text.startswith(phrase, self.position):
            raise ForeignText(self.position)
        self.position += len(phrase)


class ForeignText(Exception):
    """The source cannot have made this text; ``args[0]`` is the position in it where that shows."""


class Corpus:
    """An endless, reproducible sequence of texts from one source.

    Parameters
    ----------
    tell : function of a Teller
    seed : int
        The n-th text depends on (seed, n) alone, so a longer corpus begins with the shorter one.
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
        """The first texts that together have ``size`` bytes of UTF-8 or just more."""
        return list(self._until(size))

    def _until(self, size: int) -> Iterator[str]:
        n = total = 0
        while total < size:
            text = self.text(n)
            total += len(text.encode("utf-8"))
            n += 1
            yield text

    def nats(self, text: str) -> float:
        """-log P(text), its end included, in nats; infinite for a text that the source never makes."""
        reader = Reader(text)
        try:
            self.tell(reader)
        except ForeignText:
            return math.inf
        return reader.nats if reader.position == len(text) else math.inf
