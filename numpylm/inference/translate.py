"""Translating texts with a Transformer: beam search, greedy or sampled, for one text or many at once."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from numpylm.inference.beam_search import Hypothesis, beam_search
from numpylm.inference.sampling import check_sampling, sample_token
from numpylm.system.processor import default_workers, on_all_cores
from numpylm.text.any_tokenizer import require_tokenizer
from numpylm.text.padding import in_batches, padded

BATCH_TOKENS = 4000  # of the sources that are translated at once, padding included; it affects only speed and memory
LONGER = 2.0  # a translation has at most this many times the tokens of its source,
LONGER_BY = 20  # and this many more


def translate(
    model: Any,
    texts: Sequence[str],
    tokenizer: Any = None,
    *,
    beam: int = 5,
    length_penalty: float = 1.0,
    rng: np.random.Generator | None = None,
    batch_tokens: int = BATCH_TOKENS,
    **sampling: Any,
) -> list[str]:
    """Translate texts. A method of `numpylm.Transformer`.

    Parameters
    ----------
    model : Transformer
    texts : sequence of str
        An empty text has an empty translation.
    tokenizer : optional
        Default: ``model.tokenizer``.
    beam, length_penalty
        As in `beam_search`. A beam of 1 is greedy.
    rng : numpy.random.Generator, optional
        If it is given, translations are sampled instead of searched, with the options ``temperature``, ``top_k``,
        ``top_p``, ``min_p`` and ``repetition_penalty`` of `next_token_probabilities`.
    batch_tokens : int

    Returns
    -------
    list of str, in the order of the texts

    Raises
    ------
    ValueError
        If a text is longer than the model can read, or an option is invalid.
    """
    if isinstance(texts, str):
        raise ValueError("translate expects several texts: put one text into a list")
    if sampling and rng is None:
        raise ValueError(f"{next(iter(sampling))} is an option of sampling, which needs an rng")
    tokenizer = require_tokenizer(model) if tokenizer is None else tokenizer
    sources = [source_ids(tokenizer, text) for text in texts]
    check_lengths(model, sources)
    rngs = [] if rng is None else rng.spawn(len(texts))
    real = [n for n, text in enumerate(texts) if text.strip()]
    written: list[list[int]] = [[] for _ in texts]

    def write(numbers: list[int]) -> None:
        rows = [sources[n] for n in numbers]
        if rng is None:
            found = [best.ids for best in search(model, tokenizer, rows, beam, length_penalty)]
        else:
            found = sample(model, tokenizer, rows, [rngs[n] for n in numbers], **sampling)
        for n, ids in zip(numbers, found, strict=True):
            written[n] = ids

    lengths = np.array([len(sources[n]) for n in real])
    shared = -(-int(lengths.sum()) // default_workers())  # so that each core gets a part of a few texts
    parts = [[real[i] for i in some] for some in in_batches(lengths, min(batch_tokens, max(shared, 1)))]
    on_all_cores(write, parts)
    return [target_text(tokenizer, ids) for ids in written]


def search(
    model: Any, tokenizer: Any, sources: Sequence[Sequence[int]], beam: int = 5, length_penalty: float = 1.0
) -> list[Hypothesis]:
    """The best translation that beam search finds for each source, as ids."""
    ids, mask = padded(sources)
    limits = _limits(model, sources)
    past = model.new_past(ids, mask, max(limits))
    start, forbidden = model.config.start_id, _forbidden(model, tokenizer)
    return beam_search(model, past, start, tokenizer.end_id, limits, beam, length_penalty, forbidden)


def sample(
    model: Any, tokenizer: Any, sources: Sequence[Sequence[int]], rngs: Sequence[np.random.Generator], **options: Any
) -> list[list[int]]:
    """A random translation of each source, as ids; text i is sampled with ``rngs[i]``."""
    check_sampling(**options)
    ids, mask = padded(sources)
    limits = np.array(_limits(model, sources))
    past = model.new_past(ids, mask, int(limits.max()))
    texts = [[model.config.start_id] for _ in sources]
    forbidden, ended = list(_forbidden(model, tokenizer)), np.zeros(len(sources), bool)
    for length in range(1, int(limits.max()) + 1):
        logits = model.read(np.array([text[-1:] for text in texts]), past)  # (B, V)
        logits[:, forbidden] = -np.inf
        for i, text in enumerate(texts):  # an ended text repeats its last token
            text.append(text[-1] if ended[i] else sample_token(logits[i], text[1:], rngs[i], **options))
            ended[i] |= text[-1] == tokenizer.end_id or length == limits[i]
        if ended.all():
            break
    return [text[1 : 1 + limit] for text, limit in zip(texts, limits, strict=True)]


def _limits(model: Any, sources: Sequence[Sequence[int]]) -> list[int]:
    """The longest translation of each source, in tokens. It does not depend on the other sources of a batch."""
    return [min(int(LONGER * len(ids)) + LONGER_BY, model.config.block_size) for ids in sources]


def _forbidden(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Tokens that no translation contains: padding, and the start token unless it is the end token, too."""
    start = model.config.start_id
    return tuple({start, getattr(tokenizer, "pad_id", start)} - {tokenizer.end_id})


def source_ids(tokenizer: Any, text: str) -> list[int]:
    """The ids of a source text, with the end token."""
    if hasattr(tokenizer, "encode_source"):
        return tokenizer.encode_source(text)
    return [*tokenizer.encode(text), tokenizer.end_id]


def target_ids(tokenizer: Any, text: str) -> list[int]:
    """The ids of a target text, with the end token."""
    if hasattr(tokenizer, "encode_target"):
        return tokenizer.encode_target(text)
    return [*tokenizer.encode(text), tokenizer.end_id]


def target_text(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of generated ids, up to the end token."""
    ids = list(ids)
    if tokenizer.end_id in ids:
        ids = ids[: ids.index(tokenizer.end_id)]
    return tokenizer.decode(ids).strip()


def check_lengths(model: Any, sources: Sequence[Sequence[int]], what: str = "text") -> None:
    """Raise ValueError if a source is longer than the model can read."""
    longest = model.config.block_size
    for number, ids in enumerate(sources, 1):
        if len(ids) > longest:
            raise ValueError(
                f"{what} {number} has {len(ids)} tokens, the model reads {longest} at most: divide it into sentences"
            )
