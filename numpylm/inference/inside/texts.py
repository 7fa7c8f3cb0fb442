"""The texts of a page: from a prompt to the ids of each stream, the targets, and the steps of a generation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from numpylm.inference.generate_text import prompt_ids
from numpylm.inference.generation import generate
from numpylm.inference.inside.views import View, batch_of
from numpylm.inference.log_probs import log_softmax
from numpylm.inference.translate import search, source_ids, target_ids
from numpylm.nn.module import Array
from numpylm.text.any_tokenizer import end_ids
from numpylm.text.encoder_input import EncoderTokens

NEW_TOKENS = 12  # that a language model writes, if it is not said how many
LIKELIEST = -1  # a target that is not known: the most probable token
TOP = 10  # tokens that are shown for a prediction


class Choice(NamedTuple):
    """One step of a generation: which token was chosen at which output, and the most probable ones."""

    output: int
    chosen: int
    ids: Array  # int (TOP,), the most probable first
    log_p: Array  # float64 (TOP,)


@dataclass(frozen=True)
class Text:
    """What a page shows of a text.

    Attributes
    ----------
    ids : list of lists of int
        The tokens of each stream.
    targets : list of int
        For each output, the token that follows it in the text (or stands there, for masked tokens); or `LIKELIEST`.
    given : int
        The first ``given`` tokens of the last stream were given; the model has written the others.
    choices : list of Choice, or None
        The steps of a generation. None: they are the outputs from the last given token on, in order.
    by_model : bool
        Whether the model has chosen the tokens of these steps; if not, they were given.
    """

    ids: list[list[int]]
    targets: list[int]
    given: int
    choices: list[Choice] | None = None
    by_model: bool = True


Fits = Callable[[Sequence[int]], bool]  # whether a page with streams of these lengths is small enough


def language_text(
    view: View, tokenizer: Any, prompt: str, new_tokens: int | None, fits: Fits, own: bool, allow_special: bool
) -> Text:
    """A prompt and what a GPT or Llama writes after it, always the most probable token."""
    model = view.model
    ids = prompt_ids(tokenizer, prompt, own, allow_special)
    room = model.config.block_size - len(ids)
    if room < 0:
        raise ValueError(f"the prompt has {len(ids)} tokens, the model reads {model.config.block_size} at most")
    if new_tokens is None:
        new_tokens = next((n for n in range(min(NEW_TOKENS, room), 0, -1) if fits([len(ids) + n])), 0)
    if new_tokens > room:
        raise ValueError(
            f"the prompt has {len(ids)} tokens and --new-tokens is {new_tokens}; together the model reads "
            f"{model.config.block_size} at most"
        )
    new = list(generate(model, ids, new_tokens, temperature=0, stop_ids=end_ids(tokenizer))) if new_tokens else []
    text = ids + new
    return Text([text], [*text[1:], LIKELIEST], len(ids))


def encoder_text(view: View, tokenizer: Any, prompt: str) -> Text:
    """A text between the special tokens of a Bert. [MASK] in it is a hidden token, if the head predicts tokens.

    A space before [MASK] is part of the hidden token, as in RoBERTa: tokens of words begin with their space.
    """
    special, size = EncoderTokens.of(tokenizer), view.model.config.block_size
    mask = next(name for name, i in tokenizer.special_tokens.items() if i == special.mask)
    text = prompt if view.per_text else prompt.replace(f" {mask}", mask)
    body = tokenizer.encode(text, allow_special=not view.per_text)
    if not body:
        raise ValueError("the prompt has no tokens: it must contain a word")
    ids = [special.first, *body, special.last]
    if len(ids) > size:
        raise ValueError(f"the prompt has {len(ids)} tokens with its special tokens, the model reads {size} at most")
    if view.per_text:
        return Text([ids], [LIKELIEST], len(ids), [])
    targets = [LIKELIEST if i == special.mask else i for i in ids]
    return Text([ids], targets, len(ids), fill_masks(view, ids, special.mask))


def fill_masks(view: View, ids: Sequence[int], mask: int) -> list[Choice]:
    """Fill hidden tokens one at a time: each time the one whose best token is the most probable."""
    row, choices = list(ids), []
    while mask in row:
        log_p = log_softmax(view.model.forward(batch_of(row))[0][0].astype(np.float64))  # (T, V)
        log_p[:, mask] = -np.inf  # it would never end
        hidden = np.flatnonzero(np.asarray(row) == mask)
        place = int(hidden[log_p[hidden].max(axis=-1).argmax()])
        top = likeliest(log_p[place])
        choices.append(Choice(place, int(top[0]), top, log_p[place, top]))
        row[place] = int(top[0])
    return choices


def translation_text(view: View, tokenizer: Any, prompt: str, target: str | None, longest: int | None) -> Text:
    """A source text, and its given translation or the greedy one of the model, after the start token."""
    model, size = view.model, view.model.config.block_size
    source = source_ids(tokenizer, prompt)
    for name, ids in (("prompt", source), ("target", target_ids(tokenizer, target) if target is not None else [])):
        if len(ids) > size:
            raise ValueError(f"the {name} has {len(ids)} tokens with its end token, the model reads {size} at most")
    if target is not None:
        written = target_ids(tokenizer, target)
    else:
        written = list(search(model, tokenizer, [source], beam=1)[0].ids)[:longest]
    return Text([source, [model.config.start_id, *written[:-1]]], written, 1, by_model=target is None)


def likeliest(log_p: Array, k: int = TOP) -> Array:
    """The ids of the k largest numbers of each row (..., V), in order."""
    return np.argsort(-log_p, axis=-1, kind="stable")[..., :k]
