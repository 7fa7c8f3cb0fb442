"""A model and its tokenizer write text: how a prompt begins, where a text ends, one text or several."""

from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from numpylm.inference.generation import stream_batch
from numpylm.inference.streaming import TextStream, stream_text
from numpylm.models.gpt import GPT
from numpylm.text.char_tokenizer import TextTokenizer


def generate_text(
    gpt: GPT,
    tokenizer: TextTokenizer,
    prompt: str,
    max_new_tokens: int,
    *,
    own: bool = False,
    stop: Collection[str] = (),
    rng: np.random.Generator | None = None,
    **options: Any,
) -> Iterator[str]:
    """Yield the text that follows a prompt, piece by piece.

    It ends after ``max_new_tokens`` tokens, at the end-of-text token, or before one of the ``stop`` strings.

    Parameters
    ----------
    gpt : GPT
    tokenizer : Tokenizer or CharTokenizer
    prompt : str
    max_new_tokens : int
    own : bool
        Whether the model comes from a run of ours: see `prompt_ids`. `numpylm.files.checkpoint.load_model` says it.
    stop : collection of str
        Any strings, however they are cut into tokens; see `TextStream`. They are looked for in the new text only.
    rng : numpy.random.Generator, optional
    **options
        temperature, top_k, ...: see `numpylm.inference.sampling.next_token_probabilities`.

    Raises
    ------
    ValueError
        At once, for an option that means nothing, a prompt that cannot be encoded, or none where one is needed.
    """
    TextStream(tokenizer.token_bytes, stop)  # complains now, not when the first piece is asked for
    ends = end_ids(tokenizer)
    tokens = gpt.generate(
        prompt_ids(tokenizer, prompt, own), max_new_tokens, rng=rng, stop_ids=ends, **options
    )  # the end-of-text token is the last
    return stream_text((i for i in tokens if i not in ends), readable(tokenizer), stop)


def generate_texts(
    gpt: GPT,
    tokenizer: TextTokenizer,
    prompt: str,
    max_new_tokens: int,
    count: int,
    *,
    own: bool = False,
    stop: Collection[str] = (),
    rng: np.random.Generator | None = None,
    progress: bool = False,
    **options: Any,
) -> list[str]:
    """Several texts that follow one prompt, written side by side in little more time than one.

    Text i is what `generate_text` writes with ``rng.spawn(count)[i]``. ``progress`` shows a bar on stderr; the
    rest is as there.
    """
    ends = end_ids(tokenizer)
    streams = [TextStream(readable(tokenizer), stop) for _ in range(count)]
    prompts = [prompt_ids(tokenizer, prompt, own)] * count
    steps = stream_batch(gpt, prompts, max_new_tokens, gpt.config.block_size, rng=rng, stop_ids=ends, **options)
    texts = [""] * count
    for tokens in tqdm(steps, "writing", max_new_tokens, unit=" tokens each", disable=not progress, leave=False):
        going = 0
        for i, token in enumerate(tokens):
            if token is not None and token not in ends:
                texts[i] += streams[i].push(token)
                going += not streams[i].stopped
        if not going:
            break
    return [text + stream.close() for text, stream in zip(texts, streams, strict=True)]


def prompt_ids(tokenizer: TextTokenizer, prompt: str, own: bool) -> list[int]:
    """The tokens that a model reads before it writes.

    A run of ours (``own``) has read documents that all began with the end-of-text token, so each prompt begins
    with it; where its one document had no such token, an empty prompt is token 0, as in training's samples. GPT-2
    reads a prompt as it is, and an empty one is the end-of-text token, as in transformers.
    """
    ids = tokenizer.encode(prompt)
    if tokenizer.end_id is not None and (own or not ids):
        return [tokenizer.end_id, *ids]
    if not ids and not own:
        raise ValueError("this model has no end-of-text token to begin a new text with: give it a prompt")
    return ids or [0]


def end_ids(tokenizer: TextTokenizer) -> set[int]:
    """The tokens that end a text: end-of-text, if the vocabulary has it."""
    return set() if tokenizer.end_id is None else {tokenizer.end_id}


def readable(tokenizer: TextTokenizer) -> Callable[[int], bytes]:
    """As the tokenizer's ``token_bytes``; U+FFFD for ids beyond its vocabulary.

    Some models have more rows than tokens, to make V a rounder number. Nobody ever trained these rows, and chance
    may choose one.
    """
    size, token_bytes = tokenizer.vocab_size, tokenizer.token_bytes
    return lambda token: token_bytes(token) if token < size else b"\xef\xbf\xbd"
