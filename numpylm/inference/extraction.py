"""Extraction: how much of a text a model gives back word for word when it reads the beginning (Carlini et al. 2022)."""

from collections.abc import Sequence
from dataclasses import dataclass

from numpylm.inference.generation import generate_batch
from numpylm.models.gpt import GPT
from numpylm.text.any_tokenizer import TextTokenizer, begin_ids, common_prefix, end_ids

PROMPTS = 32  # continued at once


@dataclass(frozen=True)
class Copy:
    """What a model copied of one document.

    Attributes
    ----------
    document : int
        The index of the document.
    tokens : int
        How many tokens after the prompt are equal to those of the document.
    prompt, text : str
        What the model read, and what it copied.
    """

    document: int
    tokens: int
    prompt: str
    text: str


def extract(
    gpt: GPT, documents: Sequence[str], tokenizer: TextTokenizer, prompt_tokens: int, shortest: int, longest: int
) -> list[Copy]:
    """Prompt the model with the beginning of each document, and count how many of the next tokens it gets right.

    A string is extractable with k tokens of context if the model writes it when it reads the k tokens before it, and
    always takes the likeliest token (Carlini et al. 2022, arXiv:2202.07646, definition 3.1).

    Parameters
    ----------
    gpt : GPT
    documents : sequence of str
    tokenizer : TextTokenizer
    prompt_tokens : int
        k, the tokens of the document that the model reads.
    shortest : int
        Documents with fewer tokens after the prompt are left out: they cannot show a copy of this length.
    longest : int
        The largest number of tokens to compare.

    Returns
    -------
    list of Copy
        One for each document that is long enough.
    """
    if prompt_tokens < 1 or not 1 <= shortest <= longest:
        raise ValueError(
            f"expected 1 <= shortest <= longest and a prompt, got {prompt_tokens=}, {shortest=}, {longest=}"
        )
    begin, stop, k = begin_ids(tokenizer), end_ids(tokenizer), prompt_tokens
    if (tokens := len(begin) + k + longest) > gpt.config.block_size + 1:
        raise ValueError(
            f"a prompt of {k} tokens and {longest} to copy are {tokens} tokens, and the model reads "
            f"{gpt.config.block_size}: give fewer"
        )
    encoded = ((n, tokenizer.encode(document)) for n, document in enumerate(documents))
    rows = [(n, ids) for n, ids in encoded if len(ids) >= k + shortest]
    copies = []
    for start in range(0, len(rows), PROMPTS):
        some = rows[start : start + PROMPTS]
        prompts = [begin + ids[:k] for _, ids in some]
        for (n, ids), written in zip(
            some, generate_batch(gpt, prompts, longest, temperature=0, stop_ids=stop), strict=True
        ):
            count = common_prefix([written, ids[k:]])
            copies.append(Copy(n, count, tokenizer.decode(ids[:k]), tokenizer.decode(ids[k : k + count])))
    return copies
