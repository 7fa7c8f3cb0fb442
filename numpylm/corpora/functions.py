"""Small Python functions with docstrings and asserts, made of an operation and a filter. Some pairs are held out

A function takes a list of numbers, a list of words, or a text. The filter says which items count, such as the odd
numbers, and the operation what to do with them, such as to add them up. A hash of the three decides whether training
never sees an operation with a filter: so a model that solves a held-out problem has put the two together by itself.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from numpylm.corpora.function_words import KINDS, NAMES, NUMBERS, OPENINGS, SOME_WORDS, WORDS, Filter, Kind, Operation
from numpylm.text.code_problem import Problem

HELD_OUT = 0.15  # of the pairs of an operation and a filter
ASSERTS = 4
LETTERS = "abcdeghilmnoprstuvwy"
CHARACTERS = "aaabcdeeefghiiilmnooopqrstuuvwxyzABEGIKMOSTUZ0123456789   ,.!"
Combination = tuple[Kind, Operation, Filter]


def combinations(held_out: bool) -> list[Combination]:
    """All combinations of a kind of argument, an operation and a filter that are held out, or that are not."""
    found = [(kind, operation, some) for kind in KINDS for operation in kind.operations for some in kind.filters]
    return [combination for combination in found if is_held_out(*combination) == held_out]


def is_held_out(kind: Kind, operation: Operation, some: Filter) -> bool:
    """Whether training never shows this operation with this filter."""
    key = f"{kind.argument}/{operation.name}/{some.name}"
    return hashlib.sha256(key.encode()).digest()[0] < 256 * HELD_OUT


def problems(count: int, seed: int = 0, held_out: bool = False) -> list[Problem]:
    """Problems of combinations for training, without asserts, or of those that are held out, with asserts.

    The n-th problem depends only on (seed, n).
    """
    possible = combinations(held_out)
    rngs = (np.random.default_rng([2029, seed, n, held_out]) for n in range(count))
    return [problem(*possible[int(rng.integers(len(possible)))], rng, ASSERTS * held_out) for rng in rngs]


def problem(
    kind: Kind, operation: Operation, some: Filter, rng: np.random.Generator, asserts: int = ASSERTS
) -> Problem:
    """A problem of a combination: the numbers, letters and words are drawn."""
    drawn: dict[str, int | str] = {
        "n": int(rng.integers(1, 20)),
        "k": int(rng.integers(3, 10)),
        "s": int(rng.integers(2, 7)),
    }
    drawn["c"] = _one(LETTERS, rng)
    condition = some.condition.format(**drawn)
    parts = {"if": condition, "x": kind.item, "xs": kind.argument, "f": some.words.format(**drawn)}
    said = _one(operation.words, rng).format(**parts)
    a, name = _one(kind.words, rng), _one(NAMES.split(), rng)
    text = _one(OPENINGS, rng).format(op=said, of=f"in {a}", a=a)
    body = operation.body.format(**parts).replace("\n", "\n    ")
    code = f"def {name}({kind.argument}):\n    {body}"
    return Problem(text, name, code, tuple(_assert(kind, code, name, condition, rng) for _ in range(asserts)))


def _one(words: Any, rng: np.random.Generator) -> str:
    return str(words[int(rng.integers(len(words)))])


def _function(code: str, name: str) -> Callable[[Any], Any]:
    """A function of ours from its source. No model wrote it."""
    names: dict[str, Any] = {}
    exec(code, names)
    found: Callable[[Any], Any] = names[name]
    return found


def _assert(kind: Kind, code: str, name: str, condition: str, rng: np.random.Generator) -> str:
    """A call with what it returns. In nearly all, some items count and some do not."""
    counts = _function(f"def counts({kind.item}):\n    return {condition}", "counts")
    for _ in range(20):
        value = _value(kind, rng)
        if len({bool(counts(item)) for item in value}) == 2:
            break
    return f"assert {name}({value!r}) == {_function(code, name)(value)!r}"


def _value(kind: Kind, rng: np.random.Generator) -> Any:
    """A random argument."""
    if kind is NUMBERS:
        return [int(x) for x in rng.integers(-9, 30, 8)] + [int(rng.integers(1, 20))] * 2
    if kind is WORDS:
        return [_one(SOME_WORDS.split(), rng) for _ in range(8)]
    return "".join(_one(CHARACTERS, rng) for _ in range(24))
