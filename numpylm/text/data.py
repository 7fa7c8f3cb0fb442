"""Data loading: reading documents, arrays of tokens, and random and sequential batches.

A document is one independent text (a file, a story, an article). In a token array, an end-of-text token comes before
the first document and after each document, if the tokenizer has that token:

    <|endoftext|> document <|endoftext|> document <|endoftext|>
"""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike
from tqdm import tqdm

from numpylm.nn.functional import IGNORE_INDEX
from numpylm.nn.module import Array
from numpylm.text.any_tokenizer import TextTokenizer, begin_ids, token_dtype
from numpylm.text.encode_in_processes import encode_in_processes
from numpylm.text.pretokenize import END_OF_TEXT
from numpylm.text.text_files import find_texts, first_paths
from numpylm.text.text_input import read_document
from numpylm.text.tokenizer import Tokenizer

IN_MEMORY = 32_000_000  # bytes; larger token arrays are stored on disk and memory-mapped
LONG = 4_000_000  # characters; tokenizing a longer document has its own progress bar


# ------------------------------------------------------------------------------------------- documents


def read_documents(paths: Iterable[str | Path]) -> list[str]:
    """Read files and folders as a list of documents.

    Each file is one document, or several with a line ``<|endoftext|>`` between them. `find_texts` describes which files
    of a folder are read.

    Raises
    ------
    FileNotFoundError, ValueError
        If a path does not exist, a file is not text, or all files are empty.
    """
    files = find_texts(paths).files
    documents = [document for file in files for document in split_documents(read_document(file))]
    if not documents:
        raise ValueError(f"there is no text in {first_paths(files)}")
    return documents


def split_documents(text: str) -> list[str]:
    """Split a text at its ``<|endoftext|>`` marks, and drop white space around the marks."""
    if END_OF_TEXT not in text:
        return [text] if text.strip() else []
    return [part.strip() for part in text.split(END_OF_TEXT) if part.strip()]


def join_documents(documents: Iterable[str]) -> str:
    """One text that `split_documents` splits into these documents."""
    return "".join(f"{document}\n{END_OF_TEXT}\n" for document in documents)


# ----------------------------------------------------------------------------------------------- tokens


def encode_documents(
    documents: Sequence[str],
    tokenizer: TextTokenizer,
    folder: Path | None = None,
    progress: bool = False,
    in_memory: int | None = None,
    processes: int = 1,
) -> Array:
    """The tokens of all documents in one array, uint16 (uint32 for large vocabularies), with end-of-text tokens.

    If ``processes`` is more than 1, worker processes share the work: see `numpylm.text.encode_in_processes`.

    An array of more than ``in_memory`` bytes (default: `IN_MEMORY`) is written to a temporary file in ``folder`` and
    memory-mapped, so training reads from disk only what a batch needs. The file has no name, so it disappears with the
    array, no matter how the process ends. (On Windows it has a name, and cannot be written to while it is mapped.)
    """
    dtype = token_dtype(tokenizer.vocab_size)
    in_memory = IN_MEMORY if in_memory is None else in_memory
    end = [] if tokenizer.end_id is None else [tokenizer.end_id]
    pieces = [np.array(begin_ids(tokenizer), dtype)]
    size = 0
    with ExitStack() as opened:
        file = None
        for ids, last in _encoded(documents, tokenizer, dtype, processes, progress):
            pieces += [ids, np.array(end if last else [], dtype)]
            size += ids.nbytes
            if folder is not None and size > in_memory:
                file = file or opened.enter_context(tempfile.TemporaryFile(dir=folder))
                file.write(np.concatenate(pieces).data)
                pieces, size = [], 0
        if file is None:
            return np.concatenate(pieces)
        if pieces:
            file.write(np.concatenate(pieces).data)
        file.flush()
        return np.memmap(file, dtype, mode="r")  # keeps the file open


def _encoded(
    documents: Sequence[str], tokenizer: TextTokenizer, dtype: DTypeLike, processes: int, progress: bool
) -> Iterator[tuple[Array, bool]]:
    """Yield the ids of documents in order, in pieces: (ids, whether this piece ends its document)."""
    with tqdm(desc="tokenizing", total=len(documents), unit=" docs", disable=not progress, leave=False) as bar:
        if processes > 1 and isinstance(tokenizer, Tokenizer):
            for ids, last in encode_in_processes(tokenizer, documents, processes, dtype):
                yield ids, last
                bar.update(last)
            return
        for document in documents:
            yield np.array(tokenizer.encode(document, progress=progress and len(document) > LONG), dtype), True
            bar.update()


# ---------------------------------------------------------------------------------------------- batches


def document_starts(tokens: Array, end_id: int | None) -> Array:
    """The positions of the end-of-text tokens before documents, where windows can begin."""
    if end_id is None:
        return np.zeros(0, np.intp)
    return np.flatnonzero(tokens == end_id)[:-1]


def fits_documents(tokens: Array, block_size: int, end_id: int | None) -> bool:
    """Whether there are several documents, short enough that each window should begin with a document.

    If a window begins in the middle of a document, the model does not see the beginning. If at least nine in ten
    documents fit into a window, windows can begin with documents, and the model sees almost all of them whole.
    """
    starts = document_starts(tokens, end_id)
    return len(starts) > 1 and float(np.quantile(np.diff(np.append(starts, len(tokens) - 1)), 0.9)) <= block_size


def check_length(tokens: Array, block_size: int) -> None:
    """Raise a ValueError if the text is shorter than a window and its last target."""
    if len(tokens) <= block_size:
        raise ValueError(
            f"the text has {len(tokens)} tokens, a window needs block_size + 1 = {block_size + 1}: "
            f"use a longer text or a smaller block_size"
        )


def random_batch(
    tokens: Array,
    batch_size: int,
    block_size: int,
    rng: np.random.Generator,
    starts: Array | None = None,
    counted: Array | None = None,
) -> tuple[Array, Array]:
    """Random windows: ids (B, T) and targets (B, T), where each target is the token after its id.

    Parameters
    ----------
    tokens : int array (N,)
    batch_size, block_size : int
        B and T.
    rng : numpy.random.Generator
    starts : int array, optional
        Where windows may begin (see `document_starts`); by default anywhere. A window that reaches past the end of the
        array is padded with targets of -100, which are not counted.
    counted : bool array (N,), optional
        Loss mask: which tokens count in the loss. The others get a target of -100, too.

    Raises
    ------
    ValueError
        If there are fewer than T + 1 tokens.
    """
    if starts is None:
        check_length(tokens, block_size)
        begin = rng.integers(0, len(tokens) - block_size, batch_size)
        if counted is not None:  # each window should contain a target that counts, or it would be wasted
            last = rng.choice(np.flatnonzero(counted[1:]) + 1, batch_size)
            begin = np.clip(last - rng.integers(1, block_size + 1, batch_size), 0, len(tokens) - block_size - 1)
    else:
        begin = rng.choice(starts, batch_size)
    return windows_between(tokens, begin, begin, np.minimum(begin + block_size, len(tokens) - 1), block_size, counted)


def sequential_batches(
    tokens: Array,
    batch_size: int,
    block_size: int,
    starts: Array | None = None,
    counted: Array | None = None,
    stride: int | None = None,
) -> Iterator[tuple[Array, Array]]:
    """Batches of windows in order. Each token except the first is a counted target exactly once.

    With ``starts``, a document that does not fit into the rest of a window begins the next window, so that the model
    sees documents from their beginning. A document longer than a window continues in the next windows. For ``counted``
    see `random_batch`.

    With ``stride``, windows overlap: a window that continues the text of the one before reads the last
    block_size - stride tokens of it again, without counting them. So each counted token has more than
    block_size - stride tokens before it, and the evaluation takes block_size / stride times as long.

    Raises
    ------
    ValueError
        If stride is not 1 to block_size.
    """
    if stride is not None and not 1 <= stride <= block_size:
        raise ValueError(f"stride must be 1 to {block_size}, the length of a window, got {stride}")
    windows: list[tuple[int, int, int]] = []  # (first position, position after which targets count, last target)
    position, last = 0, len(tokens) - 1
    while position < last:
        begin = max(0, position - (block_size - (stride or block_size)))
        begin = _last_start(starts, begin, position, begin)  # the overlap must not reach into an earlier document
        stop = min(begin + block_size, last)
        if stop < last:
            stop = _last_start(starts, position + 1, stop, stop)
        windows.append((begin, position, stop))
        position = stop
    for i in range(0, len(windows), batch_size):
        begin, after, end = np.array(windows[i : i + batch_size]).T
        yield windows_between(tokens, begin, after, end, block_size, counted)


def _last_start(starts: Array | None, low: int, high: int, default: int) -> int:
    """The last of ``starts`` in [low, high]; ``default`` if there is none."""
    if starts is not None:
        inside = starts[np.searchsorted(starts, low) : np.searchsorted(starts, high, side="right")]
        if len(inside):
            return int(inside[-1])
    return default


def windows_between(
    tokens: Array, begin: Array, after: Array, end: Array, block_size: int, counted: Array | None = None
) -> tuple[Array, Array]:
    """The ids of windows [begin, end) and their targets [after + 1, end], padded to equal length with -100."""
    width = int(min(block_size, (end - begin).max()))
    positions = begin[:, None] + np.arange(width + 1)  # (B, T + 1)
    inside = (positions[:, 1:] > after[:, None]) & (positions[:, 1:] <= end[:, None])  # (B, T)
    positions = np.minimum(positions, len(tokens) - 1)
    rows = np.asarray(tokens[positions], np.int64)
    if counted is not None:
        inside &= counted[positions[:, 1:]]
    return rows[:, :-1], np.where(inside, rows[:, 1:], IGNORE_INDEX)
