"""Tokenizing long texts in parallel with several processes.

Python runs one thread at a time, so threads would not help here. A text is split where the pattern always begins a new
chunk (`numpylm.text.pretokenize.blocks`). So each process can encode any block, and the ids of the blocks, in order,
are the ids of the text.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue

import numpy as np
from numpy.typing import DTypeLike

from numpylm.nn.module import Array
from numpylm.system.streams import print_note
from numpylm.system.worker import Worker, WorkerError
from numpylm.text.pretokenize import Pattern, blocks
from numpylm.text.tokenizer import Tokenizer

AHEAD = 4  # blocks of a million characters per process that are queued or finished, which limits memory


def encode_in_processes(
    tokenizer: Tokenizer, documents: Iterable[str], processes: int, dtype: DTypeLike = np.uint32
) -> Iterator[tuple[Array, bool]]:
    """Yield the ids of documents in order, in pieces: (ids, whether this piece ends its document).

    Parameters
    ----------
    tokenizer : Tokenizer
    documents : iterable of str
    processes : int
        Number of worker processes to start. They end with the generator. If one ends early or cannot start, this
        process does its work, and a note is printed.
    dtype : dtype
        The dtype of the ids.

    Raises
    ------
    ValueError
        For text that `Tokenizer.encode` refuses.
    """
    encoders = Encoders(tokenizer, processes, dtype)
    with ThreadPoolExecutor(processes) as pool:  # threads that wait for processes
        waiting: deque = deque()
        try:
            for block, last in _with_ends(documents, tokenizer.pattern):
                waiting.append((pool.submit(encoders.encode, block), last))
                if len(waiting) >= AHEAD * processes:
                    future, ended = waiting.popleft()
                    yield future.result(), ended
            for future, ended in waiting:
                yield future.result(), ended
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            encoders.end()


def _with_ends(documents: Iterable[str], pattern: Pattern) -> Iterator[tuple[str, bool]]:
    """All blocks of all documents, each with a flag that is True for the last block of a document."""
    for document in documents:
        parts = blocks(document, pattern)
        part = next(parts)
        for following in parts:
            yield part, False
            part = following
        yield part, True


class Encoders:
    """Worker processes, each with its own tokenizer. If one ends or cannot start, this process does its work."""

    def __init__(self, tokenizer: Tokenizer, count: int, dtype: DTypeLike) -> None:
        self.here = partial(_encode, tokenizer, dtype)
        self.ended = threading.Event()
        arguments = tuple(tokenizer.parts)
        try:
            self.workers = [Worker(_begin, (arguments, dtype)) for _ in range(count)]
        except WorkerError as error:
            print_note(f"one process tokenizes: {error}")
            self.workers = []
        self.idle: SimpleQueue[Callable[[str], Array]] = SimpleQueue()
        for worker in self.workers:
            self.idle.put(partial(worker.run, _encode_there))
        for _ in range(count - len(self.workers)):
            self.idle.put(self.here)

    def encode(self, text: str) -> Array:
        """The ids of a text, from the first encoder that is free."""
        encode = self.idle.get()
        try:
            return encode(text)
        except WorkerError as error:
            if self.ended.is_set():
                raise
            print_note(f"{error}; a thread continues in its place")
            encode = self.here
            return encode(text)
        finally:
            self.idle.put(encode)

    def end(self) -> None:
        """Kill all processes."""
        self.ended.set()
        for worker in self.workers:
            worker.end()


def _encode(tokenizer: Tokenizer, dtype: DTypeLike, text: str) -> Array:
    return np.array(tokenizer.encode(text), dtype)


# ----------------------------------------------------------------------------------- the other process

_there: dict[str, Callable[[str], Array]] = {}  # the encoder of this process, with its own cache of chunks


def _begin(tokenizer_arguments: tuple, dtype: DTypeLike) -> None:
    _there["encode"] = partial(_encode, Tokenizer(*tokenizer_arguments), dtype)


def _encode_there(text: str) -> Array:
    return _there["encode"](text)
