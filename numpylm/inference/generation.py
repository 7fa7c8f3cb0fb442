"""Writing token after token, one text or several side by side.

Nothing here knows what a GPT is: any ``logits, cache = model.forward(ids)`` will do. A model that can also
``read(ids, past)``, as `numpylm.GPT` can, is asked for each token's work once and not again for every later one.
"""

import operator
from collections.abc import Collection, Iterable, Iterator, Sequence
from inspect import signature
from typing import Any, Protocol

import numpy as np

from numpylm.inference.sampling import check_sampling, choose
from numpylm.inference.sampling import next_token_probabilities as next_token_probabilities  # these are found here, too
from numpylm.inference.streaming import printable as printable
from numpylm.inference.streaming import stream_text as stream_text
from numpylm.nn.module import Array, Cache

PIECE = 512  # tokens, of all texts together: a long prompt is read so many at a time


class LanguageModel(Protocol):
    """What `generate` needs of a model."""

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

    Generation ends after ``max_new_tokens``, or after a token in ``stop_ids`` (which is yielded).

    Parameters
    ----------
    model : GPT, or any model with ``logits, cache = model.forward(ids)``
    ids : ints
        The prompt, at least one.
    max_new_tokens : int
    block_size : int, optional
        Tokens of the window that the model reads. Default: ``model.config.block_size``.
    temperature, top_k, top_p, min_p, repetition_penalty
        As in `numpylm.inference.sampling.next_token_probabilities`.
    rng : numpy.random.Generator, optional
    stop_ids : collection of int

    Notes
    -----
    The window holds ``block_size`` tokens. A longer prompt is cut at its left end. A text that grows beyond the
    window keeps its newest half: learned positions cannot slide, since a token that moves to another position
    is another input, so everything that was computed for it is void. Halving makes that rare: half of the
    window is read again after every block_size / 2 tokens, and a token always sees that many before it.
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
    """Continue several prompts at once: as `generate` for each, in little more time than one. A method of `GPT`.

    The options are those of `generate`. A token costs one pass over all weights, and a batch shares that pass. Prompts
    of different lengths are padded at their left. Text i draws from ``rng.spawn(len(prompts))[i]``.
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
    """Yield the next token of each of several texts, again and again; None for a text that has ended. See `generate`.

    Text i draws from ``rng.spawn(len(prompts))[i]``, so it is the
    text that `generate` writes with that generator. The batch goes on until all texts have ended.
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
    """Let texts grow together, and yield what each step adds; None for a text that has ended."""
    ended = [False] * len(texts)
    for _, logits in zip(range(max_new_tokens), next_logits(model, texts, block_size), strict=False):
        for i, text in enumerate(texts):  # an ended text repeats its end, to keep step with the others
            text.append(text[-1] if ended[i] else choose(logits[i], text, rngs[i], **options))
        yield [None if over else text[-1] for over, text in zip(ended, texts, strict=True)]
        ended = [over or text[-1] in stop_ids for over, text in zip(ended, texts, strict=True)]
        if all(ended):
            return


def window_length(model: Any, block_size: int | None) -> int:
    """How many tokens the model reads at a time: ``block_size`` if given, else what its config says."""
    return model.config.block_size if block_size is None else block_size


def window_of(ids: Iterable[int], block_size: int) -> list[int]:
    """The prompt as it enters the window: at most its last ``block_size`` tokens."""
    if isinstance(ids, str):
        raise ValueError("generate continues ids, not text: give tokenizer.encode(text), or use writing.generate_text")
    try:
        text = [operator.index(i) for i in ids][-block_size:]
    except TypeError:
        raise ValueError(
            "generate continues a sequence of ids, whole numbers; for several prompts: generate_batch"
        ) from None
    if not text:
        raise ValueError("generate needs at least one token to start from")
    return text


def next_logits(model: Any, texts: list[list[int]], block_size: int) -> Iterator[Array]:
    """Logits (B, V) for the token after each text, again and again, while the caller appends one to each.

    With a model that can ``read``, only new tokens are computed, until a text outgrows the window.
    """
    begin = [0] * len(texts)  # where each text's window begins
    past = None
    while texts:
        full = [len(text) - start > block_size for text, start in zip(texts, begin, strict=True)]
        if past is not None and not any(full):
            yield model.read(np.array([text[-1:] for text in texts]), past)
            continue
        keep = max(1, block_size // 2)
        begin = [len(text) - keep if f else start for text, start, f in zip(texts, begin, full, strict=True)]
        ids, padding = left_padded([text[start:] for text, start in zip(texts, begin, strict=True)])
        if keeps_past(model):
            past = None  # the old one's memory is free before the new one asks for its own
            logits, past = read_prompts(model, ids, padding)
            yield logits
        else:
            rows = [ids] if padding is None else [row[None, n:] for row, n in zip(ids, padding, strict=True)]
            yield np.concatenate([model.forward(row)[0][:, -1] for row in rows])  # from (B, T, V)


def keeps_past(model: Any) -> bool:
    """Whether a model can go on reading where it stopped: it has ``read``, and all its blocks take a ``past``.

    A block or an attention that a student wrote may not take one. Then the whole text is computed for each token.
    """
    layers = [layer for block in getattr(model, "h", []) for layer in (block, block.attn)]
    return hasattr(model, "read") and all("past" in signature(layer.forward).parameters for layer in layers)


def read_prompts(model: Any, ids: Array, padding: Array | None) -> tuple[Array, Any]:
    """Read ids (B, T) from the beginning: logits (B, V) for the token that follows each row, and the past.

    Long ones are read in pieces: what a block computes on the way grows with the tokens that it is given, attention
    with their square, and is forgotten after each piece. Several equal rows are read once; all go on from a copy.
    """
    B, T = ids.shape
    if B > 1 and T > 1 and padding is None and (ids == ids[0]).all():
        logits, one = read_prompts(model, ids[:1], None)
        past = model.new_past(B)
        for cache, read in zip(past, one, strict=True):
            cache.append(read.k[:, :, : read.length], read.v[:, :, : read.length])  # (1, H, T, D), into every row
        return np.repeat(logits, B, axis=0), past
    past = model.new_past(B, padding)
    step = max(1, PIECE // B)
    for start in range(0, T, step):
        logits = model.read(ids[:, start : start + step], past)
    return logits, past


def left_padded(texts: list[list[int]]) -> tuple[Array, Array | None]:
    """Texts of different lengths as one array (B, T), zeros at their left; and how many (B,), None if none are."""
    lengths = np.array([len(text) for text in texts])
    padding = lengths.max() - lengths  # (B,)
    ids = np.array([[0] * n + text for n, text in zip(padding, texts, strict=True)])  # (B, T)
    return ids, padding if padding.any() else None
