"""What the name of a student's optimizer claims: which algorithm it is, and whether it may be another one."""

import re
from dataclasses import dataclass
from typing import Any

FAMILIES = {
    "gradientdescent": "sgd", "heavyball": "sgd", "momentum": "sgd", "sgd": "sgd", "gd": "sgd", "nesterov": "nesterov",
    "nag": "nesterov", "signsgd": "signsgd", "adagrad": "adagrad", "adadelta": "adadelta", "rmsprop": "rmsprop",
    "adamw": "adamw", "amsgrad": "amsgrad", "adamax": "adamax", "nadam": "nadam", "bertadam": "bertadam",
    "adam": "adam", "lion": "lion",
}  # fmt: skip
OTHERS = (
    "adabelief", "adabound", "adafactor", "adahessian", "adamod", "adamp", "adan", "adopt", "asgd", "clip", "diffgrad",
    "ftrl", "lamb", "lars", "lbfgs", "lookahead", "madgrad", "muon", "noam", "novograd", "prodigy", "qhm", "radam",
    "ranger", "rprop", "sam", "sgdr", "shampoo", "sophia", "swats", "warmup", "yogi",
)  # fmt: skip
NEUTRAL = (
    "and", "another", "bad", "basic", "batch", "bias", "broken", "bug", "buggy", "correct", "corrected", "correction",
    "custom", "decay", "decoupled", "exercise", "faulty", "for", "from", "good", "implementation", "keras", "l2",
    "like", "mini", "missing", "my", "naive", "no", "np", "numpy", "old", "opt", "optim", "optimiser", "optimizer",
    "our", "own", "plain", "pytorch", "right", "scratch", "simple", "small", "step", "stochastic", "student", "test",
    "the", "tiny", "torch", "vanilla", "version", "weight", "with", "without", "wrong",
)  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """What the name of an optimizer says.

    Attributes
    ----------
    family : str
        One of the values of `FAMILIES`, "other" for an unknown algorithm, or "" if the name says nothing.
    plain : bool
        Whether the name has no other words that could mean something else.
    """

    family: str = ""
    plain: bool = False


def claim_of(factory: Any, optimizer: Any) -> Claim:
    """What an optimizer claims to be. A name that only a base class has is not plain."""
    kinds = [kind.__name__ for kind in type(optimizer).__mro__[:-1]]
    own = {getattr(factory, "__name__", ""), kinds[0]}
    for name in (*own, *kinds[1:]):
        claim = claim_in(name)
        if claim.family:
            return Claim(claim.family, claim.plain and name in own)
    return Claim()


def claim_in(name: str) -> Claim:
    """What one name says: the longest algorithm names in it, and whether its other words are neutral."""
    parts = [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    rest, found = re.sub(r"[^a-z0-9]", "", name.lower()), []
    for word in sorted([*FAMILIES, *OTHERS], key=len, reverse=True):
        # "manager" holds "nag" and is no Nesterov.
        if word in rest and (len(word) > 3 or word == "sgd" or word in parts):
            found.append(FAMILIES.get(word, "other"))
            rest = rest.replace(word, "|")
    if not found:
        return Claim()
    family = "other" if "other" in found else found[0]
    words = "|".join(sorted(NEUTRAL, key=len, reverse=True))
    says_nothing = re.fullmatch(rf"(?:{words}|\d|\||w$)*", rest) is not None
    return Claim(family, says_nothing and len(set(found)) == 1)
