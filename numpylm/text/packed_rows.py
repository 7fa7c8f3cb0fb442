"""Packed rows: random batches whose rows hold several texts each, so that there is hardly any padding"""

import heapq
from collections.abc import Sequence

import numpy as np

from numpylm.nn.module import Array
from numpylm.text.padding import padded

Row = list[int]  # the numbers of the texts of a row, from left to right


class PackedBatches:
    """Draws random batches of rows, each with several texts. `numpylm.nn.packing` keeps the texts of a row apart.

    All texts are packed once. Each is in exactly one row, and all rows are drawn equally often: so are all texts. In a
    batch, long and short texts are mixed. (The batches of `SimilarLengths` have texts of one length.)

    Parameters
    ----------
    lengths : int array (N,)
        Tokens of each text.
    longest_row : int
        The largest number of tokens of a row. No text may be longer.
    batch_tokens : int
        About the number of tokens of a batch, padding included.
    seed : int
        Which of the texts of one length share a row with which others is random.
    workers : int
        How many workers share the rows of a batch: see `shared_out`.

    Attributes
    ----------
    rows : list of list of int
        The numbers of the texts of each row.
    padding : float in [0, 1]
        The share of padding if all rows are as wide as the fullest one.
    """

    def __init__(self, lengths: Array, longest_row: int, batch_tokens: int, seed: int = 0, workers: int = 1) -> None:
        self.lengths = np.asarray(lengths)
        self.longest_row, self.workers = longest_row, workers
        order = np.random.default_rng(seed).permutation(len(self.lengths))
        self.rows: list[Row] = [[int(order[n]) for n in row] for row in pack(self.lengths[order], longest_row)]
        width = max(int(self.lengths[row].sum()) for row in self.rows)
        self.padding = 1 - int(self.lengths.sum()) / (width * len(self.rows))
        self.rows_in_batch = min(max(round(batch_tokens / width), 1), len(self.rows))

    def draw(self, rng: np.random.Generator) -> list[Row]:
        """The rows of one batch."""
        rows = [self.rows[n] for n in rng.choice(len(self.rows), self.rows_in_batch, replace=False)]
        return shared_out(rows, self.lengths, self.longest_row, self.workers)


def pack(lengths: Array, longest_row: int) -> list[Row]:
    """Put texts of these lengths into few rows of at most ``longest_row`` tokens ("best-fit decreasing").

    The longest text comes first. Each goes into the fullest row that has room for it, or else into a new one. The
    number of rows is at most 11/9 of the smallest possible one, plus 4 (Johnson et al. 1974, doi:10.1137/0203025).
    With many short texts, hardly any room is left.

    Raises
    ------
    ValueError
        If a text is longer than a row.
    """
    lengths = np.asarray(lengths)
    if lengths.max(initial=0) > longest_row:
        raise ValueError(f"a text of {lengths.max()} tokens does not fit into a row of {longest_row}")
    rows: list[Row] = []
    with_room: dict[int, list[int]] = {}  # the rows with so much room left
    rooms = 0  # bit r is set if there is a row with room for r tokens: Python's integers have any number of bits
    for n in np.argsort(-lengths, kind="stable"):
        length = int(lengths[n])
        enough = rooms >> length
        if enough:
            room = length + (enough & -enough).bit_length() - 1  # the lowest bit: the fullest row in which it fits
            row = with_room[room].pop()
            if not with_room[room]:
                rooms ^= 1 << room
        else:
            room, row = longest_row, len(rows)
            rows.append([])
        rows[row].append(int(n))
        with_room.setdefault(room - length, []).append(row)
        rooms |= 1 << (room - length)
    return rows


def shared_out(rows: list[Row], lengths: Array, longest_row: int, workers: int) -> list[Row]:
    """The rows of a batch in such a form that all workers get equally many.

    Of 10 rows, some of 4 workers would get 3, the others 2. The time of a step is that of the slowest. So the texts are
    spread over 12 rows that are less full, if that is possible.
    """
    more = -(-len(rows) // workers) * workers
    texts = [n for row in rows for n in row]
    if more == len(rows) or more > len(texts):
        return rows
    spread, width = equally_full(lengths[texts], more)
    return [[texts[n] for n in row] for row in spread] if width <= longest_row else rows


def equally_full(lengths: Array, R: int) -> tuple[list[Row], int]:
    """Divide texts among R rows, the longest first, each into the row with the fewest tokens (Graham 1969).

    Also returns the number of tokens of the fullest row, which is at most 4/3 of the smallest possible one.
    """
    rows: list[Row] = [[] for _ in range(R)]
    tokens = [(0, row) for row in range(R)]  # a heap: the row with the fewest tokens comes first
    for n in np.argsort(-lengths, kind="stable"):
        before, row = tokens[0]
        rows[row].append(int(n))
        heapq.heapreplace(tokens, (before + int(lengths[n]), row))
    return rows, max(tokens)[0]


def packed_rows(texts: Sequence[Sequence[Array]], value: int = 0) -> tuple[Array, Array]:
    """Rows of ids as one array (B, T), padded with ``value`` at the right, and its segments (B, T).

    ``texts`` has the texts of each row. For segments see `numpylm.nn.packing`.
    """
    ids, _ = padded([np.concatenate(row) for row in texts], value)
    segments, _ = padded([np.repeat(np.arange(len(row)) + 1, [len(text) for text in row]) for row in texts])
    return ids, segments
