"""All patterns and terms, asked about a whole wrong gradient, and if nobody knows it, about its wrong part."""

import copy
import re

import numpy as np

from numpylm.check.measure.evidence import Evidence, cosine
from numpylm.check.numbers.patterns import PATTERNS, Detective
from numpylm.check.numbers.terms import TERMS
from numpylm.check.report import Cause


def detect(e: Evidence, looks: tuple[Detective, ...] = (*PATTERNS, *TERMS)) -> list[Cause]:
    """Ask all who look at the numbers alone; if nobody knows the whole array, ask about its wrong part."""
    found = [cause for detective in looks if (cause := detective(e))]
    if not any(cause.weight > 70 for cause in found):
        found += in_each_third(e, [detective for detective in PATTERNS if detective in looks])
    if not any(cause.weight > 70 for cause in found):
        part = wrong_part(e)
        if part is not None:
            inner = [cause for detective in looks if (cause := detective(part))]
            rest = "all else is right" if e.full else "no fault was found elsewhere, but not all was measured"
            found += [Cause(c.kind, f"{c.text} {rest.capitalize()}.", c.weight - 1, c.place) for c in inner]
            if not inner:
                text = f"{part.what} is wrong ({e.words.cosine} {cosine(part.a, part.n):.3f}), {rest}."
                found.append(Cause("unknown", text, 40, e.name))
    return found


def in_each_third(e: Evidence, looks: list[Detective]) -> list[Cause]:
    """Queries, keys and values often lie side by side: the same fault in each third of the last axis."""
    if e.a.ndim < 2 or e.a.shape[-1] % 3:
        return []
    size, said = e.a.shape[-1] // 3, []
    for k in range(3):
        third = cut_down(e, e.a.ndim - 1, k * size, (k + 1) * size)
        third.part = ", in each third of its last axis,"
        found = [cause for detective in looks if (cause := detective(third))]
        if not found and third.wrong.any():
            return []
        said.append(max(found, key=lambda cause: cause.weight, default=None))
    known = [cause for cause in said if cause]
    same = len({re.sub(r"cosine[^)]*", "", cause.text, flags=re.IGNORECASE) for cause in known}) == 1
    return known[:1] if len(known) == 3 and same else []


def cut_down(e: Evidence, axis: int, low: int, high: int) -> Evidence:
    """The evidence about a part of an array."""
    cut = (slice(None),) * axis + (slice(low, high),)
    part = copy.copy(e)
    part.a, part.n, part.jacobian, part.elsewhere = e.a[cut], e.n[cut], None, None
    part.known = {name: k[cut] for name, k in e.known.items() if k.shape == e.a.shape}
    part.others = {name: k[cut] for name, k in e.others.items() if k.shape == e.a.shape and name != e.name}
    return part


def wrong_part(e: Evidence) -> Evidence | None:
    """The same evidence cut down to a block along one axis that holds everything wrong."""
    for axis in range(e.a.ndim - 1, -1, -1):
        bad = np.flatnonzero(e.wrong.any(axis=tuple(i for i in range(e.a.ndim) if i != axis)))
        length = e.a.shape[axis]
        if not len(bad) or len(bad) > 0.7 * length:
            continue
        low, high = int(bad[0]), int(bad[-1]) + 1
        for pieces in sorted({2, 3, 4, 6, 8, *e.heads}, reverse=True):  # the smallest block that holds it
            size = length // pieces
            if length % pieces == 0 and low // size == (high - 1) // size:
                low, high = low // size * size, (low // size + 1) * size
                break
        if high - low > 0.7 * length:
            continue
        part = cut_down(e, axis, low, high)
        block = f", block {low // (high - low) + 1} of {length // (high - low)}" if length % (high - low) == 0 else ""
        part.part = f", at {low}:{high} of axis {axis}{block},"
        return part
    return None
