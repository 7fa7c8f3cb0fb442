"""Generating text from a text prompt with a model and its tokenizer, one text or several at once."""

from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from numpylm.inference.generation import generate, stream_batch
from numpylm.inference.streaming import TextStream, stream_text
from numpylm.models.gpt import GPT
from numpylm.text.any_tokenizer import TextTokenizer, begin_ids, end_ids


def generate_text(
    gpt: GPT,
    tokenizer: TextTokenizer,
    prompt: str,
    max_new_tokens: int,
    *,
    own: bool = False,
    allow_special: bool = False,
    stop: Collection[str] = (),
    rng: np.random.Generator | None = None,
    **options: Any,
) -> Iterator[str]:
    """Yield the text that follows a prompt, in pieces as it is generated.

    Generation ends after ``max_new_tokens`` tokens, at the end-of-text token, or before one of the ``stop`` strings.

    Parameters
    ----------
    gpt : GPT
    tokenizer : Tokenizer or CharTokenizer
    prompt : str
    max_new_tokens : int
    own : bool
        Whether numpylm trained the model, see `prompt_ids`; `numpylm.files.load_model.load_language_model` returns it.
    allow_special : bool
        Whether marks such as <|im_start|> in the prompt are special tokens.
    stop : collection of str
        Stop strings, see `TextStream`. Only the new text is searched for them.
    rng : numpy.random.Generator, optional
    **options
        temperature, top_k, ...: see `numpylm.inference.sampling.next_token_probabilities`.

    Raises
    ------
    ValueError
        For an invalid option, a prompt that cannot be encoded, or an empty prompt where one is needed. It is raised
        at once, before the first piece is generated.
    """
    TextStream(tokenizer.token_bytes, stop)  # checks the stop strings now, not when the first piece is generated
    ends = end_ids(tokenizer)
    ids = prompt_ids(tokenizer, prompt, own, allow_special)
    tokens = generate(gpt, ids, max_new_tokens, rng=rng, stop_ids=ends, **options)  # the end-of-text token is the last
    return stream_text((i for i in tokens if i not in ends), readable(tokenizer), stop)


def generate_texts(
    gpt: GPT,
    tokenizer: TextTokenizer,
    prompt: str,
    max_new_tokens: int,
    count: int,
    *,
    own: bool = False,
    allow_special: bool = False,
    stop: Collection[str] = (),
    rng: np.random.Generator | None = None,
    progress: bool = False,
    **options: Any,
) -> list[str]:
    """Generate several texts that follow one prompt as a batch, in little more time than one.

    Text i is the one that `generate_text` gives with ``rng.spawn(count)[i]``. ``progress`` shows a progress bar on
    stderr. The other arguments are those of `generate_text`.
    """
    ends = end_ids(tokenizer)
    streams = [TextStream(readable(tokenizer), stop) for _ in range(count)]
    prompts = [prompt_ids(tokenizer, prompt, own, allow_special)] * count
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


def prompt_ids(tokenizer: TextTokenizer, prompt: str, own: bool, allow_special: bool = False) -> list[int]:
    """The ids of a prompt. With ``allow_special``, marks such as <|im_start|> in it are special tokens.

    A model that numpylm trained (``own``) has seen documents that begin with the end-of-text token, so its prompts also
    begin with this token. If the vocabulary does not have it, an empty prompt becomes token 0, as in the samples during
    training. For GPT-2 nothing is added to a prompt, and an empty prompt becomes the end-of-text token, as in
    transformers. Models such as Llama 3 expect a token that begins each text.
    """
    ids, begin = tokenizer.encode(prompt, allow_special=allow_special), begin_ids(tokenizer)
    expected = own or not ids or getattr(tokenizer, "add_bos", False)
    if begin and expected and ids[:1] != begin:
        return begin + ids
    if not ids and not own:
        raise ValueError("this model has no end-of-text token to begin a new text with: give it a prompt")
    return ids or [0]


def readable(tokenizer: TextTokenizer) -> Callable[[int], bytes]:
    """Like the tokenizer's ``token_bytes``, but with U+FFFD for ids outside its vocabulary.

    Some models have more embedding rows than tokens, because V was rounded up. These rows were never trained, but
    sampling may choose one of them.
    """
    size, token_bytes = tokenizer.vocab_size, tokenizer.token_bytes
    return lambda token: token_bytes(token) if token < size else b"\xef\xbf\xbd"
