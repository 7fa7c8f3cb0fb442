"""Tokenizing long texts in several processes: the ids of one, in the time of one divided by the cores.

Python runs one thread at a time, so threads would not help here. A text is cut where the pattern begins a new chunk
in any case (`numpylm.chunks.blocks`), so its blocks can be encoded by whoever is free, and put together in order.
"""

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from numpy.typing import DTypeLike

from numpylm.chunks import blocks
from numpylm.module import Array
from numpylm.tokenizer import Tokenizer

AHEAD = 4  # blocks of a million characters for each process that wait or are done: what memory holds


def encode_in_processes(
    tokenizer: Tokenizer, documents: Iterable[str], processes: int, dtype: DTypeLike = np.uint32
) -> Iterator[tuple[Array, bool]]:
    """Yield the ids of documents in order, in pieces: (ids, whether the document ends with them).

    Parameters
    ----------
    tokenizer : Tokenizer
    documents : iterable of str
    processes : int
        New ones, which end with the generator. A script that calls this must keep its own work under
        ``if __name__ == "__main__"``, as for all of Python's multiprocessing.
    dtype : dtype
        Of the ids.

    Raises
    ------
    ValueError
        For text that `Tokenizer.encode` refuses.
    """
    given = (tokenizer.vocab, tokenizer.merges, tokenizer.special_tokens, tokenizer.pattern)
    context = multiprocessing.get_context("spawn")  # the only way that is safe beside threads, and the same everywhere
    with ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(given, dtype)) as pool:
        waiting: deque = deque()
        try:
            for block, last in _with_ends(documents, tokenizer.pattern):
                waiting.append((pool.submit(_encode, block), last))
                if len(waiting) >= AHEAD * processes:
                    future, ended = waiting.popleft()
                    yield future.result(), ended
            for future, ended in waiting:
                yield future.result(), ended
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _with_ends(documents: Iterable[str], pattern: str) -> Iterator[tuple[str, bool]]:
    """All blocks of all documents, each with whether it is its document's last."""
    for document in documents:
        parts = blocks(document, pattern)
        part = next(parts)
        for following in parts:
            yield part, False
            part = following
        yield part, True


_worker: dict = {}  # of a process that was started here: its tokenizer, with a memory for chunks of its own


def _begin(given: tuple, dtype: DTypeLike) -> None:
    _worker["encode"], _worker["dtype"] = Tokenizer(*given).encode, dtype


def _encode(text: str) -> Array:
    return np.array(_worker["encode"](text), _worker["dtype"])
