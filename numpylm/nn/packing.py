"""Packing: several short texts in one row. No text sees another one, and the positions of each begin at 0.

A batch of texts as rows of its longest text is partly padding, which takes as long to compute as real tokens. Packed
rows have hardly any. ``segments`` says which text of its row each token belongs to: 1, 2, …, and 0 for padding. Two
texts of three and two tokens, and one token of padding:

    ids        a b c d e _            the mask:      key
    segments   1 1 1 2 2 0                         1 1 1 2 2 0
    positions  0 1 2 0 1 0             query   1   x . . . . .
                                               1   x x . . . .
                                               1   x x x . . .
                                               2   . . . x . .
                                               2   . . . x x .
                                               0   . . . . . .

The mask has a triangle for each text along its diagonal: it is block-diagonal. So each text gets the same outputs and
gradients as in a row of its own.
"""

from typing import NamedTuple

import numpy as np

from numpylm.nn.module import Array


class Span(NamedTuple):
    """Where a text is: tokens ``start`` … ``end`` - 1 of a row."""

    row: int
    start: int
    end: int


def same_segment(segments: Array) -> Array:
    """Which pairs of tokens belong to the same text: int (B, T) -> bool (B, 1, T, T), an attention mask for all heads.

    Padding belongs to nothing, not even to itself.
    """
    same = segments[:, :, None] == segments[:, None, :]  # (B, T, T)
    return (same & (segments > 0)[:, :, None])[:, None]


def restarted_positions(segments: Array) -> Array:
    """The position of each token in its text: int (B, T) -> int (B, T). Padding is counted like a text."""
    places = np.arange(segments.shape[1])
    return places - np.maximum.accumulate(np.where(_begins(segments), places, 0), axis=1)


def spans(segments: Array) -> list[Span]:
    """Where the texts of packed rows are, from the first row to the last and from left to right; int (B, T)."""
    rows, starts = np.nonzero(_begins(segments))
    T = segments.shape[1]
    lasts = np.r_[rows[1:] != rows[:-1], True]
    ends = np.where(lasts, T, np.r_[starts[1:], T])  # a text ends where the next one of its row begins
    real = segments[rows, starts] > 0
    return [Span(*map(int, where)) for where in zip(rows[real], starts[real], ends[real], strict=True)]


def checked_segments(segments: Array | None, ids: Array) -> Array | None:
    """Segments as an array; None stays None.

    Raises ValueError if they do not have the shape of ids (B, T), are not whole numbers of at least 0, or if a text is
    in two pieces.
    """
    if segments is None:
        return None
    segments = np.asarray(segments)
    if segments.shape != np.shape(ids):
        raise ValueError(f"segments must have the shape of ids, {np.shape(ids)}, got {segments.shape}")
    if segments.dtype.kind not in "iu" or segments.min(initial=0) < 0:
        found = f"the number {segments.min()}" if segments.dtype.kind in "iu" else segments.dtype
        raise ValueError(f"segments must be whole numbers: 1, 2, … for the texts of a row, 0 for padding; got {found}")
    seen = set()
    for row, start, _ in spans(segments):
        text = (row, int(segments[row, start]))
        if text in seen:
            raise ValueError(
                f"the tokens of a text must be side by side: in row {row} of segments, {text[1]} comes again after "
                f"another number"
            )
        seen.add(text)
    return segments


def refuse_past(segments: Array | None, past: object) -> None:
    """Raise ValueError if a key/value cache is given with segments."""
    if segments is not None and past is not None:
        raise ValueError("segments are for whole rows: with a key/value cache (past), each text has its own row")


def _begins(segments: Array) -> Array:
    """Where a text, or padding, begins: bool (B, T)."""
    begins = np.ones(segments.shape, bool)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return begins
