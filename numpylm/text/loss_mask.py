"""Loss masking: train on the answer of each document and not on its prompt; and the bytes of texts and of answers."""

from collections.abc import Sequence

import numpy as np

from numpylm.nn.module import Array
from numpylm.text.any_tokenizer import TextTokenizer, begin_ids, token_dtype


def encode_answers(documents: Sequence[str], tokenizer: TextTokenizer, mark: str) -> tuple[Array, Array]:
    """Tokens of documents in the layout of `encode_documents`, and a mask of those that belong to an answer.

    In each document, the answer is everything after the first ``mark``. The end-of-text token after it counts, too, so
    that the model learns to stop. Prompt and answer are tokenized separately, as they are at generation time, where the
    user writes the prompt and the model writes the answer.

    Parameters
    ----------
    documents : sequence of str
    tokenizer
    mark : str
        For example ``"Answer:"``. It belongs to the prompt.

    Returns
    -------
    tokens : int array (N,)
    counted : bool array (N,)

    Raises
    ------
    ValueError
        If a document has no mark, or no document has text after it.
    """
    end = [] if tokenizer.end_id is None else [tokenizer.end_id]
    tokens = begin_ids(tokenizer)
    counted = [False] * len(tokens)
    for number, document in enumerate(documents, 1):
        prompt, found, answer = document.partition(mark)
        if not found:
            raise ValueError(
                f"document {number} has no {mark!r}, after which its answer should follow: {document[:60]!r} …; "
                f"documents are separated by a line <|endoftext|>"
            )
        prompt_ids, whole = tokenizer.encode(prompt + mark), tokenizer.encode(document)
        together = whole[: len(prompt_ids)] == prompt_ids  # no token crosses the border: encode as one text
        answer_ids = (whole[len(prompt_ids) :] if together else tokenizer.encode(answer)) + end
        tokens += prompt_ids + answer_ids
        counted += [False] * len(prompt_ids) + [True] * len(answer_ids)
    if not answer_bytes(documents, mark):
        raise ValueError(f"there is no text after {mark!r}: no answer would count in the loss")
    return np.array(tokens, token_dtype(tokenizer.vocab_size)), np.array(counted)


def text_bytes(documents: Sequence[str], in_lines: bool) -> int:
    """The number of UTF-8 bytes, without end-of-text marks. If documents are lines, their line ends are counted."""
    return sum(len(document.encode("utf-8")) for document in documents) + in_lines * len(documents)


def answer_bytes(documents: Sequence[str], mark: str) -> int:
    """The number of UTF-8 bytes of all answers."""
    return sum(len(document.partition(mark)[2].encode("utf-8")) for document in documents)


def note_repeated_marks(documents: Sequence[str], mark: str) -> None:
    """Print a note if documents contain the mark more than once. They may be several documents in one."""
    repeated = sum(document.count(mark) > 1 for document in documents)
    if repeated:
        print(
            f"note        {mark!r} occurs more than once in {repeated} of {len(documents)} documents: what follows the "
            f"first\n            counts as the answer. Separate several answers by a line <|endoftext|>"
        )
