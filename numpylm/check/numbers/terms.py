"""True minus given: a missing term, or places that are missing or extra."""

from dataclasses import dataclass

import numpy as np

from numpylm.check.confidence import (
    FORGOTTEN_PLACES,
    KNOWN_TERM,
    MASKED_TARGETS,
    ONE_OF_MANY,
    PICKED_ENTRIES,
    ROWS_OF_SOME_IDS,
    SMALL_TERM,
    TERM,
    TERM_OF_ROWS,
    TWO_USES,
    WRONG_PLACES,
    WRONG_SUM,
    ZEROS_LET_THROUGH,
)
from numpylm.check.limits import FIT, SMALL
from numpylm.check.measure.evidence import UPSTREAM, Evidence
from numpylm.check.numbers.patterns import Detective
from numpylm.check.report import Cause, listing, plural
from numpylm.nn.module import Array


def missing_term(e: Evidence) -> Cause | None:
    """n - a is a known array, or in each row a constant, or a multiple of a known row."""
    rest = e.true - e.given
    if (extra_term := _extra_term(e, rest)) is not None:
        return extra_term
    term, confidence = _known_array(e, rest)
    if not term and e.given.ndim >= 2 and e.given.shape[-1] >= 3:
        term, confidence = _constant(e, rest) or _multiple_of_known(e, rest)
    if not term:
        return None
    if float(np.nanmax(np.abs(rest), initial=0)) < SMALL * e.scale:
        confidence -= SMALL_TERM
    return Cause(
        "missing-term", f"{e.what} has a term missing or wrong. {e.words.truth_minus} is {term}", confidence, e.name
    )


Term = tuple[str, float]  # the end of a sentence that says what is missing, and the confidence in it
NO_TERM: Term = ("", 0.0)


def _extra_term(e: Evidence, rest: Array) -> Cause | None:
    """a - n is a known array."""
    for name, k in e.known.items():
        if k.shape == e.given.shape and e.equal(rest, k):
            return None  # something is missing, not too much
        if k.shape == e.given.shape and e.equal(rest, -k):
            text = f"{e.what} has an extra term: {e.words.minus_truth} is exactly {name}."
            return Cause("missing-term", text, KNOWN_TERM, e.name)
    return None


def _known_array(e: Evidence, rest: Array) -> Term:
    """n - a is a known array, or the true gradient of another one."""
    for name, k in e.known.items():
        if k.shape == e.given.shape and e.equal(rest, k):
            residual = ": a residual connection whose gradient was dropped?" if name == UPSTREAM else "."
            return f"exactly {name}{residual}", KNOWN_TERM
    for name, k in e.others.items():
        if name != e.name and k.shape == e.given.shape and e.equal(rest, k):
            return f"exactly the gradient of {name}.", TERM
    return NO_TERM


def _constant(e: Evidence, rest: Array) -> Term | None:
    """n - a is the same number everywhere, or along an axis."""
    if e.equal(rest, np.full(e.given.shape, rest.mean())):
        return f"the same number everywhere, {float(rest.mean()):.6g}.", TERM
    mean = np.broadcast_to(e.given.mean(-1, keepdims=True), e.given.shape)
    if e.equal(rest, -mean):
        return "minus its own mean over the last axis: the mean must be subtracted.", TERM
    for axis in range(e.given.ndim - 1, -1, -1):
        if e.given.shape[axis] > 2 and e.equal(rest, np.broadcast_to(rest.mean(axis, keepdims=True), e.given.shape)):
            term = f"the same number everywhere along axis {axis}: a sum or mean over that axis is missing (or wrong)."
            return term, TERM
    return None


def _multiple_of_known(e: Evidence, rest: Array) -> Term:
    """n - a is a multiple of a known array in each row, channel and so on, or a constant plus such a multiple."""
    known = {name: k for name, k in e.known.items() if k.shape == e.given.shape}
    last = e.given.ndim - 1
    groups = {
        "in each row": (last,),
        "in each channel": tuple(range(last)),
        "along axis 1": (1,),
        "everywhere": tuple(range(e.given.ndim)),
    }
    for where, axes in groups.items():
        if np.prod([e.given.shape[axis] for axis in axes]) < 3 or max(axes) > last:
            continue
        for name, k in known.items():
            if e.equal(rest, _multiple(rest, k, axes)):
                return f"some multiple of {name} {where}.", TERM_OF_ROWS
    for name, k in known.items() if e.given.shape[-1] > 4 else ():
        if e.equal(rest, _project(rest, [k, np.ones_like(k)])):
            term = f"in each row a constant and a multiple of {name}: two sums over the row are missing or wrong."
            return term, TERM
    return NO_TERM


def _multiple(rest: Array, k: Array, axes: tuple[int, ...]) -> Array:
    """The multiple of k nearest to ``rest``, with one factor for each place outside ``axes``."""
    norm = (k * k).sum(axes, keepdims=True)
    return k * (rest * k).sum(axes, keepdims=True) / np.where(norm > 0, norm, 1)


def _project(rest: Array, basis: list[Array]) -> Array:
    """Each row of ``rest`` replaced by its least-squares fit with the rows of the basis."""
    b = np.stack(basis, axis=-1)  # (..., C, K)
    gram = np.swapaxes(b, -1, -2) @ b
    ridge = 1e-14 * np.trace(gram, axis1=-2, axis2=-1)[..., None, None] + 1e-300
    weights = np.linalg.solve(gram + ridge * np.eye(len(basis)), np.swapaxes(b, -1, -2) @ rest[..., None])
    return (b @ weights)[..., 0]


@dataclass(frozen=True)
class Rows:
    """Which rows of a table are wrong, and how often the ids of one input name them; arrays of True and False."""

    input: str
    wrong: Array
    once: Array
    often: Array
    never: Array
    idle: Array  # the output does not depend on these rows

    @property
    def listed(self) -> str:
        return listing(np.flatnonzero(self.wrong).tolist())


def rows_of_ids(e: Evidence) -> Cause | None:
    """Wrong only in the rows of a table that the ids use, or only where an id occurs more than once."""
    if e.given.ndim != 2:
        return None
    idle = np.asarray((np.abs(np.nan_to_num(e.true)) < 1e-9 * e.scale).all(axis=1) & e.measured.all(axis=1))
    for name, ids in e.indices.items():
        used = ids[(ids >= 0) & (ids < len(e.given))]
        if not used.size or used.size != ids.size:
            continue
        count = np.bincount(used.reshape(-1), minlength=len(e.given))
        rows = Rows(name, np.asarray(e.wrong.any(axis=1)), count == 1, count > 1, count == 0, idle)
        if (found := _padding_rows(e, rows) or _repeated_ids(e, rows) or _two_uses(e, rows)) is not None:
            return found
    return None


def _padding_rows(e: Evidence, rows: Rows) -> Cause | None:
    """Only rows are wrong that the ids name, and that the output does not depend on."""
    if not rows.wrong.any() or not (rows.idle & ~rows.never)[rows.wrong].all():
        return None
    text = (
        f"{e.what} is right except in {plural(int(rows.wrong.sum()), 'row')} ({rows.listed}) that {rows.input} "
        "names: it is not zero there, although the output does not depend on them (padding?). What forward hides, "
        "backward must hide, too."
    )
    return Cause("mask", text, ROWS_OF_SOME_IDS, e.name)


def _repeated_ids(e: Evidence, rows: Rows) -> Cause | None:
    """Only rows are wrong whose id occurs more than once."""
    lost = rows.often & (~rows.idle | e.given.any(axis=1))  # with a wrong += every repeated id loses a part
    if not lost.any() or not rows.wrong[lost].all() or rows.wrong[~rows.often].any():
        return None
    text = (
        f"{e.what} is wrong only in rows of ids that occur more than once in {rows.input} (rows {rows.listed}); where "
        "an id occurs once it is right. Each use of a row adds to its gradient: grad[ids] += d keeps only one of "
        "several equal ids, np.add.at(grad, ids, d) keeps all."
    )
    return Cause("repeated-ids", text, ROWS_OF_SOME_IDS, e.name)


def _two_uses(e: Evidence, rows: Rows) -> Cause | None:
    """The table is used as a matrix, too, and one of the two uses has no gradient."""
    unnamed = np.nan_to_num(e.true[rows.never])
    moved = any(np.abs(e.given - row).max(axis=1).min() <= FIT * e.scale for row in unnamed if np.any(row))
    if np.abs(unnamed).max(initial=0) <= FIT * e.scale or moved:  # moved: an index is off, and no use is forgotten
        return None
    never, once_or_often = rows.wrong[rows.never], rows.wrong[rows.once | rows.often]
    if once_or_often.any() and not never.any():
        text = (
            f"{e.what} is right in the rows of ids that do not occur in {rows.input}, and wrong in those that do. It "
            "is used in two ways, as a look-up table and as a matrix, and its gradient is the sum of both: the "
            "look-up's part is missing or wrong."
        )
        return Cause("shared", text, TWO_USES, e.name)
    if not np.any(e.given[rows.never]) and never.any():
        text = (
            f"{e.what} is zero in the rows of ids that do not occur in {rows.input}, where the true one is not. It is "
            "used in two ways, as a look-up table and as a matrix (the output layer), and its gradient is the sum of "
            "both: the matrix's part is missing."
        )
        return Cause("shared", text, TWO_USES, e.name)
    return None


def masked(e: Evidence) -> Cause | None:
    """a is not zero where the true gradient is exactly zero, and right elsewhere."""
    zero = e.measured & (np.abs(np.nan_to_num(e.true)) < 1e-9 * e.scale)
    if not e.wrong.any() or (e.wrong & ~zero).any() or not np.any(e.true[e.measured]):
        return None
    for name, index in e.indices.items():
        if index.shape == e.given.shape[: index.ndim] and (index < 0).any():
            rows = e.wrong.reshape(*index.shape, -1).any(axis=-1)
            if not (rows & (index >= 0)).any():
                text = (
                    f"{e.what} is not zero at places where {name} is {index.min()} "
                    f"({plural(int(rows.sum()), 'place')}): the forward ignores them, "
                    "so no gradient may come from there."
                )
                return Cause("mask", text, MASKED_TARGETS, e.name)
    where = tuple(int(i) for i in np.argwhere(e.wrong)[0])
    text = (
        f"{e.what} is not zero at {plural(int(e.wrong.sum()), 'place')} where the output does not depend on it at "
        f"all (first at {list(where)}: {e.given[where]:.4g}), and right everywhere else: what the forward selects (by "
        "a mask, a maximum, an index), the backward must select, too."
    )
    return Cause("mask", text, ZEROS_LET_THROUGH, e.name)


def indexed(e: Evidence) -> Cause | None:
    """Wrong exactly at the entries that an integer input picks from the last axis."""
    for name, index in e.indices.items():
        if e.given.ndim != index.ndim + 1 or index.shape != e.given.shape[:-1] or not e.fully_measured:
            continue
        picked = index[..., None] == np.arange(e.given.shape[-1])
        if e.wrong.any() and not (e.wrong & ~picked).any():
            gaps = (e.true - e.given)[e.wrong]
            same_gap = f"; true minus given is {gaps[0]:.6g} at all of them" if np.ptp(gaps) < FIT * e.scale else ""
            text = (
                f"{e.what} is wrong only at the entries that {name} picks, one in each row{same_gap}: the term that "
                "belongs to the right answer (the one-hot vector) is missing or wrong."
            )
            return Cause("missing-term", text, PICKED_ENTRIES, e.name)
    return None


def partly_zero(e: Evidence) -> Cause | None:
    """Whole slices of a are zero and should not be; the rest is right."""
    zero = e.given == 0
    if not e.wrong.any() or (e.wrong & ~zero).any():
        return None
    for axis in range(e.given.ndim):
        rest = tuple(i for i in range(e.given.ndim) if i != axis)
        lost = e.wrong.any(axis=rest)
        dead = zero.all(axis=rest)
        if lost.any() and (lost <= dead).all() and e.given.shape[axis] > 1:
            text = (
                f"{e.what} is zero at {listing(np.flatnonzero(lost).tolist())} along axis {axis}, where "
                f"{e.words.truth} is not, and right everywhere else: {e.words.maker} forgets a part."
            )
            return Cause("partial", text, FORGOTTEN_PLACES, e.name)
    return None


def one_of_many(e: Evidence) -> Cause | None:
    """n is the sum of a known array over its first axis, a is one of its parts."""
    for name, k in e.known.items():
        if k.shape[1:] != e.given.shape or not 1 < len(k) <= 64 or not e.equal(e.true, k.sum(0)):
            continue
        for i, part in enumerate(k):
            if e.equal(e.given, part):
                text = (
                    f"{e.what} is only entry {i} of {name} along axis 0, which has {len(k)} entries: what was "
                    "broadcast over that axis in the forward must be summed over it."
                )
                return Cause("partial", text, ONE_OF_MANY, e.name)
    return None


def unbalanced(e: Evidence) -> Cause | None:
    """n sums to zero along an axis, a does not."""
    if not e.fully_measured:
        return None
    for axis in range(e.given.ndim - 1, -1, -1):
        true, given = np.abs(e.true.sum(axis)).max(initial=0), np.abs(e.given.sum(axis)).max(initial=0)
        if e.given.shape[axis] > 2 and true <= FIT * e.scale and given > SMALL * e.scale:
            text = (
                f"{e.what} does not sum to zero along axis {axis}, but it must: the output stays the same when one "
                "number is added to everything along that axis (as softmax does). Either the term that subtracts a "
                "sum or mean is missing or wrong, or rows and columns of such an array are exchanged later."
            )
            return Cause("missing-term", text, WRONG_SUM, e.name)
    return None


def misplaced(e: Evidence) -> Cause | None:
    """The right numbers, at the wrong places along an axis.

    Equal sums are no proof: gradients of a softmax or a norm sum to zero, whatever else is wrong.
    """
    if not e.fully_measured or not e.wrong.any():
        return None
    for axis in range(e.given.ndim):
        if e.given.shape[axis] < 2 or e.given.size == e.given.shape[axis]:
            continue
        if np.abs(np.sort(e.given, axis) - np.sort(e.true, axis)).max() <= FIT * e.scale:
            text = (
                f"{e.what} has the right numbers along axis {axis}, but not at the right places: what belongs to one "
                "index of that axis lands at another. Is an index (of a maximum, an id, a shift) lost or off?"
            )
            return Cause("permuted", text, WRONG_PLACES, e.name)
    return None


TERMS: tuple[Detective, ...] = (
    rows_of_ids,
    one_of_many,
    masked,
    indexed,
    partly_zero,
    missing_term,
    unbalanced,
    misplaced,
)
