"""Learning answers and not prompts: which tokens of a document count in the loss."""

from collections.abc import Sequence

import numpy as np

from numpylm.nn.module import Array
from numpylm.text.char_tokenizer import TextTokenizer


def encode_answers(documents: Sequence[str], tokenizer: TextTokenizer, mark: str) -> tuple[Array, Array]:
    """Tokens of documents as `encode_documents` lays them out, and which of them are part of an answer.

    In each document, all that follows the first ``mark`` is the answer, and so is the end-of-text token behind
    it, by which the model learns to stop. Prompt and answer are tokenized apart, as they will be when a prompt
    comes from a user and the answer from the model.

    Parameters
    ----------
    documents : sequence of str
    tokenizer
    mark : str
        Such as ``"Answer:"``; it belongs to the prompt.

    Returns
    -------
    tokens : int array (N,)
    counted : bool array (N,)

    Raises
    ------
    ValueError
        If a document has no mark, or no document has anything behind it.
    """
    end = [] if tokenizer.end_id is None else [tokenizer.end_id]
    tokens, counted = list(end), [False] * len(end)
    for number, document in enumerate(documents, 1):
        prompt, found, answer = document.partition(mark)
        if not found:
            raise ValueError(
                f"document {number} has no {mark!r}, behind which its answer should stand: {document[:60]!r} …; "
                f"documents are parted by a line <|endoftext|>"
            )
        prompt_ids, answer_ids = tokenizer.encode(prompt + mark), tokenizer.encode(answer) + end
        tokens += prompt_ids + answer_ids
        counted += [False] * len(prompt_ids) + [True] * len(answer_ids)
    if not answer_bytes(documents, mark):
        raise ValueError(f"there is no text behind {mark!r}: no answer would count")
    dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32
    return np.array(tokens, dtype), np.array(counted)


def answer_bytes(documents: Sequence[str], mark: str) -> int:
    """How many bytes of UTF-8 the answers have."""
    return sum(len(document.partition(mark)[2].encode("utf-8")) for document in documents)


def say_repeated(documents: Sequence[str], mark: str) -> None:
    """Print a note if documents hold the mark more than once: perhaps they should be several."""
    repeated = sum(document.count(mark) > 1 for document in documents)
    if repeated:
        print(
            f"note        {mark!r} occurs more than once in {repeated} of {len(documents)} documents: what follows the "
            f"first\n            counts as the answer. Are they several? Then part them by a line <|endoftext|>"
        )
