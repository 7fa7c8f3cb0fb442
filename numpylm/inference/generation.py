"""Generating token ids, for one prompt or for a batch of prompts, with a key/value cache.

Any model with ``logits, cache = model.forward(ids)`` works. If it also has ``read(ids, past)``, as `numpylm.GPT` does,
generation uses a key/value cache and processes each token only once.
"""

import operator
from collections.abc import Collection, Iterable, Iterator, Sequence
from inspect import signature
from typing import Any, Protocol

import numpy as np

from numpylm.inference.sampling import check_sampling, sample_token
from numpylm.nn.module import Array, Cache

PREFILL = 512  # tokens of all prompts together that are read at a time


class LanguageModel(Protocol):
    """The interface that `generate` needs from a model."""

    def forward(self, ids: Array) -> tuple[Array, Cache]: ...


def generate(
    model: LanguageModel,
    ids: Iterable[int],
    max_new_tokens: int,
    block_size: int | None = None,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float = 1.0,
    rng: np.random.Generator | None = None,
    stop_ids: Collection[int] = (),
) -> Iterator[int]:
    """Yield up to ``max_new_tokens`` ids that continue ``ids``, one at a time. A method of `numpylm.GPT`.

    Generation ends after ``max_new_tokens``, or after a token in ``stop_ids``. That token is yielded, too.

    Parameters
    ----------
    model : GPT, or any model with ``logits, cache = model.forward(ids)``
    ids : ints
        The prompt, at least one id.
    max_new_tokens : int
    block_size : int, optional
        Context length of the model, in tokens. Default: ``model.config.block_size``.
    temperature, top_k, top_p, min_p, repetition_penalty
        As in `numpylm.inference.sampling.next_token_probabilities`.
    rng : numpy.random.Generator, optional
    stop_ids : collection of int

    Notes
    -----
    The model reads a window of ``block_size`` tokens. Of a longer prompt, only the end is used. When a text outgrows
    the window, only its newest half is kept and read again. The key/value cache cannot simply drop the oldest token:
    with learned positions, all other tokens would move to new positions, so all their keys and values would change.
    Keeping half makes this rare: half a window is read again after every block_size / 2 tokens. Each new token then
    has at least half a window before it.
    """
    block_size = window_length(model, block_size)
    text = window_of(ids, block_size)
    options: dict[str, Any] = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
    }
    check_sampling(**options)
    rng = rng or np.random.default_rng()

    steps = _write(model, [text], [rng], max_new_tokens, block_size, stop_ids, options)
    return (token for (token,) in steps if token is not None)


def generate_batch(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    block_size: int | None = None,
    *,
    rng: np.random.Generator | None = None,
    stop_ids: Collection[int] = (),
    **options: Any,
) -> list[list[int]]:
    """Continue several prompts at once, each as `generate` does, in little more time than one. A method of `GPT`.

    The options are those of `generate`. Each token needs one pass over all weights, and the batch shares this pass.
    Prompts of different lengths are padded at the left. Text i is sampled with ``rng.spawn(len(prompts))[i]``.
    """
    new: list[list[int]] = [[] for _ in prompts]
    for tokens in stream_batch(model, prompts, max_new_tokens, block_size, rng=rng, stop_ids=stop_ids, **options):
        for text, token in zip(new, tokens, strict=True):
            if token is not None:
                text.append(token)
    return new


def stream_batch(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    block_size: int | None = None,
    *,
    rng: np.random.Generator | None = None,
    stop_ids: Collection[int] = (),
    **options: Any,
) -> Iterator[list[int | None]]:
    """Yield, step by step, the next token of each text in a batch; None for a text that has ended. See `generate`.

    Text i is sampled with ``rng.spawn(len(prompts))[i]``, so it is the text that `generate` gives with that random
    generator. The batch continues until all texts have ended.
    """
    block_size = window_length(model, block_size)
    texts = [window_of(ids, block_size) for ids in prompts]
    check_sampling(**options)
    rngs = (rng or np.random.default_rng()).spawn(len(texts))
    return _write(model, texts, rngs, max_new_tokens, block_size, stop_ids, options)


def _write(
    model: LanguageModel,
    texts: list[list[int]],
    rngs: Sequence[np.random.Generator],
    max_new_tokens: int,
    block_size: int,
    stop_ids: Collection[int],
    options: dict[str, Any],
) -> Iterator[list[int | None]]:
    """Extend all texts by one token per step, and yield these tokens; None for a text that has ended."""
    ended = [False] * len(texts)
    for _, logits in zip(range(max_new_tokens), next_logits(model, texts, block_size), strict=False):
        for i, text in enumerate(texts):  # an ended text repeats its last token, so that all rows grow equally
            text.append(text[-1] if ended[i] else sample_token(logits[i], text, rngs[i], **options))
        yield [None if over else text[-1] for over, text in zip(ended, texts, strict=True)]
        ended = [over or text[-1] in stop_ids for over, text in zip(ended, texts, strict=True)]
        if all(ended):
            return


def window_length(model: Any, block_size: int | None) -> int:
    """The context length: ``block_size`` if given, else that of the model's config."""
    return model.config.block_size if block_size is None else block_size


def window_of(ids: Iterable[int], block_size: int) -> list[int]:
    """The part of a prompt that fits into the window: at most its last ``block_size`` tokens."""
    if isinstance(ids, str):
        raise ValueError(
            "generate continues ids, not text: pass tokenizer.encode(text), or use "
            "numpylm.inference.generate_text.generate_text"
        )
    try:
        text = [operator.index(i) for i in ids][-block_size:]
    except TypeError:
        raise ValueError(
            "generate continues a sequence of ids, which are whole numbers; for several prompts use generate_batch"
        ) from None
    if not text:
        raise ValueError("generate needs at least one token to start from")
    return text


def next_logits(model: Any, texts: list[list[int]], block_size: int) -> Iterator[Array]:
    """Yield the logits (B, V) for the next token of each text. Between steps, the caller appends a token to each text.

    If the model can use a key/value cache, each step reads only the new tokens, until a text outgrows the window.
    """
    begin = [0] * len(texts)  # the position where each text's window begins
    past = None
    while texts:
        full = [len(text) - start > block_size for text, start in zip(texts, begin, strict=True)]
        if past is not None and not any(full):
            yield model.read(np.array([text[-1:] for text in texts]), past)
            continue
        keep = max(1, block_size // 2)
        begin = [len(text) - keep if f else start for text, start, f in zip(texts, begin, full, strict=True)]
        ids, padding = left_padded([text[start:] for text, start in zip(texts, begin, strict=True)])
        if can_use_kv_cache(model):
            past = None  # frees the memory of the old cache before the new one is allocated
            logits, past = prefill(model, ids, padding)
            yield logits
        else:
            rows = [ids] if padding is None else [row[None, n:] for row, n in zip(ids, padding, strict=True)]
            yield np.concatenate([model.forward(row)[0][:, -1] for row in rows])  # from (B, T, V)


def can_use_kv_cache(model: Any) -> bool:
    """Whether a model has ``read``, and the forward of each of its blocks and attentions has an argument ``past``.

    A block or an attention that a student wrote may not have this argument. Then the model reads the whole text again
    for each token.
    """
    layers = [layer for block in getattr(model, "h", []) for layer in (block, block.attn)]
    layers += [layer for block in getattr(model, "layers", []) for layer in (block, block.self_attn)]
    return hasattr(model, "read") and all("past" in signature(layer.forward).parameters for layer in layers)


def prefill(model: Any, ids: Array, padding: Array | None) -> tuple[Array, Any]:
    """Read the prompts ids (B, T): the logits (B, V) for the token after each row, and the filled key/value caches.

    Long prompts are read in chunks, to limit memory: the intermediate results of a block grow with the number of tokens
    that it reads, those of attention with its square. If all rows are equal, one is read, and its cache is copied.
    """
    B, T = ids.shape
    if B > 1 and T > 1 and padding is None and (ids == ids[0]).all():
        logits, one = prefill(model, ids[:1], None)
        past = model.new_past(B)
        for cache, read in zip(past, one, strict=True):
            cache.append(read.k[:, :, : read.length], read.v[:, :, : read.length])  # (1, H, T, D), copied to all rows
        return np.repeat(logits, B, axis=0), past
    past = model.new_past(B, padding)
    step = max(1, PREFILL // B)
    for start in range(0, T, step):
        logits = model.read(ids[:, start : start + step], past)
    return logits, past


def left_padded(texts: list[list[int]]) -> tuple[Array, Array | None]:
    """Texts of different lengths as one array (B, T), padded with zeros at the left, and the padding (B,) or None."""
    lengths = np.array([len(text) for text in texts])
    padding = lengths.max() - lengths  # (B,)
    ids = np.array([[0] * n + text for n, text in zip(padding, texts, strict=True)])  # (B, T)
    return ids, padding if padding.any() else None
